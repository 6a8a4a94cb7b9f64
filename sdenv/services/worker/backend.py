"""A backend whose work is done by a child process, under supervision."""

import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, final

from pydantic import SecretBytes, SecretStr
from pydantic_core import to_jsonable_python

from sdenv.backends import BACKENDS
from sdenv.core.backend import Backend, BackendSettings, BackendStatus, JobContext
from sdenv.core.errors import UnavailableError, WorkerLost
from sdenv.core.events import PhaseStarted, PictureReady
from sdenv.core.image import ImageData
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult
from sdenv.protocols import native
from sdenv.services.worker.call import CANCELLED, ENDS, Call
from sdenv.services.worker.child import Child, Timing
from sdenv.services.worker.frames import Record

HEARTBEAT_S: Final = 1.0
PATIENCE_S: Final = 30.0
"""Longer than any import or load keeps Python from running its other threads, shorter than a person waits."""
CANCEL_PATIENCE_S: Final = 120.0
"""A step of a large model on a CPU takes minutes at worst; a driver that hangs never ends."""
FIRST_BACK_OFF_S: Final = 0.25
LONGEST_BACK_OFF_S: Final = 30.0

IS_SUPPORTED: Final = os.name == "posix"
"""Whether child processes can be supervised here: pipes that can be waited for, sessions, SIGKILL."""


