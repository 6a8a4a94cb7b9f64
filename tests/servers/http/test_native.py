"""sdenv's own API: jobs in, their state, their pictures out."""

import base64
from collections.abc import Iterator
from dataclasses import replace

import httpx2
import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.capabilities import SizeRule
from sdenv.core.image import ImageData, decode
from sdenv.core.request import MAX_PICTURE_PIXELS, GenerationRequest
from sdenv.servers.http.limits import limited_size
from sdenv.servers.http.settings import Limits
from sdenv.services.metadata import read_metadata
from sdenv.testing.fakes import PATIENCE_S, SilentBackend, SlowBackend
from sdenv.testing.requests import run
from sdenv.testing.samples import picture
from tests.servers.http.support import JOBS, SMALL, asked, error_code, events, finished, submitted


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    """One server for all tests that only add jobs of their own to it."""
    with asked() as found:
        yield found


def test_a_job_is_accepted_with_its_place_and_then_is_done(client: httpx2.Client) -> None:
    answer = client.post(JOBS, json={"request": SMALL})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"{JOBS}/{answer.json()['id']}"
    events(client, answer.json()["id"])
    job = client.get(answer.headers["location"]).json()
    assert (job["state"], job["fraction"], len(job["pictures"])) == ("done", 1.0, 1)


def test_a_picture_comes_as_the_backend_made_it_when_no_metadata_is_wanted(client: httpx2.Client) -> None:
    near = run(FakeBackend(FakeSettings()), GenerationRequest(**SMALL)).result.images[0]
    answer = client.get(f"{JOBS}/{finished(client)}/pictures/0", params={"metadata": "false"})
    assert (answer.content, answer.headers["content-type"]) == (near.data, "image/png")


@pytest.mark.parametrize(
    ("format_name", "media_type", "source"),
    [
        (None, "image/png", "sdenv"),
        ("jpeg", "image/jpeg", "UserComment"),
        ("webp", "image/webp", "UserComment"),
    ],
)
def test_a_picture_says_how_it_was_made_in_every_format(
    client: httpx2.Client, format_name: str | None, media_type: str, source: str
) -> None:
    params = {} if format_name is None else {"format": format_name}
    answer = client.get(f"{JOBS}/{finished(client)}/pictures/0", params=params)
    assert answer.headers["content-type"] == media_type
    found = read_metadata(answer.content)
    assert (found.request.prompt, found.seed, found.source) == (SMALL["prompt"], SMALL["seed"], source)
    assert decode(ImageData.from_bytes(answer.content)).size == (64, 64)


def test_the_whole_request_can_be_had_again_pictures_included(client: httpx2.Client) -> None:
    picture = client.get(f"{JOBS}/{finished(client)}/pictures/0").content
    start = ImageData.from_bytes(picture).model_dump(mode="json")
    job_id = finished(client, request={**SMALL, "init_image": start, "strength": 0.5})
    assert client.get(f"{JOBS}/{job_id}/request").json()["init_image"] == start
    assert client.get(f"{JOBS}/{job_id}").json()["request"]["init_image"].keys() == {"sha256"}


def test_the_same_key_is_the_same_job_and_with_another_request_an_error(client: httpx2.Client) -> None:
    headers = {"Idempotency-Key": "once"}
    first = client.post(JOBS, json={"request": SMALL}, headers=headers)
    again = client.post(JOBS, json={"request": SMALL}, headers=headers)
    other = client.post(JOBS, json={"request": {**SMALL, "seed": 8}}, headers=headers)
    assert (first.status_code, again.status_code, other.status_code) == (202, 200, 422)
    assert again.json()["id"] == first.json()["id"]
    assert error_code(other) == "key-reused"


