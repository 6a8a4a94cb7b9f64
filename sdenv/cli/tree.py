"""The tree of commands. A table of text, so that help and completion of names import no command.

A command's module holds a Typer app named `app` and imports typer only; what its body needs it imports there.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, final

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from sdenv import __version__
from sdenv.cli.options import Json
from sdenv.core.errors import Cancelled, UsageError

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter  # the types of Typer's own signatures

HELP_NAMES: Final = {"help_option_names": ["-h", "--help"]}


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One command: its module in `sdenv.cli`, one line for people, whether the help shows it."""

    module: str
    summary: str
    hidden: bool = False


COMMANDS: Final[dict[str, Row]] = {
    "generate": Row("generate", "Make pictures from text, or from a picture and text"),
    "train": Row("train", "Train a model by a recipe"),
    "jobs": Row("jobs", "See, follow and fetch the jobs of a server"),
    "history": Row("history", "Search what was made here, make it again, show it as a gallery"),
    "probe": Row("probe", "Look what a machine can do before anyone waits"),
    "models": Row("models", "List the models found on this machine"),
    "backends": Row("backends", "List what can make pictures, and what each can do"),
    "config": Row("config", "Show and change settings, each with where it comes from"),
    "serve": Row("serve", "Serve a backend to clients of other protocols"),
}


@contextmanager
def usage_errors(ctx: "Context") -> Iterator[None]:
    """Turns Typer's own errors about the command line into ours, with the nearest option that exists."""
    try:
        yield
    except typer.TyperException as error:
        message = error.format_message().partition(" (Possible options:")[0].rstrip(".")
        raise UsageError(
            f"{message}.", why=_nearest_option(message, ctx), hint=f"{ctx.command_path} --help"
        ) from error


def _nearest_option(message: str, ctx: "Context") -> str:
    _, found, wanted = message.partition("No such option: ")
    if not found:
        return ""
    known = [name for param in ctx.command.get_params(ctx) for name in (*param.opts, *param.secondary_opts)]
    close = get_close_matches(wanted, [name for name in known if name.startswith("--")], n=1, cutoff=0.5)
    return f"Did you mean {close[0]}?" if close else ""


