"""What stands before every route of every dialect, over a real connection."""

import asyncio
import json
import socket
from collections.abc import Iterator

import httpx2
import pytest
from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.server import Address
from sdenv.servers.http import Token
from sdenv.servers.http.answers import error_response
from sdenv.servers.http.app import ROUTERS, build_app, routes_of
from sdenv.servers.http.bodies import BodyReader
from sdenv.servers.http.context import Service
from sdenv.servers.http.guards import Guards
from sdenv.servers.http.metrics import Metrics
from sdenv.servers.http.settings import HttpSettings
from sdenv.services.engine import Engine
from sdenv.services.jobs import Jobs
from sdenv.testing.fakes import PATIENCE_S
from tests.servers.http.support import (
    BEARER,
    JOBS,
    SMALL,
    TOKEN,
    asked,
    error_code,
    finished,
    plain,
    submitted,
)
from tests.support.http_servers import http_server, url_of

OPEN_ROUTES = {"/", "/health", "/ready", "/login"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE")
ALICE = {"Authorization": "Bearer alice-in-the-queue"}
BOB = {"Authorization": "Bearer bob-is-patient"}


@pytest.fixture(scope="module")
def closed() -> Iterator[httpx2.Client]:
    """A server that wants a token."""
    with asked(token=SecretStr(TOKEN)) as client:
        yield client


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every route of every dialect, with something in place of its parameters."""
    folder = tmp_path_factory.mktemp("routes")
    with Engine(FakeBackend(FakeSettings()), name="fake") as engine, Jobs(engine, folder) as jobs:
        service = Service(engine, jobs, HttpSettings(data_dir=folder), Metrics(), 8)
        routes = routes_of(build_app(service))
    return sorted({route.path.replace("{", "").replace("}", "") for route in routes})


def test_every_dialect_has_routes_that_are_walked(paths: list[str]) -> None:
    for dialect in ROUTERS:
        assert any(path.startswith(dialect.prefixes) for path in paths), dialect.name


def test_no_route_can_be_used_without_a_token_but_those_that_are_open(
    closed: httpx2.Client, paths: list[str]
) -> None:
    assert len(paths) > 20
    for path in paths:
        for method in METHODS:
            status = closed.request(method, path).status_code
            is_open = path in OPEN_ROUTES or path.startswith(("/files/", "/page/"))
            assert (status != 401) if is_open else (status == 401), f"{method} {path}: {status}"


def test_a_wrong_token_is_told_in_the_form_of_the_dialect(closed: httpx2.Client) -> None:
    for path in (f"{JOBS}", "/sdapi/v1/options", "/v1/models", "/server/status", "/sdcpp/v1/jobs/x"):
        answer = closed.get(path, headers={"Authorization": "Bearer wrong"})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
        assert "wrong" not in answer.text
        assert answer.json()


def test_a_token_opens_every_dialect(closed: httpx2.Client) -> None:
    for path in (JOBS, "/openapi.json", "/docs", "/metrics"):
        assert closed.get(path, headers=BEARER).status_code == 200


def test_the_form_gives_a_cookie_that_scripts_and_other_sites_do_not_get(closed: httpx2.Client) -> None:
    assert 'action="/login"' in closed.get("/", headers={"Accept": "text/html"}).text
    assert closed.post("/login", data={"token": "wrong"}).status_code == 401
    answer = closed.post("/login", data={"token": TOKEN})
    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 303
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    headers = {"Cookie": cookie.partition(";")[0], "Accept": "text/html"}
    assert 'action="/login"' not in closed.get("/", headers=headers).text
    closed.cookies.clear()


def test_a_stranger_does_not_learn_which_model_is_served(closed: httpx2.Client) -> None:
    assert closed.get("/").json() == {"status": "OK", "model": None}


def test_a_named_token_sees_its_own_jobs_only() -> None:
    tokens = {
        "alice": Token(secret=SecretStr("alice-in-the-queue")),
        "bob": Token(secret=SecretStr("bob-is-patient")),
    }
    with http_server(tokens=tokens, token=SecretStr(TOKEN)) as address:
        with plain(address, headers=ALICE) as alice, plain(address, headers=BOB) as bob:
            job_id = finished(alice)
            assert alice.get(f"{JOBS}/{job_id}").json()["owner"] == "alice"
            assert bob.get(JOBS).json()["jobs"] == []
            for path in ("", "/events", "/request", "/pictures/0", "/preview"):
                assert bob.get(f"{JOBS}/{job_id}{path}").status_code == 404
            assert bob.post(f"{JOBS}/{job_id}/cancel").status_code == 404
            assert bob.delete(f"{JOBS}/{job_id}").status_code == 404
            assert bob.post(JOBS, json={"request": SMALL, "priority": 1}).status_code == 422
        with plain(address, headers=BEARER) as owner:
            assert [each["id"] for each in owner.get(JOBS).json()["jobs"]] == [job_id]
            submitted(owner, priority=1)


def test_a_web_page_of_another_origin_cannot_queue_a_job_even_by_a_form() -> None:
    with asked() as client:
        headers = {"Origin": "http://evil.example", "Content-Type": "text/plain"}
        answer = client.post(JOBS, content=json.dumps({"request": SMALL}), headers=headers)
        assert (answer.status_code, error_code(answer)) == (403, "origin-denied")
        assert "access-control-allow-origin" not in answer.headers
        rebound = client.get("/sdenv/v1/status", headers={"Host": "evil.example:9090"})
        assert rebound.status_code == 403
        assert client.get(JOBS).json()["jobs"] == []


def test_a_page_whose_origin_is_allowed_may_use_it_after_asking() -> None:
    with asked(cors_origins=("https://app.example",), token=SecretStr(TOKEN)) as client:
        asks = {
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        allowed = client.options(JOBS, headers=asks)
        assert allowed.status_code == 204
        assert "POST" in allowed.headers["access-control-allow-methods"]
        assert allowed.headers["access-control-allow-headers"] == "authorization,content-type"
        answer = client.post(JOBS, json={"request": SMALL}, headers={**BEARER, "Origin": asks["Origin"]})
        assert answer.status_code == 202
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert client.options(JOBS, headers={**asks, "Origin": "https://evil.example"}).status_code == 403


def test_nothing_that_is_sent_is_sniffed_framed_or_run() -> None:
    with asked() as client:
        job_id = finished(client, request={**SMALL, "prompt": "<script>alert(1)</script>"})
        paths = ("/", "/nothing", f"{JOBS}/{job_id}", f"{JOBS}/{job_id}/pictures/0", "/docs")
        for path in paths:
            headers = client.get(path, headers={"Accept": "text/html"}).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert headers["cross-origin-resource-policy"] == "same-origin"


HOSTILE = (
    "..",
    "../jobs.sqlite3",
    "..%2fjobs.sqlite3",
    "..%5cjobs.sqlite3",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "....//....//etc/passwd",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "C:%5cWindows%5cwin.ini",
    "CON",
    "nul",
    "a%00b",
    "%0d%0aSet-Cookie:%20x=1",
    "%ff%fe",
    "~root",
    "$HOME",
    "\u202e",
    "x" * 5000,
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_from_a_client_never_reaches_a_path(name: str) -> None:
    with_job = (f"{JOBS}/{{}}", f"{JOBS}/{{}}/pictures/0", "/files/{}", "/v1/models/{}", "/{}")
    address = shared_address()
    for pattern in with_job:
        target = pattern.format(name).encode("ascii", "ignore").decode()
        status, body = raw_get(address, target)
        assert status in (200, 400, 404, 405, 422), target
        assert b"root:" not in body
        assert b"SQLite format" not in body
        assert b"Traceback" not in body


_servers: list[Address] = []


@pytest.fixture(scope="module", autouse=True)
def one_server() -> Iterator[None]:
    with http_server() as address:
        _servers.append(address)
        yield
        _servers.clear()


def shared_address() -> Address:
    return _servers[0]


def raw_get(address: Address, target: str) -> tuple[int, bytes]:
    """Without a client that would tidy the target."""
    with socket.create_connection((address.host, address.port), PATIENCE_S) as connection:
        head = f"GET {target} HTTP/1.1\r\nHost: {url_of(address)[7:]}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return int(answer.split(b" ", 2)[1]), answer


def through_guards(app: ASGIApp, path: str = "/sdenv/v1/status", body: bytes = b"") -> list[Message]:
    """What the guards alone send for one request."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-length", str(len(body)).encode())]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    guards = Guards(
        app,
        None,
        BodyReader(2**26, 5.0),
        lambda _: frozenset(),
        lambda _, error: error_response(error),
        lambda *_: None,
    )
    asyncio.run(guards(scope, receive, send))
    return sent


@pytest.mark.parametrize("value", [b" blank", b"blank ", b"line\r\nX-Evil: 1", b"\x7f", b"\x00"])
def test_a_header_that_cannot_be_sent_is_an_answer_and_no_lost_connection(value: bytes) -> None:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-ours", value)]})

    start = through_guards(app)[0]
    assert start["status"] == 500
    assert b"x-ours" not in dict(start["headers"])
