"""Where the server listens, what it refuses to start with, and how it ends."""

import hashlib
import os
import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import pytest
from pydantic import SecretStr, ValidationError

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import Backend, BackendStatus, JobContext
from sdenv.core.errors import BadConfig, Denied, FolderInUse, PortInUse, SdenvError, UnavailableError
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult
from sdenv.core.server import Address
from sdenv.servers.http import HttpServer, HttpSettings
from sdenv.servers.http.sockets import bound
from sdenv.servers.http.tls import own_certificate
from sdenv.services.engine import Engine
from sdenv.testing.fakes import PATIENCE_S, SilentBackend, SlowBackend
from sdenv.testing.server_contract import serving
from tests.servers.http.support import JOBS, SMALL, TOKEN, error_code, events, plain, submitted
from tests.support.http_servers import http_server, url_of


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(FakeBackend(FakeSettings()), name="fake") as found:
        yield found


def refused(engine: Engine, address: Address = Address(), **settings: object) -> SdenvError:  # noqa: B008 - frozen
    """The error with which a server does not start."""
    with pytest.raises(SdenvError) as raised:
        HttpServer(HttpSettings.model_validate(settings)).serve(engine, address, lambda _: None)
    return raised.value


def test_a_port_in_use_is_an_error_that_says_by_whom(engine: Engine) -> None:
    with http_server() as taken:
        error = refused(engine, taken)
    assert isinstance(error, PortInUse)
    assert f"(process {os.getpid()})" in error.why


def test_a_port_in_use_does_not_touch_the_folder_of_the_other(engine: Engine, tmp_path: Path) -> None:
    with http_server(data_dir=tmp_path / "one") as taken:
        refused(engine, taken, data_dir=tmp_path / "two")
    assert not (tmp_path / "two").exists()


def test_an_address_that_is_not_of_this_machine_is_an_error(engine: Engine) -> None:
    error = refused(engine, Address("192.0.2.1"), insecure=True)
    assert type(error) is UnavailableError


def test_two_servers_on_one_folder_are_refused(engine: Engine, tmp_path: Path) -> None:
    with http_server(data_dir=tmp_path):
        assert isinstance(refused(engine, data_dir=tmp_path), FolderInUse)
    with http_server(data_dir=tmp_path):
        pass


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", ""])
def test_other_machines_are_not_served_without_a_token(engine: Engine, host: str) -> None:
    assert isinstance(refused(engine, Address(host)), Denied)


def server(**settings: object) -> HttpServer:
    return HttpServer(HttpSettings.model_validate({"drain_s": 0.0, **settings}))


@pytest.mark.parametrize("settings", [{"token": SecretStr(TOKEN)}, {"insecure": True}])
def test_they_are_with_a_token_or_when_it_is_said_out_loud(
    engine: Engine, settings: dict[str, object]
) -> None:
    with serving(server(**settings), engine, Address("0.0.0.0")) as found:
        url = f"http://127.0.0.1:{found.port}/health"
        assert httpx2.get(url, trust_env=False).json() == {"status": "OK"}


def test_it_can_listen_on_ipv6(engine: Engine) -> None:
    with serving(server(), engine, Address("::1")) as found:
        assert httpx2.get(f"http://[::1]:{found.port}/health", trust_env=False).status_code == 200


# The unix socket


@pytest.fixture
def short() -> Iterator[Path]:
    """A place for a socket: its path is limited to about a hundred bytes."""
    with TemporaryDirectory(prefix="sdenv") as folder:
        yield Path(folder) / "run" / "http.sock"


def over_socket(path: Path) -> httpx2.Client:
    transport = httpx2.HTTPTransport(uds=str(path))
    return httpx2.Client(transport=transport, base_url="http://sdenv", timeout=PATIENCE_S)


def test_the_socket_needs_no_token_because_only_its_owner_can_open_it(engine: Engine, short: Path) -> None:
    with serving(server(token=SecretStr(TOKEN), socket_path=short), engine) as address:
        assert stat.S_IMODE(short.stat().st_mode) == 0o600
        assert stat.S_IMODE(short.parent.stat().st_mode) == 0o700
        with over_socket(short) as client, plain(address) as stranger:
            events(client, submitted(client))
            assert stranger.get(JOBS).status_code == 401
    assert not short.exists()


def test_a_socket_that_a_killed_server_has_left_is_replaced(engine: Engine, short: Path) -> None:
    short.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(short))
    with serving(server(socket_path=short), engine), over_socket(short) as client:
        assert client.get("/health").status_code == 200


def test_a_socket_of_a_server_that_lives_is_left_alone_and_that_is_said(engine: Engine, short: Path) -> None:
    second = server(socket_path=short)
    with serving(server(socket_path=short), engine):
        with serving(second, engine):
            assert [notice.code for notice in second.notices()] == ["socket-taken"]
        with over_socket(short) as client:
            assert client.get("/health").status_code == 200


# TLS


