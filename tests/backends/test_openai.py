"""The backend `openai` before servers of other makes, which know nothing of sdenv."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sdenv.backends.openai import OpenAIBackend, OpenAISettings
from sdenv.core.errors import (
    BadConfig,
    Busy,
    Cancelled,
    ConnectionFailed,
    Denied,
    InvalidRequest,
    Kind,
    PeerBrokeProtocol,
    SdenvError,
    UnsupportedError,
)
from sdenv.core.events import Notice, PictureReady, PreviewReady
from sdenv.core.image import ImageData
from sdenv.core.request import GenerationRequest
from sdenv.services.choose import choose_backend
from sdenv.services.engine import Engine
from sdenv.services.settings import Settings
from sdenv.testing.fakes import PATIENCE_S, Recorder
from sdenv.testing.requests import run
from sdenv.testing.samples import mask, picture

PICTURE = picture(64, 64)
BASE64 = base64.b64encode(PICTURE.data).decode()
CAT = GenerationRequest(prompt="a cat")

Answer = tuple[int, Any]


class Foreign:
    """A server of another make: answers what a function says, and keeps what it was asked."""

    def __init__(
        self, answer: Callable[[Any], Answer], models: Answer = (200, {"data": [{"id": "x"}]})
    ) -> None:
        self.answer = answer
        self.models = models
        self.asked: list[tuple[str, Any, dict[str, str]]] = []
        self.url = ""


class Handler(BaseHTTPRequestHandler):
    foreign: Foreign

    def do_GET(self) -> None:
        if self.path.endswith("/v1/models"):
            self.say(*self.foreign.models)
        else:
            self.say(200, PICTURE.data)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        is_json = self.headers["Content-Type"] == "application/json"
        values = json.loads(body) if is_json else body
        self.foreign.asked.append((self.path, values, dict(self.headers)))
        self.say(*self.foreign.answer(values))

    def say(self, status: int, content: Any) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        kind = "text/event-stream" if data.startswith(b"event:") else "application/json"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if status == 429:
            self.send_header("Retry-After", "7")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is no news."""


@contextmanager
def running(foreign: Foreign) -> Iterator[Foreign]:
    handler = type("Handler", (Handler,), {"foreign": foreign})
    server = QuietServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    foreign.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield foreign
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def client_of(foreign: Foreign, **options: Any) -> Iterator[OpenAIBackend]:
    with running(foreign):
        backend = OpenAIBackend(OpenAISettings(url=foreign.url.replace("http", "openai", 1), **options))
        try:
            yield backend
        finally:
            backend.close()


def data(*pictures: dict[str, Any]) -> Callable[[Any], Answer]:
    return lambda _: (200, {"created": 1, "data": list(pictures)})


def refusal(foreign: Foreign, request: GenerationRequest = CAT, **options: Any) -> SdenvError:
    with client_of(foreign, **options) as backend, pytest.raises(SdenvError) as refused:
        backend.generate(request, Recorder())
    return refused.value


def test_what_the_server_does_not_tell_is_named() -> None:
    with client_of(Foreign(data({"b64_json": BASE64}))) as backend:
        done = run(backend, CAT)
    assert done.result.images[0].data == PICTURE.data
    assert (done.result.resolved.width, done.result.resolved.height) == (64, 64)
    assert done.result.made_with == {"not told": "model, steps, guidance_scale, seed, sampler, schedule"}
    assert [notice.code for notice in done.of(Notice)] == ["not-told"]


def test_only_standard_fields_are_carried_unless_more_are_named() -> None:
    foreign = Foreign(data({"b64_json": BASE64}))
    with (
        client_of(foreign) as backend,
        Engine(backend, name="theirs") as engine,
        pytest.raises(UnsupportedError, match="steps 9"),
    ):
        engine.submit(CAT.model_copy(update={"steps": 9}))
    with client_of(foreign, fields="steps, seed") as backend, Engine(backend, name="theirs") as engine:
        done = engine.submit(CAT.model_copy(update={"steps": 9, "seed": 3})).result(PATIENCE_S)
    assert (done.resolved.steps, done.resolved.seed) == (9, 3)
    assert foreign.asked[-1][1] == {"prompt": "a cat", "response_format": "b64_json", "steps": 9, "seed": 3}