def test_jobs_are_listed_newest_first_and_page_by_page(client: httpx2.Client) -> None:
    made = [finished(client, request={**SMALL, "prompt": f"page {number}"}) for number in range(3)]
    first = client.get(JOBS, params={"text": "page", "limit": 2}).json()
    rest = client.get(JOBS, params={"text": "page", "limit": 2, "before": first["next"]}).json()
    assert [job["id"] for job in (*first["jobs"], *rest["jobs"])] == made[::-1]
    assert rest["next"] is None
    assert client.get(JOBS, params={"text": "page", "state": "failed"}).json()["jobs"] == []


def test_a_job_that_has_ended_can_be_removed(client: httpx2.Client) -> None:
    job_id = finished(client)
    assert client.delete(f"{JOBS}/{job_id}").status_code == 204
    for path in ("", "/events", "/request", "/pictures/0", "/preview"):
        assert client.get(f"{JOBS}/{job_id}{path}").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"request": {}, "colour": 1}',
        b'{"request": {"prompt": 5}}',
        b'{"request": {"steps": "many"}}',
        b'{"request": {"init_image": {"data": "!", "media_type": "image/png"}}}',
        b'{"request": {"width": 100000, "height": 100000}}',
        b'{"request": {"sampler": "none such"}}',
        b'{"request": {"model": "none such"}}',
        b'{"request": {"prompt": "\\ud800"}}',
        b'\xff\xfe{"request": {}}',
        b'{"request": ' * 5000,
        b"[" * 100_000,
    ],
)
def test_what_makes_no_sense_is_refused_before_a_job_exists(client: httpx2.Client, body: bytes) -> None:
    before = client.get("/sdenv/v1/status").json()["queue"]
    answer = client.post(JOBS, content=body)
    assert answer.status_code == 422
    assert "Traceback" not in answer.text
    assert client.get("/sdenv/v1/status").json()["queue"] == before


def test_a_picture_that_is_cut_off_behind_its_header_is_refused(client: httpx2.Client) -> None:
    whole = picture(64, 64)
    cut = {"data": base64.b64encode(whole.data[:-30]).decode(), "media_type": whole.media_type}
    answer = client.post(JOBS, json={"request": {**SMALL, "init_image": cut}})
    assert (answer.status_code, error_code(answer)) == (422, "bad-image")
    assert answer.json()["error"]["what"] == "init_image is damaged or incomplete."


def test_no_larger_pictures_are_promised_than_a_request_may_ask_for() -> None:
    fake = FakeBackend(FakeSettings()).probe().capabilities
    roomy = replace(fake, size=SizeRule(max_pixels=53_000_000))
    tight = replace(fake, size=SizeRule(max_pixels=1_000_000))
    assert limited_size(roomy, Limits()).max_pixels == MAX_PICTURE_PIXELS
    assert limited_size(tight, Limits()) == tight.size


def test_every_wrong_field_is_named(client: httpx2.Client) -> None:
    answer = client.post(JOBS, json={"request": {"steps": 0, "stpes": 3}})
    why = answer.json()["error"]["why"]
    assert "steps" in why
    assert "stpes" in why


def test_what_the_backend_cannot_do_is_refused_or_left_out_with_a_notice(client: httpx2.Client) -> None:
    wanted = {**SMALL, "width": 67}
    assert client.post(JOBS, json={"request": wanted}).status_code == 422
    job_id = finished(client, request=wanted, allow_degraded=True)
    notices = client.get(f"{JOBS}/{job_id}").json()["notices"]
    assert [each["code"] for each in notices] == ["size-fitted"]


def test_a_job_that_runs_is_cancelled_at_once_and_one_that_waits_too() -> None:
    silent = SilentBackend()
    with asked(silent) as client:
        runs, waits = submitted(client), submitted(client)
        assert silent.began.wait(PATIENCE_S)
        assert client.post(f"{JOBS}/{waits}/cancel").json()["state"] == "cancelled"
        client.post(f"{JOBS}/{runs}/cancel")
        assert silent.unblocked.wait(PATIENCE_S)
        assert events(client, runs)[-1][1]["state"] == "cancelled"
        assert client.post(f"{JOBS}/{runs}/cancel").json()["state"] == "cancelled"


