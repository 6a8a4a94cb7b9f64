"""The native records: what is written is read back, and whatever else is sent is a protocol error."""

import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdenv.backends.fake import FakeBackend, FakeSettings, resolve
from sdenv.core.backend import BackendStatus, ModelInfo
from sdenv.core.capabilities import Capabilities, SizeRule
from sdenv.core.errors import (
    Busy,
    InternalError,
    Kind,
    PeerBrokeProtocol,
    SdenvError,
    UnknownSampler,
    UsageError,
    all_error_types,
)
from sdenv.core.events import (
    BytesMoved,
    Event,
    Measured,
    Notice,
    PhaseStarted,
    PictureReady,
    PreviewReady,
    RequestResolved,
    StepDone,
    event_record,
)
from sdenv.core.job_record import JobRecord, JobState, PictureRecord
from sdenv.core.request import GenerationRequest, Task, parse_request_json
from sdenv.core.result import GenerationResult
from sdenv.protocols import native
from sdenv.testing.samples import picture
from tests.support.strategies import JSON, requests

PICTURE = picture(8, 8)
RESOLVED = resolve(GenerationRequest(prompt="ein Bär"), FakeBackend(FakeSettings()).probe())
EVENTS: list[Event] = [
    PhaseStarted("loading"),
    RequestResolved(RESOLVED, "0123456789", MappingProxyType({"device": "cpu"})),
    StepDone(3, 20, 1),
    PreviewReady(3, 1, PICTURE),
    BytesMoved("model", 10, None),
    BytesMoved("model", 10, 20),
    PictureReady(1, PICTURE, 7),
    Measured(3, {"loss": 0.5}),
    Notice("degraded", "Left out: vae."),
]


def over_the_wire(record: Any) -> Any:
    """What arrives on the other side."""
    return json.loads(json.dumps(record))


@pytest.mark.parametrize("event", EVENTS, ids=lambda each: type(each).__name__)
def test_an_event_arrives_as_it_was_sent(event: Event) -> None:
    record = over_the_wire(event_record(event, "JOB", with_pictures=True))
    assert native.event_of(record) == event


def test_an_event_that_only_a_newer_peer_knows_becomes_a_notice() -> None:
    event = native.event_of({"v": 1, "type": "sung", "job": "JOB"})
    assert event == Notice("unknown-event", "The other side reported 'sung'.")


@given(requests())
def test_a_request_arrives_as_it_was_sent(request: GenerationRequest) -> None:
    assert parse_request_json(json.dumps(native.request_record(request))) == request


@pytest.mark.parametrize("error_type", list(all_error_types()), ids=lambda each: each.code)
def test_an_error_keeps_its_class_and_its_words(error_type: type[SdenvError]) -> None:
    error = error_type("What.", "Why.", "Hint.")
    found = native.error_of(over_the_wire(native.error_record(error)))
    assert type(found) is error_type
    assert (found.what, found.why, found.hint) == ("What.", "Why.", "Hint.")


@pytest.mark.parametrize(
    ("kind", "becomes"), [(Kind.USAGE, UsageError), (Kind.BUSY, Busy), (Kind.BUG, InternalError)]
)
def test_an_error_that_only_a_newer_peer_knows_keeps_its_kind(kind: Kind, becomes: type[SdenvError]) -> None:
    found = native.error_of({"code": "brand-new", "kind": kind.value, "what": "What."})
    assert type(found) is becomes


def test_a_status_arrives_as_it_was_sent() -> None:
    status = FakeBackend(FakeSettings()).probe()
    rule = SizeRule(8, 64, 1024, ((256, 256),), 1_000_000)
    model = ModelInfo(
        "m", "v1", rule, (256, 256), "a model", {"precision": "float16"}, 20, 7.5, "DDIM",
        frozenset({Task.INPAINT}), ("DDIM",),
    )  # fmt: skip
    bare = BackendStatus("bare", "1", (), Capabilities(samplers=None, schedules=None))
    for each in (status, replace(status, models=(model,)), bare):
        assert native.status_of(over_the_wire(native.status_record(each))) == each


def test_fields_and_tasks_that_only_a_newer_peer_knows_are_left_out() -> None:
    record = over_the_wire(native.capabilities_record(Capabilities()))
    record["carries"].append("tempo")
    record["tasks"].append("text-to-song")
    assert native.capabilities_of(record) == Capabilities()


