"""The command line: parses, calls the services, renders. stdout is data, stderr is for people.

Importing this costs nothing; the tree imports typer only, and the bodies of the commands import the rest.
"""

import sys
from collections.abc import Sequence

__all__ = ["main", "run"]


def main() -> None:
    """The program `sdenv`: runs the command line and ends the process with its exit code."""
    from sdenv.cli.errors import show_fault

    sys.excepthook = show_fault
    raise SystemExit(run(sys.argv[1:]))


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
