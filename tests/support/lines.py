"""The smallest protocol that can carry everything: one JSON object a line over TCP, one job a connection.

It is here to prove that the contract of servers can be kept, and that clients over servers are backends.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, final

from sdenv.backends.fake import FakeBackend
from sdenv.core.backend import Backend, BackendSettings, BackendStatus, JobContext
from sdenv.core.capabilities import Capabilities
from sdenv.core.errors import SdenvError, UnavailableError
from sdenv.core.events import (
    Event,
    Failed,
    Outcome,
    PictureReady,
    event_record,
)
from sdenv.core.image import ImageData
from sdenv.core.request import GenerationRequest, parse_request_json
from sdenv.core.result import GenerationResult
from sdenv.core.server import Address, Server, ServerSettings
from sdenv.protocols import native
from sdenv.services.engine import Engine

LONGEST_LINE_BYTES: Final = 8 * 2**20


# Bytes <-> values


def send(connection: socket.socket, record: Mapping[str, object]) -> None:
    connection.sendall(json.dumps(record).encode() + b"\n")


def received(connection: socket.socket) -> Iterator[dict[str, Any]]:
    """Objects until the other side hangs up."""
    with connection.makefile("rb") as lines:
        while line := lines.readline(LONGEST_LINE_BYTES):
            yield json.loads(line)


# The server


@final
class LineServer(Server):
    def __init__(self, settings: ServerSettings) -> None:
        self._stopping = threading.Event()
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()

    def serve(self, engine: Engine, address: Address, ready: Callable[[Address], None]) -> None:
        threads: list[threading.Thread] = []
        with socket.create_server((address.host, address.port)) as self._listener:
            ready(Address(*self._listener.getsockname()[:2]))
            while not self._stopping.is_set():
                with suppress(OSError):  # `stop` shuts the listener down
                    connection, _ = self._listener.accept()
                    self._open.add(connection)
                    threads.append(threading.Thread(target=self._answer, args=(engine, connection)))
                    threads[-1].start()
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()

    def stop(self) -> None:
        self._stopping.set()
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)

    def _answer(self, engine: Engine, connection: socket.socket) -> None:
        with connection, suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            for message in received(connection):
                try:
                    self._obey(engine, connection, message)
                except SdenvError as error:
                    send(connection, {"error": native.error_record(error)})
        self._open.discard(connection)

    def _obey(self, engine: Engine, connection: socket.socket, message: Mapping[str, Any]) -> None:
        if message["ask"] == "status":
            send(connection, native.status_record(engine.status()))
            return
        request = parse_request_json(json.dumps(message["request"]))
        job = engine.submit(request, preview_every=message["preview_every"])
        watcher = threading.Thread(target=cancel_when_gone, args=(connection, job.cancel))
        watcher.start()
        try:
            for event in job.events():
                send(connection, outcome_record(event, job.id))
        finally:
            job.cancel()
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
            watcher.join()


def cancel_when_gone(connection: socket.socket, cancel: Callable[[], None]) -> None:
    """The client says nothing more during a job: whatever ends the reading is a hang-up."""
    with suppress(OSError):
        connection.recv(1)
    cancel()


def outcome_record(event: Event | Outcome, job_id: str) -> dict[str, object]:
    if isinstance(event, Failed):
        return {"error": native.error_record(event.error)}
    if isinstance(event, Event):
        return event_record(event, job_id, with_pictures=True)
    return {"result": native.result_record(event.result)}


# The client


class LineSettings(BackendSettings):
    host: str = "127.0.0.1"
    port: int


@final
class LineBackend(Backend):
    Settings = LineSettings
    declared = Capabilities(controls=FakeBackend.declared.controls)

    def __init__(self, settings: LineSettings) -> None:
        self._address = (settings.host, settings.port)

    def _connected(self) -> socket.socket:
        try:
            return socket.create_connection(self._address)
        except OSError as error:
            raise UnavailableError("Nothing answers.", why=f"{error}.") from error

    def probe(self) -> BackendStatus:
        with self._connected() as connection:
            send(connection, {"ask": "status"})
            behind = native.status_of(next(received(connection)))
            return replace(behind, name="lines", capabilities=replace(behind.capabilities, concurrency=8))

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        context.check()
        try:
            result = self._received_result(request, context)
        except OSError as error:  # a reset: the server was still sending when a cancel closed the connection
            context.check()
            raise UnavailableError("The connection broke.", why=f"{error}.") from error
        if result is None:
            context.check()
            raise UnavailableError("The server has hung up.")
        return result

    def _received_result(self, request: GenerationRequest, context: JobContext) -> GenerationResult | None:
        """What the server sends; None when it hangs up before the end."""
        with (
            self._connected() as connection,
            context.on_cancel(lambda: connection.shutdown(socket.SHUT_RDWR)),
        ):
            fields = native.request_record(request)
            send(connection, {"ask": "job", "request": fields, "preview_every": context.preview_every})
            images: list[ImageData] = []
            for record in received(connection):
                if "error" in record:
                    raise native.error_of(record["error"])
                if "result" in record:
                    return native.result_of({**record["result"], "backend": "lines"}, tuple(images))
                event = native.event_of(record)
                context.emit(event)
                if isinstance(event, PictureReady):
                    images.append(event.picture)
        return None

    def close(self) -> None:
        pass
