"""The command line: parses, calls the services, renders. stdout is data, stderr is for people.

Importing this costs nothing; the tree imports typer only, and the bodies of the commands import the rest.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

__all__ = ["main", "run"]


def main() -> None:
    """The program `sdenv`: runs the command line and ends the process with its exit code."""
    from sdenv.cli.errors import show_fault

    sys.excepthook = show_fault
    code = run(sys.argv[1:])
    if "torch" in sys.modules:
        _leave(code)
    raise SystemExit(code)


def _leave(code: int) -> NoReturn:
    """Ends the process without taking it apart first, which with torch takes from half a second to several.

    Nothing is lost: the engine is closed, files are whole, and what was written is flushed here.
    """
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def run(arguments: Sequence[str]) -> int:
    """Runs one command line in this process.

    Args:
        arguments: What was typed after `sdenv`.

    Returns:
        The exit code, as `sdenv.core.errors.EXIT_CODES` says; 128 + the number of a signal (143 SIGTERM), and
        141 when the reader of stdout went away.
    """
    from sdenv.cli.errors import guarded
    from sdenv.cli.tree import root_command

    return guarded(lambda: root_command().main(list(arguments), "sdenv", standalone_mode=False), arguments)
