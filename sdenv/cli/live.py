"""A region at the bottom of the terminal that is drawn over and over: a picture, and lines below it."""

from collections.abc import Sequence
from typing import Final, TextIO, final

from sdenv.cli.inline import InlinePicture

_HIDE_CURSOR: Final = "\x1b[?25l"
SHOW_CURSOR: Final = "\x1b[?25h"
_BEGIN_UPDATE: Final = "\x1b[?2026h"  # "synchronized output"; terminals that do not know it ignore it
_END_UPDATE: Final = "\x1b[?2026l"
_CLEAR_LINE: Final = "\x1b[K"
_CLEAR_BELOW: Final = "\x1b[J"


@final
class Region:
    """The drawn region. Between calls the cursor stands at the start of the line below it.

    Args:
        stream: The terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._picture: InlinePicture | None = None
        self._height = 0
        self._hidden = False

    def draw(self, picture: InlinePicture | None, lines: Sequence[str]) -> None:
        """Shows the picture (left as it is on the screen if it is the one shown already) and the lines."""
        parts = [_BEGIN_UPDATE, "" if self._hidden else _HIDE_CURSOR]
        picture_rows = len(picture.lines) if picture else 0
        same_picture = picture is self._picture and self._height >= picture_rows
        if not same_picture and _rows(picture) != _rows(self._picture):
            parts += [_up(self._height), _CLEAR_BELOW]
        else:
            parts.append(_up(self._height))
        if picture and same_picture and self._height:
            parts.append(_down(picture_rows))
        elif picture:
            parts += [
                f"{line}\r\n" if picture.overlay and not line else f"{line}{_CLEAR_LINE}\r\n"
                for line in picture.lines
            ]
            if picture.overlay:
                parts += [_up(picture_rows), picture.overlay, _down(picture_rows)]
        parts += [f"{line}{_CLEAR_LINE}\r\n" for line in lines]
        parts += [_CLEAR_BELOW, _END_UPDATE]
        self._picture, self._height, self._hidden = picture, picture_rows + len(lines), True
        self._write("".join(parts))

    def clear(self) -> None:
        """Takes the region away; the cursor stands where it began."""
        if self._height:
            self._write(_up(self._height) + _CLEAR_BELOW)
        self._picture, self._height = None, 0

    def print(self, text: str, picture: InlinePicture | None = None) -> None:
        """Writes lines, or a picture, that stay; the region must be cleared before."""
        parts = [f"{text}\r\n"] if text else []
        if picture:
            parts += [f"{line}\r\n" for line in picture.lines]
            if picture.overlay:
                parts += [_up(len(picture.lines)), picture.overlay, _down(len(picture.lines))]
        self._write("".join(parts))

    def close(self) -> None:
        """Takes the region away and shows the cursor again."""
        self.clear()
        if self._hidden:
            self._write(SHOW_CURSOR)
            self._hidden = False

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _rows(picture: InlinePicture | None) -> int:
    return len(picture.lines) if picture else 0


def _up(rows: int) -> str:
    return f"\x1b[{rows}A\r" if rows else "\r"


def _down(rows: int) -> str:
    return f"\x1b[{rows}B\r" if rows else "\r"
