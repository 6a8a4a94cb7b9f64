"""Backends that misbehave on purpose, one that watches another, and a context that keeps what it is told.

Without the silent one a dead `on_cancel` goes unnoticed: every other backend reports steps, and a step is
where a cancelled job stops by itself.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Final, final

from sdenv import __version__
from sdenv.core.backend import Backend, BackendStatus, JobContext
from sdenv.core.capabilities import Capabilities
from sdenv.core.errors import Cancelled, UnavailableError
from sdenv.core.events import Event, PictureReady, RequestResolved, StepDone
from sdenv.core.image import ImageData
from sdenv.core.request import GenerationRequest, ResolvedRequest
from sdenv.core.result import GenerationResult
from sdenv.testing.samples import picture

PATIENCE_S: Final = 30.0
"""How long a test waits for what must happen at once: enough for a busy machine, short enough to notice."""


def resolved(request: GenerationRequest) -> ResolvedRequest:
    """A request with every decision made, for backends whose pictures do not matter."""
    said = {name: getattr(request, name) for name in request.said()}
    decided = {"model": "none", "width": 64, "height": 64, "steps": 4, "guidance_scale": 1.0, "seed": 0}
    return ResolvedRequest(**{**decided, "sampler": "none", "schedule": "none", **said})


@final
class Recorder:
    """A context that keeps the events, and cancels when it is told one that `cancel_when` picks.

    Args:
        preview_every: As in `JobContext`.
        cancel_when: Looks at each event; the first for which it is true is the last before the cancel.
    """

    def __init__(self, preview_every: int = 0, cancel_when: Callable[[Event], bool] | None = None) -> None:
        self.preview_every = preview_every
        self.events: list[Event] = []
        self._cancel_when = cancel_when
        self._cancelled = False
        self._unblocks: list[Callable[[], None]] = []

    def cancel(self) -> None:
        """As `Job.cancel`."""
        self._cancelled = True
        for unblock in tuple(self._unblocks):
            unblock()

    def emit(self, event: Event) -> None:
        """Keeps the event; raises `Cancelled` after a cancel."""
        self.check()
        self.events.append(event)
        if self._cancel_when is not None and self._cancel_when(event):
            self.cancel()

    def check(self) -> None:
        """Raises `Cancelled` after a cancel."""
        if self._cancelled:
            raise Cancelled

    @contextmanager
    def on_cancel(self, unblock: Callable[[], None]) -> Iterator[None]:
        """As in `JobContext`."""
        self._unblocks.append(unblock)
        if self._cancelled:
            unblock()
        try:
            yield
        finally:
            self._unblocks.remove(unblock)


@final
class SilentBackend(Backend):
    """Reports nothing, and ends when a cancel unblocks it, or when its patience does.

    Attributes:
        began: Set when `generate` blocks.
        unblocked: Set when a cancel has ended it.
    """

    declared: ClassVar[Capabilities] = Capabilities(cancel="at-once", progress="none", previews=False)

    def __init__(self) -> None:
        self.began = threading.Event()
        self.unblocked = threading.Event()

    def probe(self) -> BackendStatus:
        """Always there."""
        return BackendStatus("silent", __version__, (), self.declared)

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        """Blocks."""
        del request
        cancelled = threading.Event()
        with context.on_cancel(cancelled.set):
            self.began.set()
            unblocked = cancelled.wait(PATIENCE_S)
        if unblocked:
            self.unblocked.set()
        context.check()
        raise AssertionError("unblocked without a cancel" if unblocked else "not unblocked by the cancel")

    def close(self) -> None:
        """Nothing was opened."""


@final
class SlowBackend(Backend):
    """Does one step each time it is let, and obeys a cancel between steps only.

    Attributes:
        began: Set when `generate` waits for its first step.
        concurrency: How many requests it works on at once.
    """

    declared: ClassVar[Capabilities] = Capabilities(previews=False, concurrency=64)

    def __init__(self, concurrency: int = 1) -> None:
        self.began = threading.Event()
        self.concurrency = concurrency
        self._permits = threading.Semaphore(0)

    def let(self, steps: int = 1) -> None:
        """Lets it do so many steps."""
        self._permits.release(steps)

    def probe(self) -> BackendStatus:
        """Always there."""
        return BackendStatus(
            "slow", __version__, (), Capabilities(previews=False, concurrency=self.concurrency)
        )

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        """Steps when it may."""
        made = resolved(request)
        context.emit(RequestResolved(made))
        images: list[ImageData] = []
        for index in range(made.count):
            for step in range(1, made.steps + 1):
                self.began.set()
                self._permits.acquire()
                context.emit(StepDone(step, made.steps, index))
            images.append(picture(made.width, made.height, made.seed_of(index)))
            context.emit(PictureReady(index, images[-1], made.seed_of(index)))
        return GenerationResult(images=tuple(images), resolved=made, backend="slow", seconds=0.0)

    def close(self) -> None:
        """Nothing was opened."""


@final
class BrokenBackend(Backend):
    """Has a bug: it raises an exception of its own after the first step of every request.

    Args:
        error: What it raises.
    """

    def __init__(self, error: Callable[[], BaseException] = ZeroDivisionError) -> None:
        self._error = error

    def probe(self) -> BackendStatus:
        """Always there."""
        return BackendStatus("broken", __version__, (), self.declared)

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        """Breaks."""
        del request
        context.emit(StepDone(1, 4))
        raise self._error()

    def close(self) -> None:
        """Nothing was opened."""


@final
class HangUpBackend(Backend):
    """Talks to somebody who hangs up after the first step of the first request, and answers again later."""

    declared: ClassVar[Capabilities] = Capabilities(previews=False)

    def __init__(self) -> None:
        self._hung_up = False

    def probe(self) -> BackendStatus:
        """Always there."""
        return BackendStatus("hang-up", __version__, (), self.declared)

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        """Loses its peer, once."""
        made = resolved(request)
        context.emit(RequestResolved(made))
        context.emit(StepDone(1, made.steps))
        if not self._hung_up:
            self._hung_up = True
            raise UnavailableError("The server has hung up after step 1.") from ConnectionResetError()
        image = picture(made.width, made.height, made.seed)
        context.emit(PictureReady(0, image, made.seed))
        return GenerationResult(images=(image,), resolved=made, backend="hang-up", seconds=0.0)

    def close(self) -> None:
        """Nothing was opened."""


@final
class Spy(Backend):
    """Passes everything on to another backend, and counts.

    Closing it leaves the other one open, so that one backend can serve many tests.

    Attributes:
        calls: The requests that reached `generate`.
        probes: How often `probe` was asked.
        closed: How often it was closed.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.calls: list[GenerationRequest] = []
        self.probes = 0
        self.closed = 0

    def probe(self) -> BackendStatus:
        """Counts and passes on."""
        self.probes += 1
        return self._backend.probe()

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        """Counts and passes on."""
        self.calls.append(request)
        return self._backend.generate(request, context)

    def close(self) -> None:
        """Counts."""
        self.closed += 1


@final
class Held(Backend):
    """Passes everything on to another backend, whose first event is held until the job is cancelled.

    Closing it leaves the other one open.

    Attributes:
        reached: Set when the other backend has reported its first event.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.reached = threading.Event()

    def probe(self) -> BackendStatus:
        """Passes on."""
        return self._backend.probe()

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        """Passes on, with a context that holds."""
        return self._backend.generate(request, _HoldingContext(context, self.reached))

    def close(self) -> None:
        """Leaves the other one open."""


@final
class _HoldingContext:
    def __init__(self, context: JobContext, reached: threading.Event) -> None:
        self.preview_every = context.preview_every
        self.check = context.check
        self.on_cancel = context.on_cancel
        self._context = context
        self._reached = reached

    def emit(self, event: Event) -> None:
        self._context.emit(event)
        cancelled = threading.Event()
        with self._context.on_cancel(cancelled.set):
            self._reached.set()
            cancelled.wait(PATIENCE_S)
