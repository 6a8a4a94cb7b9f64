"""A child may be killed, crash, hang or go mad: that costs its jobs one try, and the next starts another."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from sdenv.core.errors import Cancelled, WorkerLost
from sdenv.core.events import Notice, PhaseStarted, StepDone
from sdenv.core.result import GenerationResult
from sdenv.services.engine import Engine
from sdenv.services.worker import SupervisedBackend
from sdenv.services.worker.backend import LONGEST_BACK_OFF_S, back_off_s
from sdenv.testing.fakes import PATIENCE_S, Recorder
from sdenv.testing.samples import picture
from tests.services.worker.conftest import BEAT_S, SHORT_S, Supervise
from tests.services.worker.support import asked, is_gone, made, notice, until, watched
from tests.support.misbehaving import MisbehavingSettings


def process_of(backend: SupervisedBackend) -> int:
    """The child's number; it runs."""
    process_id = backend.facts().process_id
    assert process_id is not None
    return process_id


def lost(backend: SupervisedBackend, prompt: str) -> WorkerLost:
    with pytest.raises(WorkerLost) as raised:
        made(backend, prompt)
    return raised.value


# Ends


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        ("die SIGKILL", r"killed \(SIGKILL\) .* perhaps because it ran out of memory"),
        ("die SIGSEGV", r"\(SIGSEGV\)\. Its last words: Fatal Python error: Segmentation fault"),
        ("exit 3", "exit code 3. Its last words: the last line before the exit"),
        ("garbage", "not its protocol"),
    ],
)
def test_a_child_that_ends_costs_one_job_and_says_why(
    running: SupervisedBackend, prompt: str, why: str
) -> None:
    before = made(running)
    process_id, facts_before = process_of(running), running.facts()
    error = lost(running, prompt)
    assert re.search(why, error.why)
    assert not re.search(r'File "|Traceback|\.py', error.why)
    assert until(lambda: is_gone(process_id))
    assert made(running).result.images == before.result.images
    facts = running.facts()
    assert (facts.starts, facts.losses) == (facts_before.starts + 1, facts_before.losses + 1)


def test_a_kill_from_outside_ends_every_job_of_the_child_and_no_other(supervise: Supervise) -> None:
    with Engine(supervise(), name="two") as engine:
        jobs = [engine.submit(asked("silent")) for _ in range(2)]
        for job in jobs:
            next(event for event in job.events() if isinstance(event, Notice))
        later = engine.submit(asked("tell", seed=9))
        process_id = int(notice(list(later.events()), "process"))  # type: ignore[arg-type]  # ends with its outcome
        os.kill(process_id, signal.SIGKILL)
        for job in jobs:
            with pytest.raises(WorkerLost):
                job.result(PATIENCE_S)
        assert engine.submit(asked()).result(PATIENCE_S).images


def test_a_child_that_is_killed_while_it_is_idle_costs_nothing(running: SupervisedBackend) -> None:
    made(running)
    before = made(running)
    os.kill(process_of(running), signal.SIGKILL)
    assert until(lambda: running.facts().process_id is None)
    after = made(running)
    assert after.events == [PhaseStarted("starting"), *before.events]


def test_a_probe_survives_the_loss_of_the_child(running: SupervisedBackend) -> None:
    made(running)
    status = running.probe()
    os.kill(process_of(running), signal.SIGKILL)
    assert running.probe() == status


def test_signals_for_the_whole_family_leave_the_child_alone(supervise: Supervise) -> None:
    """A service manager or a closed terminal signals everyone; the parent may want to finish its jobs."""
    backend = supervise(MisbehavingSettings(step_seconds=0.05))
    with watched(backend, asked(steps=5)) as job:
        job.until(StepDone)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(process_of(backend), number)
        assert isinstance(job.end(), GenerationResult)