def test_an_option_that_names_no_field_is_refused() -> None:
    with pytest.raises(BadConfig, match="fields"):
        choose_backend("openai://localhost:1", {"fields": "warmth"}, Settings())


def test_the_models_that_refuse_a_response_format_are_not_told_one() -> None:
    foreign = Foreign(data({"b64_json": BASE64}))
    with client_of(foreign) as backend:
        backend.generate(CAT.model_copy(update={"model": "gpt-image-2"}), Recorder())
    assert foreign.asked[0][1] == {"prompt": "a cat", "model": "gpt-image-2"}


def test_a_server_that_refuses_a_response_format_is_asked_again_without() -> None:
    def answer(values: Any) -> Answer:
        if "response_format" in values:
            message = "Unknown parameter: 'response_format'."
            return 400, {"error": {"message": message, "param": "response_format"}}
        return 200, {"created": 1, "data": [{"b64_json": BASE64}]}

    foreign = Foreign(answer)
    with client_of(foreign) as backend:
        assert run(backend, CAT).result.images
    assert len(foreign.asked) == 2


def test_a_picture_at_an_address_of_the_same_server_is_fetched() -> None:
    foreign = Foreign(lambda _: (200, {"created": 1, "data": [{"url": f"{foreign.url}/files/a.png"}]}))
    with client_of(foreign) as backend:
        assert run(backend, CAT).result.images[0].data == PICTURE.data


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/x.png", "file:///etc/passwd", "http://127.0.0.1:1/a"]
)
def test_a_picture_at_another_address_is_not_fetched(url: str) -> None:
    error = refusal(Foreign(data({"url": url})))
    assert isinstance(error, PeerBrokeProtocol)
    assert "another machine" in error.what


def test_a_picture_of_another_size_is_taken_and_said() -> None:
    with client_of(Foreign(data({"b64_json": BASE64}))) as backend:
        done = run(backend, CAT.model_copy(update={"width": 1024, "height": 1024}))
    assert done.result.resolved.width == 64
    assert "1024x1024 was asked for, 64x64 came." in [notice.message for notice in done.of(Notice)]


def test_a_prompt_that_the_server_has_changed_is_said() -> None:
    with client_of(Foreign(data({"b64_json": BASE64, "revised_prompt": "two cats"}))) as backend:
        notices = [notice.code for notice in run(backend, CAT).of(Notice)]
    assert "prompt-revised" in notices


def test_an_edit_is_a_form_whose_mask_is_transparent_where_ours_is_white() -> None:
    foreign = Foreign(data({"b64_json": BASE64}))
    with client_of(foreign) as backend:
        backend.generate(CAT.model_copy(update={"init_image": PICTURE, "mask": mask(64, 64)}), Recorder())
    path, body, headers = foreign.asked[0]
    assert path == "/v1/images/edits"
    assert headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert b'name="image"; filename="image.png"' in body
    assert b'name="mask"; filename="mask.png"' in body


def test_the_key_is_sent_as_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not for strangers")
    foreign = Foreign(data({"b64_json": BASE64}))
    with client_of(foreign) as backend:
        backend.generate(CAT, Recorder())
    with client_of(foreign, token="given") as backend:
        backend.generate(CAT, Recorder())
    assert [headers.get("Authorization") for _, _, headers in foreign.asked] == [None, "Bearer given"]


def test_the_key_of_openai_goes_to_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    access = OpenAISettings(url="openai+https://api.openai.com/v1").access()
    assert (access.url, access.token) == ("https://api.openai.com", "theirs")


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("openai://host:8000", "http://host:8000"),
        ("openai://host:8000/v1", "http://host:8000"),
        ("openai://host/some/where/v1/", "http://host/some/where"),
        ("openai+https://host", "https://host"),
        ("OpenAI://host", "http://host"),
    ],
)
def test_urls_may_end_in_v1(url: str, found: str) -> None:
    assert OpenAISettings(url=url).access().url == found


