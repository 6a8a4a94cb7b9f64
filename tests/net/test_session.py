"""What a person reads when a server cannot be reached or is not what it seems; that a cancel ends it all."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sdenv.core.errors import BadConfig, Cancelled, CertificateChanged, ConnectionFailed, SdenvError
from sdenv.net.address import Access, place_of
from sdenv.net.dialling import proxy_for
from sdenv.net.failures import ConnectionLost
from sdenv.net.interrupt import Interrupt
from sdenv.net.session import Call, Session
from sdenv.testing.fakes import PATIENCE_S
from tests.support.certificates import make_certificate
from tests.support.raw_servers import header_of, http_answer, raw_server, saying, silent


def session_to(port: int, scheme: str = "http", **access: Any) -> Session:
    return Session(Access(url=f"{scheme}://127.0.0.1:{port}", **access))


def failure(session: Session, call: Call | None = None) -> SdenvError:
    """The error that a call ends with."""
    with pytest.raises(SdenvError) as failed:
        session.exchange(call or Call(path="/"))
    session.close()
    return failed.value


# What people read


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure(session_to(port))
    assert type(error) is ConnectionFailed
    assert error.what == f"Nothing listens at http://127.0.0.1:{port}."
    assert f"sdenv serve http --port {port}" in error.hint


def test_no_such_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = failure(Session(Access(url="http://gpu.example:9090")))
    assert error.what == "No machine named 'gpu.example' is known."


def test_the_port_of_a_browser_is_not_ours() -> None:
    with pytest.raises(ConnectionFailed) as failed:
        Session(Access(url="http://127.0.0.1", connect_s=1.0)).get("/")
    assert "sdenv's own port is 9090: http://127.0.0.1:9090" in failed.value.why


def test_a_program_that_speaks_no_http() -> None:
    with raw_server(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")) as port:
        error = failure(session_to(port))
    assert "does not speak HTTP" in error.what
    assert "SSH-2.0-OpenSSH_9.9" in error.why


def test_a_plain_call_to_a_server_that_wants_tls(tmp_path: Path) -> None:
    with raw_server(silent, make_certificate(tmp_path).server_context()) as port:
        error = failure(session_to(port))
    assert error.why == "The server at this port speaks TLS."
    assert error.hint == f"-b https://127.0.0.1:{port}"


def test_a_secure_call_to_a_server_without_tls() -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(http_answer("400 Bad Request"))

    with raw_server(answer) as port:
        error = failure(session_to(port, "https"))
    assert error.why == "The server at this port does not speak TLS."
    assert error.hint == f"-b http://127.0.0.1:{port}"


def test_a_server_that_never_answers_a_handshake() -> None:
    with raw_server(silent) as port:
        error = failure(session_to(port, "https", connect_s=0.2))
    assert "No secure connection" in error.what
    assert "does not answer" in error.why


def test_a_server_that_hangs_up_on_a_handshake() -> None:
    with raw_server(lambda connection: None) as port:
        error = failure(session_to(port, "https"))
    assert "No secure connection" in error.what


def test_a_server_that_accepts_and_never_answers() -> None:
    with raw_server(silent) as port:
        error = failure(session_to(port, timeout_s=0.2))
    assert isinstance(error, ConnectionLost)
    assert "has sent nothing for 0.2 s" in error.what
    assert "timeout_s" in error.hint


def test_a_server_that_stops_in_the_middle_of_an_answer() -> None:
    with raw_server(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")) as port:
        error = failure(session_to(port))
    assert isinstance(error, ConnectionLost)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200,
        b"HTTP/1.1 " + b"9" * 100_000,
        b"\0" * 100,
        b"HTTP/1.1 abc\r\n\r\n",
    ],
)
def test_an_answer_that_is_no_http_is_an_error_of_ours(answer: bytes) -> None:
    with raw_server(saying(answer)) as port:
        assert isinstance(failure(session_to(port)), ConnectionFailed)


def test_a_body_that_is_refused_is_not_sent_to_the_end() -> None:
    with raw_server(saying(http_answer("413 Content Too Large", b"too large"))) as port:
        call = Call(method="POST", path="/", body=b"x" * 8_000_000)
        assert session_to(port).exchange(call).status == 413


def test_the_certificate_of_a_server_changes_while_we_work(tmp_path: Path) -> None:
    answer = saying(http_answer("200 OK"))
    session: Session | None = None
    with raw_server(answer, make_certificate(tmp_path).server_context()) as port:
        session = session_to(port, "https")
        assert session.get("/").status == 200
        assert [notice.code for notice in session.notices()] == ["certificate-trusted"]
    with raw_server(answer, make_certificate(tmp_path).server_context(), port=port):
        assert isinstance(failure(session), CertificateChanged)


# Addresses, tokens, proxies


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://gpu:9090", "http://gpu:9090"),
        ("http://gpu:9090/", "http://gpu:9090"),
        ("https://gpu/behind/a/proxy/", "https://gpu:443/behind/a/proxy"),
        ("http://me:secret@gpu:9090", "http://gpu:9090"),
        ("http://[::1]:9090", "http://[::1]:9090"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert place_of(url).url == shown


@pytest.mark.parametrize(
    "url",
    ["gpu:9090", "ftp://gpu", "http://", "http://gpu:99999", "http://gpu:x", "http://gpu/?a=b", "http://["],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BadConfig):
        place_of(url)


def test_a_bad_address_is_shown_without_its_secrets() -> None:
    with pytest.raises(BadConfig) as refused:
        place_of("http://me:secret@gpu:port")
    assert "secret" not in str(refused.value)


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that answers with the header that it was sent."""

    def answer(connection: socket.socket) -> None:
        while header := header_of(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(header) + header)

    with raw_server(answer) as port:
        yield port


