"""Lists on stdout: aligned columns that `awk` and people can read."""

import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from sdenv.cli.terminal import Terminal, terminal_of

_NARROWEST_LAST_COLUMN: Final = 20
"""Below so many cells the last column is left to the terminal, which wraps it where it ends."""


@final
@dataclass(frozen=True, slots=True)
class Painted:
    """A cell in a style; without colours, and in a pipe, it is its text.

    Attributes:
        text: What it says.
        styles: As `Terminal.paint` has them.
    """

    text: str
    styles: tuple[str, ...]


def table(heads: Sequence[str], rows: Sequence[Sequence[str | Painted]], *, cut: bool = False) -> str:
    """Rows in columns; on a terminal with heads, and with a last column that wraps.

    Args:
        heads: Names of the columns.
        rows: One text a column.
        cut: On a terminal, cut the last column where it ends instead of wrapping it: one line a row.
    """
    from rich.cells import cell_len

    terminal = terminal_of(sys.stdout)
    clean = [tuple(_clean(cell, terminal) for cell in row) for row in rows]
    shown = [tuple(Painted(head, ()) for head in heads), *clean] if terminal.is_tty else clean
    widths = [max((cell_len(row[column].text) for row in shown), default=0) for column in range(len(heads))]
    lines: list[str] = []
    for number, row in enumerate(shown):
        is_head = terminal.is_tty and number == 0
        *first, last = row
        start = "".join(
            terminal.paint(cell.text, *(("bold",) if is_head else cell.styles))
            + " " * (width - cell_len(cell.text) + 2)
            for cell, width in zip(first, widths, strict=False)
        )
        indent = sum(width + 2 for width in widths[:-1])
        parts = _last_parts(last.text, terminal, indent, cut=cut) if terminal.is_tty else [last.text]
        styles = ("bold",) if is_head else last.styles
        lines.append((start + terminal.paint(parts[0], *styles)).rstrip())
        lines += [" " * indent + terminal.paint(part, *styles) for part in parts[1:]]
    return "\n".join(lines)


def _clean(cell: str | Painted, terminal: Terminal) -> Painted:
    text, styles = (cell.text, cell.styles) if isinstance(cell, Painted) else (cell, ())
    return Painted(terminal.clean(text).replace("\n", " "), styles)


def _last_parts(text: str, terminal: Terminal, indent: int, *, cut: bool) -> list[str]:
    """The lines of a last column on a terminal."""
    from rich.cells import cell_len

    room = terminal.columns - indent
    if cell_len(text) <= room:
        return [text]
    if cut:
        return [cut_to(text, max(4, room), terminal.symbols("…"))]
    return (textwrap.wrap(text, room) if room >= _NARROWEST_LAST_COLUMN else []) or [text]


def cut_to(text: str, cells: int, mark: str = "…") -> str:
    """The text on one line of at most so many cells, counting wide characters as two.

    Args:
        text: What may be too long.
        cells: How much room there is.
        mark: What stands for the rest.
    """
    from rich.cells import cell_len, set_cell_size

    line = " ".join(text.split())
    if cell_len(line) <= cells:
        return line
    return set_cell_size(line, cells - cell_len(mark)).rstrip() + mark
