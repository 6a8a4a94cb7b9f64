"""Servers that do one wrong thing, on real sockets; and a relay that can be cut."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import final

from sdenv.net.interrupt import shut

Answer = Callable[[socket.socket], None]


@contextmanager
def raw_server(answer: Answer, context: ssl.SSLContext | None = None, port: int = 0) -> Iterator[int]:
    """Hands each connection to `answer`, in a thread of its own; gives the port.

    Args:
        answer: Does with the connection what it likes; it is closed afterwards.
        context: For TLS.
        port: Where to listen; 0 = any free port.
    """
    threads: list[threading.Thread] = []
    open_now: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if context is None:
                answer(connection)
                return
            with context.wrap_socket(connection, server_side=True) as secured:
                open_now.append(secured)
                answer(secured)

    def accept() -> None:
        with suppress(OSError):  # the listener was shut
            while True:
                connection, _ = listener.accept()
                open_now.append(connection)
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", port)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            shut(listener)
            accepting.join()
            for each in open_now:
                shut(each)
            for thread in threads:
                thread.join()


def header_of(connection: socket.socket) -> bytes:
    """What a client sends up to the empty line; less if it hangs up."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(4096)
        if not piece:
            break
        received += piece
    return received


def saying(answer: bytes) -> Answer:
    """Reads the header of a request, then says this and hangs up."""

    def say(connection: socket.socket) -> None:
        if header_of(connection):
            connection.sendall(answer)

    return say


def http_answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def silent(connection: socket.socket) -> None:
    """Takes what comes, and never answers."""
    while connection.recv(65536):
        pass


@final
class Relay:
    """Passes bytes on to a server, until it is cut or refuses.

    Attributes:
        accepted: How many connections there have been.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self.refusing = False
        self.accepted = 0
        self.swallow_answers = 0
        """So many of the next connections lose the first bytes of their answer, and break."""
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.reached = threading.Event()
        """Set when an answer was swallowed."""

    def cut(self) -> None:
        """Breaks every connection."""
        for pair in tuple(self._pairs):
            for each in pair:
                shut(each)

    def answer(self, near: socket.socket) -> None:
        """Serves one connection; for `raw_server`."""
        self.accepted += 1
        if self.refusing:
            return
        swallow = self.swallow_answers > 0
        self.swallow_answers = max(0, self.swallow_answers - 1)
        with socket.create_connection(("127.0.0.1", self.target)) as far:
            self._pairs.append((near, far))
            back = threading.Thread(target=self._copy, args=(far, near, swallow))
            back.start()
            self._copy(near, far, False)
            back.join()

    def _copy(self, source: socket.socket, target: socket.socket, swallow: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                if swallow:
                    self.reached.set()
                    break
                target.sendall(piece)
        shut(source)
        shut(target)
