"""Why a child process was lost, in words that a person can act on and that tell a stranger nothing."""

import signal
from collections.abc import Sequence
from typing import Final

_LONGEST_WORDS: Final = 200
_CRASH: Final = "Fatal Python error"  # how faulthandler begins
_HEADERS: Final = ("Traceback ", "Current thread ", "Thread ", "Extension modules:", "The above exception")
"""Lines of tracebacks that are not indented; they name files and places, which an error must not."""


def cause_of_end(return_code: int | None) -> str:
    """Why a process has ended that nobody told to.

    Args:
        return_code: As `subprocess` has it: negative = a signal; None = it could not be ended.
    """
    if return_code is None:
        return "It can neither go on nor be ended; perhaps the driver of a device hangs."
    if return_code >= 0:
        return f"It has ended by itself, with exit code {return_code}."
    name = _name_of(-return_code)
    if -return_code == signal.SIGKILL:
        return f"It was killed ({name}) by somebody or by the system, perhaps because it ran out of memory."
    return f"It has crashed or was killed ({name})."


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def last_words(lines: Sequence[str]) -> str:
    """The line of its stderr that says most about the end, without tracebacks; "" if there is none."""
    telling = [line.strip() for line in lines if line.strip() and not _is_traceback(line)]
    crashes = [line for line in telling if line.startswith(_CRASH)]
    return (crashes or telling or [""])[-1][:_LONGEST_WORDS]


def _is_traceback(line: str) -> bool:
    return line[0].isspace() or line.startswith(_HEADERS)


def loss(cause: str, words: str) -> str:
    """The reason of a `WorkerLost`."""
    return f"{cause} Its last words: {words}" if words else cause
