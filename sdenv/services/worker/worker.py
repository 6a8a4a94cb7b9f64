"""The child's side: reads what is asked, has the real backend do it, and says all the time that it lives."""

import json
import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NoReturn, final

from sdenv.backends import BACKENDS
from sdenv.core.backend import Backend
from sdenv.core.errors import InternalError, SdenvError
from sdenv.core.events import Event, event_record
from sdenv.core.request import parse_request_json
from sdenv.protocols import native
from sdenv.services.engine.job import as_bug
from sdenv.services.engine.log import Cancellation
from sdenv.services.worker.figures import device_bytes, resident_bytes
from sdenv.services.worker.frames import READ_BYTES, FrameReader, Record, encoded
from sdenv.services.worker.process import settle, vanish

Send = Callable[[Record], None]


def main(arguments: Sequence[str]) -> None:
    """Runs the child process until its parent closes it or is gone."""
    incoming, outgoing = settle(int(arguments[0]))
    Worker(incoming, outgoing).run()


@final
class Worker:
    """Serves one parent.

    The main thread only reads, so that a cancel arrives whatever the others do; a thread a call and one for
    the heartbeat write, one message at a time.

    Args:
        incoming: The pipe from the parent.
        outgoing: The pipe to the parent.
    """

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._writing = threading.Lock()
        self._calls: dict[int, Cancellation] = {}
        self._backend: Backend | SdenvError = InternalError("The worker was asked before it was told what.")

    def run(self) -> NoReturn:
        """Obeys until told to close; the end of the pipe means that the parent is gone."""
        messages = FrameReader()
        while data := os.read(self._incoming, READ_BYTES):
            for record in messages.feed(data):
                self._obey(record)
        vanish()

    def _obey(self, record: dict[str, Any]) -> None:
        match record["type"]:
            case "begin":
                self._begin(record)
            case "probe" | "generate":
                number = int(record["call"])
                self._calls[number] = Cancellation()
                work = self._probe if record["type"] == "probe" else self._generate
                arguments = (number, work, record)
                name = f"sdenv-call-{number}"
                threading.Thread(target=self._answer, args=arguments, name=name, daemon=True).start()
            case "cancel":
                if (cancellation := self._calls.get(int(record["call"]))) is not None:
                    cancellation.ask()
            case "close":
                self._close()

    def _begin(self, record: Record) -> None:
        """Imports and builds the backend, while the heart beats already: plug-ins may import for long."""
        beat = threading.Thread(target=self._beat, args=(float(record["heartbeat_s"]),), daemon=True)
        beat.start()
        kind = str(record["kind"])
        try:
            backend_type = BACKENDS.load(kind)
            settings = backend_type.Settings.model_validate_json(json.dumps(record["settings"]))
            self._backend = backend_type(settings)
        except SdenvError as error:
            self._backend = error
        except Exception as error:  # noqa: BLE001 - a plug-in may raise anything; every call answers it
            traceback.print_exception(error)
            self._backend = as_bug(error, kind)
        self._kind = kind
        self._send({"type": "ready"})

    def _answer(self, number: int, work: Callable[[int, Backend, Record], Record], record: Record) -> None:
        """One call, in a thread of its own: whatever happens, there is an answer."""
        try:
            if isinstance(self._backend, SdenvError):
                raise self._backend
            answer = work(number, self._backend, record)
        except SdenvError as error:
            answer = {"type": "error", "error": native.error_record(error)}
        except BaseException as error:  # noqa: BLE001 - as in the engine: it costs one job only
            traceback.print_exception(error)
            answer = {"type": "error", "error": native.error_record(as_bug(error, self._kind))}
        del self._calls[number]
        self._send({**answer, "call": number})

    def _probe(self, number: int, backend: Backend, record: Record) -> Record:
        del number, record
        return {"type": "status", "status": native.status_record(backend.probe())}

    def _generate(self, number: int, backend: Backend, record: Record) -> Record:
        request = parse_request_json(json.dumps(record["request"]))
        context = _Context(self._calls[number], int(record["preview_every"]), number, self._send)
        result = backend.generate(request, context)
        return {"type": "result", "result": native.result_record(result)}

    def _beat(self, heartbeat_s: float) -> None:
        while True:
            self._send({"type": "beat", "resident_bytes": resident_bytes(), "device_bytes": device_bytes()})
            time.sleep(heartbeat_s)

    def _send(self, record: Record) -> None:
        frame = memoryview(encoded(record))
        try:
            with self._writing:
                while frame:
                    frame = frame[os.write(self._outgoing, frame) :]
        except OSError:  # nobody reads any more
            vanish()

    def _close(self) -> NoReturn:
        """Lets the backend put things in order, and ends without waiting for threads or for torch."""
        if isinstance(self._backend, Backend):
            self._backend.close()
        os._exit(0)


@final
class _Context:
    """What the real backend sees of its job; see `core.backend.JobContext`."""

    def __init__(self, cancellation: Cancellation, preview_every: int, call: int, send: Send) -> None:
        self.preview_every = preview_every
        self._cancellation = cancellation
        self._call = call
        self._send = send
        self._thread_id = threading.get_ident()

    def emit(self, event: Event) -> None:
        if threading.get_ident() != self._thread_id:
            raise InternalError("A backend reported an event from outside its `generate` call.")
        self.check()
        record = event_record(event, "", with_pictures=True)
        self._send({"type": "event", "call": self._call, "event": record})

    def check(self) -> None:
        self._cancellation.check()

    def on_cancel(self, unblock: Callable[[], None]) -> AbstractContextManager[None]:
        return self._cancellation.on_cancel(unblock)
