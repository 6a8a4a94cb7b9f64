"""Job queues for tests, and what they are asked."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import Backend, JobContext
from sdenv.core.events import PhaseStarted
from sdenv.core.job_record import JobRecord
from sdenv.core.request import GenerationRequest
from sdenv.services.engine import Engine
from sdenv.services.jobs import Jobs, LoggedEvent
from sdenv.testing.fakes import PATIENCE_S

SMALL = GenerationRequest(prompt="a cat", width=64, height=64, steps=3, seed=5)


def asking(**changes: object) -> GenerationRequest:
    return GenerationRequest.model_validate({**SMALL.model_dump(include=set(SMALL.said())), **changes})


@contextmanager
def opened(folder: Path, backend: Backend | None = None, **settings: Any) -> Iterator[Jobs]:
    """A queue before a backend, by default the fake one."""
    with (
        Engine(backend or FakeBackend(FakeSettings()), name="fake") as engine,
        Jobs(engine, folder, **settings) as jobs,
    ):
        yield jobs


def done(jobs: Jobs, request: GenerationRequest = SMALL, **settings: Any) -> JobRecord:
    """A job that has ended."""
    return jobs.wait(jobs.accept(request, **settings).job.id, PATIENCE_S)


def watched(jobs: Jobs, job_id: str, after: str | None = None) -> list[LoggedEvent]:
    """All events up to the end."""

    async def collect() -> list[LoggedEvent]:
        return [event async for event in jobs.watch(job_id, after)]

    return asyncio.run(asyncio.wait_for(collect(), PATIENCE_S))


def types(events: list[LoggedEvent]) -> list[str]:
    return [str(event.record["type"]) for event in events]


@final
class Gate:
    """For `Scripted`: a job that begins, says so, and ends when it may or is cancelled."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self._may_end = threading.Event()

    def open(self) -> None:
        self._may_end.set()

    def __call__(self, context: JobContext) -> None:
        context.emit(PhaseStarted("waiting"))
        woken = threading.Event()
        with context.on_cancel(woken.set):
            self.began.release()
            while not (self._may_end.wait(0.005) or woken.is_set()):
                pass
        context.check()

    def wait_until_begun(self) -> None:
        assert self.began.acquire(timeout=PATIENCE_S)


def until_told(jobs: Jobs, job_id: str, phase: str = "waiting") -> None:
    """Waits until the queue has heard that a job is in a phase (`Gate` says "waiting")."""

    async def look() -> None:
        async for event in jobs.watch(job_id):
            if event.record.get("phase") == phase:
                return

    asyncio.run(asyncio.wait_for(look(), PATIENCE_S))
