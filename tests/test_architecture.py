"""The rules of the house that no other tool checks."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import sdenv
from sdenv.backends import ROWS as BACKEND_ROWS
from sdenv.servers import ROWS as SERVER_ROWS
from sdenv.training import ROWS as RECIPE_ROWS

ROOT = Path(__file__).parents[1]
MODULES = sorted(module.name for module in pkgutil.walk_packages(sdenv.__path__, "sdenv."))
LONGEST_MODULE_LINES = 500


@pytest.mark.parametrize("name", [name for name in MODULES if name != "sdenv.__main__"])
def test_every_module_imports(name: str) -> None:
    importlib.import_module(name)


@pytest.mark.parametrize("rows", [BACKEND_ROWS, SERVER_ROWS, RECIPE_ROWS])
def test_tables_are_sorted(rows: dict[str, object]) -> None:
    assert list(rows) == sorted(rows)


def test_no_module_is_longer_than_the_budget() -> None:
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "sdenv").rglob("*.py")
    }
    assert {path.name: length for path, length in lengths.items() if length > LONGEST_MODULE_LINES} == {}


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(
        r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "docs/changelog.md").read_text(encoding="utf-8"), re.M
    )
    assert versions[0] == sdenv.__version__


def test_the_top_level_holds_only_what_was_agreed() -> None:
    import subprocess

    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    top = {line.partition("/")[0] for line in listed if line and not line.startswith(".")}
    agreed = {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "NOTICE",
        "Makefile",
        "constraints.txt",
        "sdenv",
        "tests",
        "docs",
    }
    assert top <= agreed
