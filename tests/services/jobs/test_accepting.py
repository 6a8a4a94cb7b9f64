"""What becomes of a request at the door of the queue."""

import sqlite3
import threading
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.errors import Busy, DiskFull, KeyReused, ServerStopping, UnknownJob, UnsupportedError
from sdenv.core.job_record import JobState
from sdenv.core.request import Control, Hires
from sdenv.services.jobs import JobCounts, Jobs, database, schema
from sdenv.testing.fakes import Spy
from sdenv.testing.samples import mask, picture
from tests.services.jobs.support import SMALL, Gate, asking, done, opened
from tests.support.scripted import Scripted


def held(folder: Path, gate: Gate, **settings: object) -> AbstractContextManager[Jobs]:
    """A queue whose jobs run until the gate is open."""
    return opened(folder, Scripted(gate), **settings)


def test_an_accepted_job_is_on_the_disk_before_its_sender_hears_of_it(tmp_path: Path) -> None:
    gate = Gate()
    with held(tmp_path, gate) as jobs:
        accepted = jobs.accept(SMALL)
        with sqlite3.connect(f"file:{tmp_path / 'jobs.sqlite3'}?mode=ro", uri=True) as other_process:
            rows = other_process.execute("SELECT id FROM jobs").fetchall()
        other_process.close()
    assert rows == [(accepted.job.id,)]


def test_the_commit_that_accepts_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    statements: list[str] = []
    plain = schema.connected

    def traced(path: Path) -> sqlite3.Connection:
        connection = plain(path)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(database, "connected", traced)
    gate = Gate()
    with held(tmp_path, gate) as jobs:
        jobs.accept(SMALL)
        gate.wait_until_begun()
    insert = next(place for place, each in enumerate(statements) if each.startswith("INSERT INTO jobs"))
    pragmas = [each for each in statements[:insert] if each.startswith("PRAGMA synchronous")]
    assert pragmas[-1] == "PRAGMA synchronous = FULL"


