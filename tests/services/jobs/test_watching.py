"""Following jobs: all events, in order, once; from anywhere on, by many, after a restart."""

import asyncio
import gc
import json
import threading
from pathlib import Path

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import JobContext
from sdenv.core.capabilities import Capabilities
from sdenv.core.errors import ServerStopping, UnknownJob, WorkerLost
from sdenv.core.events import Measured, PreviewReady
from sdenv.services.jobs import LoggedEvent
from sdenv.testing.fakes import PATIENCE_S
from sdenv.testing.samples import picture
from tests.services.jobs.support import SMALL, Gate, asking, done, opened, types, until_told, watched
from tests.support.scripted import Scripted

ALL = [
    "job-queued",
    "job-started",
    "request-resolved",
    "phase-started",
    *["step-done"] * 3,
    "picture-ready",
    "job-ended",
]


def test_a_watcher_sees_all_from_the_start_and_the_end_last(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        job = jobs.accept(SMALL).job
        seen = watched(jobs, job.id)
    assert types(seen) == ALL
    assert [each.id for each in seen] == [f"1-{number}" for number in range(1, len(ALL) + 1)]
    assert all(each.record["job"] == job.id and each.record["v"] == 1 for each in seen)
    assert (seen[-1].record["state"], seen[-1].record["result"]["resolved"]["seed"]) == ("done", 5)


def test_a_job_that_has_ended_tells_the_same_again_also_after_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        job = jobs.accept(SMALL).job
        live, again = watched(jobs, job.id), watched(jobs, job.id)
    with opened(tmp_path) as jobs:
        after_restart = watched(jobs, job.id)
    assert live == again == after_restart


@pytest.mark.parametrize("place", range(len(ALL)))
def test_who_comes_back_sees_what_it_has_missed_and_nothing_twice(tmp_path: Path, place: int) -> None:
    with opened(tmp_path) as jobs:
        job = done(jobs)
        everything = watched(jobs, job.id)
        assert watched(jobs, job.id, after=everything[place].id) == everything[place + 1 :]


@pytest.mark.parametrize("after", ["", "x", "1", "-", "1-x", "²-1", "9" * 5000 + "-1", "-1-1"])
def test_what_is_no_id_means_from_the_start(tmp_path: Path, after: str) -> None:
    with opened(tmp_path) as jobs:
        assert types(watched(jobs, done(jobs).id, after)) == ALL


def test_an_unknown_job_cannot_be_watched(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs, pytest.raises(UnknownJob):
        watched(jobs, "01J00000000000000000000000")


def test_a_job_that_is_removed_just_before_it_is_read_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as jobs:
        job = done(jobs)
        jobs.drain(PATIENCE_S)
        read = jobs._reading.log

        def remove_and_read(job_id: str) -> tuple[LoggedEvent, ...]:
            jobs.remove(job_id)
            return read(job_id)

        monkeypatch.setattr(jobs._reading, "log", remove_and_read)
        with pytest.raises(UnknownJob):
            watched(jobs, job.id)


def test_a_waiting_job_can_be_watched_up_to_its_end(tmp_path: Path) -> None:
    gate = Gate()
    with opened(tmp_path, Scripted(gate)) as jobs:
        jobs.accept(SMALL)
        waiting = jobs.accept(SMALL).job
        seen: list[LoggedEvent] = []
        watcher = threading.Thread(target=lambda: seen.extend(watched(jobs, waiting.id)))
        watcher.start()
        gate.open()
        watcher.join(PATIENCE_S)
    assert types(seen) == ["job-queued", "job-started", "phase-started", "job-ended"]


def test_a_waiting_job_that_is_cancelled_ends_for_who_watches_it(tmp_path: Path) -> None:
    gate = Gate()

    async def watch_and_cancel() -> list[str]:
        seen = []
        async for event in jobs.watch(waiting.id):
            seen.append(str(event.record["type"]))
            if len(seen) == 1:
                await asyncio.to_thread(jobs.cancel, waiting.id)
        return seen

    with opened(tmp_path, Scripted(gate)) as jobs:
        jobs.accept(SMALL)
        waiting = jobs.accept(SMALL).job
        assert asyncio.run(watch_and_cancel()) == ["job-queued", "job-ended"]


def test_many_watch_many_jobs_and_none_costs_a_thread(tmp_path: Path) -> None:
    watchers, count = 40, 10

    async def follow(job_id: str) -> list[LoggedEvent]:
        return [event async for event in jobs.watch(job_id)]

    async def all_of_them() -> tuple[list[list[LoggedEvent]], int]:
        following = [asyncio.create_task(follow(ids[place % count])) for place in range(watchers)]
        await asyncio.sleep(0)  # each has begun, and waits
        threads = threading.active_count()
        gate.open()
        return list(await asyncio.wait_for(asyncio.gather(*following), PATIENCE_S)), threads

    gate = Gate()
    before = threading.active_count()
    with opened(tmp_path, Scripted(gate)) as jobs:
        ids = [jobs.accept(SMALL).job.id for _ in range(count)]
        seen, threads = asyncio.run(all_of_them())
    assert threads <= before + 2  # the queue's and the engine's
    assert all(types(each) == ["job-queued", "job-started", "phase-started", "job-ended"] for each in seen)


def test_no_event_is_lost_however_fast_they_come(tmp_path: Path) -> None:
    count = 3000

    def hail(context: JobContext) -> None:
        for number in range(count):
            context.emit(Measured(number, {"n": float(number)}))

    async def follow() -> list[float]:
        return [
            event.record["values"]["n"]
            async for event in jobs.watch(job.id)
            if event.record["type"] == "measured"
        ]

    async def many() -> list[list[float]]:
        return list(await asyncio.wait_for(asyncio.gather(*(follow() for _ in range(5))), PATIENCE_S))

    with opened(tmp_path, Scripted(hail)) as jobs:
        job = jobs.accept(SMALL).job
        seen = asyncio.run(many())
    assert all(each == [float(number) for number in range(count)] for each in seen)


def test_every_watcher_wakes_at_the_end_whenever_it_has_come(tmp_path: Path) -> None:
    """Quick jobs, watched at every moment of their lives: none is waited for in vain."""

    async def follow(job_id: str) -> str:
        return [str(event.record["type"]) async for event in jobs.watch(job_id)][-1]

    async def storm() -> list[str]:
        ends = []
        for number in range(30):
            job = await asyncio.to_thread(jobs.accept, asking(seed=number, steps=1))
            following = []
            for _ in range(6):
                following.append(asyncio.create_task(follow(job.job.id)))
                await asyncio.sleep(0.001)
            ends += await asyncio.wait_for(asyncio.gather(*following), PATIENCE_S)
        return ends

    with opened(tmp_path) as jobs:
        assert set(asyncio.run(storm())) == {"job-ended"}


def test_who_comes_in_the_moment_of_the_end_is_sent_to_the_database(tmp_path: Path) -> None:
    gate = Gate()
    with opened(tmp_path, Scripted(gate)) as jobs:
        job = jobs.accept(SMALL).job
        gate.wait_until_begun()
        live = jobs._live.get(job.id)  # a watcher has found it running, and is slow
        assert live is not None
        gate.open()
        jobs.wait(job.id, PATIENCE_S)
        jobs.drain(PATIENCE_S)
        with live.held() as channel:
            assert channel is None


def test_a_watcher_that_goes_leaves_nothing_behind(tmp_path: Path) -> None:
    gate = Gate()

    async def look_and_go() -> None:
        async for _ in jobs.watch(waiting.id):
            break
        gc.collect()
        await asyncio.sleep(0)

    with opened(tmp_path, Scripted(gate)) as jobs:
        jobs.accept(SMALL)
        waiting = jobs.accept(SMALL).job
        asyncio.run(look_and_go())
        live = jobs._live.get(waiting.id)
        assert live is not None
        assert live.channel is None
        gate.open()


def test_a_loop_that_ended_without_leaving_does_not_stop_the_job(tmp_path: Path) -> None:
    gate = Gate()
    with opened(tmp_path, Scripted(gate)) as jobs:
        job = jobs.accept(SMALL).job
        gate.wait_until_begun()
        loop = asyncio.new_event_loop()
        events = jobs.watch(job.id)
        loop.run_until_complete(anext(events))
        loop.close()
        gate.open()
        assert jobs.wait(job.id, PATIENCE_S).state.value == "done"


def test_who_watches_is_told_that_the_server_ends(tmp_path: Path) -> None:
    gate = Gate()

    async def follow(job_id: str) -> None:
        async for _ in jobs.watch(job_id):
            pass

    async def watch_the_end() -> list[BaseException | None]:
        following = [asyncio.create_task(follow(each.id)) for each in (running, waiting)]
        await asyncio.sleep(0)
        await asyncio.to_thread(jobs.drain, 0)
        return await asyncio.gather(*following, return_exceptions=True)

    with opened(tmp_path, Scripted(gate)) as jobs:
        running, waiting = jobs.accept(SMALL).job, jobs.accept(SMALL).job
        gate.wait_until_begun()
        ends = asyncio.run(watch_the_end())
    assert [type(each) for each in ends] == [ServerStopping, ServerStopping]


def test_ids_rise_over_the_tries_so_that_who_comes_back_sees_the_next_one(tmp_path: Path) -> None:
    gate = Gate()
    with opened(tmp_path, Scripted(gate)) as jobs:
        job = jobs.accept(SMALL).job
        until_told(jobs, job.id)
        last_seen = "1-3"  # phase-started of the first try
    gate.open()
    with opened(tmp_path, Scripted(gate)) as jobs:
        seen = watched(jobs, job.id, after=last_seen)
        from_the_start = watched(jobs, job.id)
    assert types(seen) == ["job-requeued", "job-started", "phase-started", "job-ended"]
    assert [each.id for each in seen] == ["2-1", "2-2", "2-3", "2-4"]
    assert types(from_the_start)[:3] == ["job-queued", "job-started", "phase-started"]


def test_a_lost_worker_is_seen_by_who_watches_at_that_moment(tmp_path: Path) -> None:
    left = [1]
    gate = Gate()

    def lose_once(context: JobContext) -> None:
        gate(context)
        if left[0]:
            left[0] -= 1
            raise WorkerLost("Gone.")

    with opened(tmp_path, Scripted(lose_once)) as jobs:
        job = jobs.accept(SMALL).job
        seen: list[LoggedEvent] = []
        watcher = threading.Thread(target=lambda: seen.extend(watched(jobs, job.id)))
        watcher.start()
        gate.wait_until_begun()
        gate.open()
        watcher.join(PATIENCE_S)
    assert [each.id for each in seen] == ["1-1", "1-2", "1-3", "2-1", "2-2", "2-3", "2-4"]


def test_only_the_newest_preview_is_in_memory(tmp_path: Path) -> None:
    gate = Gate()

    def previews(context: JobContext) -> None:
        for step in range(1, 6):
            context.emit(PreviewReady(step, 0, picture(shade=step)))
        gate(context)

    async def look() -> list[bool]:
        shown: list[bool] = []
        async for event in jobs.watch(job.id):
            if event.record["type"] == "preview-ready":
                shown.append(event.picture is not None)
            if event.record["type"] == "phase-started":
                break
        return shown

    with opened(tmp_path, Scripted(previews)) as jobs:
        job = jobs.accept(SMALL, preview_every=1).job
        until_told(jobs, job.id)
        shown = asyncio.run(look())
        assert (shown[-1], sum(shown)) == (True, 1)
        gate.open()


def test_input_pictures_are_not_in_the_log(tmp_path: Path) -> None:
    with opened(tmp_path, FakeBackend(FakeSettings())) as jobs:
        job = done(jobs, asking(init_image=picture(512, 512)))
        seen = watched(jobs, job.id)
    assert len(json.dumps([dict(each.record) for each in seen])) < 10_000


def test_jobs_that_ended_are_not_in_memory(tmp_path: Path) -> None:
    with opened(tmp_path, Scripted(lambda _: None, Capabilities(concurrency=2))) as jobs:
        for _ in range(30):
            done(jobs)
        jobs.drain(PATIENCE_S)
        assert jobs._live.all() == ()
        assert jobs._waiting.unfinished == 0
