"""Pictures in the terminal: which way a terminal can show them, and the bytes for each way.

Decided from the environment alone: a terminal that does not answer a query would make us wait. tmux is the
exception, because it is asked through its own command and answers or fails at once.
"""

import base64
import io
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, final

from sdenv.cli.terminal import Terminal
from sdenv.core.image import PNG, ImageData, decode

if TYPE_CHECKING:
    from PIL.Image import Image


class Graphics(Enum):
    """A way to show a picture; the value is the name in the setting `preview`."""

    KITTY = "kitty"
    KITTY_IN_TMUX = "kitty-in-tmux"
    ITERM = "iterm"
    SIXEL = "sixel"
    BLOCKS = "blocks"
    NONE = "off"


@final
@dataclass(frozen=True, slots=True)
class InlinePicture:
    """A picture as a terminal takes it.

    Attributes:
        lines: Its rows as text; empty texts where the picture is not made of characters.
        overlay: Written at the first cell once room for all rows is made; leaves the cursor where it was.
    """

    lines: tuple[str, ...]
    overlay: str = ""


_TMUX_WAIT_S: Final = 1.0
_PLACEHOLDER_TERMS: Final = ("xterm-kitty", "xterm-ghostty")
_SIXEL_TERMS: Final = ("foot", "mlterm", "contour", "yaft")
_ITERM_PROGRAMS: Final = ("iTerm.app", "WezTerm", "mintty", "rio")


def graphics_of(terminal: Terminal, environ: Mapping[str, str] | None = None) -> Graphics:
    """The best way in which a terminal can show pictures.

    Args:
        terminal: What the stream can show.
        environ: The environment; None = that of the process.
    """
    environ = os.environ if environ is None else environ
    if not terminal.moves_cursor:
        return Graphics.NONE
    if environ.get("TMUX"):
        return _inside_tmux(terminal, *_asked_tmux())
    if environ.get("STY"):
        return _blocks(terminal, environ)
    return _outside(terminal, environ)


def _outside(terminal: Terminal, environ: Mapping[str, str]) -> Graphics:
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if terminal.unicode and (
        term in _PLACEHOLDER_TERMS or program == "ghostty" or environ.get("KITTY_WINDOW_ID")
    ):
        return Graphics.KITTY
    if program in _ITERM_PROGRAMS or environ.get("LC_TERMINAL") == "iTerm2":
        return Graphics.ITERM
    # Konsole draws sixels since 22.04, Windows Terminal since 1.22.
    if (
        term.startswith(_SIXEL_TERMS)
        or environ.get("KONSOLE_VERSION", "0") >= "220400"
        or environ.get("WT_SESSION")
    ):
        return Graphics.SIXEL
    return _blocks(terminal, environ)


def _blocks(terminal: Terminal, environ: Mapping[str, str]) -> Graphics:
    """Half blocks need colours, and more than the 16 of a console."""
    rich_colors = (
        environ.get("COLORTERM") or "256" in environ.get("TERM", "") or "xterm" in environ.get("TERM", "")
    )
    return Graphics.BLOCKS if terminal.color and terminal.unicode and rich_colors else Graphics.NONE


def _asked_tmux() -> tuple[str, str, str]:
    """Name and features of the terminal around tmux, and whether escapes pass through; "" = unknown."""
    command = [
        "tmux",
        "display-message",
        "-p",
        "#{client_termname}\n#{client_termfeatures}\n#{allow-passthrough}",
    ]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_TMUX_WAIT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return "", "", ""
    term, features, passthrough = [*answer.split("\n"), "", "", ""][:3]
    return term, features, passthrough


def _inside_tmux(terminal: Terminal, outer_term: str, features: str, passthrough: str) -> Graphics:
    """Half blocks, unless pictures get through: kitty's by passthrough, sixels where tmux draws them."""
    if passthrough in ("on", "all", "1", "2") and outer_term in _PLACEHOLDER_TERMS and terminal.unicode:
        return Graphics.KITTY_IN_TMUX
    if "sixel" in features.split(","):
        return Graphics.SIXEL
    return Graphics.BLOCKS if terminal.color and terminal.unicode else Graphics.NONE


