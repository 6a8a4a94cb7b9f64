"""What a shell offers after Tab."""

import subprocess
import sys
from pathlib import Path

import pytest

from sdenv.cli import run
from tests.cli.support import sdenv, streams


def offered(line: str, shell: str = "bash") -> list[str]:
    """The words that the shell's completion is given for an unfinished command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_SDENV_COMPLETE", f"complete_{shell}")
        patch.setenv("COMP_WORDS", line)
        patch.setenv("COMP_CWORD", str(line.count(" ")))
        patch.setenv("_TYPER_COMPLETE_ARGS", line)
        patch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
        with streams(None, tty=False) as (out, err):
            with pytest.raises(SystemExit):
                run([])
            assert err.text == ""
            return out.text.splitlines()


def test_commands_are_offered() -> None:
    assert offered("sdenv gen") == ["generate"]


def test_flags_are_offered() -> None:
    assert "--seed" in offered("sdenv generate --s")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_backends_are_offered_in_every_shell(shell: str) -> None:
    assert "fake" in "\n".join(offered("sdenv generate -b fa", shell))


def test_own_backends_are_offered() -> None:
    sdenv("config", "set", "backends.fastbox.backend", "fake")
    assert set(offered("sdenv generate -b fa")) == {"fake", "fastbox"}


def test_samplers_are_offered() -> None:
    assert "Heun" in offered("sdenv generate --sampler He")


def test_a_name_with_a_space_arrives_as_one_word_in_bash() -> None:
    assert "DPM++\\ 2M" in offered("sdenv generate --sampler DPM", "bash")
    assert any("DPM++ 2M" in line for line in offered("sdenv generate --sampler DPM", "fish"))


def test_words_of_a_flag_are_offered() -> None:
    assert offered("sdenv generate --progress p") == ["plain"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_a_script(shell: str) -> None:
    import os

    environ = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "sdenv", "--show-completion", shell],
        env={**environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "_SDENV_COMPLETE" in done.stdout
