"""Help pages: complete, narrow, and readable without colour."""

import pytest

from sdenv.cli.tree import COMMANDS
from tests.cli.support import sdenv


def test_the_help_names_every_command_that_is_not_hidden() -> None:
    page = " ".join(sdenv("--help").out.split())
    for name, row in COMMANDS.items():
        assert (f" {name} {row.summary}" in page) is not row.hidden


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_a_page_and_every_flag_a_text(command: str) -> None:
    done = sdenv(command, "--help")
    assert done.code == 0
    assert f"Usage: sdenv {command}" in done.out
    lines = done.lines
    for number, line in enumerate(lines):
        if line.startswith(("  -", "      --")):
            following = lines[number + 1] if number + 1 < len(lines) else ""
            assert "  " in line.strip() or following.startswith(" " * 20), f"{line!r} has no text"


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_no_line_of_a_page_is_wider_than_the_window(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    page = sdenv("generate", "--help").out.partition("Examples:")[0]
    assert max(len(line) for line in page.splitlines()) <= max(columns, 54)


def test_a_page_for_the_c_locale_is_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    assert sdenv("generate", "--help").out.isascii()


def test_a_page_in_a_pipe_has_no_colour() -> None:
    assert "\x1b" not in sdenv("generate", "--help").out


def test_no_command_at_all_shows_the_help_on_stderr() -> None:
    done = sdenv()
    assert (done.code, done.out) == (2, "")
    assert "Usage: sdenv" in done.stderr


def test_the_version_is_data() -> None:
    import sdenv as package

    assert sdenv("--version").out == f"sdenv {package.__version__}\n"
    assert sdenv("-V").out == f"sdenv {package.__version__}\n"


def test_short_help_works_everywhere() -> None:
    assert sdenv("-h").code == 0
    assert sdenv("config", "show", "-h").code == 0
