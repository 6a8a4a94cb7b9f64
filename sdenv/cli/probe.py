"""`sdenv probe`: looks before anyone waits."""

from typing import Annotated, Any

import typer

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


def http(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="Where the server is, or a name of your own.",
            autocompletion=options.backend_names,
        ),
    ],
    picture: Annotated[
        bool, typer.Option("--picture", help="Make a test picture there, which is not kept.")
    ] = False,
    option: Annotated[
        list[str] | None,
        options.flag(options.BACKEND, "-O --option", "KEY=VALUE", "An option of the backend."),
    ] = None,
    json_lines: options.Json = False,
    debug: options.Debug = False,  # noqa: ARG001 - read from argv
) -> None:
    """Show what a server speaks, which models it has, what it can do, how fast it answers, how full it is.

    Exit code 0 = it works, 4 = nothing answers there, 8 = the token is missing or wrong.
    """
    from sdenv.cli.probe_http import probe

    probe(url, option or [], with_picture=picture, as_json=json_lines)


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


app = group_app("Look what a machine can do before anyone waits.", {"http": http, "local": local})
