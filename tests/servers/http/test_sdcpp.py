"""stable-diffusion.cpp's own API over a real server: jobs, their words, and what outlives a restart."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from sdenv.core.image import JPEG, ImageData, size_of
from sdenv.servers.http import Token
from sdenv.services.metadata import read_metadata
from sdenv.testing.fakes import SlowBackend
from tests.servers.http.support import JOBS, asked, submitted
from tests.support.waiting import until

API = "/sdcpp/v1"
SMALL: dict[str, Any] = {
    "prompt": "a red square",
    "width": 64,
    "height": 64,
    "seed": 7,
    "sample_params": {"sample_steps": 2, "sample_method": "euler_a", "scheduler": "discrete"},
}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    """Of a server that draws at once."""
    with asked(queue_size=64) as found:
        yield found


@pytest.fixture
def slow() -> Iterator[tuple[httpx2.Client, SlowBackend]]:
    """Of a server whose jobs do a step each time they are let."""
    backend = SlowBackend()
    with asked(backend, queue_size=1) as found:
        yield found, backend
        backend.let(1000)


def accepted(client: httpx2.Client, **changes: Any) -> dict[str, Any]:
    answer = client.post(f"{API}/img_gen", json={**SMALL, **changes})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def ended(client: httpx2.Client, job: dict[str, Any]) -> dict[str, Any]:
    """The job once nothing more will happen."""

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = client.get(job["poll_url"]).json()
        return found if found["status"] in ("completed", "failed", "cancelled") else None

    return until(look) or {}


def pictures(job: dict[str, Any]) -> list[ImageData]:
    return [
        ImageData.from_bytes(base64.b64decode(each["b64_json"], validate=True))
        for each in job["result"]["images"]
    ]


def test_a_job_is_accepted_and_polled_to_its_pictures(client: httpx2.Client) -> None:
    job = accepted(client, batch_count=2)
    assert set(job) == {"id", "kind", "status", "created", "poll_url"}
    assert (job["kind"], job["poll_url"]) == ("img_gen", f"{API}/jobs/{job['id']}")
    done = ended(client, job)
    keys = {"id", "kind", "status", "created", "started", "completed", "queue_position", "result", "error"}
    assert set(done) - {"notices"} == keys
    assert (done["status"], done["error"], done["queue_position"]) == ("completed", None, 0)
    assert done["result"]["output_format"] == "png"
    assert [(each["index"], each["seed"]) for each in done["result"]["images"]] == [(0, 7), (1, 8)]
    first = pictures(done)[0]
    assert size_of(first) == (64, 64)
    assert read_metadata(first.data).request.prompt == "a red square"
    native = client.get(f"{JOBS}/{job['id']}").json()
    assert (native["dialect"], native["durable"], native["request"]["steps"]) == ("sdcpp", True, 2)


def test_files_come_in_the_type_that_was_asked_for(client: httpx2.Client) -> None:
    done = ended(client, accepted(client, output_format="jpeg", output_compression=80))
    assert done["result"]["output_format"] == "jpeg"
    assert pictures(done)[0].media_type == JPEG


def test_what_is_ignored_and_what_is_changed_is_named(client: httpx2.Client) -> None:
    answer = client.post(f"{API}/img_gen", json={**SMALL, "frobnicate": 1, "cache_mode": "ucache"})
    assert answer.json()["ignored"] == ["frobnicate", "cache_mode"]
    assert answer.headers["x-sdenv-ignored"] == "frobnicate, cache_mode"
    changed = client.post(f"{API}/img_gen", json={**SMALL, "width": 67, "hires": {"enabled": True}})
    assert changed.status_code == 202, changed.text
    notices = " ".join(changed.json()["notices"])
    assert "67x64" in notices
    assert "hires" in notices
    assert "67x64" in changed.headers["x-sdenv-notice"]
    assert size_of(pictures(ended(client, changed.json()))[0]) == (67, 64)


def test_a_job_is_known_to_those_only_whose_it_is() -> None:
    tokens = {name: Token(secret=SecretStr(f"{name}-in-the-queue")) for name in ("alice", "bob")}
    with asked(tokens=tokens) as client:
        client.headers["Authorization"] = "Bearer alice-in-the-queue"
        job = accepted(client)
        ended(client, job)
        client.headers["Authorization"] = "Bearer bob-in-the-queue"
        assert client.get(job["poll_url"]).status_code == 404
        assert client.post(f"{job['poll_url']}/cancel").status_code == 404


def test_a_job_waits_is_cancelled_and_can_not_be_cancelled_again(
    slow: tuple[httpx2.Client, SlowBackend],
) -> None:
    client, backend = slow
    first, second = accepted(client), accepted(client)
    until(lambda: client.get(first["poll_url"]).json()["status"] == "generating")
    waiting = client.get(second["poll_url"]).json()
    assert (waiting["status"], waiting["result"]) == ("queued", None)
    assert waiting["queue_position"] >= 0
    full = client.post(f"{API}/img_gen", json=SMALL)
    assert (full.status_code, full.json()["code"]) == (429, "queue-full")
    assert int(full.headers["retry-after"]) >= 1
    answer = client.post(f"{second['poll_url']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert answer.json()["error"]["code"] == "cancelled"
    assert client.post(f"{second['poll_url']}/cancel").status_code == 409
    assert client.post(f"{first['poll_url']}/cancel").status_code == 200
    backend.let(1000)
    assert ended(client, first)["status"] == "cancelled"


def test_a_finished_job_can_not_be_cancelled(client: httpx2.Client) -> None:
    job = accepted(client)
    ended(client, job)
    answer = client.post(f"{job['poll_url']}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "job-not-finished")
    assert client.get(job["poll_url"]).json()["status"] == "completed"


def test_an_unknown_job_and_one_that_was_removed_are_not_found(client: httpx2.Client) -> None:
    job = accepted(client)
    ended(client, job)
    client.delete(f"{JOBS}/{job['id']}").raise_for_status()
    for job_id in (job["id"], "job_01HTXYZABC", "0" * 26):
        answers = client.get(f"{API}/jobs/{job_id}"), client.post(f"{API}/jobs/{job_id}/cancel")
        assert [each.status_code for each in answers] == [404, 404]
        assert set(answers[0].json()) == {"error", "message", "code"}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"width": "wide"}', b'{"width": 100000}', b'{"init_image": "http://x/"}']
)
def test_a_body_that_can_not_be_used_is_400_with_the_reason(client: httpx2.Client, body: bytes) -> None:
    answer = client.post(f"{API}/img_gen", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert set(answer.json()) == {"error", "message", "code"}
    assert client.post(f"{API}/vid_gen", json=SMALL).status_code == 400


def test_capabilities_say_what_img_gen_takes(client: httpx2.Client) -> None:
    found = client.get(f"{API}/capabilities").json()
    assert found["supported_modes"] == ["img_gen"] == list(found["features_by_mode"])
    assert {"euler_a", "dpm++2m"} <= set(found["samplers"])
    assert found["schedulers"][0] == "discrete"
    assert found["limits"]["max_queue_size"] == 64
    assert found["model"]["path"] == ""
    assert found["defaults_by_mode"]["img_gen"] == found["defaults"]
    answer = client.post(f"{API}/img_gen", json={**found["defaults"], "width": 64, "height": 64})
    assert answer.status_code == 202, answer.text
    assert "ignored" not in answer.json()


def test_the_same_key_is_the_same_job(client: httpx2.Client) -> None:
    headers = {"Idempotency-Key": "once"}
    ids = {client.post(f"{API}/img_gen", json=SMALL, headers=headers).json()["id"] for _ in range(2)}
    assert len(ids) == 1


def test_a_job_of_another_dialect_is_told_as_well(client: httpx2.Client) -> None:
    assert ended(client, {"poll_url": f"{API}/jobs/{submitted(client)}"})["status"] == "completed"


def test_a_finished_job_is_the_same_after_a_restart(tmp_path: Path) -> None:
    with asked(data_dir=tmp_path) as client:
        job = accepted(client, output_format="webp", embed_image_metadata=False)
        done = ended(client, job)
    with asked(data_dir=tmp_path) as client:
        assert client.get(job["poll_url"]).json() == done
