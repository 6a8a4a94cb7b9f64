"""Lists on stdout: aligned columns that `awk` and people can read."""

import sys
import textwrap
from collections.abc import Sequence

from sdenv.cli.terminal import terminal_of


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns; on a terminal with heads, and with a last column that wraps.

    Args:
        heads: Names of the columns.
        rows: One text a column.
    """
    from rich.cells import cell_len

    terminal = terminal_of(sys.stdout)
    clean = [tuple(terminal.clean(cell).replace("\n", " ") for cell in row) for row in rows]
    shown = [tuple(heads), *clean] if terminal.is_tty else clean
    widths = [max((cell_len(row[column]) for row in shown), default=0) for column in range(len(heads))]
    lines: list[str] = []
    for number, row in enumerate(shown):
        styles = ("bold",) if terminal.is_tty and number == 0 else ()
        *first, last = row
        start = "".join(
            cell + " " * (width - cell_len(cell) + 2) for cell, width in zip(first, widths, strict=False)
        )
        room = terminal.columns - cell_len(start)
        wraps = terminal.is_tty and room >= 20 and cell_len(last) > room
        parts = (textwrap.wrap(last, room) if wraps else []) or [last]
        lines.append(terminal.paint((start + parts[0]).rstrip(), *styles))
        lines += [" " * cell_len(start) + part for part in parts[1:]]
    return "\n".join(lines)
