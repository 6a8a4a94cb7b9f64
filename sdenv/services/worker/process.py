"""What the child process does to itself before it works, so that it neither outlives nor harms its parent."""

import ctypes
import faulthandler
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

_PR_SET_PDEATHSIG: Final = 1  # <sys/prctl.h>
_OOM_SCORE: Final = "500"
"""Of 1000; 0 is ordinary. When memory runs out Linux ends the child, whose jobs run again, not the server."""


def settle(parent_id: int) -> tuple[int, int]:
    """Binds this process to its parent and takes the pipes away from whoever prints.

    Args:
        parent_id: The process that has started this one.

    Returns:
        The pipe from the parent and the pipe to it. stdin is empty from now on, and stdout goes to stderr: no
        library that prints can break the protocol.
    """
    _die_with(parent_id)
    _be_the_first_to_go()
    faulthandler.enable()  # the parent keeps the last lines, to say why it was lost
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # The parent decides: service managers signal the whole family, and the parent may want to drain. Not
        # SIG_IGN, which programs that are started from here would inherit.
        signal.signal(number, _do_nothing)
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return incoming, outgoing


def _do_nothing(number: int, frame: object) -> None:
    """A handler that only keeps a signal from ending the process."""
    del number, frame


def _die_with(parent_id: int) -> None:
    """Has Linux kill this process when its parent ends, however it ends, also when Python here is stuck.

    On other systems the end of the pipe says so, see `Worker.run`. (Linux means the thread that has started
    it; `Child` therefore starts it in a thread that lives as long as the process.)
    """
    if sys.platform == "linux":
        prctl: Callable[..., int] = ctypes.CDLL(None).prctl
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_id:  # it has ended before that was settled
        vanish()


def _be_the_first_to_go() -> None:
    with suppress(OSError):  # not Linux, or a container that forbids it
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")


def vanish() -> NoReturn:
    """Ends this process and all that it has started, at once."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
