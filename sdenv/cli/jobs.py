"""`sdenv jobs`: the flags of its commands, and where to go with them."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final

import typer

from sdenv.cli import options
from sdenv.cli.options import BACKEND, OUTPUT, WATCHING, flag
from sdenv.cli.tree import group_app

SELECTION: Final = "Which jobs"

_states = options.one_of("queued", "running", "done", "failed", "cancelled")
_which = partial(flag, SELECTION)

Backend = Annotated[
    str | None,
    flag(
        BACKEND,
        "-b --backend",
        "NAME|URL",
        "The server; else the configured backend, else sdenv serving on this machine.",
        options.backend_names,
    ),
]
BackendOption = Annotated[
    list[str] | None,
    flag(BACKEND, "-O --option", "KEY=VALUE", "An option of the backend, such as token_file."),
]
States = Annotated[
    list[str] | None,
    _which(
        "--state", "STATE", "Only these: queued, running, done, failed, cancelled; may be repeated.", _states
    ),
]
Model = Annotated[str | None, _which("-m --model", "NAME", "Only those of this model.")]
Dialect = Annotated[
    str | None,
    _which("--dialect", "NAME", "Only those asked for so: native, seed, a1111, openai, sdcpp, cli."),
]
Limit = Annotated[
    int | None, _which("-n --limit", "N", "At most so many; else 20 on a terminal, all in a pipe.")
]
OnlyIds = Annotated[bool, flag(WATCHING, "--ids", "", "Ids only, one a line.")]

_ID_HELP: Final = 'Id of a job: whole, its beginning or end as far as only one has it, or "last".'
_IDS_HELP: Final = f'{_ID_HELP} "-" reads ids from stdin.'
OneId = Annotated[str, typer.Argument(metavar="ID", help=_ID_HELP)]
Ids = Annotated[list[str], typer.Argument(metavar="ID", help=_IDS_HELP)]
IdsOrNone = Annotated[list[str] | None, typer.Argument(metavar="ID", help=_IDS_HELP)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFlags:
    """What `sdenv jobs list` was told."""

    state: States = None
    search: Annotated[
        str | None, _which("--search", "WORDS", "Only those with all these words in the prompt.")
    ] = None
    model: Model = None
    dialect: Dialect = None
    limit: Limit = None
    ids: OnlyIds = False
    json_lines: options.Json = False
    debug: options.Debug = False
    backend: Backend = None
    option: BackendOption = None
    profile: options.Profile = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowFlags:
    """What `sdenv jobs show` was told."""

    id: OneId
    request: Annotated[
        bool,
        flag(OUTPUT, "--request", "", "Print the request as JSON, as `sdenv generate --request` reads it."),
    ] = False
    json_lines: options.Json = False
    debug: options.Debug = False
    backend: Backend = None
    option: BackendOption = None
    profile: options.Profile = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchFlags:
    """What `sdenv jobs watch` was told."""

    ids: IdsOrNone = None
    progress: options.Progress = None
    preview: Annotated[
        str | None, flag(WATCHING, "--preview", "HOW", "auto, off, kitty, iterm, sixel or blocks.")
    ] = None
    show: Annotated[
        bool | None,
        flag(WATCHING, "--show/--no-show", "", "Show finished pictures in the terminal, or not."),
    ] = None
    json_lines: Annotated[
        bool, flag(WATCHING, "--json", "", "Everything that happens as JSON lines on stdout.")
    ] = False
    quiet: options.Quiet = False
    debug: options.Debug = False
    color: options.Color = None
    backend: Backend = None
    option: BackendOption = None
    profile: options.Profile = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitFlags:
    """What `sdenv jobs wait` was told."""

    ids: Ids
    timeout: Annotated[
        float | None, flag(WATCHING, "--timeout", "SECONDS", "Give up waiting after so long; the jobs go on.")
    ] = None
    json_lines: options.Json = False
    quiet: options.Quiet = False
    debug: options.Debug = False
    backend: Backend = None
    option: BackendOption = None
    profile: options.Profile = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelFlags:
    """What `sdenv jobs cancel` was told."""

    ids: IdsOrNone = None
    all_jobs: Annotated[bool, _which("--all", "", "All that wait or run.")] = False
    json_lines: options.Json = False
    quiet: options.Quiet = False
    debug: options.Debug = False
    backend: Backend = None
    option: BackendOption = None
    profile: options.Profile = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFlags:
    """What `sdenv jobs fetch` was told."""

    ids: Ids
    wait: Annotated[bool, _which("--wait", "", "Wait for those that have not ended.")] = False
    index: Annotated[int | None, _which("--index", "N", "Only this picture of each job, from 0.")] = None
    output: Annotated[
        str | None,
        flag(
            OUTPUT,
            "-o --output",
            "PLACE",
            "A file, a folder/, a template as {date}/{prompt}-{seed}.png, or -.",
        ),
    ] = None
    force: Annotated[bool, flag(OUTPUT, "--force", "", "Replace files that exist.")] = False
    strip_metadata: Annotated[
        bool, flag(OUTPUT, "--strip-metadata", "", "Do not leave in the picture how it was made.")
    ] = False
    json_lines: options.Json = False
    quiet: options.Quiet = False
    debug: options.Debug = False
    backend: Backend = None
    option: BackendOption = None
    profile: options.Profile = None


def _list(flags: ListFlags) -> None:
    from sdenv.cli.jobs_run import list_jobs

    list_jobs(flags)


def _show(flags: ShowFlags) -> None:
    from sdenv.cli.jobs_run import show_job

    show_job(flags)


def _watch(flags: WatchFlags) -> None:
    from sdenv.cli.follow import watch_jobs

    watch_jobs(flags)


def _wait(flags: WaitFlags) -> None:
    from sdenv.cli.jobs_run import wait_for_jobs

    wait_for_jobs(flags)


def _cancel(flags: CancelFlags) -> None:
    from sdenv.cli.jobs_run import cancel_jobs

    cancel_jobs(flags)


def _fetch(flags: FetchFlags) -> None:
    from sdenv.cli.fetch import fetch_pictures

    fetch_pictures(flags)


_LIST: Final = """List the jobs of a server, newest first.

