"""One HTTP/1.1 connection over a socket that we own, so that another thread can end whatever it waits for.

The standard library's `http.client` speaks HTTP; see docs/decisions/0005-http-libraries.md for why not more.
"""

import os
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection
from queue import Empty, SimpleQueue
from select import select
from typing import Any, Final, final

from sdenv.core.errors import ConnectionFailed
from sdenv.net.address import Place
from sdenv.net.interrupt import Interrupt

_SLICE_S: Final = 0.1
"""How long a wait that cannot be woken may last in one piece."""


@final
class Wire(HTTPConnection):
    """A connection whose socket somebody else opens.

    Args:
        place: Where the server is, for the Host header.

    Attributes:
        used_s: When it was last used, in monotonic seconds.
    """

    auto_open = 0  # `http.client` must not open another socket by itself

    def __init__(self, place: Place) -> None:
        super().__init__(place.host, place.port)
        self.default_port = 443 if place.secure else 80  # what the Host header leaves out
        self.used_s = 0.0

    def hang_up(self) -> None:
        """Closes the socket, also when TLS or the server objects."""
        with suppress(OSError):
            self.close()

    def is_stale(self, longest_idle_s: float) -> bool:
        """Whether the server has closed it, or is about to; an idle connection has nothing to say."""
        if self.sock is None or time.monotonic() - self.used_s > longest_idle_s:
            return True
        readable, _, _ = select([self.sock], [], [], 0.0)
        return bool(readable)


def dial_unix(path: str, timeout_s: float) -> socket.socket:
    """A connection to a unix socket.

    Raises:
        OSError: Nothing listens there.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


def dial_tcp(host: str, port: int, timeout_s: float, interrupt: Interrupt) -> socket.socket:
    """A connection to the first of the host's addresses that answers.

    Raises:
        OSError: None does.
        Cancelled: It was interrupted.
    """
    last: OSError | None = None
    deadline_s = time.monotonic() + timeout_s
    for family, kind, protocol, _, address in _addresses(host, port, deadline_s, interrupt):
        connection = socket.socket(family, kind, protocol)
        try:
            _connect(connection, address, deadline_s, interrupt)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connection.close()
            last = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise last or OSError(f"the name {host!r} has no address")


def _addresses(host: str, port: int, deadline_s: float, interrupt: Interrupt) -> list[Any]:
    """The addresses of a name. The system's look-up cannot be ended, so a thread of its own does it."""
    found: SimpleQueue[list[Any] | OSError] = SimpleQueue()

    def look_up() -> None:
        try:
            found.put(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except OSError as error:
            found.put(error)
        except UnicodeError as error:  # a label that is empty or longer than 63 letters
            found.put(OSError(f"{error}"))

    if host == "localhost" or host.replace(".", "").isdigit() or ":" in host:
        look_up()
    else:
        threading.Thread(target=look_up, name="sdenv-look-up", daemon=True).start()
    while True:
        interrupt.check()
        try:
            answer = found.get(timeout=_SLICE_S)
        except Empty:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"the name {host!r} was not found in time") from None
            continue
        if isinstance(answer, OSError):
            raise answer
        return answer


def _connect(connection: socket.socket, address: Any, deadline_s: float, interrupt: Interrupt) -> None:
    connection.setblocking(False)
    try:
        connection.connect(address)
    except BlockingIOError:
        _await_connection(connection, deadline_s, interrupt)


def _await_connection(connection: socket.socket, deadline_s: float, interrupt: Interrupt) -> None:
    while True:
        interrupt.check()
        _, writable, failed = select([], [connection], [connection], _SLICE_S)
        if writable or failed:
            break
        if time.monotonic() > deadline_s:
            raise TimeoutError("timed out")
    number = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))


def secured(
    connection: socket.socket, context: ssl.SSLContext, host: str, timeout_s: float, interrupt: Interrupt
) -> ssl.SSLSocket:
    """The connection after a TLS handshake; closed if there is none.

    Raises:
        ssl.SSLError, OSError: The handshake failed.
    """
    wrapped: ssl.SSLSocket | None = None
    try:
        connection.settimeout(timeout_s)
        wrapped = context.wrap_socket(connection, server_hostname=host, do_handshake_on_connect=False)
        with interrupt.holding(wrapped):
            wrapped.do_handshake()
    except BaseException:
        (wrapped or connection).close()
        raise
    return wrapped


def through_proxy(
    connection: socket.socket, place: Place, headers: Mapping[str, str], timeout_s: float
) -> socket.socket:
    """The connection after a proxy was asked (CONNECT) to pass everything on to `place`.

    Raises:
        ConnectionFailed: It does not.
    """
    lines = [f"CONNECT {place.netloc} HTTP/1.1", f"Host: {place.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection.settimeout(timeout_s)
    connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    answer = b""
    while not answer.endswith(b"\r\n\r\n") and len(answer) < 65536:
        received = connection.recv(1)  # not a byte beyond the answer: what follows is TLS
        if not received:
            break
        answer += received
    status = answer.partition(b"\r\n")[0].decode("latin-1")
    if status.split(" ")[1:2] != ["200"]:
        raise ConnectionFailed(
            f"The proxy does not pass on a connection to {place.netloc}.",
            why=f"It answered {status!r}.",
            hint=f"To go without it: NO_PROXY={place.host} sdenv ...",
        )
    return connection
