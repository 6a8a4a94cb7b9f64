"""The fold of events, and their form as JSON."""

import json
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdenv.core.events import (
    BytesMoved,
    Event,
    Measured,
    Notice,
    PhaseStarted,
    PictureReady,
    PreviewReady,
    Progress,
    RequestResolved,
    StepDone,
    advance,
    event_record,
)
from sdenv.core.request import ResolvedRequest
from sdenv.testing.samples import picture
from tests.support.strategies import events

IMAGE = picture(8, 8)
RESOLVED = ResolvedRequest(
    model="m",
    width=64,
    height=64,
    steps=20,
    guidance_scale=7,
    seed=5,
    sampler="Euler",
    schedule="Automatic",
    init_image=IMAGE,
    strength=0.5,
)
ONE_OF_EACH: list[Event] = [
    PhaseStarted("denoising"),
    RequestResolved(RESOLVED, "0123456789", {"device": "cpu"}),
    StepDone(1, 4, 2),
    PreviewReady(1, 0, IMAGE),
    BytesMoved("model", 1, None),
    PictureReady(0, IMAGE, 7),
    Measured(3, {"loss": 0.5}),
    Notice("size-fitted", "500x500 is made at 256x256 and resampled."),
]


def folded(seen: list[Event], count: int = 1) -> Progress:
    progress = Progress(count=count)
    for event in seen:
        progress = advance(progress, event)
    return progress


@given(st.lists(events(), max_size=30), st.integers(1, 16))
def test_progress_stays_between_0_and_1_and_never_falls(seen: list[Event], count: int) -> None:
    progress = Progress(count=count)
    before = progress.fraction
    assert before == 0.0
    for event in seen:
        progress = advance(progress, event)
        assert before <= progress.fraction <= 1.0
        before = progress.fraction


@given(st.integers(1, 16), st.integers(1, 50))
def test_progress_ends_at_1_when_all_pictures_are_there(count: int, steps: int) -> None:
    seen: list[Event] = []
    for index in range(count):
        seen += [StepDone(step, steps, index) for step in range(1, steps + 1)]
        seen.append(PictureReady(index, IMAGE, index))
    assert folded(seen, count).fraction == 1.0


def test_half_the_steps_of_one_of_two_pictures_is_a_quarter() -> None:
    assert folded([StepDone(5, 10)], count=2).fraction == 0.25


def test_a_step_that_does_not_rise_changes_nothing() -> None:
    progress = folded([StepDone(5, 10)])
    for step in (StepDone(5, 10), StepDone(4, 10), StepDone(4, 5), StepDone(6, 100), StepDone(1, 0)):
        assert advance(progress, step) is progress


def test_each_event_leaves_its_mark() -> None:
    progress = folded(ONE_OF_EACH)
    assert progress.phase == "denoising"
    assert progress.resolved == RESOLVED
    assert progress.steps == {2: (1, 4)}
    assert progress.preview == PreviewReady(1, 0, IMAGE)
    assert progress.bytes_moved == BytesMoved("model", 1, None)
    assert progress.finished == {0}
    assert progress.measured == {"loss": 0.5}
    assert progress.notices == (ONE_OF_EACH[-1],)


def test_measurements_of_different_things_are_kept_side_by_side() -> None:
    assert folded([Measured(1, {"a": 1, "b": 1}), Measured(2, {"b": 2})]).measured == {"a": 1, "b": 2}


def test_the_examples_cover_every_kind_of_event() -> None:
    assert {type(event) for event in ONE_OF_EACH} == set(typing.get_args(Event))


@pytest.mark.parametrize("event", ONE_OF_EACH, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("with_pictures", [False, True])
def test_every_event_is_one_json_object(event: Event, with_pictures: bool) -> None:
    record = json.loads(json.dumps(event_record(event, "01J", with_pictures), allow_nan=False))
    assert (record["v"], record["job"]) == (1, "01J")
    assert record["type"].replace("-", "") == type(event).__name__.lower()


def test_pictures_go_into_json_only_when_asked_for() -> None:
    assert event_record(PictureReady(0, IMAGE, 7), "01J") == {
        "v": 1,
        "type": "picture-ready",
        "job": "01J",
        "index": 0,
        "media_type": "image/png",
        "picture_bytes": len(IMAGE.data),
        "seed": 7,
    }
    assert str(event_record(PictureReady(0, IMAGE, 7), "01J", with_pictures=True)["picture"]).startswith(
        "iVBOR"
    )
    resolved = event_record(RequestResolved(RESOLVED), "01J")["resolved"]
    assert isinstance(resolved, dict)
    assert "init_image" not in resolved


def test_a_number_that_json_cannot_say_becomes_null() -> None:
    record = event_record(Measured(1, {"loss": float("nan"), "rate": 1e-4}), "01J")
    assert record["values"] == {"loss": None, "rate": 1e-4}