def test_a_certificate_is_made_once_and_its_fingerprint_told(engine: Engine, tmp_path: Path) -> None:
    told = []
    for _ in range(2):
        each = server(data_dir=tmp_path, tls=True)
        with serving(each, engine) as address:
            told.append([notice.message for notice in each.notices()])
            context = ssl.create_default_context(cafile=tmp_path / "tls" / "cert.pem")
            answer = httpx2.get(f"https://localhost:{address.port}/health", verify=context, trust_env=False)
            assert answer.status_code == 200
    assert told[0] == told[1]
    assert stat.S_IMODE((tmp_path / "tls" / "key.pem").stat().st_mode) == 0o600
    der = ssl.PEM_cert_to_DER_cert((tmp_path / "tls" / "cert.pem").read_text())
    assert hashlib.sha256(der).hexdigest() in told[0][0].replace(":", "").lower()


def test_a_port_that_speaks_tls_speaks_nothing_else(engine: Engine) -> None:
    with serving(server(tls=True), engine) as address, pytest.raises(httpx2.TransportError):
        httpx2.get(f"{url_of(address)}/health", trust_env=False)


def test_a_certificate_without_its_key_or_with_another_is_refused(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        HttpSettings(tls_cert=tmp_path / "cert.pem")
    certificate, _ = own_certificate(tmp_path / "one", ("localhost",))
    _, key = own_certificate(tmp_path / "two", ("localhost",))
    assert isinstance(refused(engine, tls_cert=certificate, tls_key=key), BadConfig)


# The end


def test_the_end_waits_for_jobs_that_run_and_takes_no_more(tmp_path: Path) -> None:
    slow = SlowBackend()
    with Engine(slow, name="slow") as engine, ExitStack() as clients:
        ending = server(data_dir=tmp_path, drain_s=PATIENCE_S)
        with serving(ending, engine) as address:
            client = clients.enter_context(plain(address))
            job_id = submitted(client)
            events(client, job_id, until="job-started")
            ending.stop()
            while client.get("/ready").status_code == 200:
                pass
            refusal = client.post(JOBS, json={"request": SMALL})
            assert (refusal.status_code, error_code(refusal)) == (503, "server-stopping")
            assert refusal.headers["retry-after"]
            assert client.get("/health").status_code == 200
            slow.let(SMALL["steps"])
            assert events(client, job_id)[-1][1]["state"] == "done"


def test_what_has_not_ended_in_time_is_done_after_the_next_start(tmp_path: Path) -> None:
    silent = SilentBackend()
    with http_server(silent, data_dir=tmp_path) as address, plain(address) as client:
        runs, waits = submitted(client), submitted(client)
        assert silent.began.wait(PATIENCE_S)
    with http_server(data_dir=tmp_path) as address, plain(address) as client:
        for job_id in (runs, waits):
            assert events(client, job_id)[-1][1]["state"] == "done"


def test_a_stream_that_the_end_has_cut_goes_on_after_the_next_start(tmp_path: Path) -> None:
    """By the last id, as a browser does it; nothing is lost and nothing comes twice."""
    silent = SilentBackend()
    with http_server(silent, data_dir=tmp_path) as address, plain(address) as client:
        job_id = submitted(client)
        before = events(client, job_id, until="job-started")
    with http_server(data_dir=tmp_path) as address, plain(address) as client:
        rest = events(client, job_id, headers={"Last-Event-ID": before[-1][0]})
        everything = events(client, job_id)
    assert [*before, *rest] == everything
    assert rest[-1][1]["state"] == "done"


def test_a_stop_before_the_start_ends_it_at_once(engine: Engine) -> None:
    early = server()
    early.stop()
    early.serve(engine, Address(), lambda _: None)


def test_results_without_a_folder_of_ones_own_are_removed_at_the_end(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with serving(server(), engine) as address, plain(address) as client:
        events(client, submitted(client))
        assert list(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


class Gone(Backend):
    """A backend whose other side does not answer."""

    def __init__(self) -> None:
        pass

    def probe(self) -> BackendStatus:
        raise UnavailableError("Nothing answers.")

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        raise UnavailableError("Nothing answers.")

    def close(self) -> None:
        pass


def test_a_backend_that_is_not_there_makes_it_not_ready_but_alive() -> None:
    with http_server(Gone()) as address, plain(address) as client:
        assert client.get("/health").status_code == 200
        for path in ("/ready", "/sdenv/v1/status"):
            assert (client.get(path).status_code, error_code(client.get(path))) == (503, "unavailable")


def test_no_thread_is_left_after_the_end(engine: Engine) -> None:
    before = set(threading.enumerate())
    with serving(server(), engine) as address, plain(address) as client:
        events(client, submitted(client))
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert not any("sdenv-job" in name or "asyncio" in name for name in left), left


def test_what_it_sends_leaves_at_once() -> None:
    """Without this an answer of two parts waits 40 ms for the client's acknowledgement."""
    with bound(Address()) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
