"""Everything at once, from many threads, before a backend that breaks; then all must have ended, and rest."""

import asyncio
import random
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final, final

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import Backend, BackendStatus, JobContext
from sdenv.core.errors import (
    Busy,
    FailedError,
    JobNotFinished,
    NoStepInTime,
    SdenvError,
    UnknownJob,
    WorkerLost,
)
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult
from sdenv.services.jobs import JobQuery, Jobs, Retention
from sdenv.services.jobs.channel import position_of
from sdenv.testing.fakes import PATIENCE_S
from tests.services.jobs.support import asking, opened

EXPECTED: Final = (Busy, UnknownJob, JobNotFinished, NoStepInTime)
"""What may be answered when everybody does everything."""


@final
class Faulty(Backend):
    """Loses its worker, fails or has a bug now and then; three at once."""

    def __init__(self, seed: int) -> None:
        self._fake = FakeBackend(FakeSettings(concurrency=3))
        self._random = random.Random(seed)

    def probe(self) -> BackendStatus:
        return self._fake.probe()

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        match self._random.randrange(20):
            case 0 | 1:
                raise WorkerLost("Gone.")
            case 2:
                raise FailedError("Broken.")
            case 3:
                raise ZeroDivisionError
        return self._fake.generate(request, context)

    def close(self) -> None:
        pass


@final
class Storm:
    """Clients that do everything with everybody's jobs."""

    def __init__(self, jobs: Jobs) -> None:
        self.ids: list[str] = []
        self.faults: list[object] = []
        self._jobs = jobs

    def client(self, seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(120):
            try:
                self._do_something(chance)
            except EXPECTED:
                pass
            except SdenvError as error:
                self.faults.append(error)

    def _do_something(self, chance: random.Random) -> None:
        jobs, some = self._jobs, chance.choice([*self.ids, "none"])
        match chance.randrange(10):
            case 0 | 1 | 2 | 3:
                request = asking(steps=chance.randint(1, 6), count=chance.randint(1, 3))
                owner, priority = chance.choice("abc"), chance.randint(-1, 1)
                self.ids.append(jobs.accept(request, owner=owner, priority=priority).job.id)
            case 4 | 5:
                jobs.cancel(some)
            case 6:
                jobs.remove(some)
            case 7:
                jobs.find(JobQuery(limit=chance.randint(1, 60)))
            case 8:
                jobs.get(some)
            case _:
                jobs.wait(some, 0.02)

    async def watcher(self, seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(20):
            await asyncio.sleep(0.01)
            places: list[tuple[int, int]] = []
            last = None
            try:
                async for event in self._jobs.watch(chance.choice([*self.ids, "none"])):
                    places.append(position_of(event.id))
                    last = event.record["type"]
            except UnknownJob:
                continue
            if last != "job-ended" or places != sorted(set(places)):
                self.faults.append((last, places))

    async def watchers(self) -> None:
        await asyncio.wait_for(asyncio.gather(*(self.watcher(seed) for seed in range(20))), PATIENCE_S)


@pytest.mark.parametrize("seed", range(2))
def test_after_a_storm_all_have_ended_and_nothing_is_left_in_memory(tmp_path: Path, seed: int) -> None:
    settings = {"queue_size": 20, "shares": {"a": 0.3, "b": 0.5}, "retention": Retention(max_jobs=50)}
    with opened(tmp_path, Faulty(seed), **settings) as jobs:
        storm = Storm(jobs)
        clients = [threading.Thread(target=storm.client, args=(100 * seed + each,)) for each in range(5)]
        for each in clients:
            each.start()
        asyncio.run(storm.watchers())
        for each in clients:
            each.join()
        for job in jobs._live.all():
            with suppress(UnknownJob):  # it has ended, and was one too many
                jobs.wait(job.id, PATIENCE_S)
        jobs.drain(PATIENCE_S)
        assert storm.faults == []
        assert jobs._live.all() == ()
        assert (jobs._waiting.unfinished, len(jobs._waiting)) == (0, 0)
