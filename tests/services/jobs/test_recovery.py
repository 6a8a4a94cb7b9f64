"""What a server finds when the one before it was killed."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sdenv.core.errors import Cancelled, WorkerLost
from sdenv.core.job_record import JobRecord, JobState
from sdenv.core.request import GenerationRequest
from sdenv.services.jobs import Jobs
from sdenv.testing.fakes import PATIENCE_S, Spy
from tests.services.jobs.support import SMALL, Gate, opened, types, until_told, watched
from tests.support.scripted import Scripted

ROOT = Path(__file__).parents[3]


def day_of_death(folder: Path, first: int, stride: int) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.services.jobs.undead", str(folder), str(first), str(stride)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return report


def test_killed_at_some_points_of_its_day_it_has_lost_nothing(tmp_path: Path) -> None:
    report = day_of_death(tmp_path, 11, 31)
    assert report["faults"] == {}
    assert int(str(report["killed"])) >= 5


@pytest.mark.slow
def test_killed_at_every_point_of_its_day_it_has_lost_nothing(tmp_path: Path) -> None:
    report = day_of_death(tmp_path, 1, 1)
    assert report["faults"] == {}
    assert int(str(report["killed"])) > 200


def left_running(folder: Path, **values: object) -> JobRecord:
    """A job as a killed server leaves it: its row says that it runs."""
    gate = Gate()
    with opened(folder, Scripted(gate)) as jobs:
        job = jobs.accept(SMALL).job
        gate.wait_until_begun()
    changes = {"state": "running", "requeued": None, **values}
    with sqlite3.connect(folder / "jobs.sqlite3") as connection:
        names = ", ".join(f"{name} = ?" for name in changes)
        connection.execute(f"UPDATE jobs SET {names}", tuple(changes.values()))
    connection.close()
    return job


def ends(jobs: Jobs, job: JobRecord) -> JobRecord:
    return jobs.wait(job.id, PATIENCE_S)


def test_a_running_job_runs_again_and_says_why(tmp_path: Path) -> None:
    job = left_running(tmp_path)
    with opened(tmp_path) as jobs:
        assert (ends(jobs, job).state, ends(jobs, job).attempt) == (JobState.DONE, 2)
        second = [each for each in watched(jobs, job.id) if each.id.startswith("2-")]
    assert types(second)[:2] == ["job-requeued", "job-started"]
    assert second[0].record["error"]["what"] == "The server was killed while the job ran."


def test_a_job_that_was_killed_too_often_fails_with_the_cause(tmp_path: Path) -> None:
    job = left_running(tmp_path, losses=2)
    with opened(tmp_path) as jobs:
        failed = jobs.get(job.id)
        assert types(watched(jobs, job.id, after="1-99")) == ["job-ended"]
    assert failed.state is JobState.FAILED
    assert isinstance(failed.error, WorkerLost)
    assert "3 tries have ended like this" in failed.error.why


def test_a_job_whose_sender_is_gone_is_cancelled(tmp_path: Path) -> None:
    job = left_running(tmp_path, durable=0)
    with opened(tmp_path) as jobs:
        cancelled = jobs.get(job.id)
        assert types(watched(jobs, job.id))[-1] == "job-ended"
    assert (cancelled.state, type(cancelled.error)) == (JobState.CANCELLED, Cancelled)


def test_a_cancel_that_was_asked_for_holds_after_a_kill(tmp_path: Path) -> None:
    job = left_running(tmp_path, cancel_asked=1)
    with opened(tmp_path) as jobs:
        assert jobs.get(job.id).state is JobState.CANCELLED


def test_a_cancel_is_written_down_before_it_is_obeyed(tmp_path: Path) -> None:
    from sdenv.testing.fakes import SlowBackend

    slow = SlowBackend()
    with opened(tmp_path, slow) as jobs:
        job = jobs.accept(SMALL).job
        assert slow.began.wait(PATIENCE_S)
        jobs.cancel(job.id)
        with sqlite3.connect(tmp_path / "jobs.sqlite3") as connection:
            row = connection.execute("SELECT state, cancel_asked FROM jobs").fetchone()
        connection.close()
        slow.let(10)
    assert row == ("running", 1)


def test_what_the_first_try_had_decided_is_decided_for_the_next(tmp_path: Path) -> None:
    from sdenv.core.events import RequestResolved
    from sdenv.testing.fakes import resolved

    gate = Gate()

    def decide(context: object) -> None:
        context.emit(RequestResolved(resolved(GenerationRequest(prompt="x", seed=77))))  # type: ignore[attr-defined]
        gate(context)  # type: ignore[arg-type]

    with opened(tmp_path, Scripted(decide)) as jobs:
        job = jobs.accept(GenerationRequest(prompt="x")).job
        until_told(jobs, job.id)
    gate.open()
    spy = Spy(Scripted(gate))
    with opened(tmp_path, spy) as jobs:
        ends(jobs, job)
    assert [each.seed for each in spy.calls] == [77]


def test_half_written_pictures_of_a_killed_server_are_removed(tmp_path: Path) -> None:
    job = left_running(tmp_path)
    day = tmp_path / "results" / "1970-01-01"
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as connection:
        connection.execute("UPDATE jobs SET created_at = 0")
    connection.close()
    day.mkdir(parents=True)
    (day / ".sdenv-0123456789abcdef.part").write_bytes(b"half")
    (day / "mine.txt").write_bytes(b"kept")
    with opened(tmp_path) as jobs:
        ends(jobs, job)
    assert sorted(each.name for each in day.iterdir()) == [f"{job.id}-0.png", "mine.txt"]


def test_waiting_jobs_keep_their_order(tmp_path: Path) -> None:
    gate = Gate()
    with opened(tmp_path, Scripted(gate)) as jobs:
        accepted = [jobs.accept(SMALL, priority=priority).job.id for priority in (0, 0, 5, 0)]
        gate.wait_until_begun()
    with opened(tmp_path, Scripted(gate)) as jobs:
        gate.wait_until_begun()
        by_position = sorted(
            (job.position, job.id) for each in accepted if (job := jobs.get(each)).position is not None
        )
    # The one of priority 5 runs now; the first, which ran when the server ended, is the oldest again.
    assert [each for _, each in by_position] == [accepted[0], accepted[1], accepted[3]]
