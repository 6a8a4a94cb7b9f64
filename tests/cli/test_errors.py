"""Errors as people and as scripts see them; the texts are golden."""

import io
import json
import sys

import pytest

from sdenv.cli.errors import ErrorStyle, Terminated, error_json, error_text, fault_error, guarded
from sdenv.cli.terminal import Terminal
from sdenv.core.errors import (
    EXIT_CODES,
    Cancelled,
    FailedError,
    SizeNotPossible,
    UnknownModel,
    all_error_types,
)
from tests.cli.support import streams

ERROR = SizeNotPossible(
    "The backend “büro” cannot make this picture.",
    why="size 300x300: its sizes are 256x256, 192x320, 320x192; the nearest is 256x256.",
    hint="sdenv generate --size 256x256",
)
PLAIN = """\
error: The backend “büro” cannot make this picture. [size-not-multiple]
  size 300x300: its sizes are 256x256, 192x320, 320x192; the nearest is 256x256.
  hint: sdenv generate --size 256x256"""
ASCII = """\
error: The backend "b\\xfcro" cannot make this picture. [size-not-multiple]
  size 300x300: its sizes are 256x256, 192x320, 320x192; the nearest is 256x256.
  hint: sdenv generate --size 256x256"""
COLORED = """\
\x1b[1;31merror:\x1b[0m The backend “büro” cannot make this
  picture. \x1b[2m[size-not-multiple]\x1b[0m
  size 300x300: its sizes are 256x256, 192x320,
  320x192; the nearest is 256x256.
  \x1b[1;32mhint:\x1b[0m sdenv generate --size 256x256"""


def test_an_error_in_a_log_is_one_line_a_thing() -> None:
    assert error_text(ERROR, Terminal()) == PLAIN


def test_an_error_without_unicode_is_all_ascii() -> None:
    text = error_text(ERROR, Terminal(unicode=False))
    assert text == ASCII
    assert text.isascii()


def test_an_error_on_a_narrow_terminal_is_coloured_and_wrapped() -> None:
    text = error_text(ERROR, Terminal(is_tty=True, color=True, columns=50))
    assert text == COLORED


def test_a_command_in_a_hint_is_never_broken_inside_a_word() -> None:
    hint = "sdenv generate --from /" + "x" * 80
    assert "/" + "x" * 80 in error_text(FailedError("No.", hint=hint), Terminal(is_tty=True, columns=50))


def test_control_characters_of_others_never_reach_the_terminal() -> None:
    text = error_text(FailedError("No prompt \x1b]0;owned\x07 \x1b[2J here."), Terminal())
    assert "\x1b" not in text
    assert "\x07" not in text


def test_a_cancel_is_no_error() -> None:
    assert (
        error_text(Cancelled("1 of 4 pictures was saved."), Terminal())
        == "cancelled: 1 of 4 pictures was saved."
    )
    assert error_text(Cancelled(), Terminal()) == "cancelled"


@pytest.mark.parametrize("error_type", list(all_error_types()))
def test_every_error_is_one_json_object_with_its_exit_code(error_type: type[FailedError]) -> None:
    record = json.loads(error_json(error_type("What\nhappened.", "Why.", "Hint.")))
    assert record["v"] == 1
    assert record["type"] == "error"
    assert (record["code"], record["exit_code"]) == (error_type.code, EXIT_CODES[error_type.kind])
    assert (record["what"], record["why"], record["hint"]) == ("What\nhappened.", "Why.", "Hint.")


@pytest.mark.parametrize(
    ("arguments", "style"),
    [
        ([], ErrorStyle()),
        (["generate", "a", "--json"], ErrorStyle(as_json=True)),
        (["generate", "--progress", "json"], ErrorStyle(as_json=True)),
        (["generate", "--progress=json", "--debug"], ErrorStyle(as_json=True, debug=True)),
        (["generate", "--", "--json"], ErrorStyle()),
    ],
)
def test_the_style_is_read_from_a_command_line_that_need_not_be_valid(
    arguments: list[str], style: ErrorStyle
) -> None:
    assert ErrorStyle.of(arguments) == style


def test_a_termination_has_the_exit_code_of_its_signal() -> None:
    assert Terminated(15, "Nothing was saved.").exit_code == 143


def test_a_fault_is_short_and_says_how_to_see_more() -> None:
    text = error_text(fault_error(KeyError("seed")), Terminal())
    assert text.startswith(
        "error: This is a fault in sdenv, not in what you typed. [internal-error]\n  KeyError: 'seed'."
    )
    assert "--debug" in text


def test_debug_shows_where_an_error_comes_from() -> None:
    def fails() -> None:
        try:
            raise OSError("the deeper reason")
        except OSError as error:
            raise UnknownModel("No.") from error

    with streams(None, tty=False) as (_, err):
        code = guarded(fails, ["--debug"])
    assert code == 2
    assert "Traceback" in err.text
    assert "the deeper reason" in err.text


def test_an_exception_that_nothing_expected_ends_with_1_and_no_traceback() -> None:
    import subprocess

    program = (
        "import sys; from sdenv.cli.errors import show_fault; sys.excepthook = show_fault; "
        "sys.argv = ['sdenv', *sys.argv[1:]]; {}['seed']"
    )
    short = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert short.returncode == 1
    assert "Traceback" not in short.stderr
    assert "internal-error" in short.stderr
    debug = subprocess.run([sys.executable, "-c", program, "--debug"], capture_output=True, text=True)
    assert "Traceback" in debug.stderr
    as_json = subprocess.run([sys.executable, "-c", program, "--json"], capture_output=True, text=True)
    assert json.loads(as_json.stderr)["code"] == "internal-error"


def test_a_reader_that_goes_away_is_no_error() -> None:
    def fails() -> None:
        raise BrokenPipeError

    before = sys.stdout
    with streams(None, tty=False) as (_, err):
        assert guarded(fails, []) == 141
        assert err.text == ""
    assert sys.stdout is before
    assert not isinstance(sys.stdout, io.BytesIO)
