"""Every error as a person reads it on stderr, as a script reads it in JSON, and as the exit code."""

import json
import os
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from types import TracebackType
from typing import Final, final

from sdenv.cli.terminal import Terminal, terminal_of
from sdenv.core.errors import Cancelled, InternalError, SdenvError

ERROR_VERSION: Final = 1  # `v` of the JSON object; raised when the meaning of a field changes
EXIT_BROKEN_PIPE: Final = 141  # 128 + SIGPIPE, what a shell reports for a program whose reader went away
_MAX_COLUMNS: Final = 100
_UNWRAPPED: Final = 100_000  # a log is searched line by line


class Terminated(Cancelled):
    """The work was ended by a signal other than Ctrl-C; the exit code is 128 + its number, as in shells."""

    def __init__(self, signal_number: int, what: str, why: str = "") -> None:
        super().__init__(what, why)
        self._signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self._signal_number


@final
class StoppedWaiting(Cancelled):
    """Ctrl-C has ended the watching of a job on a server; the job itself goes on."""


@final
@dataclass(frozen=True, slots=True)
class ErrorStyle:
    """How errors are shown.

    Attributes:
        as_json: One JSON object on one line instead of text.
        debug: With the traceback.
    """

    as_json: bool = False
    debug: bool = False

    @classmethod
    def of(cls, arguments: Sequence[str]) -> "ErrorStyle":
        """What the command line asks for, readable even where the rest of it is not valid."""
        flags = list(arguments)
        if "--" in flags:
            flags = flags[: flags.index("--")]
        progress_json = ("--progress", "json") in pairwise(flags)
        return cls(
            as_json="--json" in flags or "--progress=json" in flags or progress_json, debug="--debug" in flags
        )


def guarded(work: Callable[[], object], arguments: Sequence[str]) -> int:
    """Runs a command and turns the way it ends into an exit code, with the error on stderr.

    Args:
        work: The command; returns its exit code, or None for 0.
        arguments: The command line, which says how errors are to be shown.
    """
    style = ErrorStyle.of(arguments)
    try:
        code = work()
        sys.stdout.flush()
    except SdenvError as error:
        show_error(error, style)
        return error.exit_code
    except KeyboardInterrupt:
        show_error(Cancelled(), style)
        return Cancelled().exit_code
    except BrokenPipeError:
        silence_stdout()
        return EXIT_BROKEN_PIPE
    return code if isinstance(code, int) else 0


def silence_stdout() -> None:
    """Lets nothing more reach stdout, whose reader is gone; else Python complains when it ends."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def show_error(error: SdenvError, style: ErrorStyle) -> None:
    """Writes an error to stderr."""
    if style.debug:
        traceback.print_exception(error.__cause__ or error, file=sys.stderr)
    text = error_json(error) if style.as_json else error_text(error, terminal_of(sys.stderr))
    print(text, file=sys.stderr)


def show_fault(kind: type[BaseException], fault: BaseException, where: TracebackType | None) -> None:
    """Shows an exception that nothing expected, shortly; the `sys.excepthook` of the program, exit code 1."""
    style = ErrorStyle.of(sys.argv[1:])
    if style.debug:
        traceback.print_exception(kind, fault, where, file=sys.stderr)
    show_error(fault_error(fault), replace(style, debug=False))


def fault_error(fault: BaseException) -> InternalError:
    """The error that people see for an unexpected exception."""
    said = f"{type(fault).__name__}: {fault}" if str(fault) else type(fault).__name__
    return InternalError(
        "This is a fault in sdenv, not in what you typed.",
        why=f"{said.rstrip('.')}.",
        hint="Run the same command with --debug, and report what it prints in sdenv's issue tracker.",
    )


def error_json(error: SdenvError) -> str:
    """One JSON object on one line; `what`, `why` and `hint` are for people, the other fields for scripts."""
    record = {
        "v": ERROR_VERSION,
        "type": "error",
        "code": error.code,
        "kind": error.kind.value,
        "exit_code": error.exit_code,
        "repeats": error.repeats,
        "what": error.what,
        "why": error.why,
        "hint": error.hint,
    }
    return json.dumps(record)


def error_text(error: SdenvError, terminal: Terminal) -> str:
    """What happened, why, and what to type, for a person.

    Args:
        error: What happened.
        terminal: What the stream can show.
    """
    width = max(40, min(terminal.columns, _MAX_COLUMNS)) if terminal.is_tty else _UNWRAPPED
    cancelled = isinstance(error, Cancelled)
    word = "stopped" if isinstance(error, StoppedWaiting) else "cancelled"
    label, color = (word, "yellow") if cancelled else ("error", "red")
    what = "" if error.what == "Cancelled." else terminal.clean(error.what)
    code = "" if cancelled else terminal.paint(f"[{error.code}]", "dim")
    label += ":" if what else ""
    lines = _wrapped(f"{label} {what}", width, 2)
    lines[0] = terminal.paint(label, "bold", color) + lines[0].removeprefix(label)
    if code:
        lines[-1] += f" {code}"
    lines += [f"  {line}" for line in _wrapped(terminal.clean(error.why), width - 2, 0)]
    hint = _wrapped(terminal.clean(error.hint), width - 8, 0)
    lines += [
        f"  {terminal.paint('hint:', 'bold', 'green')} {line}" if index == 0 else f"        {line}"
        for index, line in enumerate(hint)
    ]
    return "\n".join(lines)


def _wrapped(text: str, width: int, indent: int) -> list[str]:
    """Lines of at most `width` cells, broken only at spaces, so that a command or a path stays whole."""
    return textwrap.wrap(
        text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )
