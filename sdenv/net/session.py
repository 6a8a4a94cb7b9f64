"""Connections to one server: opened when needed, kept for the next request, ended by an interrupt.

Everything that can go wrong below HTTP is said here: nothing listens, no such name, TLS and plain mixed up,
a server that never answers.
"""

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from http.client import BadStatusLine, HTTPException, HTTPResponse
from typing import TypeVar, final

from sdenv import __version__
from sdenv.core.events import Notice
from sdenv.net.address import Access, Place, place_of
from sdenv.net.exchange import Answer, Call, Stream
from sdenv.net.failures import ConnectionLost, lost, speaks_tls
from sdenv.net.interrupt import Interrupt
from sdenv.net.shared import Shared
from sdenv.net.tokens import token_of
from sdenv.net.wire import Wire

__all__ = ["Access", "Answer", "Call", "ConnectionLost", "Session", "Stream"]

T = TypeVar("T")


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
        self._shared = Shared(access, place, {**ours, **(headers or {})})
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
        wire, connection, response = self._asked(call)
        silence_s = self._silence_s(call)

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

    def _asked(self, call: Call) -> tuple[Wire, socket.socket, HTTPResponse]:
        """The connection on which a request was sent, its socket, and the beginning of the answer.

        `http.client` forgets the socket of an answer that ends with the connection, before it is read.
        """
        kept = self._shared.take() if call.repeatable else None
        if kept is not None:
            try:
                return kept, *self._sent(kept, call)
            except ConnectionLost as error:
                self._interrupt.check()
                if not isinstance(error.__cause__, ConnectionError):
                    raise  # else the server was closing it
        wire = Wire(self._shared.place)
        connect_s = self._shared.access.connect_s if call.connect_s is None else call.connect_s
        wire.sock = self._shared.dialler.dial(connect_s, self._interrupt)
        try:
            connection, response = self._sent(wire, call)
        except ConnectionLost as error:
            if (
                not self._shared.met
                and _may_be_tls(error)
                and self._shared.dialler.wants_tls(self._interrupt)
            ):
                raise speaks_tls(self._shared.place) from error
            raise
        self._shared.met = True
        return wire, connection, response

    def _sent(self, wire: Wire, call: Call) -> tuple[socket.socket, HTTPResponse]:
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
            return connection, self._blocking(connection, silence_s, ask)
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


def _may_be_tls(error: ConnectionLost) -> bool:
    """Whether a server that wants TLS may have caused this: it hangs up, or sends an alert (record 21)."""
    cause = error.__cause__
    if isinstance(cause, BadStatusLine) and not isinstance(cause, ConnectionError):
        return str(cause).startswith("\x15")
    return isinstance(cause, ConnectionError)
