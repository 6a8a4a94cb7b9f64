"""A backend that does to its process what the prompt says; for whoever has to survive it.

Installed for a child process by `install_misbehaving`.
"""

import ctypes
import fcntl
import importlib
import os
import signal
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final, final

import pytest
from pydantic import SecretStr

from sdenv.backends import BACKENDS
from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core import errors
from sdenv.core.backend import Backend, BackendSettings, BackendStatus, JobContext
from sdenv.core.capabilities import Capabilities
from sdenv.core.events import Measured, Notice, PreviewReady
from sdenv.core.registry import Entry
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult
from sdenv.testing.samples import picture
from tests.support.packages import install

KIND: Final = "misbehaving"
LONG_S: Final = 120.0
FLOOD: Final = 400


class MisbehavingSettings(BackendSettings):
    step_seconds: float = 0.0
    concurrency: int = 4
    secret: SecretStr = SecretStr("none")
    folder: Path = Path()
    import_fails: bool = False


@final
class MisbehavingBackend(Backend):
    """As the fake backend, after what the first words of the prompt tell it to do."""

    Settings: ClassVar[type[BackendSettings]] = MisbehavingSettings
    declared: ClassVar[Capabilities] = FakeBackend.declared

    def __init__(self, settings: MisbehavingSettings) -> None:
        if settings.import_fails:
            raise RuntimeError("no such driver")
        self._settings = settings
        fake = FakeSettings(step_seconds=settings.step_seconds, concurrency=settings.concurrency)
        self._fake = FakeBackend(fake)
        self._kept: list[bytearray] = []

    def probe(self) -> BackendStatus:
        return self._fake.probe()

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        word, _, rest = request.prompt.partition(" ")
        deed = getattr(self, f"_{word}", None)
        if deed is not None:
            deed(rest, context)
        return self._fake.generate(request, context)

    def close(self) -> None:
        pass

    # What it does to its process

    def _die(self, number: str, context: JobContext) -> None:
        os.kill(os.getpid(), getattr(signal, number))
        threading.Event().wait(LONG_S)  # it is ending

    def _exit(self, code: str, context: JobContext) -> None:
        sys.stderr.write("the last line before the exit\n")
        sys.stderr.flush()
        os._exit(int(code))

    def _leave(self, code: str, context: JobContext) -> None:
        sys.exit(int(code))

    def _bug(self, rest: str, context: JobContext) -> None:
        context.emit(Measured(1, {"one": 1 / int(rest)}))

    def _raise(self, name: str, context: JobContext) -> None:
        raise getattr(errors, name)("What happened.", why="Why it did.", hint="type this")

    def _freeze(self, rest: str, context: JobContext) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    def _seize(self, rest: str, context: JobContext) -> None:
        """Keeps every thread of Python from running, the heartbeat too."""
        context.emit(Notice("seizing", ""))
        sleep = ctypes.PyDLL(None).sleep
        sleep(int(LONG_S))

    def _silent(self, rest: str, context: JobContext) -> None:
        """Blocks without a word until a cancel unblocks it."""
        unblocked = threading.Event()
        with context.on_cancel(unblocked.set):
            context.emit(Notice("began", ""))
            unblocked.wait(LONG_S)
        context.check()

    def _deaf(self, rest: str, context: JobContext) -> None:
        """Blocks, and does not hear a cancel."""
        context.emit(Notice("began", ""))
        threading.Event().wait(LONG_S)

    def _chatty(self, rest: str, context: JobContext) -> None:
        for _ in range(2000):
            sys.stdout.write("to stdout, where the messages would be, if nobody had thought of it\n" * 4)
            sys.stderr.write("to stderr, more than a pipe holds\n" * 4)
        sys.stdout.flush()
        os.write(1, b"without Python's help\n")

    def _flood(self, rest: str, context: JobContext) -> None:
        big = picture(256, 256)
        for step in range(1, FLOOD + 1):
            context.emit(PreviewReady(step, 0, big))

    def _garbage(self, rest: str, context: JobContext) -> None:
        """Writes into every pipe that it finds, as a library with a lost descriptor would."""
        for number in range(3, 64):
            with suppress(OSError):
                is_pipe = stat.S_ISFIFO(os.fstat(number).st_mode)
                if is_pipe and fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
                    os.write(number, b"\x00\x00\x00\x05hello")
        threading.Event().wait(LONG_S)

    def _strange(self, rest: str, context: JobContext) -> None:
        context.emit(Measured(1, {"loss": float("nan")}))

    def _start(self, rest: str, context: JobContext) -> None:
        """Starts a process of its own that nobody ends."""
        started = subprocess.Popen(["sleep", str(int(LONG_S))])
        context.emit(Notice("process", str(started.pid)))
        self._deaf(rest, context)

    def _keep(self, megabytes: str, context: JobContext) -> None:
        """Fills memory, and keeps it as a model would."""
        self._kept.append(bytearray(os.urandom(2**20)) * int(megabytes))

    def _tell(self, rest: str, context: JobContext) -> None:
        context.emit(Notice("process", str(os.getpid())))
        context.emit(Notice("secret", self._settings.secret.get_secret_value()))
        context.emit(Notice("folder", str(self._settings.folder)))
        context.emit(Notice("json", str(importlib.import_module("json").__file__)))


def install_misbehaving(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts it into the tables of this process and of those that it starts."""
    target = f"{MisbehavingBackend.__module__}:MisbehavingBackend"
    install(site, "sdenv-misbehaving", {"sdenv.backends": {KIND: target}}, {})
    monkeypatch.syspath_prepend(site)
    monkeypatch.setitem(BACKENDS._all, KIND, [Entry(target)])