def test_a_child_that_cannot_be_started_is_a_loss(
    backend: SupervisedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patches:
        patches.setattr(sys, "executable", "/nowhere/python")
        assert lost(backend, "a cat").why == "It could not be started: No such file or directory."
    assert made(backend).result.images


# Hangs


@pytest.mark.parametrize("prompt", ["freeze", "seize"])
def test_a_child_that_hangs_is_ended_and_cannot_answer_later(
    impatient: SupervisedBackend, prompt: str
) -> None:
    """Stopped by SIGSTOP, or with all its threads held by one that does not let go of the interpreter."""
    before = made(impatient)
    process_id = process_of(impatient)
    error = lost(impatient, prompt)
    assert error.why == f"It has given no sign of life for {SHORT_S:g} s."
    with suppress(ProcessLookupError):
        os.kill(process_id, signal.SIGCONT)
    assert until(lambda: is_gone(process_id))
    assert made(impatient).result.images == before.result.images


def test_an_idle_child_that_hangs_is_found_before_the_next_job(impatient: SupervisedBackend) -> None:
    made(impatient)
    os.kill(process_of(impatient), signal.SIGSTOP)
    assert until(lambda: impatient.facts().process_id is None)
    assert made(impatient).result.images


def test_a_request_that_fills_the_pipe_of_a_stopped_child_ends(impatient: SupervisedBackend) -> None:
    """The pipe takes 64 kB, the request has megabytes; who writes it must not wait for ever."""
    made(impatient)
    os.kill(process_of(impatient), signal.SIGSTOP)
    large = picture().model_copy(update={"data": bytes(8_000_000)})
    with pytest.raises(WorkerLost):
        made(impatient, init_image=large)


def test_a_cancel_of_a_job_of_a_stopped_child_returns_at_once(supervise: Supervise) -> None:
    """It comes from a signal handler, or from the loop of a server: it must not wait for a pipe."""
    backend = supervise(heartbeat_s=BEAT_S, patience_s=2 * SHORT_S)
    backend.probe()
    os.kill(process_of(backend), signal.SIGSTOP)
    large = picture().model_copy(update={"data": bytes(8_000_000)})
    with watched(backend, asked(init_image=large)) as job:
        began = time.monotonic()
        job.cancel()
        assert time.monotonic() - began < SHORT_S
        assert isinstance(job.end(), Cancelled | WorkerLost)


def test_a_job_that_does_not_hear_its_cancel_takes_the_child_with_it(supervise: Supervise) -> None:
    backend = supervise(cancel_patience_s=SHORT_S)
    with watched(backend, asked("deaf")) as job:
        job.until(Notice)
        job.cancel()
        assert isinstance(job.end(), Cancelled)
    assert made(backend).result.images
    assert backend.facts().losses == 1


SLEEPY = f"""
import sys
from sdenv.backends.fake import FakeSettings
from sdenv.services.worker import SupervisedBackend
from sdenv.testing.requests import run
from tests.services.worker.support import asked

settings = FakeSettings(step_seconds=0.1)
backend = SupervisedBackend("fake", settings, heartbeat_s={BEAT_S}, patience_s={SHORT_S})
backend.probe()
sys.stdout.write(f"{{backend.facts().process_id}}\\n")
sys.stdout.flush()
run(backend, asked(steps=20))
sys.stdout.write(f"{{backend.facts().losses}} lost\\n")
backend.close()
"""


def script(source: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-c", source],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.mark.slow
def test_a_parent_that_was_stopped_does_not_take_its_child_for_hanging() -> None:
    """Ctrl-Z, or a machine that was asleep: what the child has said meanwhile lies in the pipe."""
    with script(SLEEPY) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        time.sleep(2 * SHORT_S)  # that so much time passes is what is tried
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=PATIENCE_S)[0] == "0 lost\n"


# Back-off


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """The back-off of a server."""
    monkeypatch.setattr("sdenv.services.worker.backend.FIRST_BACK_OFF_S", 0.25)


@pytest.mark.usefixtures("usual")
def test_the_next_start_is_put_off_the_longer_the_more_were_lost() -> None:
    delays = [back_off_s(losses) for losses in range(1, 20)]
    assert delays[:4] == [0.25, 0.5, 1.0, 2.0]
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_BACK_OFF_S


@pytest.mark.usefixtures("usual")
def test_after_losses_in_a_row_a_job_waits_for_its_turn(backend: SupervisedBackend) -> None:
    for _ in range(2):
        lost(backend, "die SIGKILL")
    began = time.monotonic()
    made(backend)
    assert time.monotonic() - began >= back_off_s(2) * 0.9
    lost(backend, "die SIGKILL")
    assert backend._not_before - time.monotonic() <= back_off_s(1)  # a finished job makes good


def test_a_job_that_waits_for_its_turn_can_be_cancelled_at_once(
    backend: SupervisedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdenv.services.worker.backend.FIRST_BACK_OFF_S", 25.0)
    lost(backend, "die SIGKILL")
    recorder = Recorder()
    threading.Timer(0.05, recorder.cancel).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        backend.generate(asked(), recorder)
    assert time.monotonic() - began < PATIENCE_S / 3
    backend.close()  # and so can the backend be closed
    assert time.monotonic() - began < PATIENCE_S / 3
    assert backend.facts().process_id is None


# What is left


def counts() -> tuple[int, int]:
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()


def test_no_descriptor_thread_or_process_is_left_of_lost_children(running: SupervisedBackend) -> None:
    made(running)
    before = counts()
    processes: list[int] = []
    for end in ("die SIGKILL", "garbage", "exit 0"):
        processes.append(process_of(running))
        lost(running, end)
        made(running)
    assert until(lambda: counts() == before)
    assert all(is_gone(each) for each in processes)


def test_a_process_that_a_lost_child_has_started_goes_with_it(running: SupervisedBackend) -> None:
    made(running)
    with watched(running, asked("start")) as job:
        event = job.until(Notice)
        assert isinstance(event, Notice)
        os.kill(process_of(running), signal.SIGKILL)
        assert isinstance(job.end(), WorkerLost)
    assert until(lambda: is_gone(int(event.message)))
