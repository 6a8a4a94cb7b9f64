"""What ends a blocking call on a socket from another thread, at once and in every phase."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import RLock, Timer
from typing import final

from sdenv.core.errors import Cancelled


@final
class Interrupt:
    """Given to everything that may block; `ask` ends it. Re-entrant, so that a signal handler may call it.

    Attributes:
        asked: Whether it was asked.
    """

    def __init__(self) -> None:
        self.asked = False
        self._lock = RLock()
        self._sockets: list[socket.socket] = []
        self._bell: SimpleQueue[None] = SimpleQueue()

    def ask(self) -> None:
        """Ends what blocks now, and whatever would block later, with `Cancelled`; returns at once."""
        with self._lock:
            self.asked = True
            for each in self._sockets:
                shut(each)
        self._bell.put(None)

    def check(self) -> None:
        """Raises `Cancelled` after `ask`."""
        if self.asked:
            raise Cancelled

    def wait(self, seconds: float) -> None:
        """Waits so long, or until `ask`.

        Raises:
            Cancelled: It was asked.
        """
        if not self.asked:
            with suppress(Empty):
                self._bell.get(timeout=max(0.0, seconds))
        self.check()

    @contextmanager
    def holding(self, connection: socket.socket) -> Iterator[None]:
        """While the context is open, `ask` ends what blocks on this socket."""
        with self._lock:
            self._sockets.append(connection)
            if self.asked:
                shut(connection)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.remove(connection)


@contextmanager
def limited(seconds: float) -> Iterator[Interrupt]:
    """An interrupt that is asked after so many seconds, unless the context ends before."""
    interrupt = Interrupt()
    limit = Timer(seconds, interrupt.ask)
    limit.daemon = True
    limit.start()
    try:
        yield interrupt
    finally:
        limit.cancel()
        limit.join()


def shut(connection: socket.socket) -> None:
    """Ends what blocks on a socket; its own thread closes it.

    By the method of the plain socket: that of an SSLSocket takes the TLS state away under the thread that
    reads.
    """
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