On a terminal the table fits the window; in a pipe every id is whole, times are ISO 8601 and all jobs are
listed."""

_SHOW: Final = "Show everything about one job."

_WATCH: Final = """Show how jobs go, with the same bars and previews as `sdenv generate`.

Without an id: all that wait or run, one after another. Ctrl-C stops the watching only. The exit code is that
of the job: 0 = done, 130 = cancelled, else as its error has it."""

_WAIT: Final = """Wait until jobs have ended; print the ids of those that are done.

The exit code is that of the job: 0 = done, 130 = cancelled, else as its error has it; 6 when only some of
several are done, 7 when the time is over. Ctrl-C stops the waiting only."""

_CANCEL: Final = """Cancel jobs; print the ids of those that end by it.

A job that waits ends at once, one that runs at its next step; finished pictures are kept. One that has ended
stays as it is."""

_FETCH: Final = """Save the pictures of jobs, each with how it was made; print their paths.

Files that exist are never replaced without --force. The pictures that a failed or cancelled job has finished
are saved too; the exit code is then that of the job."""

app = group_app(
    "See, follow and fetch the jobs of a server.",
    {
        "list": options.command_from(ListFlags, _list, _LIST),
        "show": options.command_from(ShowFlags, _show, _SHOW),
        "watch": options.command_from(WatchFlags, _watch, _WATCH),
        "wait": options.command_from(WaitFlags, _wait, _WAIT),
        "cancel": options.command_from(CancelFlags, _cancel, _CANCEL),
        "fetch": options.command_from(FetchFlags, _fetch, _FETCH),
    },
    lists=True,
)
