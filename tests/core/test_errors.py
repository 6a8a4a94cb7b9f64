"""The table of errors: complete, documented, and each of them really raised."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import sdenv.core.errors as errors
from sdenv.core.errors import (
    EXIT_CODES,
    Busy,
    Cancelled,
    FailedError,
    InternalError,
    Kind,
    SdenvError,
    UnavailableError,
    UnsupportedError,
    UsageError,
    all_error_types,
    did_you_mean,
)

PACKAGE = Path(errors.__file__).parents[1]
ALL = list(all_error_types())
GROUPS = {UsageError, UnsupportedError, UnavailableError, FailedError}
"""Errors that others are kinds of; they may be raised themselves, and need not be."""


def test_every_kind_has_an_exit_code_and_no_two_share_one() -> None:
    assert set(EXIT_CODES) == set(Kind)
    assert len(set(EXIT_CODES.values())) == len(Kind)


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [
        (Kind.BUG, 1),
        (Kind.USAGE, 2),
        (Kind.UNSUPPORTED, 3),
        (Kind.UNAVAILABLE, 4),
        (Kind.BUSY, 5),
        (Kind.FAILED, 6),
        (Kind.TIMEOUT, 7),
        (Kind.DENIED, 8),
        (Kind.CANCELLED, 130),
    ],
)
def test_exit_codes_are_those_that_scripts_rely_on(kind: Kind, exit_code: int) -> None:
    assert EXIT_CODES[kind] == exit_code


@pytest.mark.parametrize("error_type", ALL, ids=lambda each: each.code)
def test_every_error_has_a_code_of_its_own_and_says_what_it_is_for(error_type: type[SdenvError]) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", error_type.code)
    assert [each for each in ALL if each.code == error_type.code] == [error_type]
    assert error_type.__doc__
    assert error_type.__doc__ != SdenvError.__doc__


@pytest.mark.parametrize("error_type", ALL, ids=lambda each: each.code)
def test_a_kind_of_error_keeps_the_exit_code_of_its_parent(error_type: type[SdenvError]) -> None:
    parent = error_type.__bases__[0]
    assert issubclass(parent, SdenvError)
    assert parent is SdenvError or error_type.kind is parent.kind


def test_the_drawing_at_the_top_names_every_error() -> None:
    drawing = (errors.__doc__ or "").partition("SdenvError ")[2].partition("`kind`")[0]
    drawn = set(re.findall(r"\b[A-Z]\w+", drawing))
    assert drawn == {each.__name__ for each in ALL}


@pytest.mark.parametrize(
    ("error_type", "repeats"),
    [(UsageError, True), (UnsupportedError, True), (InternalError, True), (Busy, False), (Cancelled, False)],
)
def test_what_would_fail_again_says_so(error_type: type[SdenvError], repeats: bool) -> None:
    assert error_type.repeats is repeats


@cache
def built_in(path: Path) -> set[str]:
    """Names of what a module calls or hands to a table: the ways in which an error comes to be raised."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name):
            names.add(node.exc.id)
        if isinstance(node, ast.Call):
            parts = [node.func, *node.args, *(keyword.value for keyword in node.keywords)]
            names |= {part.id for part in parts if isinstance(part, ast.Name)}
            names |= {part.attr for part in parts if isinstance(part, ast.Attribute)}
    return names


@pytest.mark.parametrize(
    "error_type", [each for each in ALL if each not in GROUPS], ids=lambda each: each.code
)
def test_every_error_is_raised_somewhere(error_type: type[SdenvError]) -> None:
    modules = [path for path in PACKAGE.rglob("*.py") if "testing" not in path.parts]
    assert [path.name for path in modules if error_type.__name__ in built_in(path)]


def test_every_error_is_documented_and_nothing_else() -> None:
    page = (PACKAGE.parent / "docs/reference/errors.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z-]+)` ", page, re.MULTILINE)) == {each.code for each in ALL}


def test_the_text_is_what_happened_why_and_what_to_type() -> None:
    error = UsageError("There is no model 'x'.", why="Known: emoji.", hint="sdenv models list")
    assert str(error) == "There is no model 'x'. Known: emoji. sdenv models list"
    assert str(UsageError("There is no model 'x'.")) == "There is no model 'x'."
    assert str(Cancelled()) == "Cancelled."


def test_the_exit_code_follows_from_the_kind() -> None:
    assert (Cancelled().exit_code, UsageError("x").exit_code) == (130, 2)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("eular a", "Did you mean 'Euler a'?"),
        ("EULER A", "Did you mean 'Euler a'?"),
        ("something else", "Known: DDIM, Euler a."),
    ],
)
def test_the_nearest_name_is_found_whatever_its_case(name: str, text: str) -> None:
    assert did_you_mean(name, ["Euler a", "DDIM"]) == text


def test_without_any_known_name_nothing_is_suggested() -> None:
    assert did_you_mean("x", []) == ""