class SdenvCommand(TyperCommand):
    """A command with our help page and our errors."""

    def invoke(self, ctx: "Context") -> Any:
        """Runs the body; Typer would end without a word after Ctrl-C, and with 1 after a broken pipe."""
        from sdenv.cli.errors import EXIT_BROKEN_PIPE, silence_stdout

        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Cancelled from error
        except BrokenPipeError as error:
            silence_stdout()
            raise typer.Exit(EXIT_BROKEN_PIPE) from error

    def format_help(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Writes the help page."""
        from sdenv.cli.help import help_page

        formatter.write(help_page(ctx, self.get_params(ctx)))

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Parses, with our errors."""
        with usage_errors(ctx):
            return super().parse_args(ctx, args)


class SdenvGroup(TyperGroup):
    """A group of commands with our help page and our errors.

    Attributes:
        default: The command that runs when none is named; None = the help page.
    """

    default: ClassVar[str | None] = None

    def summaries(self, ctx: "Context") -> list[tuple[str, str]]:
        """Names and summaries of the commands that the help shows."""
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        return [
            (name, " ".join((each.help or "").partition("\n\n")[0].split()))
            for name, each in commands
            if each and not each.hidden
        ]

    def format_help(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Writes the help page."""
        from sdenv.cli.help import help_page

        formatter.write(help_page(ctx, self.get_params(ctx), self.summaries(ctx)))

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Parses the options before the command, with our errors.

        Options without any command are those of the default command: `sdenv jobs -b URL` lists.
        """
        with usage_errors(ctx):
            return super().parse_args(ctx, [*self._default(ctx, args), *args])

    def _default(self, ctx: "Context", args: list[str]) -> list[str]:
        """The command to put before what was typed, if any."""
        if self.default is None or ctx.resilient_parsing:
            return []
        bare = not args or (args[0].startswith("-") and not {*args} & {*self.list_commands(ctx)})
        return [self.default] if bare and not {*args} & {*HELP_NAMES["help_option_names"]} else []

    def resolve_command(self, ctx: "Context", args: list[str]) -> Any:
        """Finds the command, or says which one is near."""
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and self.get_command(ctx, name) is None:
            known = self.list_commands(ctx)
            close = get_close_matches(name, known, n=1, cutoff=0.5)
            why = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(known)}."
            raise UsageError(
                f"There is no command {ctx.command_path} {name}.", why=why, hint=f"{ctx.command_path} --help"
            )
        with usage_errors(ctx):
            return super().resolve_command(ctx, args)


@final
class ListingGroup(SdenvGroup):
    """A group that lists when no command is named."""

    default: ClassVar[str | None] = "list"


@final
class RootGroup(SdenvGroup):
    """The group `sdenv`, whose commands are imported when they are chosen."""

    def list_commands(self, ctx: "Context") -> list[str]:  # noqa: ARG002 - Typer's signature
        """All names, in the order of the table."""
        return list(COMMANDS)

    def summaries(self, ctx: "Context") -> list[tuple[str, str]]:  # noqa: ARG002 - as in SdenvGroup
        """From the table, without importing a command."""
        return [(name, row.summary) for name, row in COMMANDS.items() if not row.hidden]

    def get_command(self, ctx: "Context", cmd_name: str) -> Any:  # noqa: ARG002 - Typer's signature
        """Imports and builds one command."""
        row = COMMANDS.get(cmd_name)
        if row is None:
            return None
        command = typer.main.get_command(importlib.import_module(f"sdenv.cli.{row.module}").app)
        command.name = cmd_name
        command.hidden = row.hidden
        command.short_help = row.summary  # type: ignore[attr-defined, unused-ignore]  # set by Typer's constructor
        return command


def command_app(callback: Callable[..., object], *, name: str, epilog: str = "") -> typer.Typer:
    """An app of one command, whose help is the callback's docstring."""
    app = typer.Typer(add_completion=False)
    app.command(name, cls=SdenvCommand, epilog=epilog, context_settings=HELP_NAMES)(callback)
    return app


def group_app(
    help_text: str, commands: Mapping[str, Callable[..., object]], *, lists: bool = False
) -> typer.Typer:
    """An app of several commands.

    Args:
        help_text: What the help page of the group says.
        commands: Functions by the names of the commands.
        lists: Whether `list` runs when no command is named, with its options; else the help page.
    """

    def with_default(json_lines: Json = False) -> None:
        del json_lines  # for the help page: without a command it goes to `list`, as all its options do

    def without_default(ctx: typer.Context) -> None:
        if ctx.invoked_subcommand is None:
            typer.echo(ctx.get_help(), err=True)
            raise typer.Exit(2)

    app = typer.Typer(
        cls=ListingGroup if lists else SdenvGroup,
        add_completion=False,
        invoke_without_command=True,
        help=help_text,
        context_settings=HELP_NAMES,
    )
    app.callback()(with_default if lists else without_default)
    for name, command in commands.items():
        app.command(name, cls=SdenvCommand, context_settings=HELP_NAMES)(command)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"sdenv {__version__}")
        raise typer.Exit


def _root(
    ctx: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool,
        typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """One command line for image generation: local models, servers and old protocols behind one request."""
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), err=True)
        raise typer.Exit(2)


_EXAMPLES: Final = """
sdenv generate "a pizza, 3d"
sdenv generate --help
sdenv backends
"""


def root_command() -> Any:
    """The whole command line, ready to be run."""
    app = typer.Typer(
        cls=RootGroup, invoke_without_command=True, context_settings=HELP_NAMES, epilog=_EXAMPLES
    )
    app.callback()(_root)
    return typer.main.get_command(app)
