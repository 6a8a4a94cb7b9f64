"""What happens to a job that was accepted, up to its end and after."""

import errno
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import Backend, BackendStatus, JobContext
from sdenv.core.capabilities import Capabilities
from sdenv.core.errors import (
    Cancelled,
    DiskFull,
    FailedError,
    InternalError,
    JobNotFinished,
    NoStepInTime,
    OutOfMemory,
    SdenvError,
    ServerStopping,
    UnavailableError,
    UnknownJob,
    WorkerLost,
)
from sdenv.core.events import PictureReady, PreviewReady, RequestResolved
from sdenv.core.image import decode, size_of
from sdenv.core.job_record import JobRecord, JobState
from sdenv.core.request import GenerationRequest
from sdenv.services import whole_files
from sdenv.services.engine import Engine
from sdenv.services.jobs import JobQuery, Jobs, results
from sdenv.services.jobs.rows import Ticket
from sdenv.services.metadata import read_metadata
from sdenv.testing.fakes import PATIENCE_S, BrokenBackend, SilentBackend, Spy, resolved
from sdenv.testing.samples import picture
from tests.services.jobs.support import SMALL, Gate, asking, done, opened, types, until_told, watched
from tests.support.scripted import Scripted

# Done


def test_a_job_ends_done_with_its_pictures_and_how_they_were_made(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        job = done(jobs, asking(count=2))
    assert (job.state, job.attempt, job.fraction, job.error) == (JobState.DONE, 1, 1.0, None)
    assert [(each.index, each.seed, each.width, each.height) for each in job.pictures] == [
        (0, 5, 64, 64),
        (1, 6, 64, 64),
    ]
    assert job.resolved is not None
    assert (job.resolved["steps"], job.backend, job.made_with) == (3, "fake", {"pictures": "fake"})
    assert job.started_at is not None
    assert job.ended_at is not None
    assert job.created_at <= job.started_at <= job.ended_at


def test_pictures_are_files_of_their_day_that_say_how_they_were_made(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        job = done(jobs)
        stored = jobs.picture(job.id, 0)
    files = [each for each in (tmp_path / "results").rglob("*") if each.is_file()]
    assert [each.name for each in files] == [f"{job.id}-0.png"]
    assert files[0].read_bytes() == stored.data
    assert read_metadata(stored.data).request.prompt == "a cat"


def test_the_pixels_are_those_of_the_backend(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs, Engine(FakeBackend(FakeSettings()), name="fake") as engine:
        made = engine.submit(SMALL).result().images[0]
        stored = jobs.picture(done(jobs).id, 0)
    assert decode(made).tobytes() == decode(stored).tobytes()


def test_the_row_of_a_picture_comes_after_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    write = whole_files.write_whole

    def looking(*values: Any, **named: Any) -> None:
        with sqlite3.connect(tmp_path / "jobs.sqlite3") as other_process:
            rows.append(other_process.execute("SELECT count(*) FROM pictures").fetchone()[0])
        other_process.close()
        write(*values, **named)

    monkeypatch.setattr(results, "write_whole", looking)
    with opened(tmp_path) as jobs:
        assert len(done(jobs, asking(count=2)).pictures) == 2
    assert rows == [0, 1]


def test_prompts_and_pictures_are_for_the_user_of_the_server_only(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with opened(tmp_path / "made" / "data") as jobs:
            done(jobs)
            found = list(tmp_path.rglob("*"))
            open_to_others = [each for each in found if each.stat().st_mode & 0o077]
    finally:
        os.umask(before)
    assert {each.name for each in found} >= {"made", "data", "results", "server.json", "jobs.sqlite3-wal"}
    assert open_to_others == []


def test_a_picture_that_a_backend_only_returns_is_kept_too(tmp_path: Path) -> None:
    class Quiet(Backend):
        def __init__(self) -> None:
            pass

        def probe(self) -> BackendStatus:
            return BackendStatus("quiet", "1", (), Capabilities())

        def generate(self, request: GenerationRequest, context: JobContext) -> Any:
            from sdenv.core.result import GenerationResult

            return GenerationResult(
                images=(picture(),), resolved=resolved(request), backend="quiet", seconds=0
            )

        def close(self) -> None:
            pass

    with opened(tmp_path, Quiet()) as jobs:
        job = done(jobs)
        assert size_of(jobs.picture(job.id, 0)) == (64, 64)


def test_jobs_run_side_by_side_as_many_as_the_backend_can(tmp_path: Path) -> None:
    gate = Gate()
    with opened(tmp_path, Scripted(gate, Capabilities(concurrency=3))) as jobs:
        for _ in range(3):
            jobs.accept(SMALL)
            gate.wait_until_begun()  # none of those before has ended
        jobs.accept(SMALL)
        assert (jobs.counts().running, jobs.counts().queued) == (3, 1)
        gate.open()


def test_what_is_asked_of_a_waiting_job_is_answered(tmp_path: Path) -> None:
    gate = Gate()
    with opened(tmp_path, Scripted(gate)) as jobs:
        first, second, third = (jobs.accept(SMALL).job for _ in range(3))
        until_told(jobs, first.id)
        assert (jobs.get(first.id).state, jobs.get(first.id).position) == (JobState.RUNNING, None)
        assert jobs.get(first.id).phase == "waiting"
        assert [jobs.get(each.id).position for each in (second, third)] == [0, 1]
        page = jobs.find(JobQuery(states=frozenset({JobState.QUEUED})))
        assert [(each.id, each.position) for each in page.jobs] == [(third.id, 1), (second.id, 0)]
        with pytest.raises(JobNotFinished):
            jobs.picture(second.id, 0)
        with pytest.raises(JobNotFinished):
            jobs.remove(second.id)
        with pytest.raises(NoStepInTime):
            jobs.wait(second.id, 0.01)


def test_a_picture_that_a_job_has_not_made_is_unknown(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        job = done(jobs)
        with pytest.raises(UnknownJob, match="has no picture 7"):
            jobs.picture(job.id, 7)


def test_a_picture_whose_file_is_lost_or_something_else_has_failed(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        job = done(jobs)
        file = next((tmp_path / "results").rglob("*.png"))
        elsewhere = file.rename(tmp_path / "elsewhere.png")
        with pytest.raises(FailedError, match="lost"):
            jobs.picture(job.id, 0)
        file.symlink_to(elsewhere)
        with pytest.raises(FailedError, match="lost"):
            jobs.picture(job.id, 0)
        file.unlink()
        file.write_text("a secret")
        with pytest.raises(FailedError, match="damaged") as failed:
            jobs.picture(job.id, 0)
    assert str(tmp_path) not in str(failed.value)


def test_a_fitted_size_is_the_size_that_was_asked_for(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        job = done(jobs, asking(width=99, height=70), allow_degraded=True)
        assert size_of(jobs.picture(job.id, 0)) == (99, 70)
    assert [each.code for each in job.notices] == ["size-fitted"]


# Previews


def test_the_newest_preview_can_be_seen_while_the_job_runs_and_only_it_is_kept(tmp_path: Path) -> None:

    gate = Gate()

    def previews(context: JobContext) -> None:
        context.emit(PreviewReady(1, 0, picture(shade=1)))
        context.emit(PreviewReady(2, 0, picture(shade=2)))
        gate(context)

    with opened(tmp_path, Scripted(previews)) as jobs:
        job = jobs.accept(SMALL, preview_every=1).job
        until_told(jobs, job.id)
        newest = jobs.preview(job.id)
        assert newest is not None
        assert newest.picture == picture(shade=2)
        gate.open()
        jobs.wait(job.id, PATIENCE_S)
        jobs.drain(PATIENCE_S)
        assert jobs.preview(job.id) is None
        shown = [each for each in watched(jobs, job.id) if each.record["type"] == "preview-ready"]
    assert [each.picture for each in shown][-1:] == [picture(shade=2)]


# Cancelled


def test_a_waiting_job_is_cancelled_at_once_and_never_begins(tmp_path: Path) -> None:
    gate = Gate()
    spy = Spy(Scripted(gate))
    with opened(tmp_path, spy) as jobs:
        first = jobs.accept(SMALL).job
        waiting = jobs.accept(SMALL).job
        cancelled = jobs.cancel(waiting.id)
        assert (cancelled.state, type(cancelled.error)) == (JobState.CANCELLED, Cancelled)
        assert types(watched(jobs, waiting.id)) == ["job-queued", "job-ended"]
        gate.open()
        jobs.wait(first.id, PATIENCE_S)
    assert len(spy.calls) == 1


def test_a_running_job_is_cancelled_even_when_it_says_nothing(tmp_path: Path) -> None:
    silent = SilentBackend()
    with opened(tmp_path, silent) as jobs:
        job = jobs.accept(SMALL).job
        assert silent.began.wait(PATIENCE_S)
        jobs.cancel(job.id)
        assert jobs.wait(job.id, PATIENCE_S).state is JobState.CANCELLED


def test_a_job_that_has_ended_stays_as_it_is_when_it_is_cancelled(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        job = done(jobs)
        assert jobs.cancel(job.id) == job


def test_pictures_that_were_finished_survive_a_cancel(tmp_path: Path) -> None:
    gate = Gate()

    def one_then_wait(context: JobContext) -> None:
        context.emit(RequestResolved(resolved(SMALL)))
        context.emit(PictureReady(0, picture(), 5))
        gate(context)

    with opened(tmp_path, Scripted(one_then_wait)) as jobs:
        job = jobs.accept(asking(count=2)).job
        gate.wait_until_begun()
        jobs.cancel(job.id)
        ended = jobs.wait(job.id, PATIENCE_S)
        assert (ended.state, len(ended.pictures)) == (JobState.CANCELLED, 1)
        assert size_of(jobs.picture(job.id, 0)) == (64, 64)


# Failed


@pytest.mark.parametrize("error", [FailedError("It broke."), OutOfMemory("No memory left.")])
def test_a_job_fails_with_its_cause_and_the_next_one_runs(tmp_path: Path, error: FailedError) -> None:
    faults = iter([error])

    def fails_once(context: JobContext) -> None:
        if (fault := next(faults, None)) is not None:
            raise fault

    with opened(tmp_path, Scripted(fails_once)) as jobs:
        failed, fine = done(jobs), done(jobs)
    assert failed.error is not None
    assert (failed.state, failed.error.what, failed.attempt) == (JobState.FAILED, error.what, 1)
    assert fine.state is JobState.DONE


def test_a_bug_in_a_backend_costs_one_job(tmp_path: Path) -> None:
    with opened(tmp_path, BrokenBackend()) as jobs:
        assert isinstance(done(jobs).error, InternalError)
        assert isinstance(done(jobs).error, InternalError)


def test_a_full_disk_fails_the_job_and_the_server_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as jobs:

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            failed = done(jobs, asking(count=2))
        fine = done(jobs)
    assert (failed.state, type(failed.error)) == (JobState.FAILED, DiskFull)
    assert fine.state is JobState.DONE
    assert len([each for each in (tmp_path / "results").rglob("*") if each.is_file()]) == 1


def test_a_disk_too_full_for_the_end_of_a_job_delays_only_its_writing(tmp_path: Path) -> None:
    gate = Gate()
    with opened(tmp_path, Scripted(gate)) as jobs:
        job = jobs.accept(SMALL).job
        gate.wait_until_begun()
        jobs._database._writer.execute("PRAGMA query_only = ON")  # every write fails from here on
        gate.open()
        assert jobs.wait(job.id, PATIENCE_S).state is JobState.FAILED
        assert types(watched(jobs, job.id))[-1] == "job-ended"
        with pytest.raises(SdenvError):
            jobs.check_writable()
        jobs._database._writer.execute("PRAGMA query_only = OFF")
        jobs.check_writable()
        assert done(jobs).state is JobState.DONE  # taken only after the ends before it are written
        with sqlite3.connect(tmp_path / "jobs.sqlite3") as other:
            row = other.execute("SELECT state FROM jobs WHERE id = ?", (job.id,)).fetchone()
        other.close()
    assert row == ("failed",)


def test_a_mistake_of_the_queue_itself_costs_one_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as jobs:
        with monkeypatch.context() as patched:
            patched.setattr(results, "with_metadata", lambda *_: 1 / 0)
            failed = done(jobs)
        assert isinstance(failed.error, InternalError)
        assert done(jobs).state is JobState.DONE


def test_a_mistake_of_the_queue_does_not_leave_the_backend_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, first = Gate(), [True]

    def picture_then_wait(context: JobContext) -> None:
        if first.pop():
            context.emit(RequestResolved(resolved(SMALL)))
            context.emit(PictureReady(0, picture(), 5))
            gate(context)

    monkeypatch.setattr(results, "with_metadata", lambda *_: 1 / 0)
    with opened(tmp_path, Scripted(picture_then_wait)) as jobs:
        assert isinstance(done(jobs).error, InternalError)
        first.append(False)
        assert done(jobs).state is JobState.DONE


# A worker is lost


def loses(times: int) -> Scripted:
    """Loses its worker so many times, then does the job."""
    left = [times]

    def lose(context: JobContext) -> None:
        context.emit(RequestResolved(resolved(SMALL)))
        if left[0]:
            left[0] -= 1
            raise WorkerLost("The worker was killed by signal 9.", why="Perhaps out of memory.")

    return Scripted(lose)


def test_a_lost_worker_costs_one_try(tmp_path: Path) -> None:
    with opened(tmp_path, loses(2)) as jobs:
        job = done(jobs)
        seen = watched(jobs, job.id)
    assert (job.state, job.attempt) == (JobState.DONE, 3)
    shown = [each.id for each in seen if str(each.record["type"]).startswith("job-")]
    assert shown == ["1-1", "1-2", "2-1", "2-2", "3-1", "3-2", "3-4"]
    assert seen[3].record["error"]["code"] == "worker-lost"


def test_a_job_that_loses_all_its_workers_fails_with_the_cause(tmp_path: Path) -> None:
    with opened(tmp_path, loses(9)) as jobs:
        job = done(jobs)
    assert isinstance(job.error, WorkerLost)
    assert (job.state, job.attempt) == (JobState.FAILED, 3)
    assert job.error.what == "The worker was killed by signal 9."
    assert "Perhaps out of memory. 3 tries" in job.error.why


def test_a_second_try_that_another_thread_has_taken_up_at_once_can_be_cancelled(tmp_path: Path) -> None:
    gate, tries = Gate(), [0]

    def lose_then_wait(context: JobContext) -> None:
        tries[0] += 1
        if tries[0] == 1:
            raise WorkerLost("Gone.")
        gate(context)

    with opened(tmp_path, Scripted(lose_then_wait, Capabilities(concurrency=2))) as jobs:
        jobs._runner.start(2)
        add = jobs._waiting.add

        def add_and_look_on(ticket: Ticket, *, reserved: bool) -> None:
            add(ticket, reserved=reserved)
            if ticket.attempt:
                gate.wait_until_begun()

        jobs._waiting.add = add_and_look_on  # type: ignore[method-assign]  # the first thread is slow here
        job = jobs.accept(SMALL).job
        until_told(jobs, job.id)
        jobs.cancel(job.id)
        assert jobs.wait(job.id, PATIENCE_S).state is JobState.CANCELLED


def test_the_second_try_asks_for_what_the_first_has_decided(tmp_path: Path) -> None:
    spy = Spy(loses(1))
    with opened(tmp_path, spy) as jobs:
        done(jobs, GenerationRequest(prompt="a cat"))
    first, second = spy.calls
    assert (first.seed, first.steps, first.sampler) == (None, None, None)
    assert (second.seed, second.steps, second.sampler, second.prompt) == (5, 3, "none", "a cat")


def test_the_second_try_does_not_ask_for_what_the_backend_cannot_do(tmp_path: Path) -> None:
    few = Capabilities(carries=frozenset({"prompt", "width", "height", "seed", "steps"}))
    spy = Spy(Scripted(loses(1)._script, few))
    with opened(tmp_path, spy) as jobs:
        assert done(jobs, asking()).state is JobState.DONE
    assert spy.calls[1].sampler is None


def test_a_size_that_was_fitted_is_fitted_on_the_second_try_too(tmp_path: Path) -> None:
    lost = threading.Event()

    class LosesFirst(Backend):
        def __init__(self) -> None:
            self._fake = FakeBackend(FakeSettings())

        def probe(self) -> BackendStatus:
            return self._fake.probe()

        def generate(self, request: GenerationRequest, context: JobContext) -> Any:
            result = self._fake.generate(request, context)
            if not lost.is_set():
                lost.set()
                raise WorkerLost("Gone.")
            return result

        def close(self) -> None:
            pass

    with opened(tmp_path, LosesFirst()) as jobs:
        job = done(jobs, asking(width=99, height=70), allow_degraded=True)
        assert size_of(jobs.picture(job.id, 0)) == (99, 70)
    assert (job.attempt, [each.code for each in job.notices]) == (2, ["size-fitted"])


def test_a_late_end_of_an_older_try_changes_nothing(tmp_path: Path) -> None:
    gate = Gate()
    with opened(tmp_path, Scripted(gate)) as jobs:
        job = jobs.accept(SMALL).job
        gate.wait_until_begun()
        with jobs._database.write(synced=False) as connection:  # as if another try had begun meanwhile
            connection.execute("UPDATE jobs SET attempt = 2")
        gate.open()
        jobs.drain(PATIENCE_S)
        assert jobs.get(job.id).state is JobState.RUNNING


# The end of the server


def test_a_server_that_ends_lets_running_jobs_finish(tmp_path: Path) -> None:
    gate = Gate()
    with opened(tmp_path, Scripted(gate)) as jobs:
        running, waiting = jobs.accept(SMALL).job, jobs.accept(SMALL).job
        gate.wait_until_begun()
        draining = threading.Thread(target=jobs.drain, args=(PATIENCE_S,))
        draining.start()
        gate.open()
        draining.join()
        assert [jobs.get(each.id).state for each in (running, waiting)] == [JobState.DONE, JobState.QUEUED]


def test_a_job_that_does_not_finish_in_time_runs_at_the_next_start_and_loses_no_try(tmp_path: Path) -> None:
    gate = Gate()
    for _ in range(4):
        with opened(tmp_path, Scripted(gate)) as jobs:
            if not jobs.counts().queued and not jobs.counts().running:
                job = jobs.accept(SMALL).job
            gate.wait_until_begun()
            jobs.drain(0)
            assert jobs.get(job.id).state is JobState.QUEUED
    with opened(tmp_path, loses(2)) as jobs:
        ended = jobs.wait(job.id, PATIENCE_S)
    assert (ended.state, ended.attempt) == (JobState.DONE, 7)


def test_who_waits_for_a_job_is_told_that_the_server_ends(tmp_path: Path) -> None:
    gate = Gate()
    with opened(tmp_path, Scripted(gate)) as jobs:
        job = jobs.accept(SMALL).job
        gate.wait_until_begun()
        told: list[BaseException] = []

        def wait() -> None:
            try:
                jobs.wait(job.id)
            except ServerStopping as error:
                told.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        jobs.drain(0)
        waiting.join(PATIENCE_S)
    assert len(told) == 1


def test_jobs_whose_sender_waits_end_with_the_server(tmp_path: Path) -> None:
    gate = Gate()
    with opened(tmp_path, Scripted(gate)) as jobs:
        running, waiting = (jobs.accept(SMALL, durable=False).job for _ in range(2))
        gate.wait_until_begun()
        jobs.drain(0)
        assert [jobs.get(each.id).state for each in (running, waiting)] == [JobState.CANCELLED] * 2


def test_a_closed_engine_leaves_its_jobs_for_the_next_start(tmp_path: Path) -> None:
    gate = Gate()
    with Engine(Scripted(gate), name="x") as engine, Jobs(engine, tmp_path) as jobs:
        running, waiting = jobs.accept(SMALL).job, jobs.accept(SMALL).job
        gate.wait_until_begun()
        engine.close()
    gate.open()
    with opened(tmp_path, Scripted(gate)) as jobs:
        for each in (running, waiting):
            assert jobs.wait(each.id, PATIENCE_S).state is JobState.DONE


def test_closing_twice_is_closing_once_and_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    with opened(tmp_path) as jobs:
        done(jobs)
        jobs.close()
    assert threading.active_count() == before


def test_jobs_that_were_left_wait_for_a_backend_that_is_not_there(tmp_path: Path) -> None:
    gate = Gate()
    with opened(tmp_path, Scripted(gate)) as jobs:
        job = jobs.accept(SMALL).job
        gate.wait_until_begun()
    gate.open()
    asked = threading.Semaphore(0)
    missing = [True]

    class Comes(Backend):
        def __init__(self) -> None:
            self._real = Scripted(gate)

        def probe(self) -> BackendStatus:
            asked.release()
            if missing[0]:
                raise UnavailableError("Not there yet.")
            return self._real.probe()

        def generate(self, request: GenerationRequest, context: JobContext) -> Any:
            return self._real.generate(request, context)

        def close(self) -> None:
            pass

    with opened(tmp_path, Comes()) as jobs:
        assert asked.acquire(timeout=PATIENCE_S)
        assert jobs.get(job.id).state is JobState.QUEUED
        missing[0] = False
        assert jobs.wait(job.id, PATIENCE_S).state is JobState.DONE


# Metrics


def test_an_observer_is_told_of_all_that_happens(tmp_path: Path) -> None:
    told: list[tuple[str, object]] = []

    class Observer:
        def accepted(self, job: JobRecord) -> None:
            told.append(("accepted", job.state))

        def started(self, job: JobRecord, queue_wait_s: float) -> None:
            told.append(("started", queue_wait_s >= 0))

        def stepped(self, seconds: float) -> None:
            told.append(("stepped", seconds >= 0))

        def decoded(self, seconds: float) -> None:
            told.append(("decoded", seconds >= 0))

        def picture(self, job: JobRecord) -> None:
            told.append(("picture", len(job.pictures)))

        def ended(self, job: JobRecord) -> None:
            told.append(("ended", job.state))

    with opened(tmp_path, observer=Observer()) as jobs:
        done(jobs)
        jobs.drain(PATIENCE_S)
    assert told == [
        ("accepted", JobState.QUEUED),
        ("started", True),
        *[("stepped", True)] * 3,
        ("decoded", True),
        ("picture", 1),
        ("ended", JobState.DONE),
    ]
