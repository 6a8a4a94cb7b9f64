"""The seed dialect as a table of messages, read and written; and whatever else may come over the wire."""

import base64
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ulid import ULID

from sdenv.core.errors import FailedError, InvalidRequest, PeerBrokeProtocol
from sdenv.core.job_record import JobRecord, JobState, PictureRecord
from sdenv.core.request import GenerationRequest
from sdenv.protocols import seed
from sdenv.protocols.seed import Ask, Result
from tests.support.strategies import JSON

UUID_TEXT = "5b3f7f6e-0d9c-4e8e-9e5c-3d1e6d7a8b90"
AN_ID = UUID(UUID_TEXT)
WHEN = datetime(2025, 4, 12, 10, 0, 0, 123456, tzinfo=UTC)

ASKS: list[tuple[Ask, dict[str, Any]]] = [
    (Ask(GenerationRequest(prompt="a cat")), {"prompt": "a cat"}),
    (Ask(GenerationRequest(prompt="")), {"prompt": ""}),
    (Ask(GenerationRequest(prompt="a"), dry_run=True), {"prompt": "a", "dry_run": True}),
    (
        Ask(
            GenerationRequest(
                prompt="a",
                negative_prompt="b",
                model="m",
                width=64,
                height=72,
                steps=2,
                guidance_scale=1.5,
                seed=7,
                sampler="Euler a",
                schedule="Karras",
                count=2,
            )
        ),
        {
            "prompt": "a",
            "negative_prompt": "b",
            "model": "m",
            "width": 64,
            "height": 72,
            "steps": 2,
            "guidance_scale": 1.5,
            "seed": 7,
            "sampler": "Euler a",
            "schedule": "Karras",
            "count": 2,
        },
    ),
]

RESULTS: list[tuple[Result, str]] = [
    (
        Result(AN_ID, "a cat", b"\x89PNG", WHEN),
        f'{{"uuid": "{UUID_TEXT}", "prompt": "a cat", "data": "iVBORw==", '
        '"created_time": "2025-04-12T10:00:00.123456+00:00", "errors": []}',
    ),
    (
        Result(AN_ID, "", None, WHEN.replace(microsecond=0), ("boom happened",)),
        f'{{"uuid": "{UUID_TEXT}", "prompt": "", "data": null, '
        '"created_time": "2025-04-12T10:00:00+00:00", "errors": ["boom happened"]}',
    ),
    (
        Result(AN_ID, "a", b"deadbeef", WHEN, (), 7),
        f'{{"uuid": "{UUID_TEXT}", "prompt": "a", "data": "ZGVhZGJlZWY=", '
        '"created_time": "2025-04-12T10:00:00.123456+00:00", "errors": [], "seed": 7}',
    ),
]


@pytest.mark.parametrize(("ask", "body"), ASKS)
def test_a_request_is_written_and_read_as_in_the_table(ask: Ask, body: dict[str, Any]) -> None:
    assert seed.ask_record(ask) == body
    assert seed.ask_of(body) == ask


@pytest.mark.parametrize(("result", "text"), RESULTS)
def test_a_result_is_written_and_read_as_in_the_table(result: Result, text: str) -> None:
    assert json.dumps(seed.result_record(result)) == text
    assert seed.result_of(json.loads(text)) == result


def test_keys_may_come_in_any_order() -> None:
    record = json.loads(RESULTS[0][1])
    assert seed.result_of(dict(reversed(record.items()))) == RESULTS[0][0]


def test_a_time_without_a_zone_is_local_time_as_the_original_writes_it() -> None:
    record = json.loads(RESULTS[0][1]) | {"created_time": "2025-04-12T10:00:00.123456"}
    naive = datetime(2025, 4, 12, 10, 0, 0, 123456)
    assert seed.result_of(record).created_time == naive.astimezone()


def test_null_and_absent_fields_are_the_same() -> None:
    assert seed.ask_of({"prompt": "a", "seed": None, "dry_run": None}) == Ask(GenerationRequest(prompt="a"))


def test_unknown_fields_are_ignored_and_named() -> None:
    assert seed.ask_of({"prompt": "a", "style": 1, "cfg": 2}).ignored == ("cfg", "style")


def test_input_pictures_cannot_be_said_and_are_named() -> None:
    assert seed.ask_of({"prompt": "a", "init_image": "abc", "controls": []}).ignored == (
        "controls",
        "init_image",
    )


@pytest.mark.parametrize("name", sorted(seed.EXTRAS))
def test_a_wrong_value_of_a_further_field_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidRequest, match=name):
        seed.ask_of({"prompt": "a", name: {"not": "it"}})


def test_the_answer_to_a_request_names_one_picture_or_all() -> None:
    first, second = uuid4(), uuid4()
    assert seed.accepted_record([first]) == {"generation_uuid": str(first)}
    both = seed.accepted_record([first, second])
    assert both == {"generation_uuid": str(first), "generation_uuids": [str(first), str(second)]}
    assert seed.accepted_of(both) == first


