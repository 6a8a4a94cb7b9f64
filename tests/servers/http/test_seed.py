"""The seed dialect over a real server: every row of its document, and the rules beside it."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import Backend
from sdenv.core.image import ImageData, size_of
from sdenv.core.server import Address
from sdenv.protocols import seed
from sdenv.servers.http.server import HttpServer
from sdenv.servers.http.settings import HttpSettings
from sdenv.services.engine import Engine
from sdenv.services.metadata import read_metadata
from sdenv.testing.fakes import SilentBackend, SlowBackend
from sdenv.testing.server_contract import serving
from tests.support.calls import JSON, call, get, post
from tests.support.http_servers import http_server, native_client
from tests.support.waiting import until

GENERATE = "/image/generate"
STATUS = "/server/status"
SMALL = {"width": 64, "height": 64, "steps": 1}


@contextmanager
def asked_for_queue(backend: Backend, size: int) -> Iterator[Address]:
    """A server that was started with `--queue`."""
    server = HttpServer(HttpSettings(drain_s=0.0, queue_size=size))
    with Engine(backend, name="behind", queue_size=size) as engine, serving(server, engine) as address:
        yield address


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    """A server that draws at once and is never busy, shared by tests that do not count its results."""
    with asked_for_queue(FakeBackend(FakeSettings()), 64) as bound:
        yield bound


@pytest.fixture
def slow() -> Iterator[tuple[Address, SlowBackend]]:
    """A server whose jobs end when they are let; without a queue that was asked for."""
    backend = SlowBackend()
    with http_server(backend, queue_size=8) as bound:
        yield bound, backend
        backend.let(1000)


def asked(address: Address, **body: Any) -> str:
    """The id of a new job."""
    return str(post(address, GENERATE, {"prompt": "a cat", **SMALL, **body})["generation_uuid"])


def result(address: Address, uuid: str) -> dict[str, Any]:
    """The result of a job, once it is there."""
    found: list[Any] = until(lambda: get(address, f"{GENERATE}?generation_uuid={uuid}"))
    assert len(found) == 1
    return dict(found[0])


# Endpoints


def test_status_says_whether_another_job_would_be_taken(slow: tuple[Address, SlowBackend]) -> None:
    address, backend = slow
    assert get(address, STATUS) == {"is_available": True}
    uuid = asked(address)
    assert get(address, STATUS) == {"is_available": False}
    backend.let(1000)
    result(address, uuid)
    until(lambda: get(address, STATUS)["is_available"])


def test_a_prompt_is_enough(address: Address) -> None:
    answer = call(address, "POST", GENERATE, {"prompt": "a cat"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.record()) == ["generation_uuid"]
    assert UUID(answer.record()["generation_uuid"])


def test_an_empty_prompt_is_allowed(address: Address) -> None:
    assert result(address, asked(address, prompt=""))["prompt"] == ""


def test_a_result_has_the_keys_of_the_original_in_their_order_and_the_seed(address: Address) -> None:
    uuid = asked(address, seed=7)
    found = result(address, uuid)
    assert list(found) == ["uuid", "prompt", "data", "created_time", "errors", "seed"]
    assert (found["uuid"], found["prompt"], found["errors"], found["seed"]) == (uuid, "a cat", [], 7)
    picture = ImageData.from_bytes(base64.b64decode(found["data"], validate=True))
    assert size_of(picture) == (64, 64)
    assert read_metadata(picture.data).request.prompt == "a cat"


def test_the_time_of_a_result_has_a_zone(address: Address) -> None:
    assert datetime.fromisoformat(result(address, asked(address))["created_time"]).utcoffset() is not None


def test_the_time_is_when_the_work_began(slow: tuple[Address, SlowBackend]) -> None:
    address, backend = slow
    uuid = asked(address)
    assert backend.began.wait(30)
    job = get(address, f"/sdenv/v1/jobs/{seed.picture_of(UUID(uuid))[0]}")
    backend.let(1000)
    began = datetime.fromisoformat(result(address, uuid)["created_time"]).timestamp()
    assert abs(began - job["started_at"]) < 1e-5


def test_running_and_unknown_jobs_are_an_empty_array(slow: tuple[Address, SlowBackend]) -> None:
    address, _ = slow
    uuid = asked(address)
    assert get(address, f"{GENERATE}?generation_uuid={uuid}") == []
    assert get(address, f"{GENERATE}?generation_uuid=00000000-0000-4000-8000-000000000000") == []
    assert get(address, f"{GENERATE}?generation_uuid=ffffffff-ffff-ffff-ffff-ffffffffffff") == []


def test_a_failed_job_has_no_data_and_says_why_without_a_traceback() -> None:
    with http_server(FakeBackend(FakeSettings(fail_at_step=1))) as address:
        found = result(address, asked(address))
    assert found["data"] is None
    assert len(found["errors"]) == 1
    assert "failed at step 1" in found["errors"][0]
    assert "Traceback" not in found["errors"][0]


def test_a_cancelled_job_is_not_waited_for_for_ever() -> None:
    with http_server(SilentBackend()) as address:
        uuid = asked(address)
        with native_client(address) as client:
            client.cancel(seed.picture_of(UUID(uuid))[0])
        found = result(address, uuid)
    assert found["data"] is None
    assert found["errors"]


@pytest.mark.parametrize("path", ["/", "/health"])
def test_it_is_alive(address: Address, path: str) -> None:
    assert get(address, path)["status"] == "OK"


def test_other_paths_and_methods_are_refused_as_the_original_does(address: Address) -> None:
    missing = call(address, "GET", "/image/nothing")
    wrong = call(address, "POST", STATUS, {})
    assert (missing.status, missing.json()) == (404, {"detail": "Not Found"})
    assert (wrong.status, wrong.json()) == (405, {"detail": "Method Not Allowed"})


def test_head_works_on_every_get_route(address: Address) -> None:
    for path in (STATUS, GENERATE, "/health"):
        answer = call(address, "HEAD", path)
        assert (answer.status, answer.body) == (200, b"")


# What is wrong with a request


@pytest.mark.parametrize(
    ("body", "headers", "fault"),
    [
        ({}, JSON, {"type": "missing", "loc": ["body", "prompt"], "msg": "Field required"}),
        ({"prompt": 1}, JSON, {"type": "string_type", "loc": ["body", "prompt"]}),
        ({"prompt": None}, JSON, {"type": "string_type", "loc": ["body", "prompt"]}),
        (b"nope", JSON, {"type": "json_invalid", "loc": ["body", 0]}),
        ([1], JSON, {"type": "model_attributes_type", "loc": ["body"]}),
        ({"prompt": "a"}, {"Content-Type": "text/plain"}, {"type": "model_attributes_type", "loc": ["body"]}),
        (
            {"prompt": "a"},
            {"Content-Type": "application/x-www-form-urlencoded"},
            {"type": "model_attributes_type", "loc": ["body"]},
        ),
    ],
)
def test_a_body_that_is_not_valid_is_said_as_fastapi_says_it(
    address: Address, body: object, headers: dict[str, str], fault: dict[str, Any]
) -> None:
    answer = call(address, "POST", GENERATE, body, headers)
    assert answer.status == 422
    found = answer.record()["detail"][0]
    assert {name: found[name] for name in fault} == fault
    assert "input" in found


def test_what_was_sent_is_not_sent_back_whole(address: Address) -> None:
    for body in (
        {"prompt": ["x" * 100_000] * 3},
        {"prompt": {str(index): [[[["deep"]]]] for index in range(10_000)}},
        {"dry_run": True, "picture": "x" * 100_000},
        {"prompt": 1, "y" * 100_000: 1},
        ["x" * 100_000],
    ):
        answer = call(address, "POST", GENERATE, body)
        assert answer.status == 422
        assert len(json.dumps(answer.record())) < 5000
        assert "input" in answer.record()["detail"][0]


def test_a_wrong_uuid_is_said_as_fastapi_says_it(address: Address) -> None:
    answer = call(address, "GET", f"{GENERATE}?generation_uuid=xyz")
    assert answer.status == 422
    fault = answer.record()["detail"][0]
    assert (fault["type"], fault["loc"]) == ("uuid_parsing", ["query", "generation_uuid"])


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt": NaN}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": ["\\udfff", Infinity]}',
        b"[" * 5000,
        b"\xff",
    ],
)
def test_no_body_makes_the_server_fail(address: Address, body: bytes) -> None:
    assert 400 <= call(address, "POST", GENERATE, body).status < 500


def test_a_value_out_of_range_is_a_list_in_detail_too(address: Address) -> None:
    answer = call(address, "POST", GENERATE, {"prompt": "a", "steps": 0})
    assert answer.status == 422
    assert "steps" in answer.record()["detail"][0]["msg"]


# Busy


def test_one_job_at_a_time_without_a_queue_that_was_asked_for(slow: tuple[Address, SlowBackend]) -> None:
    address, _ = slow
    asked(address)
    answer = call(address, "POST", GENERATE, {"prompt": "another"})
    assert (answer.status, answer.json()) == (429, {"detail": "The service is busy. Go away."})
    assert int(answer.headers["retry-after"]) >= 1


def test_of_many_at_once_one_is_taken(slow: tuple[Address, SlowBackend]) -> None:
    address, _ = slow
    together = threading.Barrier(12)
    statuses: list[int] = []

    def ask() -> None:
        together.wait()
        statuses.append(call(address, "POST", GENERATE, {"prompt": "a"}).status)

    threads = [threading.Thread(target=ask) for _ in range(together.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [429] * 11


def test_with_a_queue_that_was_asked_for_jobs_wait_until_it_is_full() -> None:
    backend = SlowBackend()
    with asked_for_queue(backend, 1) as address:
        asked(address)
        assert get(address, STATUS) == {"is_available": True}
        asked(address)
        assert get(address, STATUS) == {"is_available": False}
        assert call(address, "POST", GENERATE, {"prompt": "a"}).status == 429
        backend.let(1000)


# What sdenv adds


def test_further_fields_have_the_names_of_the_request(address: Address) -> None:
    wanted = {"negative_prompt": "red", "model": "mosaic", "width": 72, "height": 64, "steps": 2}
    wanted |= {"guidance_scale": 3.5, "seed": 9, "sampler": "Euler a", "schedule": "Karras"}
    made = read_metadata(base64.b64decode(result(address, asked(address, **wanted))["data"])).request
    assert {name: getattr(made, name) for name in wanted} == wanted


def test_unknown_fields_are_ignored_and_named(address: Address) -> None:
    answer = call(address, "POST", GENERATE, {"prompt": "a", "style\r\nX-Evil: 1": 1, "mood": "good"})
    assert answer.status == 200
    assert answer.headers["x-sdenv-ignored"] == "mood, style??X-Evil: 1"
    assert "x-evil" not in answer.headers
    blank = call(address, "POST", GENERATE, {"prompt": "a", " at either end ": 1})
    assert (blank.status, blank.headers["x-sdenv-ignored"]) == (200, "at either end")


def test_what_was_changed_is_named(address: Address) -> None:
    answer = call(address, "POST", GENERATE, {"prompt": "a", "width": 67, "height": 64, "steps": 1})
    assert answer.status == 200
    assert "67x64" in answer.headers["x-sdenv-notice"]
    picture = result(address, answer.record()["generation_uuid"])["data"]
    assert size_of(ImageData.from_bytes(base64.b64decode(picture))) == (67, 64)


def test_several_pictures_have_a_uuid_each(address: Address) -> None:
    answer = post(address, GENERATE, {"prompt": "a cat", **SMALL, "count": 3, "seed": 5})
    assert answer["generation_uuids"][0] == answer["generation_uuid"]
    assert [result(address, each)["seed"] for each in answer["generation_uuids"]] == [5, 6, 7]


def test_the_same_key_gives_the_same_uuid_also_while_it_is_busy(slow: tuple[Address, SlowBackend]) -> None:
    address, _ = slow
    headers = {**JSON, "Idempotency-Key": "k"}
    first = call(address, "POST", GENERATE, {"prompt": "a"}, headers)
    again = call(address, "POST", GENERATE, {"prompt": "a"}, headers)
    other = call(address, "POST", GENERATE, {"prompt": "b"}, headers)
    assert first.json() == again.json()
    assert other.status == 422


def test_a_dry_run_answers_what_the_original_does_byte_for_byte(address: Address) -> None:
    uuid = post(address, GENERATE, {"prompt": "a cat", "dry_run": True})["generation_uuid"]
    found = get(address, f"{GENERATE}?generation_uuid={uuid}")[0]
    assert (found["data"], found["errors"], found["prompt"]) == ("ZGVhZGJlZWY=", [], "a cat")


def test_the_state_of_a_job_tells_running_from_unknown(slow: tuple[Address, SlowBackend]) -> None:
    address, backend = slow
    uuid = asked(address)
    assert get(address, f"/image/state?generation_uuid={uuid}")["state"] in ("queued", "running")
    backend.let(1000)
    result(address, uuid)
    assert get(address, f"/image/state?generation_uuid={uuid}")["state"] == "done"
    unknown = call(address, "GET", "/image/state?generation_uuid=00000000-0000-4000-8000-000000000000")
    assert unknown.status == 404
    assert isinstance(unknown.record()["detail"], str)


def test_all_results_come_oldest_first_and_can_be_paged_and_stripped_of_their_pictures() -> None:
    with http_server() as address:
        uuids = []
        for index in range(3):
            uuids.append(asked(address, seed=index))
            result(address, uuids[-1])
        every = get(address, GENERATE)
        assert [each["uuid"] for each in every] == uuids
        assert all(each["data"] for each in every)
        page = get(address, f"{GENERATE}?limit=1&offset=1&data=false")
        assert [(each["uuid"], each["data"]) for each in page] == [(uuids[1], None)]
        assert get(address, f"{GENERATE}?offset=3") == []


def test_a_result_can_be_removed(address: Address) -> None:
    uuid = asked(address)
    result(address, uuid)
    answer = call(address, "DELETE", f"{GENERATE}?generation_uuid={uuid}")
    assert (answer.status, answer.json()) == (200, {"deleted": 1})
    assert get(address, f"{GENERATE}?generation_uuid={uuid}") == []
    assert call(address, "DELETE", f"{GENERATE}?generation_uuid={uuid}").json() == {"deleted": 0}


def test_a_job_that_runs_cannot_be_removed(slow: tuple[Address, SlowBackend]) -> None:
    address, _ = slow
    assert call(address, "DELETE", f"{GENERATE}?generation_uuid={asked(address)}").status in (409, 422)


def test_the_size_of_this_machine_holds_where_nobody_says_one() -> None:
    with http_server(seed_side_px=384) as address:
        picture = result(address, post(address, GENERATE, {"prompt": "a", "steps": 1})["generation_uuid"])
    assert size_of(ImageData.from_bytes(base64.b64decode(picture["data"]))) == (384, 384)


# Durable, and in the seed's own files


def lines(folder: Path) -> list[dict[str, Any]]:
    """The results in the backups."""
    files = (folder / "disk_backups").glob("*-sde-server-flush*.json")
    return [json.loads(line) for path in files for line in path.read_text("utf-8").splitlines()]


def test_results_survive_a_restart_and_lie_in_the_seeds_own_files(tmp_path: Path) -> None:
    with http_server(data_dir=tmp_path) as address:
        uuid = asked(address)
        before = result(address, uuid)
        until(lambda: (tmp_path / "disk_backups").is_dir() and lines(tmp_path))
    assert [line["uuid"] for line in lines(tmp_path)] == [uuid]
    assert {**lines(tmp_path)[0]} == before
    with http_server(data_dir=tmp_path) as address:
        assert result(address, uuid) == before
        assert get(address, GENERATE) == [before]


def test_the_files_of_the_original_are_read(tmp_path: Path) -> None:
    theirs = {
        "uuid": "5b3f7f6e-0d9c-4e8e-9e5c-3d1e6d7a8b90",
        "prompt": "an old fox",
        "data": base64.b64encode(b"\x89PNG...").decode(),
        "created_time": "2025-04-12T10:00:00.123456",
        "errors": [],
    }
    folder = tmp_path / "disk_backups"
    folder.mkdir()
    (folder / "2025-04-12-10-00-09-sde-server-flush.json").write_text(f"{json.dumps(theirs)}\n", "utf-8")
    with http_server(data_dir=tmp_path) as address:
        found = get(address, f"{GENERATE}?generation_uuid={theirs['uuid']}")[0]
        everything = get(address, GENERATE)
        state = get(address, f"/image/state?generation_uuid={theirs['uuid']}")
    assert {name: found[name] for name in ("uuid", "prompt", "data", "errors")} == {
        name: theirs[name] for name in ("uuid", "prompt", "data", "errors")
    }
    assert everything == [found]
    assert state["state"] == "done"


def test_an_unfinished_job_is_made_after_a_restart(tmp_path: Path) -> None:
    with http_server(SilentBackend(), data_dir=tmp_path) as address:
        uuid = asked(address)
    with http_server(data_dir=tmp_path) as address:
        assert result(address, uuid)["errors"] == []
        until(lambda: (tmp_path / "disk_backups").is_dir() and lines(tmp_path))


# Tokens


def test_a_token_sees_its_own_results_only() -> None:
    tokens = {name: {"secret": f"secret-of-{name}"} for name in ("ann", "bob")}
    with http_server(tokens=tokens) as address:

        def ask(name: str, method: str, path: str, body: object = None) -> Any:
            headers = {**JSON, "Authorization": f"Bearer secret-of-{name}"}
            return call(address, method, path, body, headers).json()

        uuid = ask("ann", "POST", GENERATE, {"prompt": "a", **SMALL})["generation_uuid"]
        dry = ask("ann", "POST", GENERATE, {"prompt": "a", "dry_run": True}).get("generation_uuid")
        until(lambda: ask("ann", "GET", f"{GENERATE}?generation_uuid={uuid}"))
        assert ask("bob", "GET", GENERATE) == []
        assert ask("bob", "GET", f"{GENERATE}?generation_uuid={uuid}") == []
        assert dry is None or ask("bob", "GET", f"{GENERATE}?generation_uuid={dry}") == []
        assert ask("bob", "DELETE", f"{GENERATE}?generation_uuid={uuid}") == {"deleted": 0}
        assert len(ask("ann", "GET", GENERATE)) >= 1
