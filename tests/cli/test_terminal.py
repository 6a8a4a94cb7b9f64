"""What a stream is said to show, for every environment that matters."""

import pytest

from sdenv.cli.terminal import Terminal, terminal_of
from tests.cli.support import Screen

UTF8 = {"LANG": "en_US.UTF-8", "TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("tty", "environ", "color"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {"SDENV_COLOR": "never"}, False),
        (False, {"SDENV_COLOR": "always", "NO_COLOR": "1"}, True),
    ],
)
def test_colour_follows_the_users_choice_then_the_conventions_then_the_stream(
    tty: bool, environ: dict[str, str], color: bool
) -> None:
    assert terminal_of(Screen(tty), UTF8 | environ).color is color


@pytest.mark.parametrize(
    ("environ", "unicode"),
    [
        ({"LANG": "de_DE.UTF-8"}, True),
        ({}, True),
        ({"LC_ALL": "C"}, False),
        ({"LANG": "POSIX"}, False),
        ({"LC_ALL": "C.UTF-8", "LANG": "C"}, True),
    ],
)
def test_a_terminal_of_the_c_locale_is_given_ascii(environ: dict[str, str], unicode: bool) -> None:
    assert terminal_of(Screen(), environ).unicode is unicode


def test_a_dumb_terminal_is_not_drawn_over() -> None:
    assert not terminal_of(Screen(tty=True), {"TERM": "dumb"}).moves_cursor
    assert terminal_of(Screen(tty=True), UTF8).moves_cursor


def test_the_size_can_be_said() -> None:
    terminal = terminal_of(Screen(tty=True), UTF8 | {"COLUMNS": "33", "LINES": "7"})
    assert (terminal.columns, terminal.rows) == (33, 7)


def test_nothing_is_painted_without_colour() -> None:
    assert Terminal().paint("text", "bold") == "text"
    assert Terminal(color=True).paint("text", "bold", "red") == "\x1b[1;31mtext\x1b[0m"


@pytest.mark.parametrize("text", ["\x1b[2J", "a\rb", "\x9b31m", "\u202eevil", "\x07"])
def test_text_of_others_cannot_command_the_terminal(text: str) -> None:
    cleaned = Terminal().clean(text)
    assert all(character.isprintable() or character == "\n" for character in cleaned)
