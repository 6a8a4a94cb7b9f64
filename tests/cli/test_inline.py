"""Pictures in the terminal: the choice of a way, and the bytes of each, decoded again by independent code."""

import base64
import io
import re

import PIL.Image
import pytest

from sdenv.cli.inline import Graphics, cells_for, graphics_of, inline_picture
from sdenv.cli.terminal import Terminal
from sdenv.core.image import ImageData, encode_png

TTY = Terminal(is_tty=True, color=True, columns=80, rows=24, moves_cursor=True)
XTERM = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


def picture(width: int = 64, height: int = 48) -> PIL.Image.Image:
    image = PIL.Image.linear_gradient("L").resize((width, height))
    return PIL.Image.merge(
        "RGB", (image, image.rotate(90).resize((width, height)), PIL.Image.new("L", (width, height), 40))
    )


@pytest.mark.parametrize(
    ("environ", "way"),
    [
        ({"TERM": "xterm-kitty"}, Graphics.KITTY),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, Graphics.KITTY),
        ({"TERM": "xterm-ghostty", "TERM_PROGRAM": "ghostty"}, Graphics.KITTY),
        ({**XTERM, "TERM_PROGRAM": "iTerm.app"}, Graphics.ITERM),
        ({**XTERM, "TERM_PROGRAM": "WezTerm"}, Graphics.ITERM),
        ({**XTERM, "LC_TERMINAL": "iTerm2"}, Graphics.ITERM),
        ({"TERM": "foot"}, Graphics.SIXEL),
        ({"TERM": "foot-extra"}, Graphics.SIXEL),
        ({**XTERM, "KONSOLE_VERSION": "230800"}, Graphics.SIXEL),
        ({**XTERM, "KONSOLE_VERSION": "211200"}, Graphics.BLOCKS),
        ({**XTERM, "WT_SESSION": "x"}, Graphics.SIXEL),
        (XTERM, Graphics.BLOCKS),
        ({"TERM": "screen.xterm-256color", "STY": "1", "TERM_PROGRAM": "iTerm.app"}, Graphics.BLOCKS),
        ({"TERM": "linux"}, Graphics.NONE),
        ({"TERM": "vt100"}, Graphics.NONE),
    ],
)
def test_the_way_is_read_from_the_environment(environ: dict[str, str], way: Graphics) -> None:
    assert graphics_of(TTY, environ) is way


@pytest.mark.parametrize(
    "terminal",
    [Terminal(), Terminal(is_tty=True, moves_cursor=False), Terminal(is_tty=True, moves_cursor=True)],
)
def test_nothing_is_drawn_without_a_terminal_that_can(terminal: Terminal) -> None:
    assert graphics_of(terminal, XTERM) is Graphics.NONE


@pytest.mark.parametrize(
    ("size", "room", "cells"),
    [
        ((64, 64), (32, 16), (32, 16)),
        ((64, 64), (80, 10), (20, 10)),
        ((128, 64), (32, 16), (32, 8)),
        ((1, 900), (9, 9), (1, 9)),
    ],
)
def test_the_aspect_is_kept(size: tuple[int, int], room: tuple[int, int], cells: tuple[int, int]) -> None:
    assert cells_for(*size, *room) == cells


def test_half_blocks_show_two_pixels_a_cell() -> None:
    image = PIL.Image.new("RGB", (4, 4), "red")
    image.paste("blue", (0, 2, 4, 4))
    shown = inline_picture(encode_png(image), Graphics.BLOCKS, 2, 1, 1)
    assert shown.overlay == ""
    assert shown.lines == ("\x1b[38;2;255;0;0;48;2;0;0;255m▀▀\x1b[0m",)


def payloads(text: str, start: str, end: str) -> list[str]:
    return re.findall(re.escape(start) + "(.*?)" + re.escape(end), text, re.DOTALL)


def test_kitty_gets_the_picture_in_chunks_and_a_placeholder_for_each_cell() -> None:
    noisy = PIL.Image.effect_noise((90, 90), 90).convert("RGB")
    data = encode_png(noisy)
    shown = inline_picture(data, Graphics.KITTY, 20, 10, 0x123456)
    chunks = payloads(shown.overlay, "\x1b_G", "\x1b\\")
    controls = [dict(pair.split("=") for pair in chunk.partition(";")[0].split(",")) for chunk in chunks]
    assert controls[0] == {
        "a": "T",
        "U": "1",
        "f": "100",
        "q": "2",
        "i": str(0x123456),
        "c": "20",
        "r": "10",
        "m": "1",
    }
    assert [each["m"] for each in controls] == ["1"] * (len(chunks) - 1) + ["0"]
    assert all(each["q"] == "2" for each in controls), "a terminal that answers would type into the shell"
    assert all(len(chunk.partition(";")[2]) <= 4096 for chunk in chunks)
    assert base64.b64decode("".join(chunk.partition(";")[2] for chunk in chunks)) == data.data
    assert len(shown.lines) == 10
    assert all(line.count("\U0010eeee") == 20 and "\x1b[38;2;18;52;86m" in line for line in shown.lines)
    assert len({line[line.index("\U0010eeee") + 1] for line in shown.lines}) == 10