@pytest.mark.parametrize("change", [{"progress": "sometimes"}, {"cancel": "perhaps"}, {"size": 8}])
def test_capabilities_that_make_no_sense_are_an_error(change: dict[str, Any]) -> None:
    record = over_the_wire(native.status_record(FakeBackend(FakeSettings()).probe()))
    record["capabilities"] |= change
    with pytest.raises(PeerBrokeProtocol, match="a status that cannot be read"):
        native.status_of(record)


def test_a_result_arrives_with_the_pictures_that_came_before() -> None:
    result = GenerationResult(
        images=(PICTURE,), resolved=RESOLVED, backend="fake", model_hash="01", made_with={"a": "b"}, seconds=2
    )
    record = over_the_wire(native.result_record(result))
    assert "images" not in record
    assert native.result_of(record, (PICTURE,)) == result


def test_a_result_of_the_wrong_shape_is_an_error_that_names_the_field() -> None:
    record = over_the_wire(
        native.result_record(GenerationResult(images=(), resolved=RESOLVED, backend="fake", seconds=0))
    )
    record["resolved"]["steps"] = "many"
    with pytest.raises(PeerBrokeProtocol, match=r"resolved\.steps"):
        native.result_of(record, ())


JOB = JobRecord(
    id="01JDB3W6Q1E4X1T7V6D5V4M3N2",
    state=JobState.FAILED,
    request={"prompt": "a cat"},
    created_at=1.5,
    started_at=2.5,
    ended_at=3.5,
    attempt=2,
    priority=-1,
    owner="ann",
    dialect="seed",
    durable=True,
    fraction=0.5,
    phase="denoising",
    resolved=RESOLVED.model_dump(mode="json"),
    backend="fake",
    model_hash="01",
    made_with={"device": "cpu"},
    seconds=1.0,
    pictures=(PictureRecord(0, 7, 8, 8, "image/png", 99, "ab"),),
    notices=(Notice("degraded", "Left out."),),
)


def test_a_job_arrives_as_it_was_sent() -> None:
    queued = JobRecord(id="X", state=JobState.QUEUED, request={}, created_at=1.0, position=3)
    for job in (JOB, queued):
        assert native.job_of(over_the_wire(native.job_record(job))) == job


def test_long_extensions_are_left_out_of_a_job() -> None:
    short, long = (
        {"prompt": "a", "extensions": {"fake": {"a": 1}}},
        {"extensions": {"fake": {"a": "x" * 1024}}},
    )
    assert native.job_record(replace(JOB, request=short, resolved=long))["request"] == short
    assert native.job_record(replace(JOB, request=short, resolved=long))["resolved"] == {}
    assert native.job_record(replace(JOB, request=long))["request"] == {}


def test_the_error_of_a_job_arrives_with_its_class() -> None:
    job = native.job_of(over_the_wire(native.job_record(replace(JOB, error=UnknownSampler("No such.")))))
    assert type(job.error) is UnknownSampler


def test_states_say_whether_anything_will_still_happen() -> None:
    assert [state.value for state in JobState if not state.ended] == ["queued", "running"]


READERS: list[Callable[[Any], object]] = [
    native.event_of,
    native.status_of,
    native.error_of,
    native.job_of,
    lambda each: native.result_of(each, ()),
]
VALID: list[dict[str, Any]] = [
    *(event_record(event, "JOB", with_pictures=True) for event in EVENTS),
    native.status_record(FakeBackend(FakeSettings()).probe()),
    native.error_record(InternalError("What.")),
    native.job_record(JOB),
    native.result_record(GenerationResult(images=(), resolved=RESOLVED, backend="fake", seconds=0)),
]


@given(st.data())
def test_whatever_is_sent_is_read_or_a_protocol_error(data: st.DataObject) -> None:
    """Half of the cases are valid records with one value changed."""
    record: Any
    if data.draw(st.booleans()):
        record = dict(data.draw(st.sampled_from(VALID)))
        record[data.draw(st.sampled_from(sorted(record)))] = data.draw(JSON)
    else:
        record = data.draw(JSON)
    for read in READERS:
        with suppress(PeerBrokeProtocol):
            read(record)


def test_numbers_that_are_no_integers_are_a_protocol_error() -> None:
    with pytest.raises(PeerBrokeProtocol):
        native.event_of({"type": "step-done", "step": math.inf, "total": 1, "index": 0})
