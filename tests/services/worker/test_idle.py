"""An idle child is ended, and its memory is free; the next job starts another."""

import sys
from pathlib import Path

from sdenv.core.events import PhaseStarted
from sdenv.core.result import GenerationResult
from tests.services.worker.conftest import Supervise
from tests.services.worker.support import asked, is_gone, made, until, watched
from tests.support.misbehaving import MisbehavingSettings

IDLE_S = 0.4
MEGABYTES = 200


def test_after_its_time_an_idle_child_is_ended_and_its_memory_is_free(supervise: Supervise) -> None:
    backend = supervise(idle_unload_s=IDLE_S, heartbeat_s=0.05)
    first = made(backend, f"keep {MEGABYTES}")
    process_id = backend.facts().process_id
    assert process_id is not None
    assert until(lambda: backend.facts().resident_bytes > MEGABYTES * 2**20)
    assert until(lambda: is_gone(process_id))
    facts = backend.facts()
    assert (facts.process_id, facts.resident_bytes, facts.losses) == (None, 0, 0)
    again = made(backend, f"keep {MEGABYTES}")
    assert again.events == first.events
    assert again.events[0] == PhaseStarted("starting")
    assert backend.facts().starts == 2


def test_what_it_says_of_itself_is_kept_and_starts_no_child(supervise: Supervise) -> None:
    backend = supervise(idle_unload_s=IDLE_S, heartbeat_s=0.05)
    status = backend.probe()
    assert until(lambda: backend.facts().process_id is None)
    assert backend.probe() == status
    assert backend.facts().starts == 1


def test_a_probe_now_and_then_does_not_keep_it_alive(supervise: Supervise) -> None:
    """A monitor asks every few seconds."""
    backend = supervise(idle_unload_s=IDLE_S, heartbeat_s=0.05)

    def asked_and_ended() -> bool:
        backend.probe()
        return backend.facts().process_id is None

    assert until(asked_and_ended)


def test_a_job_that_takes_longer_than_that_is_left_alone(supervise: Supervise) -> None:
    backend = supervise(MisbehavingSettings(step_seconds=0.1), idle_unload_s=IDLE_S / 4, heartbeat_s=0.05)
    with watched(backend, asked(steps=6)) as job:
        assert isinstance(job.end(), GenerationResult)
    assert backend.facts().starts == 1


def test_when_memory_runs_out_the_child_goes_before_the_server(supervise: Supervise) -> None:
    backend = supervise()
    backend.probe()
    score = Path(f"/proc/{backend.facts().process_id}/oom_score_adj")
    assert sys.platform != "linux" or score.read_text(encoding="ascii").strip() == "500"