def test_in_tmux_kittys_escapes_are_wrapped_for_the_terminal_around_it() -> None:
    data = encode_png(picture())
    plain = inline_picture(data, Graphics.KITTY, 20, 10, 7)
    wrapped = inline_picture(data, Graphics.KITTY_IN_TMUX, 20, 10, 7)
    inside = "".join(payloads(wrapped.overlay, "\x1bPtmux;", "\x1b\\\x1bPtmux;" if False else "\x1b\\"))
    assert wrapped.overlay.startswith("\x1bPtmux;\x1b\x1b_G")
    assert inside.count("\x1b\x1b_G") == plain.overlay.count("\x1b_G")
    assert wrapped.lines == plain.lines


def test_iterm_gets_the_file_as_it_is() -> None:
    data = encode_png(picture())
    shown = inline_picture(data, Graphics.ITERM, 20, 10, 1)
    found = re.fullmatch(r"\x1b7\x1b\]1337;File=([^:]*):([^\x07]*)\x07\x1b8", shown.overlay)
    assert found is not None
    options = dict(pair.split("=") for pair in found[1].split(";"))
    assert options == {
        "inline": "1",
        "size": str(len(data.data)),
        "width": "20",
        "height": "8",
        "preserveAspectRatio": "1",
    }
    assert base64.b64decode(found[2]) == data.data
    assert shown.lines == ("",) * 8


def from_sixels(text: str) -> PIL.Image.Image:
    """A decoder of sixels, written from the manual alone."""
    body = re.fullmatch(r"\x1b7\x1bP0;1;0q(.*)\x1b\\\x1b8", text, re.DOTALL)
    assert body is not None
    header = re.match(r'"1;1;(\d+);(\d+)', body[1])
    assert header is not None
    image = PIL.Image.new("RGB", (int(header[1]), int(header[2])), "black")
    palette: dict[int, tuple[int, int, int]] = {}
    left, top, color = 0, 0, 0
    tokens = r"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)([?-~])|([?-~])|([$-])"
    for token in re.finditer(tokens, body[1][header.end() :]):
        if token[1]:
            color = int(token[1])
            if token[2]:
                palette[color] = tuple(round(int(token[part]) * 2.55) for part in (2, 3, 4))  # type: ignore[assignment]
        elif token[8] == "$":
            left = 0
        elif token[8] == "-":
            left, top = 0, top + 6
        else:
            bits, run = ord(token[6] or token[7]) - 63, int(token[5] or 1)
            for column in range(left, left + run):
                for row in range(6):
                    if bits >> row & 1:
                        image.putpixel((column, top + row), palette[color])
            left += run
    return image


def test_sixels_show_the_picture() -> None:
    original = picture()
    shown = inline_picture(encode_png(original), Graphics.SIXEL, 20, 10, 1)
    decoded = from_sixels(shown.overlay)
    expected = original.resize(decoded.size, PIL.Image.Resampling.LANCZOS)
    differences = [abs(a - b) for a, b in zip(decoded.tobytes(), expected.tobytes(), strict=True)]
    assert sum(differences) / len(differences) < 8  # 128 colours for a gradient of some thousands
    assert len(shown.lines) == 8


def test_every_way_takes_jpeg_and_transparency() -> None:
    buffer = io.BytesIO()
    picture().save(buffer, "JPEG")
    jpeg = ImageData.from_bytes(buffer.getvalue())
    clear = encode_png(PIL.Image.new("RGBA", (16, 16), (255, 0, 0, 0)))
    for way in (Graphics.KITTY, Graphics.KITTY_IN_TMUX, Graphics.ITERM, Graphics.SIXEL, Graphics.BLOCKS):
        for image in (jpeg, clear):
            shown = inline_picture(image, way, 10, 5, 1)
            assert 1 <= len(shown.lines) <= 5


def test_a_tmux_that_does_not_answer_means_half_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMUX", "/nowhere/socket,1,0")
    assert graphics_of(TTY) is Graphics.BLOCKS
