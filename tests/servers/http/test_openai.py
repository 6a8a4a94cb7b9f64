"""The images API of the server, byte for byte, as a client without any library sees it."""

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import Backend
from sdenv.core.errors import OutOfMemory
from sdenv.core.image import ImageData, decode, size_of, sniff_media_type
from sdenv.core.server import Address
from sdenv.protocols import openai
from sdenv.protocols.inline import as_data_uri
from sdenv.protocols.sse import EventReader
from sdenv.services.metadata import read_metadata
from sdenv.testing.fakes import PATIENCE_S, BrokenBackend, SilentBackend, SlowBackend, Spy
from sdenv.testing.samples import mask, picture
from tests.support.http_servers import http_server
from tests.support.strategies import JSON

SIDE_PX = 256
"""Of pictures whose size is kept: the model's usual size is 512, and what is much smaller is made larger."""

CAT = {"prompt": "a cat", "size": "64x64", "steps": 2, "seed": 7}


NO_FILE = ImageData(data=b"", media_type="application/octet-stream")


class Reply:
    """An answer, read whole."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        assert set(self.json) == {"error"}
        assert set(self.json["error"]) == {"message", "type", "param", "code"}
        return self.json["error"]

    @property
    def events(self) -> list[tuple[str, Any]]:
        return [(event.type, json.loads(event.data)) for event in EventReader().feed(self.body)]


def asked(
    address: Address,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    connection = HTTPConnection(address.host, address.port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return Reply(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def posted(address: Address, path: str, values: object, **headers: str) -> Reply:
    sent = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return asked(address, "POST", path, json.dumps(values).encode(), sent)


def generated(address: Address, **values: Any) -> Reply:
    return posted(address, openai.GENERATIONS, {**CAT, **values})


def form(address: Address, path: str, values: Mapping[str, str], *uploads: tuple[str, ImageData]) -> Reply:
    files = [openai.Upload(field, f"{field}.png", each) for field, each in uploads]
    content_type, body = openai.form_body(values, files)
    return asked(address, "POST", path, body, {"Content-Type": content_type})


def pictures_in(reply: Reply) -> list[ImageData]:
    assert reply.status == 200, reply.body
    return [ImageData.from_bytes(base64.b64decode(each["b64_json"])) for each in reply.json["data"]]


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    """One server for the tests that leave nothing behind."""
    with http_server() as bound:
        yield bound


# Pictures


def test_without_a_response_format_the_picture_comes_in_both_forms(address: Address) -> None:
    reply = generated(address)
    [datum] = reply.json["data"]
    assert set(datum) == {"b64_json", "url", "seed"}
    assert datum["seed"] == 7
    place = urlsplit(datum["url"])
    assert (place.scheme, place.netloc) == ("http", f"{address.host}:{address.port}")
    fetched = asked(address, "GET", place.path)
    assert fetched.status == 200
    assert fetched.headers["content-type"] == "image/png"
    assert fetched.headers["x-content-type-options"] == "nosniff"
    assert fetched.body == pictures_in(reply)[0].data


def test_an_address_is_found_by_those_who_know_it_and_with_head_too(address: Address) -> None:
    url = generated(address, response_format="url").json["data"][0]["url"]
    path = urlsplit(url).path
    assert asked(address, "HEAD", path).status == 200
    for wrong in (
        path[:-5] + ("y.png" if path[-5] == "x" else "x.png"),
        path + "/",
        path.replace(".png", ".txt"),
        "/files/..%2f..%2fjobs.sqlite3",
    ):
        assert asked(address, "GET", wrong).status == 404
    assert asked(address, "GET", "/files/short.png").error["code"] == "job-not-found"


def test_every_picture_says_how_it_was_made(address: Address) -> None:
    for output_format in ("png", "jpeg", "webp"):
        [found] = pictures_in(generated(address, output_format=output_format))
        assert read_metadata(found.data).request.prompt == "a cat"
        assert read_metadata(found.data).request.seed == 7


@pytest.mark.parametrize(("name", "media_type"), sorted(openai.FORMATS.items()))
def test_the_file_type_is_that_which_was_asked_for_also_at_the_address(
    address: Address, name: str, media_type: str
) -> None:
    reply = generated(address, output_format=name)
    assert reply.json["output_format"] == name
    [found] = pictures_in(reply)
    assert sniff_media_type(found.data) == media_type
    url = reply.json["data"][0]["url"]
    assert url.endswith(f".{name}")
    assert asked(address, "GET", urlsplit(url).path).body == found.data


def test_less_quality_is_a_smaller_file(address: Address) -> None:
    best, least = (
        pictures_in(generated(address, output_format="jpeg", output_compression=each))[0] for each in (100, 1)
    )
    assert len(least.data) < len(best.data)


def test_n_pictures_have_seeds_in_a_row(address: Address) -> None:
    reply = generated(address, n=3)
    assert [each["seed"] for each in reply.json["data"]] == [7, 8, 9]
    assert len({found.data for found in pictures_in(reply)}) == 3
    assert pictures_in(generated(address, seed=8))[0] != pictures_in(reply)[0]


def test_auto_is_the_models_own_size_and_it_is_said(address: Address) -> None:
    reply = generated(address, size="auto")
    assert reply.json["size"] == "512x512"
    assert size_of(pictures_in(reply)[0]) == (512, 512)


def test_a_size_that_the_model_does_not_make_is_fitted_and_said(address: Address) -> None:
    reply = generated(address, size="67x64")
    assert size_of(pictures_in(reply)[0]) == (67, 64)
    assert reply.json["size"] == "67x64"
    assert reply.headers["x-sdenv-notice"] == "size-fitted: 67x64 is made at 64x64 and resampled."
    assert [notice["code"] for notice in reply.json["sdenv"]["notices"]] == ["size-fitted"]


def test_a_model_with_few_sizes_takes_what_every_app_sends(address: Address) -> None:
    reply = generated(address, model="mosaic-native", size="1024x1024")
    assert size_of(pictures_in(reply)[0]) == (1024, 1024)
    assert "made at 256x256" in reply.headers["x-sdenv-notice"]


def test_what_was_really_made_is_in_the_answer(address: Address) -> None:
    facts = generated(address).json["sdenv"]
    assert facts["backend"] == "fake"
    assert facts["resolved"]["sampler"]
    assert facts["resolved"]["seed"] == 7


def test_fields_without_effect_are_named_in_a_header(address: Address) -> None:
    reply = generated(address, quality="hd", background="transparent", style="vivid", user="me", frobnicate=1)
    assert reply.headers["x-sdenv-ignored"] == "quality, background, frobnicate"
    assert reply.json["background"] == "opaque"
    assert "x-sdenv-ignored" not in generated(address).headers
    assert generated(address, **{" blank ": 1}).headers["x-sdenv-ignored"] == "blank"


# Models


def test_models_are_listed_and_shown_one_by_one(address: Address) -> None:
    listed = asked(address, "GET", openai.MODELS)
    assert [each["id"] for each in listed.json["data"]] == ["mosaic", "mosaic-native"]
    assert asked(address, "GET", f"{openai.MODELS}/mosaic").json == listed.json["data"][0]
    assert asked(address, "HEAD", openai.MODELS).status == 200
    missing = asked(address, "GET", f"{openai.MODELS}/some/where")
    assert (missing.status, missing.error["code"]) == (404, "model_not_found")


def test_an_unknown_model_is_the_default_one_and_a_header_says_so(address: Address) -> None:
    reply = generated(address, model="dall-e-3")
    assert reply.status == 200
    assert reply.headers["x-sdenv-model"] == "mosaic"
    assert "dall-e-3" in reply.headers["x-sdenv-notice"]
    assert generated(address, model="mosaic-native", size="auto").headers["x-sdenv-model"] == "mosaic-native"


def test_an_unknown_model_is_refused_by_a_strict_server() -> None:
    with http_server(strict_models=True) as address:
        reply = generated(address, model="dall-e-3")
        assert (reply.status, reply.error["code"], reply.error["param"]) == (404, "model_not_found", "model")
        assert reply.headers["x-should-retry"] == "false"
        assert generated(address, model="mosaic").status == 200
        assert generated(address).status == 200


def test_a_client_that_wants_it_exact_is_refused_instead(address: Address) -> None:
    reply = posted(address, openai.GENERATIONS, {**CAT, "size": "67x64"}, X_Sdenv_Exact="true")
    assert (reply.status, reply.error["param"]) == (400, "size")


# Edits and variations


def test_an_edit_repaints_what_the_mask_leaves_transparent(address: Address) -> None:
    reply = form(
        address,
        openai.EDITS,
        {"prompt": "a hat", "steps": "4", "seed": "3"},
        ("image", picture(SIDE_PX, SIDE_PX)),
        ("mask", openai.transparent_mask(mask(SIDE_PX, SIDE_PX))),
    )
    made = decode(pictures_in(reply)[0]).convert("RGB")
    before = decode(picture(SIDE_PX, SIDE_PX)).convert("RGB")
    left, right = (0, 0, SIDE_PX // 2, SIDE_PX), (SIDE_PX // 2, 0, SIDE_PX, SIDE_PX)
    assert made.crop(left).tobytes() == before.crop(left).tobytes()
    assert made.crop(right).tobytes() != before.crop(right).tobytes()


@pytest.mark.parametrize("field", ["image", "image[]", "image[0]"])
def test_the_picture_of_an_edit_has_several_names(address: Address, field: str) -> None:
    reply = form(address, openai.EDITS, {"prompt": "a hat", "steps": "2"}, (field, picture(SIDE_PX, SIDE_PX)))
    assert reply.json["size"] == "256x256"


def test_a_file_that_was_not_chosen_is_none(address: Address) -> None:
    content_type, body = openai.form_body(
        {"prompt": "a hat", "steps": "2"},
        [openai.Upload("image", "a.png", picture(SIDE_PX, SIDE_PX)), openai.Upload("mask", "", NO_FILE)],
    )
    reply = asked(address, "POST", openai.EDITS, body, {"Content-Type": content_type})
    assert reply.status == 200
    assert reply.headers["x-request-id"] == reply.json["sdenv"]["job"]


def test_further_pictures_are_references(address: Address) -> None:
    several = [("image[]", picture(64, 64, shade)) for shade in range(3)]
    one = form(address, openai.EDITS, {"prompt": "a hat", "seed": "1"}, several[0])
    all_of_them = form(address, openai.EDITS, {"prompt": "a hat", "seed": "1"}, *several)
    assert pictures_in(one) != pictures_in(all_of_them)


def test_an_edit_may_come_as_json(address: Address) -> None:
    values = {"prompt": "a hat", "images": [{"image_url": as_data_uri(picture(SIDE_PX, SIDE_PX))}]}
    assert posted(address, openai.EDITS, values).json["size"] == "256x256"


def test_a_variation_is_of_its_picture(address: Address) -> None:
    reply = form(address, openai.VARIATIONS, {"n": "2", "size": "64x64"}, ("image", picture(64, 64)))
    assert len(pictures_in(reply)) == 2


# What is refused


@pytest.mark.parametrize(
    ("path", "values", "param"),
    [
        (openai.GENERATIONS, {}, "prompt"),
        (openai.GENERATIONS, {**CAT, "n": 99}, "n"),
        (openai.GENERATIONS, {**CAT, "size": "100000x100000"}, "size"),
        (openai.GENERATIONS, {**CAT, "steps": 10**9}, "steps"),
        (openai.EDITS, {**CAT, "images": [{"image_url": "http://127.0.0.1:1/x.png"}]}, "image"),
        (openai.EDITS, {**CAT, "images": [{"image_url": "data:image/png;base64,aGVsbG8="}]}, "image"),
        (openai.EDITS, CAT, "image"),
    ],
)
def test_what_would_fail_again_is_400_with_the_field(
    address: Address, path: str, values: object, param: str
) -> None:
    reply = posted(address, path, values)
    assert (reply.status, reply.error["param"]) == (400, param)
    assert reply.error["type"] == "invalid_request_error"
    assert reply.headers["x-should-retry"] == "false"


def test_an_unknown_sampler_is_left_out_and_named(address: Address) -> None:
    reply = generated(address, sampler="no such sampler")
    assert reply.status == 200
    assert "no such sampler" in reply.headers["x-sdenv-notice"]


@pytest.mark.parametrize(
    ("path", "body", "content_type"),
    [
        (openai.GENERATIONS, b"{", "application/json"),
        (openai.GENERATIONS, b"\xff", "application/json"),
        (openai.GENERATIONS, b"[]", "application/json"),
        (openai.GENERATIONS, b'{"prompt": "a"}', "text/plain"),
        (openai.GENERATIONS, b"prompt=a", "application/x-www-form-urlencoded"),
        (openai.GENERATIONS, b"", ""),
        (openai.EDITS, b"--x", "multipart/form-data; boundary=x"),
        (openai.EDITS, b"", "multipart/form-data"),
        (openai.EDITS, b"prompt=a", "application/x-www-form-urlencoded"),
        (openai.VARIATIONS, b"{}", "application/json"),
    ],
)
def test_a_body_that_cannot_be_read_is_400(
    address: Address, path: str, body: bytes, content_type: str
) -> None:
    reply = asked(address, "POST", path, body, {"Content-Type": content_type})
    assert reply.status == 400
    assert reply.error["type"] == "invalid_request_error"


@settings(max_examples=40)
@given(
    path=st.sampled_from([openai.GENERATIONS, openai.EDITS, openai.VARIATIONS]),
    name=st.sampled_from(
        ["n", "size", "seed", "model", "images", "mask", "stream", "prompt", "output_format"]
    ),
    value=JSON,
)
def test_no_body_is_a_server_error(address: Address, path: str, name: str, value: object) -> None:
    reply = posted(address, path, {"prompt": "a", "size": "64x64", "steps": 1, name: value})
    assert reply.status in {200, 400}


def test_a_file_that_is_no_picture_is_400(address: Address) -> None:
    text = ImageData(data=b"<svg/>", media_type="image/png")
    reply = form(address, openai.EDITS, {"prompt": "a"}, ("image", text))
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "bad-image", "image")


def test_a_mask_the_wrong_way_round_is_400(address: Address) -> None:
    reply = form(address, openai.EDITS, {"prompt": "a"}, ("image", picture()), ("mask", mask()))
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "bad-mask", "mask")


def test_a_mask_for_a_variation_is_400(address: Address) -> None:
    reply = form(address, openai.VARIATIONS, {}, ("image", picture()), ("mask", mask()))
    assert (reply.status, reply.error["param"]) == (400, "mask")


def test_a_body_over_the_limit_is_413_in_this_form() -> None:
    with http_server(limits={"body_bytes": 2048}) as address:
        reply = generated(address, prompt="x" * 4096)
        assert (reply.status, reply.error["code"]) == (413, "request-too-large")


def test_a_wrong_token_is_401_in_this_form_and_addresses_need_none() -> None:
    with http_server(token="secret") as address:
        refused = generated(address)
        assert (refused.status, refused.error["code"]) == (401, "invalid_api_key")
        reply = posted(address, openai.GENERATIONS, CAT, Authorization="Bearer secret")
        path = urlsplit(reply.json["data"][0]["url"]).path
        assert asked(address, "GET", path).status == 200
        assert asked(address, "GET", openai.MODELS).status == 401


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1", 404),
        ("GET", "/v1/chat/completions", 404),
        ("POST", "/v1/nothing", 404),
        ("GET", openai.GENERATIONS, 405),
        ("DELETE", openai.MODELS, 405),
        ("PUT", openai.EDITS, 405),
    ],
)
def test_other_addresses_and_methods_are_errors_of_this_form(
    address: Address, method: str, path: str, status: int
) -> None:
    reply = asked(address, method, path)
    assert reply.status == status
    assert reply.error["type"] == "invalid_request_error"


def test_options_is_answered_for_clients_that_look_first(address: Address) -> None:
    reply = asked(address, "OPTIONS", openai.GENERATIONS)
    assert reply.status == 204
    assert "POST" in reply.headers["allow"]
    assert "access-control-allow-origin" not in reply.headers


# What fails, and how often it is computed


class Failing(Backend):
    """Fails as it is told, and counts."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls = 0
        self._fake = FakeBackend(FakeSettings())

    def probe(self) -> Any:
        return self._fake.probe()

    def generate(self, request: Any, context: Any) -> Any:
        self.calls += 1
        raise self.error

    def close(self) -> None:
        pass


