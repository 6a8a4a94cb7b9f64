"""`sdenv history`: the flags of its commands, and where to go with them."""

import inspect
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final, get_type_hints

import typer

from sdenv.cli import options
from sdenv.cli.generate import GenerateFlags
from sdenv.cli.jobs import SELECTION, Dialect, Limit, Model, OneId, OnlyIds, States
from sdenv.cli.options import OUTPUT, WATCHING, flag
from sdenv.cli.tree import group_app

_which = partial(flag, SELECTION)

Since = Annotated[str | None, _which("--since", "AGE", "Only those of the last 2h, 30d, 4w, ...")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFlags:
    """What `sdenv history list` was told."""

    state: States = None
    model: Model = None
    dialect: Dialect = None
    since: Since = None
    limit: Limit = None
    ids: OnlyIds = False
    paths: Annotated[bool, flag(WATCHING, "--paths", "", "Paths of the pictures only, one a line.")] = False
    json_lines: options.Json = False
    debug: options.Debug = False
    profile: options.Profile = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFlags:
    """What `sdenv history search` was told."""

    words: Annotated[
        list[str], typer.Argument(metavar="WORD...", help="Words that all occur in the prompt, in any case.")
    ]
    state: States = None
    model: Model = None
    dialect: Dialect = None
    since: Since = None
    limit: Limit = None
    ids: OnlyIds = False
    paths: Annotated[bool, flag(WATCHING, "--paths", "", "Paths of the pictures only, one a line.")] = False
    json_lines: options.Json = False
    debug: options.Debug = False
    profile: options.Profile = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowFlags:
    """What `sdenv history show` was told."""

    id: OneId
    request: Annotated[
        bool,
        flag(OUTPUT, "--request", "", "Print the request as JSON, as `sdenv generate --request` reads it."),
    ] = False
    show: Annotated[
        bool | None, flag(WATCHING, "--show/--no-show", "", "Show its pictures in the terminal, or not.")
    ] = None
    json_lines: options.Json = False
    debug: options.Debug = False
    profile: options.Profile = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFlags:
    """What `sdenv history export` was told."""

    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help='Only these; "-" reads ids from stdin. None: all.'),
    ] = None
    output: Annotated[
        str | None,
        flag(
            OUTPUT,
            "-o --output",
            "PLACE",
            "A folder/ or NAME.html: a gallery. NAME.jsonl or -: JSON lines, as without it.",
        ),
    ] = None
    force: Annotated[bool, flag(OUTPUT, "--force", "", "Replace what is there.")] = False
    title: Annotated[str, flag(OUTPUT, "--title", "TEXT", "What the gallery is called.")] = "Pictures"
    search: Annotated[str | None, _which("--search", "WORDS", "Only those with all these words.")] = None
    model: Model = None
    since: Since = None
    limit: Annotated[int | None, _which("-n --limit", "N", "At most so many jobs, the newest.")] = None
    quiet: options.Quiet = False
    debug: options.Debug = False
    profile: options.Profile = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneFlags:
    """What `sdenv history prune` was told."""

    older_than: Annotated[
        str | None, _which("--older-than", "AGE", "Remove what ended longer ago: 12h, 30d, 4w.")
    ] = None
    keep: Annotated[int | None, _which("--keep", "N", "Remove all but the newest N jobs.")] = None
    max_size: Annotated[
        str | None, _which("--max-size", "SIZE", "Remove the oldest until the rest takes less: 500MB, 2GB.")
    ] = None
    json_lines: options.Json = False
    quiet: options.Quiet = False
    debug: options.Debug = False
    profile: options.Profile = None


def _list(flags: ListFlags) -> None:
    from sdenv.cli.history_run import list_history

    list_history(flags)


def _search(flags: SearchFlags) -> None:
    from sdenv.cli.history_run import search_history

    search_history(flags)


def _show(flags: ShowFlags) -> None:
    from sdenv.cli.history_run import show_entry

    show_entry(flags)


def _export(flags: ExportFlags) -> None:
    from sdenv.cli.export import export_history

    export_history(flags)


def _prune(flags: PruneFlags) -> None:
    from sdenv.cli.history_run import prune_history

    prune_history(flags)


_AGAIN_LEAVES_OUT: Final = ("prompts", "prompts_file", "request", "from_picture")
"""Flags of `sdenv generate` that say what to draw: here the history does."""


def _again(**values: object) -> None:
    from sdenv.cli.history_run import make_again

    word, new_seed, prompt = str(values.pop("id")), bool(values.pop("new_seed")), values.pop("prompt")
    prompts = None if prompt is None else [str(prompt)]
    flags = GenerateFlags(prompts=prompts, **values)  # type: ignore[arg-type]  # Typer has checked them
    make_again(word, flags, new_seed=new_seed)


def _again_command() -> None:
    """Gives `_again` a signature: an id, and every flag of `sdenv generate` that can change what was made."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    new_seed = Annotated[
        bool, flag(options.REQUEST, "--new-seed", "", "Another picture of the same request.")
    ]
    prompt = Annotated[str | None, flag(options.REQUEST, "-p --prompt", "TEXT", "Another prompt.")]
    hints = get_type_hints(GenerateFlags, include_extras=True)
    taken = [
        parameter
        for name, parameter in inspect.signature(GenerateFlags).parameters.items()
        if name not in _AGAIN_LEAVES_OUT
    ]
    parameters = [
        inspect.Parameter("id", keyword, annotation=OneId),
        inspect.Parameter("prompt", keyword, default=None, annotation=prompt),
        inspect.Parameter("new_seed", keyword, default=False, annotation=new_seed),
        *taken,
    ]
    _again.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by inspect
    _again.__annotations__ = {**hints, "id": OneId, "prompt": prompt, "new_seed": new_seed}
    _again.__doc__ = _AGAIN


_LIST: Final = """List what was made, newest first.

On a terminal the table fits the window; in a pipe every id is whole, times are ISO 8601 and everything is
listed."""

_SEARCH: Final = "List what was made from a prompt with these words, newest first."

_SHOW: Final = "Show everything about one entry, and where its pictures lie."

_AGAIN: Final = """Make it again: the same pixels on the same machine, or with what the flags change.

The flags are those of `sdenv generate`."""

_EXPORT: Final = """Write the history as JSON lines, or its pictures as a gallery of static HTML.

A folder gets index.html with copies of the pictures; NAME.html is one file with the pictures inside. Neither
loads anything from elsewhere."""

_PRUNE: Final = """Remove the oldest entries; print their ids.

Pictures in the data folder go with them. Files that `sdenv generate` has saved elsewhere are kept: they are
yours."""

_again_command()

app = group_app(
    "Search what was made here, make it again, show it as a gallery.",
    {
        "list": options.command_from(ListFlags, _list, _LIST),
        "search": options.command_from(SearchFlags, _search, _SEARCH),
        "show": options.command_from(ShowFlags, _show, _SHOW),
        "again": _again,
        "export": options.command_from(ExportFlags, _export, _EXPORT),
        "prune": options.command_from(PruneFlags, _prune, _PRUNE),
    },
    lists=True,
)