def header_sent(session: Session) -> str:
    header = session.get("/").body.decode()
    session.close()
    return header


def test_a_token_is_taken_from_what_was_said_first_then_from_the_environment(
    echo: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDENV_TOKEN", "of-the-environment")
    file = tmp_path / "token"
    file.write_text("of-the-file\n")
    url = f"http://of-the-url@127.0.0.1:{echo}"
    said = Access(url=url, token="said", token_file=file)
    assert "Authorization: Bearer said\r\n" in header_sent(Session(said))
    in_url = Access(url=url, token_file=file)
    assert "Authorization: Bearer of-the-url\r\n" in header_sent(Session(in_url))
    assert "Authorization: Bearer of-the-file\r\n" in header_sent(session_to(echo, token_file=file))
    assert "Authorization: Bearer of-the-environment\r\n" in header_sent(session_to(echo))
    monkeypatch.delenv("SDENV_TOKEN")
    assert "Authorization" not in header_sent(session_to(echo))


@pytest.mark.parametrize("token", ["two words", "line\r\nX-Evil: yes", "t\u00f6ken", "a\0b"])
def test_a_token_that_no_header_can_hold_is_refused(token: str) -> None:
    with pytest.raises(BadConfig):
        session_to(1, token=token)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_a_token_file_that_holds_none_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadConfig, match="token"):
        session_to(1, token_file=file)


def test_a_token_is_never_shown() -> None:
    assert "secret" not in repr(Access(token="secret"))
    assert "secret" not in repr(place_of("http://me:secret@gpu"))


def test_this_machine_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch, echo: int) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert header_sent(session_to(echo)).startswith("GET / HTTP/1.1")
    assert proxy_for(place_of("http://localhost:9090")) is None


def test_another_machine_is_asked_through_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:word@proxy:3128")
    monkeypatch.setenv("NO_PROXY", "lan.example")
    proxy = proxy_for(place_of("http://gpu.example:9090"))
    assert proxy is not None
    assert (proxy.host, proxy.port, proxy.user, proxy.password) == ("proxy", 3128, "me", "word")
    assert proxy_for(place_of("http://gpu.lan.example:9090")) is None