def test_what_the_backend_cannot_do_is_refused_and_no_job_is_made(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        with pytest.raises(UnsupportedError):
            jobs.accept(asking(hires=Hires(scale=2.0)))
        assert jobs.counts() == JobCounts()


def test_a_full_queue_refuses_and_says_when_to_come_back(tmp_path: Path) -> None:
    gate = Gate()
    with held(tmp_path, gate, queue_size=2) as jobs:
        for _ in range(3):  # one runs, two wait
            jobs.accept(SMALL)
        with pytest.raises(Busy) as refused:
            jobs.accept(SMALL)
    assert refused.value.retry_after_s == 1


def test_a_place_is_free_again_as_soon_as_a_job_has_ended(tmp_path: Path) -> None:
    with opened(tmp_path, queue_size=0) as jobs:
        for _ in range(5):
            assert done(jobs).state is JobState.DONE


def test_an_owner_cannot_fill_more_than_its_share(tmp_path: Path) -> None:
    gate = Gate()
    with held(tmp_path, gate, queue_size=7, shares={"small": 0.25}) as jobs:
        jobs.accept(SMALL, owner="small")
        jobs.accept(SMALL, owner="small")
        with pytest.raises(Busy, match="small"):
            jobs.accept(SMALL, owner="small")
        assert jobs.accept(SMALL, owner="other").is_new


def test_the_same_key_is_the_same_job(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        first = jobs.accept(asking(init_image=picture()), key="k")
        again = jobs.accept(asking(init_image=picture()), key="k")
        assert (first.is_new, again.is_new) == (True, False)
        assert first.job.id == again.job.id


def test_the_same_key_for_another_request_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        jobs.accept(asking(init_image=picture()), key="k")
        with pytest.raises(KeyReused):
            jobs.accept(asking(init_image=picture(shade=2)), key="k")


def test_the_same_key_of_another_owner_is_another_job(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        assert jobs.accept(SMALL, key="k", owner="one").is_new
        assert jobs.accept(SMALL, key="k", owner="two").is_new


def test_a_known_key_is_answered_even_when_the_queue_is_full_or_the_server_ends(tmp_path: Path) -> None:
    gate = Gate()
    with held(tmp_path, gate, queue_size=0) as jobs:
        first = jobs.accept(SMALL, key="k")
        assert jobs.accept(SMALL, key="k").job.id == first.job.id
        gate.wait_until_begun()
        gate.open()
        jobs.drain(10)
        assert jobs.accept(SMALL, key="k").job.state is JobState.DONE


def test_a_key_is_known_after_a_restart_and_forgotten_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as jobs:
        first = done(jobs, key="k")
    with opened(tmp_path) as jobs:
        assert jobs.accept(SMALL, key="k").job.id == first.id
        from sdenv.services.jobs import accepting, statements

        for module in (accepting, statements):
            monkeypatch.setattr(module, "now", lambda: first.created_at + 24 * 3600 + 1)
        assert jobs.accept(SMALL, key="k").is_new


def test_many_senders_with_one_key_begin_one_job(tmp_path: Path) -> None:
    spy = Spy(FakeBackend(FakeSettings()))
    with opened(tmp_path, spy) as jobs:
        ids: list[str] = []
        threads = [
            threading.Thread(target=lambda: ids.append(jobs.accept(SMALL, key="k").job.id)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        jobs.wait(ids[0], 30)
        assert len(set(ids)) == 1
        assert jobs.counts() == JobCounts(done=1)
    assert len(spy.calls) == 1


def test_a_server_that_ends_takes_no_more_jobs(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        jobs.drain(0)
        with pytest.raises(ServerStopping):
            jobs.accept(SMALL)


def test_a_job_that_could_not_be_written_down_takes_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, queue_size=0) as jobs:
        jobs._database._writer.execute("PRAGMA max_page_count = 1")  # SQLite's own way to a full disk
        with pytest.raises(DiskFull):
            jobs.accept(asking(init_image=picture(512, 512)))
        jobs._database._writer.execute("PRAGMA max_page_count = 1073741823")
        assert done(jobs).state is JobState.DONE


def test_a_request_comes_back_whole(tmp_path: Path) -> None:
    request = asking(
        init_image=picture(),
        mask=mask(),
        strength=0.5,
        negative_prompt="red",
        controls=(Control(type="sketch", image=picture(shade=1), weight=0.5),),
        references=(picture(shade=2), picture(shade=3)),
        extensions={"fake": {"mood": ["calm", 1, None]}},
    )
    with opened(tmp_path) as jobs:
        job = jobs.accept(request).job
        assert jobs.request_of(job.id) == request
        assert set(job.request["init_image"]) == {"sha256"}
        assert job.request == jobs.get(job.id).request


def test_the_same_input_picture_is_kept_once(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        for seed in range(3):
            jobs.accept(asking(init_image=picture(), seed=seed))
        with jobs._database.read() as connection:
            assert connection.execute("SELECT count(*) FROM inputs").fetchone()[0] == 1


def test_jobs_of_another_owner_are_not_there(tmp_path: Path) -> None:
    with opened(tmp_path) as jobs:
        job = done(jobs, owner="one")
        for ask in (jobs.get, jobs.cancel, jobs.request_of, jobs.remove, jobs.wait):
            with pytest.raises(UnknownJob):
                ask(job.id, owner="two")
        with pytest.raises(UnknownJob):
            jobs.picture(job.id, 0, owner="two")
        assert jobs.get(job.id, owner="one").owner == "one"


@pytest.mark.parametrize("job_id", ["", "nonsense", "\ud800", "../../etc/passwd", "x" * 10_000])
def test_an_id_that_is_none_is_an_unknown_job(tmp_path: Path, job_id: str) -> None:
    with opened(tmp_path) as jobs, pytest.raises(UnknownJob):
        jobs.get(job_id)


def test_requests_of_waiting_jobs_are_not_in_memory(tmp_path: Path) -> None:
    import gc

    from sdenv.core.request import GenerationRequest

    gate = Gate()
    with held(tmp_path, gate) as jobs:
        for _ in range(20):
            jobs.accept(asking(prompt="waits in the database"))
        gate.wait_until_begun()
        gc.collect()
        kept = [each for each in gc.get_objects() if type(each) is GenerationRequest]
        assert sum(each.prompt == "waits in the database" for each in kept) <= 4  # of the one that runs
