"""Tables of names: what is built in, and what other packages add through entry points.

A table holds text only. Names can be listed without importing anything; a module is loaded when its name is
chosen, and one that cannot be loaded fails alone.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from sdenv.core.errors import ExtraMissing, InternalError, SdenvError, UnknownName, did_you_mean

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """One row.

    Attributes:
        target: `"module:Class"`.
        extra: The optional part of sdenv that it needs; "" = none.
        summary: One line for people.
        package: The distribution that brought it; "sdenv" for what is built in.
    """

    target: str
    extra: str = ""
    summary: str = ""
    package: str = "sdenv"


class Registry(Generic[T]):
    """Names and the classes behind them.

    Args:
        what: What the rows are, in one word for errors: "backend", "recipe".
        group: The entry point group of other packages.
        rows: What is built in.
        error_type: Raised for a name that is not there.
    """

    def __init__(
        self, what: str, group: str, rows: dict[str, Entry], error_type: type[SdenvError] = UnknownName
    ) -> None:
        self._what = what
        self._group = group
        self._rows = rows
        self._error_type = error_type

    @cached_property
    def _all(self) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {name: [entry] for name, entry in self._rows.items()}
        for point in entry_points(group=self._group):
            found.setdefault(point.name, []).append(_entry_of(point))
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._all))

    def __contains__(self, name: str) -> bool:
        return name in self._all

    def entry(self, name: str) -> Entry:
        """The row of this name.

        Raises:
            UnknownName: No such name (or the table's own error type).
            InternalError: Two packages bring the same name.
        """
        rows = self._all.get(name)
        if rows is None:
            raise self._error_type(
                f"There is no {self._what} {name!r}.", why=did_you_mean(name, list(self._all))
            )
        if len(rows) > 1:
            packages = " and ".join(sorted(row.package for row in rows))
            raise InternalError(
                f"The {self._what} name {name!r} is taken twice, by {packages}.",
                hint="Uninstall one of them.",
            )
        return rows[0]

    def load(self, name: str) -> type[T]:
        """The class behind a name, imported now.

        Raises:
            ExtraMissing: A package that it needs is not installed; the hint is the pip command.
        """
        entry = self.entry(name)
        module_name, _, attribute = entry.target.partition(":")
        try:
            loaded: type[T] = getattr(importlib.import_module(module_name), attribute)
        except ModuleNotFoundError as error:
            if entry.extra and error.name and not error.name.startswith("sdenv."):
                raise extra_missing(f"The {self._what} {name!r}", entry.extra, error.name) from error
            raise self._broken(name, entry, error) from error
        except Exception as error:  # a plug-in's module may raise anything while it is imported
            raise self._broken(name, entry, error) from error
        return loaded

    def _broken(self, name: str, entry: Entry, error: Exception) -> InternalError:
        return InternalError(
            f"The {self._what} {name!r} of the package {entry.package!r} cannot be loaded.",
            why=f"{type(error).__name__}: {error}.",
        )


def extra_missing(what: str, extra: str, module: str) -> ExtraMissing:
    """The error for an optional part that is not installed; the hint is a command to type."""
    return ExtraMissing(
        f"{what} needs the optional part {extra!r} of sdenv.",
        why=f"The Python package {module.partition('.')[0]!r} is not installed.",
        hint=f"pip install 'sdenv[{extra}]'",
    )


def _entry_of(point: EntryPoint) -> Entry:
    package = point.dist.name if point.dist is not None else "unknown"
    return Entry(target=point.value, summary=f"from {package}", package=package)
