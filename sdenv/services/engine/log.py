"""What has happened to a job, for any number of readers; and whether it was cancelled."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import final

from sdenv.core.errors import Cancelled
from sdenv.core.events import Event, Outcome, PreviewReady, Progress, StepDone, advance

_logger = logging.getLogger(__name__)


@final
class EventLog:
    """What has happened so far, for any number of readers; ends with the one outcome."""

    def __init__(self, count: int) -> None:
        # Held for moments only; re-entrant, so that a signal handler may cancel.
        self._lock = threading.RLock()
        self._entries: list[Event | Outcome | None] = []
        self._preview_at: int | None = None
        self._wakes: list[Callable[[], None]] = []
        self.progress = Progress(count=count)
        self.outcome: Outcome | None = None

    def append(self, event: Event) -> None:
        """Adds an event. A step that does not rise is left out; of the previews only the newest is kept."""
        with self._lock:
            advanced = advance(self.progress, event)
            if self.outcome is not None or (isinstance(event, StepDone) and advanced is self.progress):
                return
            if isinstance(event, PreviewReady):
                if self._preview_at is not None:
                    self._entries[self._preview_at] = None
                self._preview_at = len(self._entries)
            self.progress = advanced
            self._entries.append(event)
            self._wake()

    def end(self, outcome: Outcome) -> None:
        """Adds the outcome; only the first one counts."""
        with self._lock:
            if self.outcome is None:
                self.outcome = outcome
                self._entries.append(outcome)
                self._wake()

    def since(self, position: int) -> list[Event | Outcome | None]:
        """The entries from `position` on; None stands for a preview that a newer one has replaced."""
        with self._lock:
            return self._entries[position:]

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """While the context is open, `wake` is called after each new entry, from the thread that adds it."""
        with self._lock:
            self._wakes.append(wake)
        try:
            yield
        finally:
            with self._lock:
                self._wakes.remove(wake)

    def _wake(self) -> None:
        for wake in self._wakes:
            wake()


@final
class Cancellation:
    """Whether a job was cancelled, and what must be unblocked when it is."""

    def __init__(self) -> None:
        # Held while `unblock` runs, so that none is called after its context has ended (its socket may serve
        # the next job by then). Re-entrant, because an `unblock` may lead back here.
        self._lock = threading.RLock()
        self._unblocks: list[Callable[[], None]] = []
        self._begun = False
        self.asked = False

    def begin(self) -> bool:
        """Says that the work begins; False = it was cancelled before."""
        with self._lock:
            self._begun = not self.asked
            return self._begun

    def ask(self) -> bool:
        """Cancels; True = the work has not begun and never will."""
        with self._lock:
            if not self.asked:
                self.asked = True
                for unblock in tuple(self._unblocks):
                    _call_safely(unblock)
            return not self._begun

    def check(self) -> None:
        """Raises `Cancelled` after `ask`."""
        if self.asked:
            raise Cancelled

    @contextmanager
    def on_cancel(self, unblock: Callable[[], None]) -> Iterator[None]:
        """See `JobContext.on_cancel`."""
        with self._lock:
            self._unblocks.append(unblock)
            if self.asked:
                _call_safely(unblock)
        try:
            yield
        finally:
            with self._lock:
                self._unblocks.remove(unblock)


def _call_safely(unblock: Callable[[], None]) -> None:
    """Calls a backend's `unblock`; one that is broken must not keep the others from being called."""
    try:
        unblock()
    except Exception:
        _logger.exception("A backend's on_cancel callback failed.")
