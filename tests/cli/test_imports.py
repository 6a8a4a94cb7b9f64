"""The help costs nothing: what it must not import, seen in a fresh interpreter."""

import json
import subprocess
import sys

import pytest

from sdenv.cli.tree import COMMANDS

HEAVY = (
    "torch",
    "diffusers",
    "transformers",
    "fastapi",
    "grpc",
    "numpy",
    "PIL",
    "scipy",
    "tokenizers",
    "yaml",
)
NOT_YET = ("pydantic", "pydantic_core", "rich", "markdown_it", "pygments")

_PROBE = """
import json, sys
from sdenv.cli import run
code = run(sys.argv[1:])
modules = {name.partition(".")[0] for name in sys.modules}
sys.stderr.write(json.dumps({"code": code, "modules": sorted(modules)}))
"""


def imported_by(*arguments: str) -> tuple[int, set[str]]:
    """The exit code, and the top-level packages that one command has imported."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    told = json.loads(done.stderr.splitlines()[-1])
    return told["code"], set(told["modules"])


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_imports_nothing_that_is_not_needed_for_it(arguments: list[str]) -> None:
    code, modules = imported_by(*arguments)
    assert code == 0
    assert modules & {*HEAVY, *NOT_YET} == set()


@pytest.mark.parametrize("command", list(COMMANDS))
def test_the_help_of_a_command_imports_nothing_heavy(command: str) -> None:
    code, modules = imported_by(command, "--help")
    assert code == 0
    assert modules & {*HEAVY} == set()


def test_a_dry_run_imports_no_torch() -> None:
    code, modules = imported_by("generate", "a cat", "--dry-run", "-b", "fake")
    assert code == 0
    assert modules & {"torch", "diffusers", "transformers", "numpy"} == set()


def test_a_dry_run_on_the_local_backend_imports_no_torch() -> None:
    _, modules = imported_by("generate", "a cat", "--dry-run", "-b", "local")
    assert modules & {"torch", "diffusers", "transformers", "numpy"} == set()


@pytest.mark.parametrize("command", [["jobs", "list", "-b", "http://127.0.0.1:1"], ["history", "list"]])
def test_jobs_and_history_import_nothing_heavy(command: list[str]) -> None:
    code, modules = imported_by(*command)
    assert code == (4 if command[0] == "jobs" else 0)
    assert modules & {*HEAVY, "httpx2", "uvicorn", "filelock"} == set()


def test_importing_the_command_line_alone_imports_no_typer() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, sdenv.cli; print('typer' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
