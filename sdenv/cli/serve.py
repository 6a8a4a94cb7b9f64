"""`sdenv serve`: a backend behind the protocols of other programs. No front end is part of this release."""

from dataclasses import dataclass
from typing import Annotated, Final

import typer

from sdenv.cli import options
from sdenv.cli.tree import command_app


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeFlags:
    """What `sdenv serve` was told."""

    front_ends: Annotated[
        list[str] | None, typer.Argument(metavar="FRONT_END", help="Which protocols to speak.")
    ] = None
    json_lines: options.Json = False
    debug: options.Debug = False


_HELP: Final = "Serve a backend to clients of other protocols."


def _serve(flags: ServeFlags) -> None:
    import importlib

    from sdenv.core.errors import UnknownName

    # By name: front ends stand beside the command line, not below it.
    servers = importlib.import_module("sdenv.servers").SERVERS
    names = flags.front_ends or ["http"]
    if not list(servers):
        raise UnknownName(
            f"There is no front end {names[0]!r}.",
            why="This release of sdenv makes pictures but serves none; front ends come with a later one.",
            hint="Other packages can add one: entry point `sdenv.servers`.",
        )
    for name in names:
        servers.entry(name)
    raise UnknownName(
        f"The front end {names[0]!r} cannot be started by this release.",
        why="The command that runs front ends comes with the first of sdenv's own.",
    )


app = command_app(options.command_from(ServeFlags, _serve, _HELP), name="serve")