@pytest.mark.parametrize(
    ("status", "body", "error_type"),
    [
        (400, {"error": {"message": "Content policy.", "code": "moderation_blocked"}}, InvalidRequest),
        (401, {"error": {"message": "No key.", "code": "invalid_api_key"}}, Denied),
        (429, {"error": {"message": "Slow down.", "code": "rate_limit_exceeded"}}, Busy),
        (500, b"<html>", SdenvError),
        (200, b"<html>", PeerBrokeProtocol),
        (200, [], PeerBrokeProtocol),
        (200, {"data": [{}]}, PeerBrokeProtocol),
        (200, {"data": [{"b64_json": "!"}]}, PeerBrokeProtocol),
        (200, {"data": []}, PeerBrokeProtocol),
    ],
)
def test_whatever_goes_wrong_is_an_error_of_ours(
    status: int, body: Any, error_type: type[SdenvError]
) -> None:
    error = refusal(Foreign(lambda _: (status, body)))
    assert isinstance(error, error_type)
    assert error.kind is not Kind.BUG
    if isinstance(error, Busy):
        assert error.retry_after_s == 7.0


def test_fewer_pictures_than_asked_for_are_an_error() -> None:
    error = refusal(Foreign(data({"b64_json": BASE64})), CAT.model_copy(update={"count": 2}))
    assert "1 of 2" in error.what


def test_a_server_without_a_list_of_models_takes_any() -> None:
    with client_of(Foreign(data(), models=(404, {"detail": "Not Found"}))) as backend:
        assert backend.probe().models == ()


def test_a_server_that_refuses_the_key_says_so_when_probed() -> None:
    foreign = Foreign(data(), models=(401, {"error": {"message": "No."}}))
    with client_of(foreign) as backend, pytest.raises(Denied, match="token"):
        backend.probe()


def test_nobody_at_the_address_is_unavailable() -> None:
    backend = OpenAIBackend(OpenAISettings(url="openai://127.0.0.1:1"))
    with pytest.raises(ConnectionFailed):
        backend.probe()
    backend.close()


# Streams


def events(*records: dict[str, Any]) -> bytes:
    return b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in records)


PARTIAL = {"type": "image_generation.partial_image", "b64_json": BASE64, "partial_image_index": 0}
COMPLETED = {"type": "image_generation.completed", "b64_json": BASE64, "created_at": 1}


def test_a_stream_gives_previews_and_the_picture() -> None:
    body = events(PARTIAL, {"type": "something.new"}, COMPLETED) + b"data: [DONE]\n\n"
    foreign = Foreign(lambda _: (200, body))
    with client_of(foreign, stream=True) as backend:
        assert backend.probe().capabilities.previews
        done = run(backend, CAT, preview_every=1)
    assert foreign.asked[0][1]["partial_images"] == 3
    assert [event.step for event in done.of(PreviewReady)] == [1]
    assert [event.index for event in done.of(PictureReady)] == [0]


@pytest.mark.parametrize(
    ("body", "error_type"),
    [
        (b'event: error\ndata: {"error": {"message": "No.", "code": "invalid-request"}}\n\n', InvalidRequest),
        (b"event: x\ndata: {\n\n", PeerBrokeProtocol),
        (b"event: x\ndata: []\n\n", PeerBrokeProtocol),
        (events(PARTIAL), PeerBrokeProtocol),
        (events({"type": "image_generation.completed", "url": "http://x/"}), PeerBrokeProtocol),
    ],
)
def test_a_stream_that_goes_wrong_is_an_error(body: bytes, error_type: type[SdenvError]) -> None:
    assert isinstance(refusal(Foreign(lambda _: (200, body)), stream=True), error_type)


def test_a_cancel_ends_the_waiting() -> None:
    began, end = threading.Event(), threading.Event()

    def wait(_: Any) -> Answer:
        began.set()
        end.wait(PATIENCE_S)
        return 500, {}

    recorder, errors = Recorder(), list[SdenvError]()

    def make(backend: OpenAIBackend) -> None:
        try:
            backend.generate(CAT, recorder)
        except SdenvError as error:
            errors.append(error)

    with client_of(Foreign(wait)) as backend:
        thread = threading.Thread(target=make, args=(backend,))
        thread.start()
        assert began.wait(PATIENCE_S)
        recorder.cancel()
        thread.join(PATIENCE_S)
        end.set()
    assert [type(error) for error in errors] == [Cancelled]


def test_pictures_keep_their_file_type() -> None:
    import io

    from sdenv.core.image import decode

    buffer = io.BytesIO()
    decode(PICTURE).save(buffer, format="JPEG")
    found = base64.b64encode(buffer.getvalue()).decode()
    with client_of(Foreign(data({"b64_json": found}))) as backend:
        [image] = run(backend, CAT).result.images
    assert image == ImageData.from_bytes(image.data)
    assert image.media_type == "image/jpeg"
