"""The child process and its stderr, as the parent has them."""

import logging
import os
import subprocess
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final, final

from sdenv.services.worker.frames import READ_BYTES

KEPT_LINES: Final = 40
_logger = logging.getLogger(__name__)


def start_process() -> "subprocess.Popen[bytes]":
    """Starts the process, in a session of its own: Ctrl-C is the parent's to handle."""
    # -P and the path of this process: a file json.py in the current folder must not be imported.
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "sdenv.services.worker", str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
    )


@final
class Lines:
    """The newest lines of the child's stderr, also logged."""

    def __init__(self, kept: "deque[str]") -> None:
        self._kept = kept
        self._rest = b""

    def feed(self, data: bytes) -> bool:
        """Takes what was read; False = the end."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-READ_BYTES:]
        for line in whole if data else [self._rest]:
            text = line.decode("utf-8", "replace").rstrip()
            if text:
                self._kept.append(text)
                _logger.info("worker: %s", text)
        return bool(data)

    def drain(self, descriptor: int) -> None:
        """Takes what is there, without waiting for more: a process of the child's may keep the pipe open."""
        os.set_blocking(descriptor, False)
        with suppress(BlockingIOError):
            while self.feed(os.read(descriptor, READ_BYTES)):
                pass