def test_a_failure_is_500_that_forbids_a_retry_and_is_said_again_without_computing() -> None:
    spy = Spy(FakeBackend(FakeSettings(fail_at_step=1)))
    with http_server(spy) as address:
        first, second = generated(address), generated(address)
        assert (first.status, first.error["code"], first.error["type"]) == (500, "failed", "server_error")
        assert first.headers["x-should-retry"] == "false"
        assert (second.status, second.body) == (first.status, first.body)
        assert len(spy.calls) == 1
        assert generated(address, seed=8).status == 500
        assert len(spy.calls) == 2


def test_running_out_of_memory_is_400_since_it_would_again() -> None:
    with http_server(Failing(OutOfMemory("Too large for the device."))) as address:
        reply = generated(address)
        assert (reply.status, reply.error["code"]) == (400, "out-of-memory")


def test_a_bug_is_no_status_that_clients_repeat_and_shows_no_traceback() -> None:
    with http_server(BrokenBackend()) as address:
        reply = posted(address, openai.GENERATIONS, {"prompt": "a cat"})
        assert (reply.status, reply.error["code"], reply.error["type"]) == (
            400,
            "internal-error",
            "server_error",
        )
        assert b"Traceback" not in reply.body
        assert b".py" not in reply.body


def test_a_full_queue_is_429_with_a_time_to_come_back() -> None:
    silent = SilentBackend()
    with http_server(silent, queue_size=0) as address, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(posted, address, openai.GENERATIONS, {"prompt": "a"})
        assert silent.began.wait(PATIENCE_S)
        full = posted(address, openai.GENERATIONS, {"prompt": "b"})
        assert (full.status, full.error["code"], full.error["type"]) == (
            429,
            "queue-full",
            "rate_limit_error",
        )
        assert int(full.headers["retry-after"]) >= 1
        assert "x-should-retry" not in full.headers
        cancel_all(address)
        assert waiting.result(PATIENCE_S).status == 499


