"""In a real tmux, on a socket of its own: what a person sees there, with and without colours."""

import os
import re
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # it needs tmux, and a second or two a test

ROOT = Path(__file__).parents[2]
SDENV = f"{shlex.quote(sys.executable)} -m sdenv"


class Tmux:
    """A tmux server with one window."""

    def __init__(self, folder: Path, columns: int, rows: int) -> None:
        self._socket = f"sdenv-test-{secrets.token_hex(4)}"
        self._run(
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            str(columns),
            "-y",
            str(rows),
            "-c",
            str(folder),
            "sh",
        )
        for line in (f"export PYTHONPATH={shlex.quote(str(ROOT))} PS1='$ '", "clear"):
            self.type(line)
        self.wait_for(r"\A\$ *\Z")

    def _run(self, *arguments: str) -> str:
        command = ["tmux", "-L", self._socket, *arguments]
        environ = {name: value for name, value in os.environ.items() if name not in ("TMUX", "NO_COLOR")}
        environ |= {"LANG": "C.UTF-8", "TERM": "xterm-256color"}
        return subprocess.run(
            command, capture_output=True, text=True, check=True, env=environ, timeout=10
        ).stdout

    def type(self, line: str) -> None:
        self._run("send-keys", "-l", line)
        self._run("send-keys", "Enter")

    def press(self, key: str) -> None:
        self._run("send-keys", key)

    def screen(self, escapes: bool = False) -> str:
        return self._run("capture-pane", "-p", *(["-e"] if escapes else [])).rstrip("\n")

    def wait_for(self, pattern: str, seconds: float = 15.0) -> str:
        """The screen, once it shows this."""
        deadline_s = time.monotonic() + seconds
        while True:
            shown = self.screen()
            if re.search(pattern, shown, re.MULTILINE):
                return shown
            assert time.monotonic() < deadline_s, f"{pattern!r} never came:\n{shown}"
            time.sleep(0.05)  # between two looks, not for what is expected

    def close(self) -> None:
        self._run("kill-server")


@pytest.fixture
def tmux(here: Path) -> Iterator[Tmux]:
    opened = Tmux(here, 80, 24)
    yield opened
    opened.close()


def test_a_bar_moves_in_place_and_leaves_the_result(tmux: Tmux, here: Path) -> None:
    tmux.type(
        f"clear; {SDENV} generate 'a cat' -b fake --seed 1 -O step_seconds=0.05 --preview off --no-show"
    )
    tmux.wait_for(r"━ +\d+/20  \d:\d\d left  0\.0\d+ s/step")
    shown = tmux.wait_for(r"^a-cat-1-0\.png\n\$")
    assert re.fullmatch(r"✓ picture  20 steps in \d\.\d s  seed 1\na-cat-1-0\.png\n\$", shown), shown
    assert (here / "a-cat-1-0.png").is_file()


def test_a_preview_is_drawn_in_half_blocks_with_the_pictures_colours(tmux: Tmux) -> None:
    tmux.type(
        f"clear; {SDENV} generate 'a cat' -b fake --seed 1 -O step_seconds=0.1 -m mosaic-native --no-show"
    )
    tmux.wait_for(r"^▀{32}$")
    coloured = tmux.screen(escapes=True)
    assert len(re.findall(r"\x1b\[38;2;\d+;\d+;\d+", coloured)) > 20
    shown = tmux.wait_for(r"^a-cat-1-0\.png\n\$")
    assert "▀" not in shown


def test_the_finished_picture_is_shown(tmux: Tmux) -> None:
    tmux.type(f"clear; {SDENV} generate 'a cat' -b fake --seed 1 -m mosaic-native")
    shown = tmux.wait_for(r"^a-cat-1-0\.png\n\$")
    rows = [line for line in shown.splitlines() if line.startswith("▀")]
    assert len(rows) == 18
    assert {len(row) for row in rows} == {36}


def test_without_colours_there_are_none_and_no_blocks(tmux: Tmux) -> None:
    tmux.type(f"clear; NO_COLOR=1 {SDENV} generate 'a cat' -b fake --seed 1 -O step_seconds=0.05")
    tmux.wait_for(r"━─+ +\d+/20")
    shown = tmux.wait_for(r"^a-cat-1-0\.png\n\$")
    assert "▀" not in shown
    assert "\x1b[" not in tmux.screen(escapes=True)


def test_ctrl_c_stops_at_once_and_the_prompt_is_back(tmux: Tmux, here: Path) -> None:
    tmux.type(f"clear; {SDENV} generate 'a cat' -b fake -O step_seconds=20; echo code $?")
    tmux.wait_for("denoising")
    tmux.press("C-c")
    shown = tmux.wait_for(r"^code \d+\n\$")
    assert shown == "cancelled: Nothing was saved.\ncode 130\n$"
    assert list(here.iterdir()) == []


def test_a_window_of_another_size_is_no_problem(here: Path) -> None:
    narrow = Tmux(here, 38, 10)
    try:
        narrow.type(
            f"clear; {SDENV} generate 'a cat' 'a dog' -b fake --seed 1 -c 2 --batch 2 -O step_seconds=0.05"
        )
        shown = narrow.wait_for(r"^a-dog-2-3\.png\n\$")
    finally:
        narrow.close()
    assert "%" not in shown
    assert [line for line in shown.splitlines() if line.endswith("png")][-2:] == [
        "a-dog-1-2.png",
        "a-dog-2-3.png",
    ]
