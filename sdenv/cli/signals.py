"""Ctrl-C and its kin: the first cancels the work, wherever it runs; the second ends the process at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Final, Self, final

from sdenv.cli.errors import Terminated
from sdenv.cli.live import SHOW_CURSOR
from sdenv.core.errors import Cancelled

GRACE_S: Final = 1.0
"""How long work that has only begun to load may take to notice a cancel: importing torch takes seconds, in
which nothing can stop it, and nothing would be lost."""

_SIGNALS: Final = tuple(
    number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None
)


@final
class Interrupts:
    """While it is open, signals cancel what `cancelling` names.

    A signal that the caller of sdenv ignores (nohup, a background job of a script) stays ignored.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._cancel: Callable[[], None] | None = None
        self._leave: Callable[[], None] | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what `signal.signal` returned

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        if self.signal_number is not None:
            if sys.stderr.isatty():
                os.write(2, SHOW_CURSOR.encode())
            os._exit(128 + number)
        self.signal_number = number
        if self._cancel is None:
            raise KeyboardInterrupt
        self._cancel()
        waiting = threading.Timer(GRACE_S, self._leave_if_waiting)
        waiting.daemon = True
        waiting.start()

    def _leave_if_waiting(self) -> None:
        if self._leave is not None:
            self._leave()

    @contextmanager
    def cancelling(
        self, cancel: Callable[[], None], leave: Callable[[], None] | None = None
    ) -> Iterator[None]:
        """While the context is open, the first signal calls `cancel` instead of raising KeyboardInterrupt.

        Args:
            cancel: Called in the signal handler.
            leave: Called GRACE_S later by another thread, if the context is still open; may end the process.
        """
        self._cancel, self._leave = cancel, leave
        try:
            if self.signal_number is not None:
                cancel()
            yield
        finally:
            self._cancel = self._leave = None

    def error(self, what: str) -> Cancelled:
        """The error with which the command ends after a signal.

        Args:
            what: What was saved, as a sentence.
        """
        if self.signal_number in (None, signal.SIGINT):
            return Cancelled(what)
        assert self.signal_number is not None
        return Terminated(
            self.signal_number, f"{what} ({signal.Signals(self.signal_number).name} was received.)"
        )