def cancel_all(address: Address) -> None:
    for job in asked(address, "GET", "/sdenv/v1/jobs?state=running").json["jobs"]:
        asked(address, "POST", f"/sdenv/v1/jobs/{job['id']}/cancel")


def test_a_job_that_somebody_cancels_is_not_computed_again() -> None:
    silent = SilentBackend()
    with http_server(silent) as address, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(posted, address, openai.GENERATIONS, {"prompt": "a"})
        assert silent.began.wait(PATIENCE_S)
        cancel_all(address)
        reply = waiting.result(PATIENCE_S)
        assert (reply.status, reply.error["code"]) == (499, "cancelled")
        assert reply.headers["x-should-retry"] == "false"


def test_a_client_that_hangs_up_stops_its_job() -> None:
    silent = SilentBackend()
    with http_server(silent) as address:
        for stream in (False, True):
            silent.began.clear()
            silent.unblocked.clear()
            connection = HTTPConnection(address.host, address.port)
            body = json.dumps({"prompt": "a", "stream": stream}).encode()
            connection.request("POST", openai.GENERATIONS, body, {"Content-Type": "application/json"})
            assert silent.began.wait(PATIENCE_S)
            connection.close()
            assert silent.unblocked.wait(PATIENCE_S)


def test_two_requests_at_once_wait_in_one_queue() -> None:
    with http_server() as address, ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda seed: generated(address, seed=seed), range(8)))
    assert [reply.json["data"][0]["seed"] for reply in replies] == list(range(8))


