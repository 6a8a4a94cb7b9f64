"""Ctrl-C and its kin, in real processes: the exit code, what is kept, and that nothing is left running."""

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sdenv.cli.signals import GRACE_S

SLOW = ("-b", "fake", "-O", "step_seconds=30")
STUBBORN = """
import sys, time
from sdenv.backends import ROWS
from sdenv.core.registry import Entry
import sdenv.cli, types
from sdenv.backends.fake import FakeBackend
from sdenv.core.events import PhaseStarted

class Stubborn(FakeBackend.__mro__[1]):
    Settings = FakeBackend.Settings
    def __init__(self, settings): self.inner = FakeBackend(settings)
    def probe(self): return self.inner.probe()
    def close(self): pass
    def generate(self, request, context):
        context.emit(PhaseStarted(request.prompt))
        time.sleep(60)

module = types.ModuleType("stubborn_module"); module.Stubborn = Stubborn
sys.modules["stubborn_module"] = module
ROWS["stubborn"] = Entry("stubborn_module:Stubborn")
sys.exit(sdenv.cli.run(sys.argv[1:]))
"""

PATIENT = """
import sys, time, types
from dataclasses import dataclass
from pathlib import Path
from sdenv.core.errors import Cancelled
from sdenv.core.events import PhaseStarted, StepDone
from sdenv.core.recipe import Recipe
from sdenv.core.registry import Entry
import sdenv.cli, sdenv.training, threading

@dataclass(frozen=True)
class Config:
    output: Path = Path("runs/patient")

class Patient(Recipe):
    Config = Config
    def run(self, config, context):
        context.emit(PhaseStarted("training"))
        woken = threading.Event()
        with context.on_cancel(woken.set):
            woken.wait(60)
        try:
            context.emit(StepDone(7, 10))
        except Cancelled as error:
            raise Cancelled("Saved at step 7.") from error

module = types.ModuleType("patient_module"); module.Patient = Patient
sys.modules["patient_module"] = module
sdenv.training.ROWS["patient"] = Entry("patient_module:Patient")
sys.exit(sdenv.cli.run(sys.argv[1:]))
"""


