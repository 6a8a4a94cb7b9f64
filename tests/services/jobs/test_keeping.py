"""What is kept, found and removed: searches, retention, the history, and one server for one folder."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdenv.core.errors import (
    FolderInUse,
    JobNotFinished,
    NotWritable,
    OutOfMemory,
    UnavailableError,
    UnknownJob,
)
from sdenv.core.job_record import JobState
from sdenv.core.request import GenerationRequest
from sdenv.services.jobs import History, JobCounts, JobQuery, Jobs, Retention, folder
from sdenv.testing.fakes import resolved
from sdenv.testing.samples import picture
from tests.services.jobs.support import SMALL, Gate, asking, done, opened
from tests.support.scripted import Scripted

ROOT = Path(__file__).parents[3]


def prompts(jobs: Jobs | History, **query: object) -> list[str]:
    return [str(job.request.get("prompt", "")) for job in jobs.find(JobQuery(**query)).jobs]  # type: ignore[arg-type]


def files(folder: Path) -> list[str]:
    return sorted(each.name for each in (folder / "results").rglob("*") if each.is_file())


# Searches


def test_jobs_are_found_newest_first_by_words_state_owner_dialect_and_model(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        done(jobs, asking(prompt="A red Cat"), owner="one")
        done(jobs, asking(prompt="a RED dog", negative_prompt="Straße"), owner="two", dialect="seed")
        assert prompts(jobs) == ["a RED dog", "A red Cat"]
        assert prompts(jobs, text="cat RED") == ["A red Cat"]
        assert prompts(jobs, text="STRASSE") == ["a RED dog"]
        assert prompts(jobs, text="% _") == []
        assert prompts(jobs, owner="one") == ["A red Cat"]
        assert prompts(jobs, dialect="seed") == ["a RED dog"]
        assert prompts(jobs, model="mosaic") == ["a RED dog", "A red Cat"]
        assert prompts(jobs, states=frozenset({JobState.FAILED, JobState.QUEUED})) == []
        assert jobs.counts() == JobCounts(done=2)


def test_pages_follow_each_other_and_end(tmp_path: Path) -> None:
    with opened(tmp_path, Scripted(lambda _: None)) as jobs:
        ids = [done(jobs).id for _ in range(5)]
        seen: list[str] = []
        before: str | None = None
        for expected in (2, 2, 1):
            page = jobs.find(JobQuery(limit=2, before=before))
            assert len(page.jobs) == expected
            seen += [job.id for job in page.jobs]
            before = page.next
    assert seen == ids[::-1]
    assert before is None


def test_a_page_has_a_largest_size_and_at_least_one_job(tmp_path: Path) -> None:
    with opened(tmp_path, Scripted(lambda _: None)) as jobs:
        done(jobs)
        assert len(jobs.find(JobQuery(limit=10**9)).jobs) == 1
        assert len(jobs.find(JobQuery(limit=-1)).jobs) == 1


def test_a_page_before_an_unknown_job_is_an_error(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs, pytest.raises(UnknownJob):
        jobs.find(JobQuery(before="nonsense"))


# Retention


def test_no_more_jobs_are_kept_than_wanted_and_the_oldest_go_first(tmp_path: Path) -> None:
    with opened(tmp_path, retention=Retention(max_jobs=2)) as jobs:
        ended = [done(jobs, asking(init_image=picture(shade=shade))) for shade in range(4)]
        jobs.close()
    with History(tmp_path) as history:
        assert [job.id for job in history.find(JobQuery()).jobs] == [ended[3].id, ended[2].id]
    assert files(tmp_path) == sorted(f"{job.id}-0.png" for job in ended[2:])
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as connection:
        left = {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("pictures", "inputs", "job_inputs", "logs", "removals")
        }
    connection.close()
    assert left == {"pictures": 2, "inputs": 2, "job_inputs": 2, "logs": 2, "removals": 0}


def test_jobs_older_than_wanted_are_removed_at_the_start(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        old, new = done(jobs), done(jobs)
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as connection:
        connection.execute("UPDATE jobs SET ended_at = ended_at - 100 WHERE id = ?", (old.id,))
    connection.close()
    with opened(tmp_path, retention=Retention(max_age_s=60)) as jobs:
        assert [job.id for job in jobs.find(JobQuery()).jobs] == [new.id]


def test_no_more_bytes_are_kept_than_wanted(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        ended = [done(jobs) for _ in range(3)]
    two = sum(job.pictures[0].size_bytes + 1024 for job in ended[1:])
    with History(tmp_path) as history:
        assert history.prune(Retention(max_bytes=two)) == [ended[0].id]
        assert history.prune(Retention(max_bytes=two)) == []
        assert len(history.prune(Retention(max_bytes=0))) == 2
    assert files(tmp_path) == []


def test_jobs_that_have_not_ended_are_never_removed(tmp_path: Path) -> None:
    gate = Gate()
    with opened(tmp_path, Scripted(gate), retention=Retention(0, 0, 0)) as jobs:
        running, waiting = jobs.accept(SMALL).job, jobs.accept(SMALL).job
        gate.wait_until_begun()
        with History(tmp_path) as history:
            assert history.prune(Retention(0, 0, 0)) == []
            for each in (running, waiting):
                with pytest.raises(JobNotFinished):
                    history.remove(each.id)


def test_a_removed_job_is_gone_with_its_files_and_its_key(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        job = done(jobs, key="k")
        jobs.remove(job.id)
        with pytest.raises(UnknownJob):
            jobs.get(job.id)
        assert files(tmp_path) == []
        assert jobs.accept(SMALL, key="k").is_new


def test_an_input_that_another_job_needs_stays(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        first, second = (done(jobs, asking(init_image=picture(), seed=seed)) for seed in (1, 2))
        jobs.remove(first.id)
        assert jobs.request_of(second.id).init_image == picture()


# The history


def test_the_history_reads_beside_a_server_and_without_one(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        job = done(jobs)
        with History(tmp_path) as history:
            assert history.get(job.id) == job
    with History(tmp_path) as history:
        assert history.get(job.id) == job
        assert history.request_of(job.id) == SMALL
        assert history.picture_path(job.id, 0).is_file()
        with pytest.raises(UnknownJob):
            history.picture_path(job.id, 1)


def test_an_empty_history_makes_no_files(tmp_path: Path) -> None:
    with History(tmp_path / "none") as history:
        assert history.find(JobQuery()).jobs == ()
        assert history.prune(Retention(max_jobs=0)) == []
        with pytest.raises(UnknownJob):
            history.get("x")
    assert not (tmp_path / "none").exists()


def test_what_the_command_line_has_made_is_kept_and_its_files_stay_where_they_are(tmp_path: Path) -> None:
    mine = tmp_path / "mine.png"
    mine.write_bytes(picture().data)
    request = GenerationRequest(prompt="an owl", init_image=picture(shade=1))
    with History(tmp_path / "data") as history:
        kept = history.record(
            request,
            resolved=resolved(request),
            backend="local",
            made_with={"device": "cpu"},
            seconds=1.5,
            paths={0: mine, 1: tmp_path / "moved away"},
        )
        assert (kept.state, kept.dialect, kept.backend) == (JobState.DONE, "cli", "local")
        assert (kept.seconds, kept.made_with, kept.fraction) == (1.5, {"device": "cpu"}, 1.0)
        assert [each.index for each in kept.pictures] == [0]
        assert history.picture_path(kept.id, 0) == mine
        assert history.request_of(kept.id) == request
        assert prompts(history, text="owl", model="none") == ["an owl"]
        history.remove(kept.id)
        assert prompts(history) == []
    assert mine.exists()


def test_a_failure_of_the_command_line_is_kept_with_its_cause(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        kept = history.record(SMALL, error=OutOfMemory("No memory left."), created_at=time.time() - 5)
    assert (kept.state, str(kept.error), kept.pictures) == (JobState.FAILED, "No memory left.", ())


def test_a_server_shows_and_removes_nothing_of_the_command_line(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        kept = history.record(SMALL)
    with opened(tmp_path, retention=Retention(0, 0, 0)) as jobs:
        assert jobs.find(JobQuery()).jobs == ()
        assert jobs.counts() == JobCounts()
        with pytest.raises(UnknownJob):
            jobs.get(kept.id)
        with pytest.raises(UnknownJob):
            jobs.picture(kept.id, 0)
    with History(tmp_path) as history:
        assert history.get(kept.id) == kept


def test_a_file_that_is_no_picture_is_left_out(tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with History(tmp_path) as history:
        assert history.record(SMALL, paths={0: text}).pictures == ()


# One server for one folder


def test_a_second_server_on_one_folder_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(FolderInUse, match=f"process {os.getpid()}"), opened(tmp_path):
        pass
    with opened(tmp_path) as jobs:  # it is free again
        assert jobs.counts() == JobCounts()


def test_a_server_of_another_process_holds_the_folder_until_it_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from tests.services.jobs.support import opened\n"
        "with opened(Path(sys.argv[1])): print('open', flush=True); time.sleep(600)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    try:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(FolderInUse, match=f"process {other.pid}"), opened(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    with opened(tmp_path) as jobs:
        assert jobs.counts() == JobCounts()


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_disk_is_refused(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "with space"
    place.mkdir()
    mounts = tmp_path / "mounts"
    shown = str(place).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {shown} {kind} rw 0 0\nproc /proc proc rw 0 0\n")
    with pytest.raises(FolderInUse, match="network disk"):
        folder.refuse_network_disk(place, mounts)
    folder.refuse_network_disk(tmp_path, mounts)
    folder.refuse_network_disk(place, tmp_path / "not linux")


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(UnavailableError, match="newer sdenv"), opened(tmp_path):
        pass


def test_a_database_that_is_none_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite3").write_bytes(b"this is no database, and somebody may need it" * 30)
    with pytest.raises(UnavailableError, match="damaged or is something else"), opened(tmp_path):
        pass
    assert (tmp_path / "jobs.sqlite3").read_bytes().startswith(b"this is no database")


def test_a_folder_that_cannot_be_made_is_an_error_for_a_person(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWritable), opened(tmp_path / "file" / "data"):
        pass