# Streams


def test_a_stream_has_pictures_on_the_way_and_then_the_picture(address: Address) -> None:
    reply = generated(address, stream=True, partial_images=3, steps=8, output_format="jpeg")
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["x-sdenv-model"] == "mosaic"
    names = [name.rpartition(".")[2] for name, _ in reply.events]
    assert names[-1] == "completed"
    assert 1 <= names.count("partial_image") <= 3
    for number, (_, values) in enumerate(reply.events):
        found = ImageData.from_bytes(base64.b64decode(values["b64_json"]))
        assert (size_of(found), found.media_type, values["size"]) == ((64, 64), "image/jpeg", "64x64")
        assert values.get("partial_image_index", number) == number
    assert reply.events[-1][1]["seed"] == 7


def test_the_picture_of_a_stream_is_that_of_an_answer(address: Address) -> None:
    streamed = generated(address, stream=True).events[-1][1]
    assert streamed["b64_json"] == generated(address).json["data"][0]["b64_json"]


def test_a_stream_of_n_has_n_completed_events(address: Address) -> None:
    events = generated(address, stream=True, n=3).events
    assert [name for name, _ in events] == ["image_generation.completed"] * 3
    assert [values["seed"] for _, values in events] == [7, 8, 9]


def test_the_events_of_an_edit_have_its_name(address: Address) -> None:
    values = {"prompt": "a hat", "stream": "true", "steps": "2"}
    reply = form(address, openai.EDITS, values, ("image", picture(64, 64)))
    assert [name for name, _ in reply.events] == ["image_edit.completed"]


