"""What the job queue costs: accepting, seeing through, asking, and telling many watchers.

    python tests/benchmarks/bench_jobs.py [FOLDER]

The backend makes nothing, so that all that is measured is the queue. FOLDER chooses the disk; by default it
is the system's folder for temporary files, which may lie in memory, where a sync costs nothing.
"""

import asyncio
import resource
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final, final

from sdenv.core.backend import Backend, BackendStatus, JobContext
from sdenv.core.capabilities import Capabilities
from sdenv.core.events import PictureReady, RequestResolved, StepDone
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult
from sdenv.services.engine import Engine
from sdenv.services.jobs import Jobs
from sdenv.testing.fakes import resolved
from sdenv.testing.samples import picture

JOBS: Final = 1000
WATCHERS: Final = 50
STEPS: Final = 20
REQUEST: Final = GenerationRequest(prompt="a cat", width=64, height=64, steps=STEPS, seed=1)
PICTURE: Final = picture()


@final
class Instant(Backend):
    """Twenty steps and a picture, at once; nothing before it may."""

    def __init__(self) -> None:
        self.may = threading.Event()

    def probe(self) -> BackendStatus:
        return BackendStatus("instant", "1", (), Capabilities())

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        self.may.wait()
        made = resolved(request)
        context.emit(RequestResolved(made))
        for step in range(1, STEPS + 1):
            context.emit(StepDone(step, STEPS))
        context.emit(PictureReady(0, PICTURE, made.seed))
        return GenerationResult(images=(PICTURE,), resolved=made, backend="instant", seconds=0.0)

    def close(self) -> None:
        self.may.set()


def resident_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def spread(name: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    p99 = ordered[int(len(ordered) * 0.99)]
    print(f"{name:<34} median {statistics.median(ordered) * 1e3:7.2f} ms   p99 {p99 * 1e3:7.2f} ms")


def timed_accepts(jobs: Jobs, count: int) -> tuple[list[str], list[float]]:
    ids, took = [], []
    for _ in range(count):
        began = time.perf_counter()
        ids.append(jobs.accept(REQUEST).job.id)
        took.append(time.perf_counter() - began)
    return ids, took


async def follow(jobs: Jobs, job_id: str) -> int:
    return sum([1 async for _ in jobs.watch(job_id)])


async def fan_out(jobs: Jobs, backend: Instant, ids: list[str]) -> tuple[int, int, list[float], float]:
    """All watchers on all jobs in turn, while statuses are asked for."""

    async def watcher(first: int) -> int:
        return sum([await follow(jobs, ids[place]) for place in range(first, len(ids), 10)])

    statuses: list[float] = []

    async def ask() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.to_thread(jobs.get, ids[len(statuses) % len(ids)])
            statuses.append(time.perf_counter() - began)
            await asyncio.sleep(0.005)

    asking = asyncio.create_task(ask())
    following = [asyncio.create_task(watcher(number % 10)) for number in range(WATCHERS)]
    await asyncio.sleep(0.1)
    threads = threading.active_count()
    began = time.perf_counter()
    backend.may.set()
    events = sum(await asyncio.gather(*following))
    took = time.perf_counter() - began
    asking.cancel()
    return events, threads, statuses, took


def main(folder: Path) -> None:
    backend = Instant()
    with Engine(backend, name="instant", queue_size=JOBS) as engine, Jobs(engine, folder) as jobs:
        before = resident_mib()
        ids, took = timed_accepts(jobs, JOBS)
        print(f"{'accepted':<34} {len(took) / sum(took):7.0f} jobs/s, each synced to the disk")
        spread("accept", took)
        full = resident_mib()
        events, threads, statuses, wall = asyncio.run(fan_out(jobs, backend, ids))
        print(f"{'seen through, 50 watching':<34} {JOBS / wall:7.0f} jobs/s")
        print(
            f"{'told to the watchers':<34} {events / wall:7.0f} events/s, {events} in all, {threads} threads"
        )
        spread("get, meanwhile", statuses)
        began = time.perf_counter()
        for _ in range(300):
            job = jobs.accept(REQUEST).job.id
            jobs.wait(job)
        each_ms = (time.perf_counter() - began) / 300 * 1e3
        print(f"{'accept, run and wait, one by one':<34} {each_ms:7.2f} ms a job")
        after = resident_mib()
        print(
            f"{'memory, most':<34} {before:7.0f} MiB before, {full:.0f} with {JOBS} queued, {after:.0f} after"
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as place:
        main(Path(place))