def cells_for(width_px: int, height_px: int, columns: int, rows: int) -> tuple[int, int]:
    """The largest size in cells (twice as high as wide) that has room, with the picture's aspect."""
    scale = min(columns / width_px, 2 * rows / height_px)
    return max(1, round(width_px * scale)), max(1, round(height_px * scale / 2))


def inline_picture(
    image: ImageData, graphics: Graphics, columns: int, rows: int, picture_id: int
) -> InlinePicture:
    """A picture for the terminal.

    Args:
        image: What to show.
        graphics: The way, not NONE.
        columns: Room in cells.
        rows: Room in cells.
        picture_id: For kitty, 1 to 2^24-1: a later picture of the same number takes the place of this one.
    """
    picture = decode(image).convert("RGB")
    size = cells_for(*picture.size, columns, rows)
    if graphics in (Graphics.KITTY, Graphics.KITTY_IN_TMUX):
        return _kitty(image, picture, size, picture_id, in_tmux=graphics is Graphics.KITTY_IN_TMUX)
    if graphics is Graphics.ITERM:
        return InlinePicture(("",) * size[1], _saved_cursor(_iterm(image, size)))
    if graphics is Graphics.SIXEL:
        return InlinePicture(("",) * size[1], _saved_cursor(_sixel(picture, size)))
    return InlinePicture(tuple(_half_blocks(picture, size)))


def _saved_cursor(escape: str) -> str:
    return (
        f"\x1b7{escape}\x1b8"  # DECSC, DECRC: what the cursor does after a picture differs between terminals
    )


_PLACEHOLDER: Final = "\U0010eeee"
_ROW_MARKS: Final = (
    "\u0305\u030d\u030e\u0310\u0312\u033d\u033e\u033f\u0346\u034a\u034b\u034c\u0350\u0351\u0352\u0357\u035b\u0363"
    "\u0364\u0365\u0366\u0367\u0368\u0369\u036a\u036b\u036c\u036d\u036e\u036f\u0483\u0484\u0485\u0486\u0487\u0592"
)
"""Row numbers 0 to 35 as combining marks: kitty's `rowcolumn-diacritics.txt`."""

_KITTY_CHUNK: Final = 4096  # the largest payload of one escape in kitty's graphics protocol


def _kitty(
    image: ImageData, picture: "Image", size: tuple[int, int], number: int, *, in_tmux: bool
) -> InlinePicture:
    """Kitty's graphics protocol with Unicode placeholders: the picture scrolls and is redrawn as text.

    Source: "Terminal graphics protocol" in kitty's documentation, section "Unicode placeholders". `q=2` keeps
    the terminal from answering, which would arrive as if it were typed.
    """
    columns, rows = size[0], min(size[1], len(_ROW_MARKS))
    data = base64.b64encode(image.data if image.media_type == PNG else _as_png(picture)).decode("ascii")
    control = f"a=T,U=1,f=100,q=2,i={number},c={columns},r={rows}"
    chunks = [data[start : start + _KITTY_CHUNK] for start in range(0, len(data), _KITTY_CHUNK)]
    escapes = []
    for index, chunk in enumerate(chunks):
        more = "m=1" if index < len(chunks) - 1 else "m=0"
        head = f"{control},{more}" if index == 0 else f"q=2,{more}"
        escapes.append(f"\x1b_G{head};{chunk}\x1b\\")
    if in_tmux:
        escapes = ["\x1bPtmux;" + each.replace("\x1b", "\x1b\x1b") + "\x1b\\" for each in escapes]
    color = f"\x1b[38;2;{number >> 16 & 255};{number >> 8 & 255};{number & 255}m"
    lines = tuple(
        f"{color}{_PLACEHOLDER}{mark}{_ROW_MARKS[0]}{_PLACEHOLDER * (columns - 1)}\x1b[39m"
        for mark in _ROW_MARKS[:rows]
    )
    return InlinePicture(lines, "".join(escapes))