def test_a_proxy_passes_everything_on_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def pass_on(connection: socket.socket) -> None:
        asked.append(header_of(connection))
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        saying(http_answer("200 OK", b"from afar"))(connection)

    with raw_server(pass_on) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:word@127.0.0.1:{port}")
        assert Session(Access(url="http://gpu.example:9090")).get("/").body == b"from afar"
    assert asked[0].startswith(b"CONNECT gpu.example:9090 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6d29yZA==\r\n" in asked[0]
    with raw_server(saying(http_answer("403 Forbidden"))) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        error = failure(Session(Access(url="http://gpu.example:9090")))
    assert "HTTP/1.1 403 Forbidden" in error.why


# Connections are kept


def test_a_connection_is_used_again(echo: int) -> None:
    session = session_to(echo)
    session.get("/")
    kept = session._shared.take()
    assert kept is not None
    session._shared.keep(kept)
    session.get("/")
    assert session._shared.take() is kept
    kept.hang_up()


def test_a_kept_connection_that_the_server_has_closed_is_not_used() -> None:
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2",
    ]
    with raw_server(lambda connection: saying(answers.pop(0))(connection)) as port:
        session = session_to(port)
        assert [session.get("/").body for _ in range(2)] == [b"1", b"2"]
        session.close()


def test_what_must_not_be_done_twice_goes_over_a_connection_of_its_own() -> None:
    """A server that hangs up on a kept connection leaves it open whether it has done the work."""
    asked: list[int] = []

    def answer(connection: socket.socket) -> None:
        header_of(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        if header_of(connection):
            asked.append(1)  # and hangs up

    with raw_server(answer) as port:
        session = session_to(port)
        session.get("/")
        assert session.exchange(Call(method="POST", path="/", body=b"", repeatable=False)).status == 200
        assert asked == []
        session.close()


# A cancel ends whatever blocks


def wait_for_header(connection: socket.socket) -> None:
    header_of(connection)
    silent(connection)


def begin_an_answer(connection: socket.socket) -> None:
    header_of(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthe beginning")
    silent(connection)


def read_nothing(connection: socket.socket) -> None:
    header_of(connection)
    hold.wait(PATIENCE_S)


hold = threading.Event()


def ask_after(event: threading.Event, interrupt: Interrupt) -> None:
    event.wait(PATIENCE_S)
    interrupt.ask()


PHASES: dict[str, tuple[Callable[[socket.socket], None], str]] = {
    "the handshake": (silent, "https"),
    "the wait for an answer": (wait_for_header, "http"),
    "reading an answer": (begin_an_answer, "http"),
    "sending a body": (read_nothing, "http"),
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_cancel_ends_it_at_once(phase: str) -> None:
    answer, scheme = PHASES[phase]
    hold.clear()
    connected = threading.Event()

    def serve(connection: socket.socket) -> None:
        connected.set()
        answer(connection)

    with raw_server(serve) as port:
        interrupt = Interrupt()
        session = session_to(port, scheme, timeout_s=PATIENCE_S).interruptible(interrupt)
        asking = threading.Thread(target=ask_after, args=(connected, interrupt))
        asking.start()
        began_s = time.monotonic()
        with pytest.raises(Cancelled):
            session.exchange(Call(method="POST", path="/", body=b"x" * 16_000_000))
        assert time.monotonic() - began_s < PATIENCE_S / 2, "only the silence limit has ended it"
        hold.set()
        asking.join()


def test_a_cancel_ends_the_search_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    searching, found = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> list[Any]:
        searching.set()
        found.wait(PATIENCE_S)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    interrupt = Interrupt()
    session = Session(Access(url="http://gpu.example:9090")).interruptible(interrupt)
    asking = threading.Thread(target=ask_after, args=(searching, interrupt))
    asking.start()
    with pytest.raises(Cancelled):
        session.get("/")
    found.set()
    asking.join()


def test_after_a_cancel_nothing_is_begun(echo: int) -> None:
    interrupt = Interrupt()
    interrupt.ask()
    session = session_to(echo)
    with pytest.raises(Cancelled):
        session.interruptible(interrupt).get("/")
    with pytest.raises(Cancelled):
        session.interruptible(interrupt).wait(PATIENCE_S)
    assert session.get("/").status == 200
    session.close()
