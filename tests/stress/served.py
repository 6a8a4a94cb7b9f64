"""A server in a process of its own, that can be killed at any moment and started again at the same port."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, final

ROOT: Final = Path(__file__).parents[2]
START_S: Final = 60.0
WORKER: Final = "sdenv.services.worker"


def free_port() -> int:
    """A port that nobody has, below those that the system hands out: it stays free between two lives."""
    while True:
        port = random.SystemRandom().randrange(20_000, 30_000)
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if trial.connect_ex(("127.0.0.1", port)) != 0:
                return port


@final
class Served:
    """`sdenv serve http` over one data folder, one life after another.

    Args:
        folder: For its data and what it says on stdout and stderr.
        arguments: Further arguments of the command.
    """

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        self.data = folder / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._command = [
            sys.executable,
            "-m",
            "sdenv",
            "serve",
            "http",
            "--port",
            str(self.port),
            "--no-warm",
        ]
        self._command += ["--data-dir", str(self.data), "--json", *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process_id(self) -> int:
        """Of the life that runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Begins a life; waits for nothing."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "SDENV_CONFIG": str(self._folder / "none.toml")}
        with (self._folder / "out").open("wb") as out, (self._folder / "err").open("ab") as err:
            self._process = subprocess.Popen(
                self._command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, cwd=ROOT, env=environment
            )

    def is_listening(self) -> bool:
        """Whether this life has said so."""
        return b'"serving"' in (self._folder / "out").read_bytes()

    def wait_until_listening(self) -> None:
        """Waits for clients to be able to connect."""
        deadline = time.monotonic() + START_S
        while not self.is_listening():
            assert self._process is not None
            assert self._process.poll() is None, f"the server ended by itself: {self.said()}"
            assert time.monotonic() < deadline, f"the server does not start: {self.said()}"
            threading.Event().wait(0.02)

    def workers(self) -> list[int]:
        """The children of this life that hold a model."""
        return [each for each in children_of(self.process_id) if WORKER in command_line(each)]

    def kill(self) -> None:
        """Ends the life as a power cut would."""
        assert self._process is not None
        assert self._process.poll() is None, f"the server ended by itself: {self.said()}"
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Ends the life as a service manager would; its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(START_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    def said(self) -> str:
        """The end of what all lives have said on stderr."""
        return (self._folder / "err").read_text(encoding="utf-8", errors="replace")[-2000:]


def children_of(process_id: int) -> list[int]:
    """Numbers of the processes that a process has started."""
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == process_id and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def command_line(process_id: int) -> str:
    """How a process was called; "" = it is gone."""
    try:
        return Path(f"/proc/{process_id}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_running(process_id: int) -> bool:
    """Whether a process is there and not dead already."""
    return bool(command_line(process_id))