def test_what_is_not_there_yet_is_a_conflict_and_not_unknown() -> None:
    silent = SilentBackend()
    with asked(silent) as client:
        job_id = submitted(client)
        assert silent.began.wait(PATIENCE_S)
        assert client.get(f"{JOBS}/{job_id}/pictures/0").status_code == 409
        assert client.get(f"{JOBS}/{job_id}/preview").status_code == 409
        assert client.delete(f"{JOBS}/{job_id}").status_code == 409


def test_a_picture_can_be_fetched_while_those_after_it_are_made() -> None:
    slow = SlowBackend()
    with asked(slow) as client:
        job_id = submitted(client, request={**SMALL, "count": 2})
        slow.let(SMALL["steps"])
        events(client, job_id, until="picture-ready")
        assert client.get(f"{JOBS}/{job_id}/pictures/0").status_code == 200
        assert client.get(f"{JOBS}/{job_id}/pictures/1").status_code == 409
        slow.let(SMALL["steps"])
        events(client, job_id)


def test_a_full_queue_says_when_to_come_back_and_takes_jobs_again_later() -> None:
    slow = SlowBackend()
    with asked(slow, queue_size=1) as client:
        first, second = submitted(client), submitted(client)
        refused = client.post(JOBS, json={"request": SMALL})
        assert (refused.status_code, error_code(refused)) == (429, "queue-full")
        assert int(refused.headers["retry-after"]) >= 1
        slow.let(2 * SMALL["steps"])
        events(client, first)
        events(client, second)
        slow.let(SMALL["steps"])
        finished(client)


def test_the_status_says_what_is_served_and_how_full_the_queue_is(client: httpx2.Client) -> None:
    status = client.get("/sdenv/v1/status").json()
    assert (status["name"], status["kind"], status["server"]["name"]) == ("fake", "fake", "sdenv")
    assert "native" in status["dialects"]
    assert status["queue"] == {"queued": 0, "running": 0, "size": 8, "draining": False}
    models = client.get("/sdenv/v1/models").json()["models"]
    assert models == status["models"]
    assert client.get("/sdenv/v1/backends").json()["backends"][0]["models"] == [
        each["name"] for each in models
    ]


def test_the_limits_of_a_server_narrow_what_it_says_that_it_can_do() -> None:
    limits = {"count": 2, "side_px": 512, "steps": 20}
    with asked(limits=limits) as client:
        found = client.get("/sdenv/v1/capabilities").json()["capabilities"]
        assert (found["max_count"], found["size"]["max_px"]) == (2, 512)
        for name, value in (("count", 3), ("width", 520), ("steps", 21)):
            answer = client.post(JOBS, json={"request": {**SMALL, name: value}})
            assert answer.status_code == 422
            assert name in answer.json()["error"]["why"]


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/sdenv/v1/status", "/metrics", "/docs", JOBS])
def test_head_answers_as_get_without_the_body(client: httpx2.Client, path: str) -> None:
    head, got = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


def test_head_of_an_event_stream_ends(client: httpx2.Client) -> None:
    answer = client.head(f"{JOBS}/{finished(client)}/events")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


def test_the_root_is_json_for_programs_and_a_page_for_browsers(client: httpx2.Client) -> None:
    assert client.get("/").json() == {"status": "OK", "model": "mosaic"}
    page = client.get("/", headers={"Accept": "text/html,application/xhtml+xml"})
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_an_unknown_path_and_method_are_errors_of_this_api(client: httpx2.Client) -> None:
    assert error_code(client.get("/sdenv/v1/nothing")) == "unknown-name"
    refused = client.put(JOBS)
    assert (refused.status_code, error_code(refused)) == (405, "unknown-name")
    assert "POST" in refused.headers["allow"]


def test_options_tells_the_methods_of_a_path(client: httpx2.Client) -> None:
    answer = client.options(f"{JOBS}/01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert (answer.status_code, answer.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS")
