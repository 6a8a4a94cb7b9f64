"""What a stream can show: colour, symbols, width, a moving cursor. Read from the environment, never asked."""

import os
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Final, TextIO, final

_CODES: Final = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
"""ECMA-48 (5th edition) 8.3.117, "select graphic rendition"; the 8 colours follow the user's own palette."""

color_choice: ContextVar[str] = ContextVar("color_choice", default="")
"""`auto`, `always` or `never`, once the settings are read: what shows errors does not know the settings."""


@final
@dataclass(frozen=True, slots=True)
class Terminal:
    """What one stream can show.

    Attributes:
        is_tty: A person reads it now, not a file or a program later.
        color: Escape codes for colours may be written.
        unicode: Characters outside ASCII may be written.
        columns: Width in character cells.
        rows: Height in character cells.
        moves_cursor: Lines can be drawn over (a tty that is not `TERM=dumb`).
    """

    is_tty: bool = False
    color: bool = False
    unicode: bool = True
    columns: int = 80
    rows: int = 24
    moves_cursor: bool = False

    def paint(self, text: str, *styles: str) -> str:
        """The text in these styles ("bold", "red", ...), or as it is where colours cannot be shown."""
        if not self.color or not text or not styles:
            return text
        codes = ";".join(_CODES[style] for style in styles)
        return f"\x1b[{codes}m{text}\x1b[0m"

    def symbols(self, text: str) -> str:
        """The text with characters that this stream cannot show written as ASCII."""
        if self.unicode:
            return text
        return text.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")

    def clean(self, text: str) -> str:
        """Text from elsewhere (prompts, servers, files) without characters that a terminal would obey."""
        return self.symbols("".join(_visible(character) for character in text))


_ASCII: Final = str.maketrans(
    {
        "…": "...",
        "·": "-",
        "→": "->",
        "✓": "+",
        "✗": "x",
        "━": "#",
        "╸": "#",
        "─": ".",
        "≤": "<=",
        "“": '"',
        "”": '"',
    }
)


def _visible(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    return " " if character.isspace() else repr(character)[1:-1]


def terminal_of(stream: TextIO, environ: Mapping[str, str] | None = None) -> Terminal:
    """What this stream can show.

    Args:
        stream: stdout or stderr.
        environ: The environment; None = that of the process.
    """
    environ = os.environ if environ is None else environ
    is_tty = stream.isatty()
    dumb = environ.get("TERM", "") in ("dumb", "unknown")
    columns, rows = _size_of(stream, environ)
    return Terminal(
        is_tty=is_tty,
        color=_has_color(is_tty, dumb, environ),
        unicode=_has_unicode(stream.encoding or "ascii", environ),
        columns=columns,
        rows=rows,
        moves_cursor=is_tty and not dumb,
    )


def resized(terminal: Terminal, stream: TextIO) -> Terminal:
    """The same at the size that the stream's window has now."""
    columns, rows = _size_of(stream, os.environ, (terminal.columns, terminal.rows))
    return replace(terminal, columns=columns, rows=rows)


def _size_of(
    stream: TextIO, environ: Mapping[str, str], otherwise: tuple[int, int] = (80, 24)
) -> tuple[int, int]:
    """Columns and rows: COLUMNS and LINES if set, else what the kernel knows of this very stream."""
    try:
        size = tuple(os.get_terminal_size(stream.fileno()))
    except (OSError, ValueError):
        size = (0, 0)
    named = (environ.get("COLUMNS", ""), environ.get("LINES", ""))
    columns, rows = (
        int(said) if said.isdecimal() and int(said) else found or default
        for said, found, default in zip(named, size, otherwise, strict=True)
    )
    return columns, rows


def _has_color(is_tty: bool, dumb: bool, environ: Mapping[str, str]) -> bool:
    """The choice for sdenv; then NO_COLOR (no-color.org), FORCE_COLOR (force-color.org); then the stream."""
    said = color_choice.get() or environ.get("SDENV_COLOR", "")
    if said in ("always", "never"):
        return said == "always"
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return is_tty and not dumb


def _has_unicode(encoding: str, environ: Mapping[str, str]) -> bool:
    """Python writes UTF-8 under LC_ALL=C (PEP 540); a terminal that was told "C" may not show it."""
    said = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or ""
    return encoding.lower().replace("_", "-").startswith("utf") and said not in ("C", "POSIX")