@final
@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What is known of the child process now.

    Attributes:
        process_id: Its number; None = none runs.
        starts: How often one was started.
        losses: How often one was lost.
        resident_bytes: Its memory; 0 = none runs, or it is not known.
        device_bytes: What torch holds of each device's memory, by device; empty = nothing, or not known.
    """

    process_id: int | None = None
    starts: int = 0
    losses: int = 0
    resident_bytes: int = 0
    device_bytes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


@final
class SupervisedBackend(Backend):
    """Runs another backend in a child process, which is started on first use.

    Args:
        kind: Name of the other backend in the table of backends.
        settings: Its settings.
        heartbeat_s: How often the child says that it lives, in seconds.
        patience_s: A child that says nothing for so many seconds is lost.
        cancel_patience_s: A child that says nothing of a cancelled job for so many seconds is ended.
        idle_unload_s: After so many seconds without a job the child is ended, which frees all that it holds;
            the next job starts it again. None = never.
    """

    def __init__(
        self,
        kind: str,
        settings: BackendSettings,
        *,
        heartbeat_s: float = HEARTBEAT_S,
        patience_s: float = PATIENCE_S,
        cancel_patience_s: float = CANCEL_PATIENCE_S,
        idle_unload_s: float | None = None,
    ) -> None:
        assert 0 < heartbeat_s < patience_s
        assert idle_unload_s is None or idle_unload_s > 0
        self.kind: Final = kind
        # What the class behind declares is known without a child; this class itself declares nothing.
        self.declared = BACKENDS.load(kind).declared  # type: ignore[misc]  # each of these has its own
        self._begin: Record = {
            "type": "begin",
            "kind": kind,
            "settings": _settings_record(settings),
            "heartbeat_s": heartbeat_s,
        }
        self._patience_s = patience_s
        self._cancel_patience_s = cancel_patience_s
        self._idle_s = idle_unload_s
        self._probing = threading.RLock()
        self._status: BackendStatus | None = None
        self._lock = threading.RLock()  # guards what follows; taken before the lock of a child, never after
        self._child: Child | None = None
        self._is_closed = False
        self._starts = 0
        self._losses = 0
        self._losses_in_a_row = 0
        self._not_before = 0.0

    def probe(self) -> BackendStatus:
        """What the backend in the child says of itself; no child is started only to say it again.

        Raises:
            WorkerLost: The child was lost before it ever answered.
            UnavailableError: As the backend behind, or this one is closed.
        """
        with self._probing:
            child = self._child
            if self._status is None or (child is not None and child.is_ready and child.is_taking_calls):
                self._status = self._asked_status()
            return self._status

    def _asked_status(self) -> BackendStatus:
        try:
            answer = self._called({"type": "probe"}, is_job=False)[0].next()
        except WorkerLost:
            if self._status is None:
                raise
            return self._status
        if answer["type"] == "error":
            raise native.error_of(answer["error"])
        return native.status_of(answer["status"])

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        """Has the child make the pictures. `PhaseStarted("starting")` comes first where it must be started.

        Raises:
            WorkerLost: The child was killed, crashed or stopped answering; the next call starts another.
            UnavailableError: This backend is closed.
            SdenvError: Whatever the backend behind raises, of the same class.
        """
        context.check()
        fields = native.request_record(request)
        record = {"type": "generate", "request": fields, "preview_every": context.preview_every}
        call, child = self._called(record, is_job=True)
        try:
            if not child.is_ready:
                context.emit(PhaseStarted("starting"))
            with context.on_cancel(call.cancel):
                result = self._followed(call, context)
        finally:
            if not call.leave(self._cancel_patience_s):
                child.kill(f"It did not let go of a cancelled job for {self._cancel_patience_s:g} s.")
        return result

    def _followed(self, call: Call, context: JobContext) -> GenerationResult:
        """Emits what the child reports, until it hands over the result."""
        images: dict[int, ImageData] = {}
        while (message := call.next())["type"] not in ENDS:
            if message["type"] == CANCELLED:
                context.check()
                continue
            event = native.event_of(message["event"])
            if isinstance(event, PictureReady):
                images[event.index] = event.picture
            context.emit(event)
        self._losses_in_a_row = 0
        if message["type"] == "error":
            raise native.error_of(message["error"])
        return native.result_of(message["result"], tuple(images[index] for index in sorted(images)))

    def facts(self) -> WorkerFacts:
        """What is known of the child process now; what it says of its memory is a heartbeat old at most."""
        with self._lock:
            child = self._child
            process_id = None if child is None else child.process_id
            figures: Mapping[str, Any] = {} if child is None or process_id is None else child.figures
            return WorkerFacts(
                process_id,
                self._starts,
                self._losses,
                int(figures.get("resident_bytes", 0)),
                MappingProxyType(dict(figures.get("device_bytes", {}))),
            )

    def memory_bytes(self) -> Mapping[str, int]:
        """See `HoldsMemory`: what the child holds; nothing while none runs."""
        facts = self.facts()
        return {} if facts.process_id is None else {"cpu": facts.resident_bytes, **facts.device_bytes}

    def close(self) -> None:
        """Ends the child; nothing of it is left. May be called twice."""
        with self._lock:
            self._is_closed = True
            child = self._child
        if child is not None:
            child.end()

    def _called(self, record: Record, *, is_job: bool) -> tuple[Call, Child]:
        """Sends a request to the child that runs, or else to a new one."""
        with self._lock:
            if self._is_closed:
                raise UnavailableError("The backend is closed; it makes no more pictures.")
            child = self._child
            call = None if child is None else child.call(record, is_job=is_job)
            if child is None or call is None:
                timing = Timing(self._patience_s, self._idle_s, self._not_before)
                self._child = child = Child(self._begin, timing, child, self._note_end)
                call = child.call(record, is_job=is_job)
                assert call is not None  # it has not begun yet
                self._starts += 1
                child.start()
            return call, child

    def _note_end(self, cause: str | None) -> None:
        """A child is gone; one that was lost puts off the next, the longer the more there were in a row."""
        if cause is None:
            return
        with self._lock:
            self._losses += 1
            self._losses_in_a_row += 1
            self._not_before = time.monotonic() + back_off_s(self._losses_in_a_row)


def back_off_s(losses_in_a_row: int) -> float:
    """How long the next child is put off after so many losses without a finished job, at least one."""
    return min(LONGEST_BACK_OFF_S, FIRST_BACK_OFF_S * 2.0 ** (losses_in_a_row - 1))


def _settings_record(settings: BackendSettings) -> Any:
    """Settings as JSON values; secrets as they are, since only the child reads them."""

    def plain(value: object) -> object:
        if isinstance(value, SecretStr | SecretBytes):
            return value.get_secret_value()
        return to_jsonable_python(value)

    return json.loads(json.dumps(settings.model_dump(), default=plain))
