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
        print_text(machine_text(record))


def machine_text(record: dict[str, Any]) -> str:
    """The facts of a machine as a page: first what would be used and why, then what there is."""
    rows = [
        ("Device", record["chosen_device"]),
        ("Precision", f"{record['chosen_precision']}: {record['reason']}"),
        ("Layout", record["chosen_memory_format"]),
        ("Attention", ", ".join(record["attention"])),
        ("Threads", str(record["threads"])),
    ]
    parts = ["Would be used", _aligned(rows)]
    for device in record["devices"]:
        free, total = (device[f"memory_{kind}_bytes"] / 1e9 for kind in ("free", "total"))
        parts += ["", f"{device['name']}: {device['title']}, {free:.1f} of {total:.1f} GB memory free"]
        parts.append(
            _aligned(
                [
                    (each["name"], f"{'yes' if each['usable'] else 'no'}: {each['why']}")
                    for each in device["precisions"]
                ]
            )
        )
    models = [
        (each["name"], each["problem"] or f"{each['family']}, {each['source']}") for each in record["models"]
    ]
    parts += ["", "Models", _aligned(models) if models else "  none found"]
    parts += ["", "Versions", _aligned(list(record["versions"].items()))]
    return "\n".join(parts)


def _aligned(rows: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in rows)


app = group_app("Look what a machine can do before anyone waits.", {"local": local})
