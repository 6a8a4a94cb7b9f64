"""`sdenv probe`: looks before anyone waits."""

from typing import Any

from sdenv.cli import options
from sdenv.cli.tree import group_app


def local(json_lines: options.Json = False, debug: options.Debug = False) -> None:  # noqa: ARG001 - read from argv
    """Show devices, precisions, memory, versions and models, and what would be chosen here and why.

    Exit code 0 = pictures can be made here, 4 = something is missing.
    """
    from sdenv.cli.output import print_json, print_text
    from sdenv.services.machine import machine_record
    from sdenv.services.settings import load_settings

    record = machine_record(load_settings())
    if json_lines:
        print_json({"type": "machine", **record})
    else:
        print_text(record_text(record))


def record_text(record: dict[str, Any], indent: str = "") -> str:
    """Names and values, one a line; what is nested stands below its name, two spaces further in."""
    width = max((len(name) for name, value in record.items() if not _nested(value)), default=0)
    lines: list[str] = []
    for name, value in record.items():
        title = name.replace("_", " ")
        if isinstance(value, dict) and value:
            lines += [f"{indent}{title}", record_text(value, indent + "  ")]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            lines.append(f"{indent}{title}")
            lines += [record_text(each, indent + "  ") for each in value]
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            lines.append(f"{indent}{title:<{width}}  {'-' if shown in (None, '') else shown}")
    return "\n".join(lines)


def _nested(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


app = group_app("Look what a machine can do before anyone waits.", {"local": local})
