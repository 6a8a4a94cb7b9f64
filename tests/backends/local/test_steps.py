"""Which steps run, and what is said of them."""

from typing import Any

import pytest

from sdenv.backends.local import LocalBackend
from sdenv.backends.local.calls import pipeline_strength, steps_finished
from sdenv.core.events import PhaseStarted, PictureReady, PreviewReady, RequestResolved, StepDone
from sdenv.core.request import GenerationRequest, steps_that_run
from sdenv.core.samplers import LOCAL_SAMPLERS
from sdenv.testing.fakes import Recorder
from sdenv.testing.samples import mask, picture


def events(backend: LocalBackend, **values: Any) -> list[Any]:
    recorder = Recorder()
    backend.generate(GenerationRequest(**{"model": "sd1", "seed": 1, "prompt": "a fox", **values}), recorder)
    return recorder.events


def steps(found: list[Any], index: int = 0) -> list[tuple[int, int]]:
    return [(each.step, each.total) for each in found if isinstance(each, StepDone) and each.index == index]


@pytest.mark.parametrize("sampler", LOCAL_SAMPLERS)
def test_every_sampler_counts_its_steps_from_one_to_the_total(backend: LocalBackend, sampler: str) -> None:
    assert steps(events(backend, steps=4, sampler=sampler)) == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("sampler", LOCAL_SAMPLERS)
def test_every_sampler_runs_its_share_of_the_steps_on_an_init_image(
    backend: LocalBackend, sampler: str
) -> None:
    found = events(backend, steps=6, sampler=sampler, init_image=picture(), strength=0.5)
    assert steps(found) == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("number_of_steps", "strength", "run"), [(3, 0.0, 1), (3, 0.2, 1), (1, 0.5, 1), (7, 0.58, 4), (4, 1.0, 4)]
)
@pytest.mark.parametrize("repaint", [False, True])
def test_the_steps_that_run_are_floor_of_steps_times_strength_and_at_least_one(
    backend: LocalBackend, number_of_steps: int, strength: float, run: int, repaint: bool
) -> None:
    extra = {"mask": mask()} if repaint else {}
    found = events(backend, steps=number_of_steps, strength=strength, init_image=picture(), **extra)
    assert steps(found) == [(step, run) for step in range(1, run + 1)]


def test_diffusers_is_told_a_strength_that_gives_the_right_steps_for_all_there_are() -> None:
    for number in range(1, 101):
        for hundredths in range(101):
            strength = hundredths / 100
            run = steps_that_run(number, strength)
            told = pipeline_strength(number, strength, run)
            assert min(int(number * told), number) == run
            assert told == strength or int(number * strength) != run


def test_a_second_order_sampler_and_plms_count_as_the_progress_bar_of_diffusers_does() -> None:
    heun = [steps_finished(call, 7, 4, 2) for call in range(7)]
    plms = [steps_finished(call, 5, 4, 1) for call in range(5)]
    assert heun == [0, 1, 1, 2, 2, 3, 4]
    assert plms == [0, 1, 2, 3, 4]


def test_what_happens_is_told_in_order(backend: LocalBackend) -> None:
    found = events(backend, steps=2)
    names = [each.phase if isinstance(each, PhaseStarted) else type(each).__name__ for each in found]
    told = [name for name in names if name != "loading"]
    wanted = ["RequestResolved", "encoding", "denoising", "StepDone", "StepDone", "decoding", "PictureReady"]
    assert told == wanted


def test_each_picture_of_a_batch_has_its_own_steps_and_is_handed_over(backend: LocalBackend) -> None:
    found = events(backend, steps=2, count=3, batch_size=2)
    assert [steps(found, index) for index in range(3)] == [[(1, 2), (2, 2)]] * 3
    ready = [(each.index, each.seed) for each in found if isinstance(each, PictureReady)]
    assert ready == [(0, 1), (1, 2), (2, 3)]


def test_a_picture_is_ready_before_the_next_batch_begins(backend: LocalBackend) -> None:
    found = events(backend, steps=2, count=2)
    first = next(at for at, each in enumerate(found) if isinstance(each, PictureReady))
    assert all(each.index == 0 for each in found[:first] if isinstance(each, StepDone))


def test_the_resolved_request_is_told_once_before_the_first_step(backend: LocalBackend) -> None:
    found = [
        each for each in events(backend, steps=1, count=2) if isinstance(each, RequestResolved | StepDone)
    ]
    assert [type(each).__name__ for each in found] == ["RequestResolved", "StepDone", "StepDone"]


def test_a_preview_comes_every_so_many_steps_and_not_after_the_last(backend: LocalBackend) -> None:
    recorder = Recorder(preview_every=2)
    backend.generate(GenerationRequest(model="sd1", seed=1, steps=6), recorder)
    assert [each.step for each in recorder.events if isinstance(each, PreviewReady)] == [2, 4]