@pytest.mark.parametrize("available", [True, False])
def test_the_status_is_one_word(available: bool) -> None:
    assert seed.status_record(available) == {"is_available": available}
    assert seed.is_available_of({"is_available": available}) is available


def test_a_dry_run_answers_the_letters_of_the_original() -> None:
    assert seed.DRY_RUN_DATA == "ZGVhZGJlZWY="
    assert base64.b64decode(seed.DRY_RUN_DATA) == b"deadbeef"


# Ids


@given(st.integers(0, 2**44 - 1), st.binary(min_size=10, max_size=10), st.integers(0, 15))
def test_the_id_of_a_picture_leads_back_to_its_job(milliseconds: int, random: bytes, index: int) -> None:
    job_id = str(ULID(milliseconds.to_bytes(6, "big") + random))
    assert seed.picture_of(seed.uuid_of(job_id, index)) == (job_id, index)


def test_the_first_picture_has_the_very_bits_of_the_job() -> None:
    job_id = ULID()
    assert seed.uuid_of(str(job_id)).bytes == job_id.bytes


@given(st.uuids())
def test_any_uuid_is_some_job(uuid: UUID) -> None:
    job_id, index = seed.picture_of(uuid)
    assert seed.uuid_of(job_id, index) == uuid


# Jobs


def job(**changes: Any) -> JobRecord:
    usual: dict[str, Any] = {
        "id": str(ULID()),
        "state": JobState.DONE,
        "request": {"prompt": "a cat"},
        "created_at": 100.0,
        "started_at": 200.0,
        "pictures": (PictureRecord(0, 7, 64, 64, "image/png", 4, "00"),),
    }
    return JobRecord(**(usual | changes))


def test_a_finished_job_is_a_result_of_the_time_when_it_began() -> None:
    done = job()
    expected = Result(seed.uuid_of(done.id), "a cat", b"\x89PNG", datetime.fromtimestamp(200, UTC), (), 7)
    assert seed.results_of_job(done, {0: b"\x89PNG"}) == (expected,)


def test_a_failed_job_says_why_for_every_picture_that_it_has_not_made() -> None:
    failed = job(state=JobState.FAILED, request={"prompt": "a", "count": 2}, error=FailedError("It broke."))
    first, second = seed.results_of_job(failed, {0: b"x"})
    assert (first.data, first.errors) == (b"x", ())
    assert (second.data, second.errors) == (None, ("It broke.",))


def test_a_job_that_was_cancelled_before_it_began_has_a_time_and_a_reason() -> None:
    cancelled = job(state=JobState.CANCELLED, started_at=None, pictures=())
    (only,) = seed.results_of_job(cancelled, {})
    assert only.errors == ("Cancelled.",)
    assert only.created_time == datetime.fromtimestamp(100, UTC)


# Backups


@given(
    st.uuids(),
    st.text(max_size=30),
    st.none() | st.binary(max_size=30),
    st.lists(st.text(max_size=9), max_size=2),
    st.none() | st.integers(0, 2**32 - 1),
    st.text(max_size=9),
)
def test_a_line_of_a_backup_gives_the_result_back(
    uuid: UUID, prompt: str, data: bytes | None, errors: list[str], number: int | None, owner: str
) -> None:
    result = Result(uuid, prompt, data, WHEN.astimezone(timezone(timedelta(hours=2))), tuple(errors), number)
    line = seed.backup_line(result, owner)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert seed.of_backup_line(line) == (result, owner)


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"nonsense\n", b"[1]\n", b'"text"\n', b"\xff\xfe\n", b"[" * 9999]
)
def test_a_line_that_is_no_object_is_skipped(line: bytes) -> None:
    assert seed.of_backup_line(line) is None


# Whatever else comes


@given(JSON)
def test_any_json_is_a_message_or_a_broken_protocol(value: Any) -> None:
    for read in (seed.result_of, seed.results_of, seed.accepted_of, seed.is_available_of):
        with suppress(PeerBrokeProtocol):
            read(value)


@given(st.sampled_from(RESULTS), st.sampled_from(["uuid", "prompt", "data", "created_time", "errors"]), JSON)
def test_a_result_with_any_wrong_value_is_read_or_a_broken_protocol(
    row: tuple[Result, str], name: str, value: Any
) -> None:
    with suppress(PeerBrokeProtocol):
        seed.result_of(json.loads(row[1]) | {name: value})


@given(st.dictionaries(st.sampled_from([*sorted(seed.EXTRAS), "dry_run", "x"]), JSON, max_size=4))
def test_any_body_is_a_request_or_an_invalid_one(body: dict[str, Any]) -> None:
    with suppress(InvalidRequest):
        seed.ask_of({"prompt": "a", **body})
