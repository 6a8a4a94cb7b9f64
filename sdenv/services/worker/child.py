"""One child process, and the thread that starts it, listens to it and ends it before it ends itself."""

import logging
import os
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final, final

from sdenv.core.errors import Cancelled, PeerBrokeProtocol
from sdenv.protocols import native
from sdenv.services.worker.call import ENDS, Call, Lost
from sdenv.services.worker.causes import cause_of_end, last_words, loss
from sdenv.services.worker.frames import READ_BYTES, FrameReader, Record, encoded
from sdenv.services.worker.pipes import KEPT_LINES, Lines, start_process

END_S: Final = 10.0
"""Longest wait for a child that was told to end, and for one that was killed."""

START_S: Final = 60.0
"""Patience for the first message: on a busy machine Python alone takes seconds to start."""

_SLICES: Final = 4
"""Patience is waited for in so many pieces: a machine that was asleep has slept through one of them only."""

_logger = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True)
class Timing:
    """How long things may take, in seconds.

    Attributes:
        patience_s: A child that says nothing for so long is lost.
        idle_s: A child without a job for so long is ended; None = never.
        not_before: When the process may be started, on the monotonic clock.
    """

    patience_s: float
    idle_s: float | None
    not_before: float


@final
class Child:
    """One process, from its start to its end; lost or ended it is never used again.

    Args:
        begin: The first message: what the child is to be.
        timing: How long things may take.
        after: The child before this one; the process starts when that one is gone, so that they never share
            the device.
        ended: Called with the cause when it was lost, with None when it has ended as it was told to; before
            its calls hear of it.
    """

    def __init__(
        self, begin: Record, timing: Timing, after: "Child | None", ended: Callable[[str | None], None]
    ) -> None:
        self._timing = timing
        self._after = after
        self._tell_ended = ended
        self._lock = threading.RLock()  # guards what follows; held for moments only
        self._calls: dict[int, Call] = {}
        self._outbox: SimpleQueue[tuple[int, bytes] | None] = SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_taking_calls = True
        self._is_over = False
        self._killed_because = ""
        self._idle_since = time.monotonic()
        self._last_lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._stop = threading.Event()  # told to end
        self._end_by: float | None = None
        self.is_ready = False
        self.figures: Mapping[str, Any] = {}
        self._outbox.put((0, encoded(begin)))
        # A daemon: who forgets to close a backend can still leave, and the child then goes with its pipe.
        self._thread = threading.Thread(target=self._live, name="sdenv-worker", daemon=True)

    # From any thread

    @property
    def process_id(self) -> int | None:
        """Number of the process; None = it is not running."""
        with self._lock:
            return None if self._process is None or self._is_over else self._process.pid

    @property
    def is_taking_calls(self) -> bool:
        """Whether it is neither lost nor told to end."""
        return self._is_taking_calls

    def start(self) -> None:
        """Starts the thread, which starts the process; waits for neither."""
        self._thread.start()

    def call(self, record: Record, *, is_job: bool) -> Call | None:
        """Sends a request; None = it takes no more calls."""
        call = Call(self._cancel, is_job=is_job)
        frame = encoded({**record, "call": call.number})
        with self._lock:
            if not self._is_taking_calls:
                return None
            self._calls[call.number] = call
            self._outbox.put((call.number, frame))
        return call

    def kill(self, why: str) -> None:
        """Ends the process and all that it has started, at once; its calls hear the reason."""
        with self._lock:
            self._is_taking_calls = False
            self._stop.set()
            if self._process is not None and not self._is_over:
                self._killed_because = self._killed_because or why
                with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a dead group
                    os.killpg(self._process.pid, signal.SIGKILL)

    def end(self, wait_s: float = END_S) -> None:
        """Tells it to end, waits until the process is gone, and kills it when that takes too long."""
        self._tell_to_end()
        self.join(wait_s)
        if self._thread.is_alive():
            self.kill("It did not end when it was told to.")
            self.join(wait_s)

    def join(self, wait_s: float = END_S) -> None:
        """Waits until the process is gone, not longer than so many seconds."""
        if self._thread.ident is not None:
            self._thread.join(wait_s)

    def _tell_to_end(self) -> None:
        with self._lock:
            self._is_taking_calls = False
            self._end_by = time.monotonic() + END_S
            self._stop.set()
            self._outbox.put((0, encoded({"type": "close"})))

    def _cancel(self, call: Call) -> None:
        with self._lock:
            if call.number not in self._calls:
                return
            if self._process is not None:
                self._outbox.put((0, encoded({"type": "cancel", "call": call.number})))
                return
            self._forget(call)  # no process yet, perhaps for long: nothing was sent, and nothing will be
        call.put({"type": "error", "error": native.error_record(Cancelled())})

    def _forget(self, call: Call) -> None:
        self._calls.pop(call.number, None)
        if call.is_job:
            self._idle_since = time.monotonic()

    # In its own thread

    def _live(self) -> None:
        cause: str | None = "It could not be watched over, by a mistake in sdenv."
        try:
            cause = self._run() if self._wait_for_turn() else None
        finally:
            self._say_ended(cause)
            if self._process is not None:  # one that even SIGKILL has not ended yet hangs in a driver
                self._process.wait()

    def _wait_for_turn(self) -> bool:
        """Waits until the process may be started; False = it was told to end before."""
        if self._after is not None:
            self._after.join()
            self._after = None  # else every child would be kept for ever
        return not self._stop.wait(max(0.0, self._timing.not_before - time.monotonic()))

    def _run(self) -> str | None:
        """Starts the process and serves it to its end; returns why it was lost."""
        try:
            with self._lock:
                if self._stop.is_set():
                    return None
                self._process = start_process()
        except OSError as error:
            return f"It could not be started: {error.strerror}."
        process = self._process
        writer = threading.Thread(target=self._write, args=(process,), name="sdenv-worker-out", daemon=True)
        writer.start()
        try:
            why = self._listen(process)
        finally:
            self.kill("It was no longer watched.")  # always: also what it has started must go
            with self._lock:
                self._is_over = True  # from here on its number may become that of somebody else
            self._outbox.put(None)
            writer.join()
            for pipe in (process.stdin, process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
        if self._end_by is not None:
            return None
        return loss(why or cause_of_end(process.returncode), last_words(self._last_lines))

    def _write(self, process: "subprocess.Popen[bytes]") -> None:
        """Sends what is in the outbox; a full pipe blocks nobody but this thread, and that until the kill."""
        assert process.stdin is not None
        while (item := self._outbox.get()) is not None:
            number, frame = item
            if number and number not in self._calls:
                continue  # cancelled before it was sent
            rest = memoryview(frame)
            with suppress(OSError):  # the child is gone; who listens to it says so
                while rest:
                    rest = rest[os.write(process.stdin.fileno(), rest) :]

    def _listen(self, process: "subprocess.Popen[bytes]") -> str:
        """Reads until the child is gone or must go; returns why it must go, "" when it went by itself."""
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = process.stdout.fileno(), process.stderr.fileno()
        poll = select.poll()
        poll.register(out, select.POLLIN)
        poll.register(err, select.POLLIN)
        messages, lines = FrameReader(), Lines(self._last_lines)
        silent_s, patience_s = 0.0, max(START_S, self._timing.patience_s)
        while True:
            wait_s, before_s = self._longest_wait_s(), time.monotonic()
            ready = {number for number, _ in poll.poll(wait_s * 1000)}
            silent_s += min(wait_s, time.monotonic() - before_s)
            if err in ready and not lines.feed(os.read(err, READ_BYTES)):
                poll.unregister(err)
            if out in ready:
                silent_s, patience_s = 0.0, self._timing.patience_s
                data = os.read(out, READ_BYTES)
                if not data:
                    lines.drain(err)
                    return self._killed_because
                try:
                    for record in messages.feed(data):
                        self._handle(record)
                except (PeerBrokeProtocol, ValueError, TypeError) as error:
                    return f"It sent what is not its protocol: {error}"
            elif silent_s >= patience_s * 0.999:  # slices may end a moment early
                return f"It has given no sign of life for {patience_s:g} s."
            if self._is_overdue():
                return "It did not end when it was told to."

    def _longest_wait_s(self) -> float:
        """How long nothing needs to be looked at, besides what the child sends."""
        wait_s = self._timing.patience_s / _SLICES
        with self._lock:
            due = self._end_by
            if due is None and self._timing.idle_s is not None and not self._calls:
                due = self._idle_since + self._timing.idle_s
        return wait_s if due is None else min(wait_s, max(0.001, due - time.monotonic()))

    def _is_overdue(self) -> bool:
        """Ends an idle child; True = the time of one that was told to end is over."""
        with self._lock:
            now = time.monotonic()
            if self._end_by is not None:
                return now >= self._end_by
            idle_s = self._timing.idle_s
            if idle_s is not None and not self._calls and now >= self._idle_since + idle_s:
                self._tell_to_end()
            return False

    def _handle(self, record: dict[str, Any]) -> None:
        match record["type"]:
            case "beat":
                self.figures = record
            case "ready":
                self.is_ready = True
            case _:
                self._deliver(record)

    def _deliver(self, record: dict[str, Any]) -> None:
        """Hands an answer to its call; one that nobody waits for any more is dropped."""
        with self._lock:
            call = self._calls.get(int(record.get("call", 0)))
            if call is None:
                return
            if record["type"] in ENDS:
                self._forget(call)
        call.put(record)

    def _say_ended(self, cause: str | None) -> None:
        with self._lock:
            self._is_taking_calls = False
            calls = tuple(self._calls.values())
            self._calls.clear()
        if cause is not None:
            _logger.warning("The worker process was lost. %s\n%s", cause, "\n".join(self._last_lines))
        self._tell_ended(cause)
        for call in calls:
            call.put(Lost(cause or "It was told to end."))