def test_pictures_on_the_way_come_only_when_asked_for(address: Address) -> None:
    assert len(generated(address, stream=True, steps=8).events) == 1


def test_an_error_in_a_stream_is_its_last_event() -> None:
    with http_server(FakeBackend(FakeSettings(fail_at_step=2))) as address:
        reply = generated(address, stream=True)
        assert reply.status == 200
        [(name, values)] = reply.events
        assert name == "error"
        assert values["error"]["code"] == "failed"


def test_what_is_refused_is_a_status_also_for_a_stream(address: Address) -> None:
    assert generated(address, stream=True, n=99).status == 400


def test_there_are_never_more_pictures_on_the_way_than_were_asked_for() -> None:
    with http_server(FakeBackend(FakeSettings(step_seconds=0.05))) as address:
        names = [name for name, _ in generated(address, stream=True, partial_images=2, steps=9).events]
    assert 1 <= names.count("image_generation.partial_image") <= 2


def test_a_silent_stream_says_that_it_lives() -> None:
    slow = SlowBackend()
    with http_server(slow, keep_alive_s=0.02) as address:
        connection = HTTPConnection(address.host, address.port, timeout=PATIENCE_S)
        body = json.dumps({"prompt": "a", "stream": True, "steps": 1}).encode()
        connection.request("POST", openai.GENERATIONS, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        try:
            first = response.readline()
        finally:
            slow.let(4)
        assert first == b": keep-alive\n"
        assert b"image_generation.completed" in response.read()
        connection.close()


def test_a_server_that_ends_says_so_in_the_stream() -> None:
    silent = SilentBackend()
    replies: list[Reply] = []
    with http_server(silent) as address:
        thread = threading.Thread(
            target=lambda: replies.append(
                posted(address, openai.GENERATIONS, {"prompt": "a", "stream": True})
            )
        )
        thread.start()
        assert silent.began.wait(PATIENCE_S)
    thread.join(PATIENCE_S)
    assert replies[0].events[-1][0] == "error"
