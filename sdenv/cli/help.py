"""Help pages: plain sections that read well without colour, in narrow windows and in a screen reader.

Typer's own rich pages import a Markdown parser and cost as much again as all of Typer; these cost nothing.
"""

import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from typer.core import TyperArgument, TyperOption

from sdenv.cli.terminal import Terminal, terminal_of

if TYPE_CHECKING:
    from typer._click import Context  # the type of Typer's own signatures

MAX_COLUMNS: Final = 100  # longer lines are hard to read, however wide the window
_NAME_COLUMNS: Final = 27


def help_page(ctx: "Context", params: Iterable[object], commands: Sequence[tuple[str, str]] = ()) -> str:
    """The help page of one command.

    Args:
        ctx: Where it was asked for.
        params: The command's parameters, in order.
        commands: Names and summaries of the commands below it.
    """
    terminal = terminal_of(sys.stdout)
    width = max(40, min(terminal.columns, MAX_COLUMNS))
    usage = " ".join([ctx.command_path, *ctx.command.collect_usage_pieces(ctx)])
    parts = [
        _paragraphs(ctx.command.help or "", width),
        f"{terminal.paint('Usage:', 'bold', 'green')} {usage}\n",
    ]
    sections = [("Commands", list(commands))] if commands else []
    sections += _sections(params)
    longest = max(len(name) for _, rows in sections for name, _ in rows)
    for title, rows in sections:
        parts.append(_section(title, rows, width, min(_NAME_COLUMNS, longest), terminal))
    if ctx.command.epilog:
        parts.append(_examples(ctx.command.epilog, terminal))
    return terminal.symbols("\n".join(part for part in parts if part))


def _paragraphs(text: str, width: int) -> str:
    wrapped = [textwrap.fill(" ".join(each.split()), width) for each in text.split("\n\n") if each.strip()]
    return "\n\n".join(wrapped) + "\n" if wrapped else ""


def _sections(params: Iterable[object]) -> list[tuple[str, list[tuple[str, str]]]]:
    sections: dict[str, list[tuple[str, str]]] = {}
    for param in params:
        if isinstance(param, TyperArgument) and not param.hidden:
            title = param.rich_help_panel or "Arguments"
            sections.setdefault(title, []).append((param.display_name_raw, param.help or ""))
        elif isinstance(param, TyperOption) and not param.hidden:
            title = param.rich_help_panel or "Other"
            sections.setdefault(title, []).append((_option_name(param), param.help or ""))
    return list(sections.items())


def _option_name(param: TyperOption) -> str:
    names = sorted(param.opts, key=len)
    shown = ", ".join([*names, *param.secondary_opts])
    if names[0].startswith("--"):
        shown = f"    {shown}"
    return shown if param.is_flag or param.metavar is None else f"{shown} {param.metavar}"


def _section(
    title: str, rows: list[tuple[str, str]], width: int, name_columns: int, terminal: Terminal
) -> str:
    lines = [terminal.paint(f"{title}:", "bold", "green")]
    indent = " " * (name_columns + 4)
    for name, text in rows:
        wrapped = textwrap.wrap(text, max(20, width - len(indent))) or [""]
        painted = terminal.paint(name, "cyan")
        if len(name) > name_columns:
            lines.append(f"  {painted}")
            lines.append(f"{indent}{wrapped[0]}".rstrip())
        else:
            lines.append(f"  {painted}{' ' * (name_columns - len(name) + 2)}{wrapped[0]}".rstrip())
        lines += [f"{indent}{each}" for each in wrapped[1:]]
    return "\n".join(lines) + "\n"


def _examples(epilog: str, terminal: Terminal) -> str:
    lines = textwrap.dedent(epilog).strip().splitlines()
    return (
        "\n".join([terminal.paint("Examples:", "bold", "green"), *(f"  {line}".rstrip() for line in lines)])
        + "\n"
    )
