"""The queue before a backend and the threads that work it off."""

import threading
import time
from collections import deque
from collections.abc import Mapping
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Self, final

from sdenv.core.backend import Backend, BackendStatus, HoldsMemory
from sdenv.core.capabilities import Mismatch
from sdenv.core.degrade import Degraded
from sdenv.core.errors import Busy, UnavailableError
from sdenv.core.request import GenerationRequest
from sdenv.services.admission import admit, mismatches_with
from sdenv.services.engine.job import WAKE_S, Job

QUEUE_SIZE: Final = 256  # conventions, "Limits"


@final
class Engine:
    """One backend with a queue before it. Close it, or use it as a context manager.

    Args:
        backend: Does the work. It belongs to the engine, which closes it.
        name: What the user calls the backend, for errors.
        queue_size: How many jobs may wait; one more is `Busy`.
    """

    def __init__(self, backend: Backend, *, name: str, queue_size: int = QUEUE_SIZE) -> None:
        self.name: Final = name
        self.queue_size: Final = queue_size
        self._backend = backend
        self._status: BackendStatus | None = None
        self._probing = threading.RLock()
        self._lock = threading.RLock()  # guards what follows; no job and no backend is called under it
        self._waiting: deque[Job] = deque()
        self._running: set[Job] = set()
        self._workers: list[threading.Thread] = []
        self._calls: SimpleQueue[bool] = SimpleQueue()  # True = look for a job, False = end
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called: it takes no more jobs."""
        return self._closed

    def status(self, refresh: bool = False) -> BackendStatus:
        """What the backend says of itself; asked once and kept.

        Args:
            refresh: Ask again.

        Raises:
            UnavailableError: There is nothing to talk to, or an extra is not installed.
        """
        with self._probing:
            if self._status is None or refresh:
                self._status = self._backend.probe()
            return self._status

    def memory_bytes(self) -> Mapping[str, int]:
        """What the backend holds of each device's memory, as far as it tells (`HoldsMemory`)."""
        return self._backend.memory_bytes() if isinstance(self._backend, HoldsMemory) else {}

    def mismatches(self, request: GenerationRequest) -> tuple[Mismatch, ...]:
        """Everything in the request that the backend cannot do; empty = `submit` accepts it."""
        return mismatches_with(request, self.status())

    def admit(self, request: GenerationRequest, *, allow_degraded: bool = False) -> Degraded:
        """What `submit` would make of a request, or its refusal, as it does; queues nothing."""
        return admit(request, self.status(), self.name, allow_degraded)

    def submit(
        self, request: GenerationRequest, *, preview_every: int = 0, allow_degraded: bool = False
    ) -> Job:
        """Accepts a request, or refuses it before anything is queued or loaded.

        Args:
            request: What is wanted.
            preview_every: Make a preview every so many steps; 0 = none.
            allow_degraded: Leave out what is optional and cannot be done, and make a size that cannot be made
                at the nearest that can, with a notice for each change (`core.degrade`).

        Raises:
            UnsupportedError: The backend cannot do it; the error names backends that could.
            UsageError: An unknown model or sampler, a size that is not possible.
            Busy: The queue is full.
            UnavailableError: The backend is not there, or the engine is closed.
        """
        status = self.status()
        plan = self.admit(request, allow_degraded=allow_degraded)
        job = Job(plan, preview_every if status.capabilities.previews else 0)
        with self._lock:
            self._enqueue(job, status.capabilities.concurrency)
        self._calls.put(True)
        return job

    def _enqueue(self, job: Job, concurrency: int) -> None:
        if self._closed:
            raise UnavailableError("The engine is closed; it takes no more jobs.")
        self._waiting = deque(each for each in self._waiting if each.outcome is None)
        unfinished = len(self._waiting) + sum(each.outcome is None for each in self._running)
        if unfinished >= self.queue_size + concurrency:
            raise Busy(
                f"The queue of the backend {self.name!r} is full.",
                why=f"{unfinished} jobs are running or waiting.",
                hint="Try again when one of them has ended.",
            )
        self._waiting.append(job)
        if len(self._workers) < min(concurrency, unfinished + 1):
            self._workers.append(self._started_worker())

    def _started_worker(self) -> threading.Thread:
        # A daemon: a backend that does not answer to a cancel must not keep the interpreter from exiting.
        worker = threading.Thread(
            target=self._work, name=f"sdenv-{self.name}-{len(self._workers)}", daemon=True
        )
        worker.start()
        return worker

    def _work(self) -> None:
        while self._calls.get():
            while self._work_once():  # all that wait: a Ctrl-C in `submit` may have kept a call from coming
                pass

    def _work_once(self) -> bool:
        """Runs the next job; False = none waits."""
        with self._lock:
            if not self._waiting:
                return False
            job = self._waiting.popleft()
            self._running.add(job)
        try:
            job._run(self._backend, self.name)
        finally:
            with self._lock:
                self._running.discard(job)
        return True

    def close(self, timeout_s: float | None = None) -> None:
        """Cancels what runs and waits, ends the worker threads, then closes the backend. May be called twice.

        Ctrl-C ends the waiting; the threads do not keep the interpreter from exiting.

        Args:
            timeout_s: Longest wait for the backend to obey in seconds; None = as long as it takes. A backend
                that has not obeyed by then is left alone, since freeing what it works with could crash it.
        """
        with self._lock:
            first, self._closed = not self._closed, True
            unfinished = (*self._waiting, *self._running)
            workers = tuple(self._workers)
        for job in unfinished:
            job.cancel()
        for _ in workers if first else ():
            self._calls.put(False)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for worker in workers:
            _join(worker, deadline)
        if not any(worker.is_alive() for worker in workers):
            self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _join(worker: threading.Thread, deadline: float | None) -> None:
    """Waits for a thread in pieces, as Ctrl-C does not end one long wait on Windows."""
    while worker.is_alive() and (deadline is None or time.monotonic() < deadline):
        worker.join(WAKE_S if deadline is None else max(0.0, min(WAKE_S, deadline - time.monotonic())))
