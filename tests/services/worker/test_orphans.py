"""A child never outlives its parent, however that one ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sdenv.services.worker.frames import encoded
from sdenv.testing.fakes import PATIENCE_S
from tests.services.worker.support import is_gone, until

PARENT = """
import sys, threading
import pytest
from pathlib import Path
from sdenv.services.worker import SupervisedBackend
from sdenv.core.events import Notice
from sdenv.testing.fakes import Recorder
from tests.services.worker.support import asked
from tests.support.misbehaving import KIND, MisbehavingSettings, install_misbehaving

install_misbehaving(Path(sys.argv[1]), pytest.MonkeyPatch())
backend = SupervisedBackend(KIND, MisbehavingSettings())
backend.probe()

def told(event):
    if isinstance(event, Notice):
        sys.stdout.write(f"{backend.facts().process_id} {event.message or 0}\\n")
        sys.stdout.flush()
    return False

end = sys.argv[3]
arguments = (asked(sys.argv[2]), Recorder(cancel_when=told))
threading.Thread(target=backend.generate, args=arguments, daemon=True).start()
sys.stdin.readline()
if end == "return":
    sys.exit(0)  # nobody closes the backend
raise SystemError(end)
"""


def parent(site: Path, prompt: str, end: str) -> "subprocess.Popen[str]":
    """A process with a child that works on a prompt without end."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, str(site), prompt, end],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


@pytest.mark.parametrize("prompt", ["silent", "seize"])
def test_the_child_of_a_parent_that_is_killed_ends(tmp_path: Path, prompt: str) -> None:
    """Also one that is stuck and could not read that its pipe has ended."""
    with parent(tmp_path, prompt, "kill") as process:
        assert process.stdout is not None
        child = int(process.stdout.readline().split()[0])
        assert not is_gone(child)
        process.send_signal(signal.SIGKILL)
        assert until(lambda: is_gone(child))


@pytest.mark.slow
@pytest.mark.parametrize("end", ["return", "an error"])
def test_the_child_of_a_parent_that_forgets_to_close_it_ends(tmp_path: Path, end: str) -> None:
    with parent(tmp_path, "silent", end) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline().split()[0])
        process.communicate("\n", timeout=PATIENCE_S)
        assert until(lambda: is_gone(child))


def start_worker(parent_id: int) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "sdenv.services.worker", str(parent_id)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=environment,
    )


def test_the_end_of_its_pipe_is_enough_where_the_system_says_nothing() -> None:
    """As on macOS; the parent itself lives on here."""
    with start_worker(os.getpid()) as process:
        assert process.stdin is not None
        process.stdin.write(encoded({"type": "begin", "kind": "fake", "settings": {}, "heartbeat_s": 1.0}))
        process.stdin.close()
        assert process.wait(PATIENCE_S) == -signal.SIGKILL


def test_a_child_whose_parent_was_gone_before_it_looked_ends() -> None:
    with start_worker(os.getpid() + 1) as process:
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
