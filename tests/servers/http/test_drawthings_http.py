"""Draw Things' HTTP API over a real server, on its own port beside the others."""

import base64
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import Backend
from sdenv.core.errors import PortInUse
from sdenv.core.image import ImageData, size_of
from sdenv.core.server import Address
from sdenv.servers.http.server import HttpServer
from sdenv.servers.http.settings import HttpSettings
from sdenv.services.engine import Engine
from sdenv.testing.fakes import PATIENCE_S, SilentBackend
from sdenv.testing.samples import picture
from sdenv.testing.server_contract import serving
from tests.support.calls import call, get, post
from tests.support.waiting import until

TXT2IMG: Final = "/sdapi/v1/txt2img"
IMG2IMG: Final = "/sdapi/v1/img2img"
NOTICES: Final = "x-sdenv-notice"
SMALL: Final = {"prompt": "a cat", "width": 128, "height": 128, "steps": 1, "seed": 3}


@contextmanager
def both(backend: Backend | None = None, **settings: Any) -> Iterator[tuple[Address, Address]]:
    """A server: where it speaks as the app, and where all others."""
    server = HttpServer(HttpSettings(drain_s=0.0, drawthings_http_port=0, **settings))
    with (
        Engine(backend or FakeBackend(FakeSettings()), name="behind") as engine,
        serving(server, engine) as main,
    ):
        notice = next(each for each in server.notices() if each.code == "drawthings-http")
        yield Address(main.host, int(notice.message.rpartition(":")[2])), main


@pytest.fixture(scope="module")
def ports() -> Iterator[tuple[Address, Address]]:
    with both() as found:
        yield found


@pytest.fixture
def address(ports: tuple[Address, Address]) -> Address:
    return ports[0]


def pictures(record: dict[str, Any]) -> list[ImageData]:
    assert list(record) == ["images"]
    return [ImageData.from_bytes(base64.b64decode(each)) for each in record["images"]]


def test_a_prompt_becomes_pictures_and_nothing_else_is_said(address: Address) -> None:
    found = pictures(post(address, TXT2IMG, {**SMALL, "batch_count": 2}))
    assert [size_of(each) for each in found] == [(128, 128)] * 2
    assert {each.media_type for each in found} == {"image/png"}


def test_a_picture_becomes_another(address: Address) -> None:
    start = base64.b64encode(picture(128, 128, 1).data).decode()
    body = {**SMALL, "init_images": [start], "strength": 0.5}
    assert len(pictures(post(address, IMG2IMG, body))) == 1


def test_the_current_settings_are_told_and_can_be_sent_back(address: Address) -> None:
    current = get(address, "/")
    assert current == get(address, "/sdapi/v1/options")
    assert current["model"] == FakeBackend(FakeSettings()).probe().models[0].name
    answer = call(address, "POST", TXT2IMG, {**current, **SMALL})
    assert answer.status == 200
    assert NOTICES not in answer.headers


def test_the_alive_check_of_its_clients_succeeds(address: Address) -> None:
    answer = call(address, "HEAD", "/")
    assert (answer.status, answer.body) == (200, b"")


def test_an_unknown_key_is_refused_here_and_ignored_on_the_other_port(ports: tuple[Address, Address]) -> None:
    theirs, main = ports
    answer = call(theirs, "POST", TXT2IMG, {**SMALL, "scheduler": "Karras"})
    assert answer.status == 422
    assert answer.json() == {
        "error": "HTTPException",
        "detail": 'Unrecognized keys: ["scheduler"]',
        "body": "",
        "errors": "",
    }
    assert call(main, "POST", TXT2IMG, {**SMALL, "nonsense": 1}).status == 200


@pytest.mark.parametrize("body", [b"[1]", b"{", b"", b'{"steps": 0}', b'{"init_images": ["x"]}'])
def test_what_is_wrong_with_a_body_is_said_in_the_four_keys(address: Address, body: bytes) -> None:
    answer = call(address, "POST", TXT2IMG, body, {"Content-Type": "application/json"})
    assert answer.status == 422
    assert list(answer.json()) == ["error", "detail", "body", "errors"]
    assert "invalid-request" in answer.json()["detail"]


def test_what_is_left_out_or_changed_is_named_in_a_header(address: Address) -> None:
    answer = call(address, "POST", TXT2IMG, {**SMALL, "sharpness": 9, "hires_fix": True})
    assert answer.status == 200
    assert "sharpness is left out" in answer.headers[NOTICES]
    assert "hires_fix is left out" in answer.headers[NOTICES]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/sdapi/v1/sd-models"),
        ("GET", "/sdapi/v1/progress"),
        ("POST", "/sdapi/v1/interrupt"),
        ("GET", TXT2IMG),
        ("GET", "/sdenv/v1/status"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/health"),
    ],
)
def test_nothing_else_is_on_the_port(address: Address, method: str, path: str) -> None:
    answer = call(address, method, path)
    assert answer.status == 404
    assert answer.json()["error"] == "HTTPException"


def test_its_jobs_are_among_all_others(ports: tuple[Address, Address]) -> None:
    theirs, main = ports
    post(theirs, TXT2IMG, {**SMALL, "prompt": "one among all"})
    jobs = get(main, "/sdenv/v1/jobs?text=among")["jobs"]
    assert [(each["dialect"], each["state"], each["durable"]) for each in jobs] == [
        ("drawthings-http", "done", False)
    ]


def test_a_client_that_hangs_up_cancels_its_job() -> None:
    silent = SilentBackend()
    with both(silent) as (address, main):
        body = json.dumps(SMALL).encode()
        with socket.create_connection((address.host, address.port)) as client:
            head = f"POST {TXT2IMG} HTTP/1.1\r\nHost: {address.host}\r\nContent-Type: application/json\r\n"
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert silent.began.wait(PATIENCE_S)
        assert silent.unblocked.wait(PATIENCE_S)
        until(lambda: get(main, "/sdenv/v1/jobs")["jobs"][0]["state"] == "cancelled")


def test_the_guards_tokens_and_limits_are_those_of_the_other_port() -> None:
    with both(token="secret", limits={"steps": 5}) as (address, _):
        for method, path in (("GET", "/"), ("GET", "/sdapi/v1/options"), ("POST", TXT2IMG)):
            assert call(address, method, path).status == 401, path
        bearer = {"Authorization": "Bearer secret", "Content-Type": "application/json"}
        assert call(address, "GET", "/", headers=bearer).status == 200
        too_many = json.dumps({**SMALL, "steps": 6}).encode()
        assert "at most 5" in call(address, "POST", TXT2IMG, too_many, bearer).json()["detail"]
        evil = {"Host": "evil.example"}
        assert call(address, "GET", "/", headers=evil).status == 403
        foreign = {"Origin": "http://evil.example", "Content-Type": "application/json"}
        assert call(address, "POST", TXT2IMG, b"{}", foreign).status == 403


def test_it_listens_only_where_asked_and_says_when_it_cannot() -> None:
    with both() as (taken, _):
        again = HttpServer(HttpSettings(drawthings_http_port=taken.port))
        with (
            Engine(FakeBackend(FakeSettings()), name="behind") as engine,
            pytest.raises(PortInUse) as caught,
        ):
            again.serve(engine, Address(), lambda _: None)
    assert "--drawthings-http-port" in caught.value.hint
    assert HttpSettings().drawthings_http_port is None
