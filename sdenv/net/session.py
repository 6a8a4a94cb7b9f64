"""Connections to one server: opened when needed, kept for the next request, ended by an interrupt.

Everything that can go wrong below HTTP is said here: nothing listens, no such name, TLS and plain mixed up,
a server that never answers.
"""

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from http.client import BadStatusLine, HTTPException, HTTPResponse
from threading import Lock
from typing import Any, Final, TypeVar, final

from sdenv import __version__
from sdenv.core.errors import PeerBrokeProtocol
from sdenv.core.events import Notice
from sdenv.net.address import Access, Place, place_of
from sdenv.net.dialling import Dialler
from sdenv.net.failures import ConnectionLost, lost, speaks_tls
from sdenv.net.interrupt import Interrupt
from sdenv.net.tokens import token_of
from sdenv.net.wire import Wire

__all__ = ["Access", "Answer", "Call", "ConnectionLost", "Session", "Stream"]

MAX_ANSWER_BYTES: Final = 512 * 2**20
"""More is never read into memory: 16 pictures of 16 MP in base64 are smaller."""

_LONGEST_IDLE_S: Final = 4.0  # uvicorn closes a connection that is idle for 5 s
_PIECE_BYTES: Final = 64 * 2**10

T = TypeVar("T")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request.

    Attributes:
        method: GET, POST, ...
        path: With the query; the prefix of the URL is put before it.
        body: What is sent along.
        headers: Further headers.
        connect_s: Longest wait for a connection; None = as `Access` says.
        answer_s: Longest silence while the answer is awaited or read; None = as `Access` says.
        repeatable: Whether it does no harm twice. Only such a request goes over a connection that is kept,
            since the server may be closing it.
    """

    method: str = "GET"
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] | None = None
    connect_s: float | None = None
    answer_s: float | None = None
    repeatable: bool = True


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """What a server has answered, whole.

    Attributes:
        url: Of the server, for errors.
        status: For example 200.
        headers: By name in lower case.
        body: Its bytes.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def record(self) -> dict[str, Any]:
        """The JSON object in the body.

        Raises:
            PeerBrokeProtocol: There is none.
        """
        record = self.json()
        if not isinstance(record, dict):
            raise PeerBrokeProtocol(f"{self.url} sent JSON that is not an object.")
        return record

    def json(self) -> Any:
        """The JSON in the body.

        Raises:
            PeerBrokeProtocol: There is none.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise PeerBrokeProtocol(f"{self.url} sent what is not JSON.", why=f"{error}.") from error


@final
class Stream:
    """An answer that is read as it arrives.

    Attributes:
        status: For example 200.
        headers: By name in lower case.
    """

    def __init__(
        self, url: str, response: HTTPResponse, reading: Callable[[Callable[[], bytes]], bytes]
    ) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self._url = url
        self._response = response
        self._reading = reading

    def pieces(self) -> Iterator[bytes]:
        """Bytes as they arrive, to the end."""
        while piece := self._reading(lambda: self._response.read1(_PIECE_BYTES)):
            yield piece

    def answer(self) -> Answer:
        """The whole of it.

        Raises:
            PeerBrokeProtocol: It is larger than MAX_ANSWER_BYTES.
        """
        body = self._reading(lambda: self._response.read(MAX_ANSWER_BYTES + 1))
        if len(body) > MAX_ANSWER_BYTES:
            raise PeerBrokeProtocol(f"{self._url} sent an answer of more than {MAX_ANSWER_BYTES} bytes.")
        return Answer(self._url, self.status, self.headers, body)


@final
class Session:
    """Talks to one server. May be used by several threads at once; opens nothing before the first call.

    Args:
        access: Where it is and what opens it.
        headers: Sent with every request; they win over ours.

    Raises:
        BadConfig: The URL is not one, or the token cannot be read or sent.
    """

    def __init__(self, access: Access, *, headers: Mapping[str, str] | None = None) -> None:
        place = place_of(access.url)
        token = token_of(access, place)
        ours = {"User-Agent": f"sdenv/{__version__}", "Accept": "*/*"}
        if token:
            ours["Authorization"] = f"Bearer {token}"
        self._shared = _Shared(access, place, {**ours, **(headers or {})})
        self._interrupt = Interrupt()

    @property
    def url(self) -> str:
        """Where the server is, without user and password."""
        return self._shared.url

    @property
    def place(self) -> Place:
        """The URL taken apart."""
        return self._shared.place

    def interruptible(self, interrupt: Interrupt | None) -> "Session":
        """The same, over the same connections, with calls that `interrupt` ends; None = that nothing ends."""
        view = copy(self)
        view._interrupt = interrupt or Interrupt()
        return view

    def notices(self) -> tuple[Notice, ...]:
        """What a person should know of how the server was reached; each is handed out once."""
        return self._shared.dialler.take_notices()

    def exchange(self, call: Call) -> Answer:
        """Sends a request and reads the whole answer, whatever its status.

        Raises:
            ConnectionFailed: The server cannot be reached.
            ConnectionLost: It was reached, and the connection broke or stayed silent.
            CertificateChanged: It shows another certificate than before.
            Cancelled: The interrupt was asked.
        """
        with self.streaming(call) as stream:
            return stream.answer()

    def get(self, path: str, *, answer_s: float | None = None) -> Answer:
        """A GET, see `exchange`."""
        return self.exchange(Call(path=path, answer_s=answer_s))

    def post(self, path: str, record: object, *, headers: Mapping[str, str] | None = None) -> Answer:
        """A POST of JSON, see `exchange`; repeatable if it has an Idempotency-Key."""
        body = json.dumps(record, allow_nan=False).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        repeatable = "Idempotency-Key" in sent
        return self.exchange(Call(method="POST", path=path, body=body, headers=sent, repeatable=repeatable))

    @contextmanager
    def streaming(self, call: Call) -> Iterator[Stream]:
        """As `exchange`, with an answer that is read as it arrives, until the context ends."""
        self._interrupt.check()
        wire, response = self._asked(call)
        connection, silence_s = wire.sock, self._silence_s(call)
        assert connection is not None

        def reading(read: Callable[[], bytes]) -> bytes:
            return self._blocking(connection, silence_s, read)

        try:
            yield Stream(self.url, response, reading)
        finally:
            finished = response.isclosed() and not response.will_close and not self._interrupt.asked
            response.close()
            if finished:
                self._shared.keep(wire)
            else:
                wire.hang_up()

    def wait(self, seconds: float) -> None:
        """Waits so long; an interrupt ends it with `Cancelled`."""
        self._interrupt.wait(seconds)

    def close(self) -> None:
        """Closes the connections that are not in use. May be called twice."""
        self._shared.close()

    def _silence_s(self, call: Call) -> float:
        return self._shared.access.timeout_s if call.answer_s is None else call.answer_s

    def _asked(self, call: Call) -> tuple[Wire, HTTPResponse]:
        """The connection on which a request was sent, and the beginning of the answer."""
        kept = self._shared.take() if call.repeatable else None
        if kept is not None:
            try:
                return kept, self._sent(kept, call)
            except ConnectionLost:  # the server was closing it
                self._interrupt.check()
        wire = Wire(self._shared.place)
        connect_s = self._shared.access.connect_s if call.connect_s is None else call.connect_s
        wire.sock = self._shared.dialler.dial(connect_s, self._interrupt)
        try:
            response = self._sent(wire, call)
        except ConnectionLost as error:
            if (
                not self._shared.met
                and _may_be_tls(error)
                and self._shared.dialler.wants_tls(self._interrupt)
            ):
                raise speaks_tls(self._shared.place) from error
            raise
        self._shared.met = True
        return wire, response

    def _sent(self, wire: Wire, call: Call) -> HTTPResponse:
        connection = wire.sock
        assert connection is not None
        silence_s = self._silence_s(call)
        connection.settimeout(silence_s)

        def ask() -> HTTPResponse:
            headers = {**self._shared.headers, **(call.headers or {})}
            try:
                wire.request(call.method, self._shared.place.prefix + call.path, call.body, headers)
            except (BrokenPipeError, ConnectionResetError):
                return wire.getresponse()  # it refuses the body, and may have said why before it hung up
            return wire.getresponse()

        try:
            return self._blocking(connection, silence_s, ask)
        except BaseException:
            wire.hang_up()
            raise

    def _blocking(self, connection: socket.socket, silence_s: float, work: Callable[[], T]) -> T:
        """What `work` returns, which reads or writes; with our errors, and ended by the interrupt."""
        with self._interrupt.holding(connection):
            try:
                return work()
            except (OSError, HTTPException) as error:
                self._interrupt.check()
                raise lost(error, self.url, silence_s) from error


@final
class _Shared:
    """What all views of a session have in common."""

    def __init__(self, access: Access, place: Place, headers: Mapping[str, str]) -> None:
        self.access = access
        self.place = place
        self.headers = headers
        self.url = place.url if access.socket_path is None else f"unix:{access.socket_path}"
        self.dialler = Dialler(access, place, self.url)
        self.met = False
        """Whether the server has ever answered."""
        self._lock = Lock()
        self._idle: list[Wire] = []
        self._closed = False

    def take(self) -> Wire | None:
        """A connection that was kept and that the server has not closed; None = there is none."""
        with self._lock:
            while self._idle:
                wire = self._idle.pop()
                if not wire.is_stale(_LONGEST_IDLE_S):
                    return wire
                wire.hang_up()
        return None

    def keep(self, wire: Wire) -> None:
        """Keeps a connection for the next request."""
        wire.used_s = time.monotonic()
        with self._lock:
            if not self._closed:
                self._idle.append(wire)
                return
        wire.hang_up()

    def close(self) -> None:
        """Closes those that wait, and from now on each after its use."""
        with self._lock:
            self._closed, idle, self._idle = True, self._idle, []
        for wire in idle:
            wire.hang_up()


def _may_be_tls(error: ConnectionLost) -> bool:
    """Whether a server that wants TLS may have caused this."""
    return isinstance(error.__cause__, BadStatusLine | ConnectionError)