@contextmanager
def started(
    *arguments: str, program: str = "", stdin: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[str]]:
    """sdenv as a process of its own, in a group of its own; gone when the context ends."""
    start = [sys.executable, "-c", program] if program else [sys.executable, "-m", "sdenv"]
    process = subprocess.Popen(
        [*start, *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """What stderr says until a line holds this text."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if text in line:
            return said
    raise AssertionError(f"{text!r} never came: {said}")


def test_ctrl_c_ends_with_130_at_once_and_leaves_nothing(here: Path) -> None:
    with started("generate", "a cat", *SLOW) as process:
        wait_for(process, "denoising")
        process.send_signal(signal.SIGINT)
        asked_s = time.monotonic()
        out, err = process.communicate(timeout=10)
        assert time.monotonic() - asked_s < 5  # a step takes 30
    assert process.returncode == 130
    assert (out, err) == ("", "cancelled: Nothing was saved.\n")
    assert list(here.iterdir()) == []


def test_pictures_that_were_finished_are_kept_whole(here: Path) -> None:
    arguments = (
        "generate",
        "a cat",
        "-b",
        "fake",
        "-c",
        "2",
        "-s",
        "2",
        "--seed",
        "1",
        "-O",
        "step_seconds=0.4",
    )
    with started(*arguments) as process:
        wait_for(process, "picture 1/2: done")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert out == "a-cat-1-0.png\n"
    assert err.endswith("cancelled: 1 of 2 pictures was saved.\n")
    assert [path.name for path in here.iterdir()] == ["a-cat-1-0.png"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_other_signals_cancel_as_well_and_are_named(here: Path, number: signal.Signals, code: int) -> None:
    with started("generate", "a cat", *SLOW) as process:
        wait_for(process, "denoising")
        process.send_signal(number)
        _, err = process.communicate(timeout=10)
    assert process.returncode == code
    assert number.name in err
    assert list(here.iterdir()) == []


def test_a_second_ctrl_c_ends_a_backend_that_does_not_listen(here: Path) -> None:
    with started("generate", "denoising", "-b", "stubborn", program=STUBBORN) as process:
        wait_for(process, "denoising")
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=GRACE_S + 0.3)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=5)
    assert process.returncode == 130


def test_what_is_still_loading_is_left_alone_after_a_moment(here: Path) -> None:
    with started("generate", "loading", "-b", "stubborn", program=STUBBORN) as process:
        wait_for(process, "loading")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=GRACE_S + 5)
    assert (process.returncode, err) == (130, "cancelled: Nothing was saved.\n")


def test_a_cancel_in_json_is_one_object(here: Path) -> None:
    with started("generate", "a cat", *SLOW, "--progress", "json") as process:
        wait_for(process, "phase-started")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    record = json.loads(err.splitlines()[-1])
    assert (record["code"], record["exit_code"]) == ("cancelled", 130)


def test_ctrl_c_while_prompts_are_awaited_is_a_cancel(here: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"a cat\n")
    try:
        with started("generate", "-", "-b", "fake", stdin=reading) as process:
            wait_until_read(reading)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=10)
    finally:
        os.close(reading)
        os.close(writing)
    assert (process.returncode, out, err) == (130, "", "cancelled\n")


def wait_until_read(pipe: int) -> None:
    """Until somebody has taken all that is in a pipe, and so waits for more."""
    deadline_s = time.monotonic() + 10
    while int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4), sys.byteorder):
        assert time.monotonic() < deadline_s, "nobody read"
        time.sleep(0.02)  # between two looks, not for what is expected


def test_a_training_that_is_stopped_says_how_to_go_on(here: Path) -> None:
    with started("train", "patient", "-o", "runs/x", "--progress", "plain", program=PATIENT) as process:
        wait_for(process, "training")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert err.endswith("cancelled: Saved at step 7. (runs/x)\n")


def test_no_process_of_the_group_survives(here: Path) -> None:
    with started("generate", "a cat", *SLOW) as process:
        wait_for(process, "denoising")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)


def test_a_signal_that_the_caller_ignores_stays_ignored(here: Path) -> None:
    ignoring = "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    program = f"{ignoring} import sdenv.cli; sys.exit(sdenv.cli.run(sys.argv[1:]))"
    arguments = ("generate", "a", "-b", "fake", "-s", "2", "-O", "step_seconds=0.3", "-o", "a.png")
    with started(*arguments, program=program) as process:
        wait_for(process, "denoising")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, "a.png\n")


def test_a_reader_of_stdout_that_goes_away_is_quiet(here: Path) -> None:
    arguments = (
        "generate",
        "a cat",
        "-b",
        "fake",
        "-s",
        "2",
        "-O",
        "step_seconds=0.2",
        "--progress",
        "plain",
    )
    with started(*arguments) as process:
        wait_for(process, "denoising")
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        process.wait(timeout=10)
    assert process.returncode == 141
    assert "Error" not in err
    assert "Traceback" not in err


def test_in_a_terminal_ctrl_c_gives_the_cursor_back(here: Path) -> None:
    parent, child = pty.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(Path(__file__).parents[2])}
    environ.pop("TMUX", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "sdenv", "generate", "a cat", *SLOW],
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
        env=environ,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(child)
    try:
        seen = read_until(parent, b"denoising")
        os.write(parent, b"\x03")
        seen += read_until(parent, b"Nothing was saved.")
        assert process.wait(timeout=10) == 130
        assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l")
    finally:
        if process.poll() is None:
            process.kill()
        os.close(parent)


def read_until(descriptor: int, text: bytes) -> bytes:
    """What a terminal shows until this text; at most ten seconds."""
    seen, deadline_s = b"", time.monotonic() + 10
    while text not in seen:
        ready, _, _ = select.select([descriptor], [], [], deadline_s - time.monotonic())
        assert ready, f"{text!r} never came: {seen!r}"
        seen += os.read(descriptor, 65536)
    return seen
