"""A job: one accepted request, watched by many, run by one worker thread."""

import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Final, final

from ulid import ULID

from sdenv.core.backend import Backend
from sdenv.core.degrade import Degraded
from sdenv.core.errors import Cancelled, InternalError, NoStepInTime, SdenvError
from sdenv.core.events import Event, Failed, Outcome, PictureReady, Progress, Succeeded
from sdenv.core.image import resampled
from sdenv.core.result import GenerationResult
from sdenv.services.engine.log import Cancellation, EventLog

WAKE_S: Final = 0.2
"""Longest wait in one piece: on POSIX a signal ends a wait at once, on Windows Ctrl-C is seen between two."""


@final
class _Context:
    """What a backend sees of its job; made in the worker thread, and bound to it."""

    def __init__(self, job: "Job", preview_every: int, fit_to: tuple[int, int] | None) -> None:
        self.preview_every = preview_every
        self._fit_to = fit_to
        self._log = job._log
        self._cancellation = job._cancellation
        self._thread_id = threading.get_ident()

    def emit(self, event: Event) -> None:
        if threading.get_ident() != self._thread_id or self._log.outcome is not None:
            raise InternalError("A backend reported an event from outside its `generate` call.")
        self.check()
        if isinstance(event, PictureReady) and self._fit_to:
            event = replace(event, picture=resampled(event.picture, *self._fit_to))
        self._log.append(event)

    def check(self) -> None:
        self._cancellation.check()

    def on_cancel(self, unblock: Callable[[], None]) -> AbstractContextManager[None]:
        return self._cancellation.on_cancel(unblock)


@final
class Job:
    """One accepted request. Made by `Engine.submit`; every method may be called from any thread.

    Attributes:
        id: A ULID, 26 characters.
        request: What is made: the request that was submitted, without what had to be left out.
    """

    def __init__(self, plan: Degraded, preview_every: int) -> None:
        self.id: Final = str(ULID())
        self.request: Final = plan.request
        self._preview_every = preview_every
        self._fit_to = plan.fit_to
        self._log = EventLog(plan.request.count)
        self._cancellation = Cancellation()
        for notice in plan.notices:
            self._log.append(notice)

    @property
    def outcome(self) -> Outcome | None:
        """How the job ended; None while it has not."""
        return self._log.outcome

    def snapshot(self) -> Progress:
        """How far the job is now."""
        return self._log.progress

    def events(self) -> Iterator[Event | Outcome]:
        """Everything that happens to the job, from its start, the outcome last; waits for what is to come.

        May be called many times; each call replays all (of the previews, the newest). In the main thread
        Ctrl-C ends the waiting with `KeyboardInterrupt`; the job itself goes on until `cancel`.
        """
        bell: SimpleQueue[None] = SimpleQueue()
        position = 0
        with self._log.waking(lambda: bell.put(None)):
            while True:
                news = self._log.since(position)
                position += len(news)
                yield from (entry for entry in news if entry is not None)
                if news and isinstance(news[-1], Succeeded | Failed):
                    return
                with suppress(Empty):
                    bell.get(timeout=WAKE_S)

    async def aevents(self) -> AsyncIterator[Event | Outcome]:
        """As `events`, for an event loop: the one place where a worker thread wakes a loop."""
        import asyncio  # 30 ms that a command line need not wait for

        loop = asyncio.get_running_loop()
        bell = asyncio.Event()
        position = 0

        def wake() -> None:
            with suppress(RuntimeError):  # the loop was closed under its reader: nobody is left to wake
                loop.call_soon_threadsafe(bell.set)

        with self._log.waking(wake):
            while True:
                bell.clear()
                news = self._log.since(position)
                position += len(news)
                for entry in news:
                    if entry is not None:
                        yield entry
                if news and isinstance(news[-1], Succeeded | Failed):
                    return
                await bell.wait()

    def result(self, timeout_s: float | None = None) -> GenerationResult:
        """Waits for the end.

        Args:
            timeout_s: Longest wait in seconds; None = as long as it takes.

        Raises:
            NoStepInTime: The job has not ended in that time; it goes on.
            SdenvError: What the job ended with.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        bell: SimpleQueue[None] = SimpleQueue()
        with self._log.waking(lambda: bell.put(None)):
            while self._log.outcome is None:
                left_s = WAKE_S if deadline is None else deadline - time.monotonic()
                if left_s <= 0:
                    raise NoStepInTime(f"The job {self.id} has not ended within {timeout_s:g} s.")
                with suppress(Empty):
                    bell.get(timeout=min(left_s, WAKE_S))
        if isinstance(self._log.outcome, Failed):
            raise self._log.outcome.error
        return self._log.outcome.result

    def cancel(self) -> None:
        """Asks the job to stop; returns at once. Unless it ends in this very moment, it ends as `Cancelled`.

        A job that waits in the queue ends now, one that runs as soon as its backend can
        (`Capabilities.cancel`). May be called many times.
        """
        if self._log.outcome is None and self._cancellation.ask():
            self._log.end(Failed(Cancelled()))

    def _run(self, backend: Backend, name: str) -> None:
        """Does the work, in a worker thread; returns normally whatever the backend does."""
        if not self._cancellation.begin():
            return
        context = _Context(self, self._preview_every, self._fit_to)
        outcome: Outcome
        try:
            outcome = Succeeded(_fitted(backend.generate(self.request, context), self._fit_to))
        except SdenvError as error:
            outcome = Failed(error)
        except BaseException as error:  # noqa: BLE001 - whatever a backend does, even sys.exit, costs one job only
            outcome = Failed(as_bug(error, name))
        if isinstance(outcome, Failed):
            _forget_locals(outcome.error)
        # No lock is held here: a signal handler that cancels may have stopped a thread that holds the log's.
        self._log.end(_cancelled(outcome) if self._cancellation.asked else outcome)


def _fitted(result: GenerationResult, size: tuple[int, int] | None) -> GenerationResult:
    if size is None:
        return result
    return result.model_copy(update={"images": tuple(resampled(image, *size) for image in result.images)})


def _cancelled(outcome: Outcome) -> Failed:
    """What ends after a cancel ends as cancelled: a read breaks because the cancel closed its socket."""
    if isinstance(outcome, Failed) and isinstance(outcome.error, Cancelled):
        return outcome
    error = Cancelled()
    error.__cause__ = outcome.error if isinstance(outcome, Failed) else None
    return Failed(error)


def as_bug(error: BaseException, name: str) -> InternalError:
    """What a foreign exception that escapes a backend becomes; `name` is that of the backend."""
    bug = InternalError(
        f"The backend {name!r} failed in a way that it did not foresee.",
        why=f"{type(error).__name__}: {error}.",
    )
    bug.__cause__ = error
    return bug


def _forget_locals(error: BaseException) -> None:
    """Keeps the lines of all tracebacks and frees their variables: tensors, after running out of memory."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        traceback.clear_frames(current.__traceback__)
        current = current.__cause__ or current.__context__
