"""`sdenv backends`: what can make pictures, and what each can do."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from sdenv.cli import options
from sdenv.cli.options import BACKEND, flag
from sdenv.cli.tree import command_app

if TYPE_CHECKING:
    from sdenv.core.backend import BackendStatus
    from sdenv.core.capabilities import Capabilities, SizeRule


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendsFlags:
    """What `sdenv backends` was told."""

    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|URL", help="Show what this one can do.", autocompletion=options.backend_names
        ),
    ] = None
    option: Annotated[
        list[str] | None, flag(BACKEND, "-O --option", "KEY=VALUE", "An option of the backend.")
    ] = None
    json_lines: options.Json = False
    debug: options.Debug = False


_HELP: Final = """List what can make pictures; with a name, what that one can do.

Exit code 4 means that it cannot be used now: something is not installed, or nothing answers."""


def _backends(flags: BackendsFlags) -> None:
    if flags.name is None:
        _list(as_json=flags.json_lines)
    else:
        _detail(flags.name, flags.option or [], as_json=flags.json_lines)


def _list(*, as_json: bool) -> None:
    from dataclasses import asdict

    from sdenv.cli.output import print_json, print_text
    from sdenv.cli.tables import table
    from sdenv.services.choose import list_backends
    from sdenv.services.settings import load_settings

    rows = list_backends(load_settings())
    if as_json:
        for row in rows:
            print_json({"type": "backend", **asdict(row)})
        return
    shown = [(row.name, "ready" if row.installed else "missing", row.hint or row.summary) for row in rows]
    print_text(table(("BACKEND", "STATE", ""), shown))


def _detail(name: str, option: list[str], *, as_json: bool) -> None:
    from contextlib import closing

    from sdenv.cli.output import print_json, print_text
    from sdenv.cli.pairs import key_values
    from sdenv.services.choose import FILLED_IN, choose_backend
    from sdenv.services.settings import load_settings

    chosen = choose_backend(name, key_values(option, "-O"), load_settings())
    with closing(chosen.backend):
        status = chosen.backend.probe()
        options_record = _options(type(chosen.backend).Settings.model_json_schema(), FILLED_IN)
    record = status_record(status)
    if as_json:
        print_json({"type": "backend", **record, "options": options_record})
    else:
        print_text(_text(record, options_record))


def _options(schema: dict[str, Any], left_out: Collection[str]) -> dict[str, str]:
    """The backend's own options and their defaults."""
    return {
        name: str(each.get("default", "(required)"))
        for name, each in schema.get("properties", {}).items()
        if name not in left_out
    }


def status_record(status: "BackendStatus") -> dict[str, Any]:
    """What a backend says of itself, as JSON values."""
    return {
        "name": status.name,
        "version": status.version,
        "models": [
            {
                "name": model.name,
                "family": model.family,
                "default_size": "x".join(map(str, model.default_size)),
                "sizes": _size_text(model.size),
                "summary": model.summary,
                **model.detail,
            }
            for model in status.models
        ],
        "capabilities": _capabilities_record(status.capabilities),
    }


def _capabilities_record(can: "Capabilities") -> dict[str, Any]:
    return {
        "tasks": sorted(task.value for task in can.tasks),
        "carries": sorted(can.carries),
        "samplers": "any" if can.samplers is None else list(can.samplers),
        "schedules": "any" if can.schedules is None else list(can.schedules),
        "controls": sorted(can.controls),
        "sizes": _size_text(can.size),
        "max_count": can.max_count,
        "max_batch": can.max_batch,
        "progress": can.progress,
        "previews": can.previews,
        "cancel": can.cancel,
        "concurrency": can.concurrency,
    }


def _size_text(rule: "SizeRule") -> str:
    if rule.native:
        return ", ".join(f"{width}x{height}" for width, height in rule.native)
    return f"{rule.min_px} to {rule.max_px} px in steps of {rule.multiple_px}"


def _text(record: dict[str, Any], options_record: dict[str, str]) -> str:
    lines = [f"{record['name']} {record['version']}", "", "Models"]
    lines += [
        f"  {model['name']:<24} {model['family']}, {model['default_size']} ({model['sizes']})"
        + (f"; {model['summary']}" if model["summary"] else "")
        for model in record["models"]
    ] or ["  any name is passed on"]
    lines += ["", "Can do"]
    for name, value in record["capabilities"].items():
        shown = ", ".join(value) if isinstance(value, list) else str(value)
        lines.append(f"  {name:<12} {shown or '-'}")
    if options_record:
        lines += ["", "Options (-O key=value)"]
        lines += [f"  {name:<16} {default}" for name, default in options_record.items()]
    return "\n".join(lines)


app = command_app(options.command_from(BackendsFlags, _backends, _HELP), name="backends")