def _as_png(picture: "Image") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _iterm(image: ImageData, size: tuple[int, int]) -> str:
    """iTerm2's inline images, also WezTerm's and mintty's. Source: iterm2.com/documentation-images.html."""
    data = base64.b64encode(image.data).decode("ascii")
    options = f"inline=1;size={len(image.data)};width={size[0]};height={size[1]};preserveAspectRatio=1"
    return f"\x1b]1337;File={options}:{data}\x07"


_ASSUMED_CELL_PX: Final = (10, 20)
_SIXEL_COLORS: Final = 128  # the DEC VT340 had 16; every current terminal has 256 or more


def _sixel(picture: "Image", size: tuple[int, int]) -> str:
    """Sixels: bands of six rows, one pass a colour. Source: DEC VT330/VT340 Programmer Reference, chapter 14.

    Each band is built with whole-row byte operations; a loop over pixels would take a second.
    """
    import PIL.Image

    cell_width_px, cell_height_px = _cell_px()
    small = picture.resize((size[0] * cell_width_px, size[1] * cell_height_px), PIL.Image.Resampling.LANCZOS)
    indexed = small.quantize(_SIXEL_COLORS)
    width_px, height_px = indexed.size
    pixels = indexed.tobytes()
    palette = indexed.getpalette() or []
    parts = [f'\x1bP0;1;0q"1;1;{width_px};{height_px}']
    for color in range(len(palette) // 3):
        red, green, blue = (round(value * 100 / 255) for value in palette[3 * color : 3 * color + 3])
        parts.append(f"#{color};2;{red};{green};{blue}")
    for top in range(0, height_px, 6):
        rows = [pixels[row * width_px : (row + 1) * width_px] for row in range(top, min(top + 6, height_px))]
        parts.append("$".join(_sixel_passes(rows)) + "-")
    parts.append("\x1b\\")
    return "".join(parts)


def _sixel_passes(rows: list[bytes]) -> Iterator[str]:
    """For each colour in a band of at most six rows: its number, and one character for each column."""
    for color in sorted(set(b"".join(rows))):
        bits = 0
        for row_number, row in enumerate(rows):
            table = bytes(1 << row_number if value == color else 0 for value in range(256))
            bits |= int.from_bytes(row.translate(table), "big")
        text = (
            (bits + int.from_bytes(b"\x3f" * len(rows[0]), "big"))
            .to_bytes(len(rows[0]), "big")
            .decode("ascii")
        )
        yield f"#{color}{_run_lengths(text)}"


def _run_lengths(text: str) -> str:
    """`!9~` instead of nine times `~`; empty columns at the end are left out."""
    import re

    stripped = text.rstrip("?")
    return re.sub(r"(.)\1{3,}", lambda run: f"!{len(run[0])}{run[1]}", stripped)


def _cell_px() -> tuple[int, int]:
    """Width and height of a character cell in pixels, from the size that the terminal tells the kernel."""
    try:
        import fcntl
        import struct
        import termios

        packed = fcntl.ioctl(2, termios.TIOCGWINSZ, b"\0" * 8)
        rows, columns, width_px, height_px = struct.unpack("HHHH", packed)
    except (ImportError, OSError):
        return _ASSUMED_CELL_PX
    if not (rows and columns and width_px and height_px):
        return _ASSUMED_CELL_PX
    return width_px // columns, height_px // rows


def _half_blocks(picture: "Image", size: tuple[int, int]) -> Iterator[str]:
    """Two pixels a cell: the upper half block in the colour of the upper, on the colour of the lower."""
    import PIL.Image

    columns, rows = size
    small = picture.resize((columns, rows * 2), PIL.Image.Resampling.BOX)  # no ringing at sharp edges
    pixels = small.tobytes()
    stride = columns * 3
    for row in range(rows):
        upper, lower = pixels[2 * row * stride :][:stride], pixels[(2 * row + 1) * stride :][:stride]
        line, before = [], b""
        for start in range(0, stride, 3):
            colors = upper[start : start + 3] + lower[start : start + 3]
            if colors != before:
                line.append("\x1b[38;2;{};{};{};48;2;{};{};{}m".format(*colors))
                before = colors
            line.append("▀")
        yield "".join(line) + "\x1b[0m"
