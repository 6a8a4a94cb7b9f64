"""Writes docs/reference/ from the code; with --check it fails when a page and the code differ.

python docs/generate.py [--check]
"""

import difflib
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

REFERENCE = Path(__file__).parent / "reference"
GENERATED = "<!-- Written by docs/generate.py; change the code and run `make docs`. -->\n\n"


def first_paragraph(text: str | None) -> str:
    """The first paragraph of a docstring on one line."""
    return " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())


def attribute_texts(documented: type) -> dict[str, str]:
    """The "Attributes:" section of a class docstring, by name."""
    lines = inspect.cleandoc(documented.__doc__ or "").splitlines()
    found: dict[str, str] = {}
    name = ""
    for line in lines[lines.index("Attributes:") + 1 :] if "Attributes:" in lines else ():
        if line.startswith("    ") and not line.startswith("     ") and ":" in line:
            name, _, text = line.strip().partition(":")
            found[name] = text.strip()
        elif name and line.strip():
            found[name] += " " + line.strip()
        elif not line.strip():
            continue
        else:
            break
    return found


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return "".join(f"| {line} |\n" for line in lines)


def errors_page() -> str:
    """Every error code, its kind, its exit code and its meaning."""
    from sdenv.core.errors import EXIT_CODES, all_error_types

    rows: dict[str, tuple[str, ...]] = {}
    for each in all_error_types():
        again = "yes" if each.repeats else "no"
        row = (
            f"`{each.code}`",
            each.kind.value,
            str(EXIT_CODES[each.kind]),
            again,
            first_paragraph(each.__doc__),
        )
        rows.setdefault(each.code, row)
    return (
        "# Errors\n\nEvery error says what happened, why, and what to type next. Scripts match on the code; the exit "
        "code of a command follows from the kind. *Repeats* says whether the very same request would fail again.\n\n"
        + table(("code", "kind", "exit code", "repeats", "meaning"), [rows[code] for code in sorted(rows)])
        + "\nExit code 0 is success. A command that a signal other than Ctrl-C ends exits with 128 + its number (143 for "
        "SIGTERM), one whose reader goes away (`| head`) with 141. With `--debug` an error shows where it comes from.\n"
    )


def request_page() -> str:
    """The fields of a request with their ranges."""
    from sdenv.core import request

    parts = [
        "# The request\n\nOne request for every backend: `sdenv generate` builds it from flags, `--request` reads it as "
        "JSON, every picture carries it. `null` or absent means that the backend decides. An unknown field is an error.\n",
    ]
    for model in (request.GenerationRequest, request.Control, request.LoRA, request.Hires):
        parts.append(f"\n## {model.__name__}\n\n{first_paragraph(model.__doc__)}\n\n")
        parts.append(table(("field", "type", "default", "meaning"), list(_field_rows(model))))
    return "".join(parts)


def _field_rows(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    texts = attribute_texts(model)
    for name, schema in model.model_json_schema()["properties"].items():
        default = (
            "required"
            if name in model.model_json_schema().get("required", ())
            else f"`{schema.get('default')}`"
        )
        if schema.get("default") is None and default != "required":
            default = "empty" if schema.get("type") in ("array", "object") else "decided"
        meaning = texts.get(name, "")
        if not meaning:
            raise SystemExit(f"{model.__name__}.{name} has no text in the docstring")
        yield f"`{name}`", _type_text(schema), default, meaning


def _type_text(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type_text(each) for each in schema["anyOf"] if each.get("type") != "null")
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"list of {_type_text(schema.get('items', {}))}"
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    limits = f" {low:g}..{high:g}" if low is not None and high is not None else ""
    return f"{schema.get('type', 'any')}{limits}"


def events_page() -> str:
    """The events, as JSON lines."""
    from sdenv.core import events

    parts = [
        "# Events\n\nWith `--progress json` each event is one JSON object a line on stderr: "
        f'`{{"v": {events.EVENT_VERSION}, "type": ..., "job": ..., ...}}`. `v` is raised when a meaning changes, never when a '
        "field is added.\n\n",
    ]
    rows = []
    for event in get_args(events.Event):
        names = ", ".join(f"`{each.name}`" for each in fields(event))
        rows.append((f"`{events._TYPE_NAMES[event]}`", names, first_paragraph(event.__doc__)))
    parts.append(table(("type", "fields", "meaning"), rows))
    parts.append("\nA picture is given as `media_type` and `picture_bytes` (its size), not as text.\n")
    parts.append(
        "\n## Of a job on a server\n\n`sdenv jobs watch --json` and `GET /sdenv/v1/jobs/{id}/events` give the events above and "
        "those of the queue, from the first to the last whenever they are asked for:\n\n"
    )
    parts.append(table(("type", "fields", "meaning"), _JOB_EVENTS))
    return "".join(parts)


_JOB_EVENTS = [
    ("`job-queued`", "`position`", "It was accepted; so many jobs will run before it."),
    (
        "`job-started`",
        "`attempt`",
        "A try begins, from 1; every try makes all pictures anew, with the same pixels.",
    ),
    ("`job-requeued`", "`error`", "The try was lost, and why; there will be another."),
    ("`job-ended`", "`state`, `error`, `result`", "Always the last: `done`, `failed` or `cancelled`."),
]


def backends_page() -> str:
    """What each built-in backend declares."""
    from sdenv.backends import BACKENDS, ROWS

    rows = []
    for name in sorted(ROWS):
        declared = BACKENDS.load(name).declared
        tasks = ", ".join(sorted(task.value for task in declared.tasks))
        carries = ", ".join(f"`{each}`" for each in sorted(declared.carries))
        detail = f"{declared.cancel}; {declared.progress}; previews {'yes' if declared.previews else 'no'}"
        rows.append((f"`{name}`", ROWS[name].summary, tasks, carries, detail))
    head = ("backend", "what it is", "tasks", "request fields it carries", "cancel; progress; previews")
    return "# Backends\n\nA field that a backend does not carry is refused before any work.\n\n" + table(
        head, rows
    )


def samplers_page() -> str:
    """The table of samplers and schedules, by everyone's names."""
    from sdenv.core.sampler_table import AUTOMATIC, SAMPLERS, SCHEDULES

    rows = []
    for name, each in SAMPLERS.items():
        options = ", ".join(f"{key}={value}" for key, value in each.options.items())
        scheduler = (
            f"`{each.scheduler}`{f' ({options})' if options else ''}" if each.scheduler else "none: refused"
        )
        app_names = ", ".join(f"`{enum}` ({schedule})" for schedule, enum in each.draw_things.items())
        schedules = ", ".join(sorted(each.schedules)) or AUTOMATIC
        rows.append(
            (f"`{name}`", scheduler, schedules, app_names or "-", ", ".join(f"`{a}`" for a in each.aliases))
        )
    head = ("sampler", "diffusers", "schedules", "Draw Things", "also")
    schedule_rows = [
        (
            f"`{name}`",
            "none: refused"
            if each.options is None
            else ", ".join(f"{k}={v}" for k, v in each.options.items()) or "-",
            ", ".join(f"`{alias}`" for alias in each.aliases),
        )
        for name, each in SCHEDULES.items()
    ]
    return (
        "# Samplers\n\nNames are AUTOMATIC1111's. Case, blanks, `_` and `-` do not matter, and a schedule may follow the name: "
        "`DPM++ 2M Karras`, `k_dpmpp_2m`, `euler_a` all work. A sampler that cannot run what the model predicts is refused.\n\n"
        + table(head, rows)
        + "\n## Schedules\n\n"
        + table(("schedule", "diffusers", "also"), schedule_rows)
    )


def settings_page() -> str:
    """Every setting, its variable and its default."""
    from sdenv.services.preferences import VARIABLES, Preferences

    variables: dict[str, list[str]] = {}
    for variable, name in VARIABLES.items():
        variables.setdefault(name, []).append(f"`{variable}`")
    rows = []
    for name, each in Preferences.model_fields.items():
        default = "unset" if each.default_factory or each.default in (None, ()) else f"`{each.default}`"
        rows.append((f"`{name}`", ", ".join(variables.get(name, [])), default, each.description or ""))
    return (
        "# Settings\n\n`sdenv config show` tells each value and where it comes from: a flag wins over a variable, a variable over "
        "`[profiles.NAME]`, that over the rest of `config.toml`, that over the default.\n\n"
        + table(("setting", "variable", "default", "meaning"), rows)
    )


def pictures_page() -> str:
    """What sdenv writes into pictures, shown on an example, and whose texts it reads."""
    import json

    from sdenv.core.request import ResolvedRequest
    from sdenv.protocols.foreign_metadata import READERS
    from sdenv.protocols.parameters import encode_parameters, parameters_of
    from sdenv.protocols.provenance import PictureFacts, encode_provenance

    done = ResolvedRequest(
        prompt="a fox, flat", negative_prompt="blurry", model="emoji", width=256, height=256, steps=20,
        guidance_scale=4.0, seed=8, sampler="DPM++ 2M", schedule="Automatic", count=2, batch_size=2,
    )  # fmt: skip
    facts = PictureFacts(done, 1, "local", "6ce0161689", {"device": "cpu", "precision": "bfloat16"})
    plain = encode_parameters(parameters_of(done, seed=9, model_hash="6ce0161689", version="sdenv 0.1.0"))
    own = json.loads(encode_provenance(facts)) | {"version": "0.1.0"}
    others = [(f"`{name}`", first_paragraph(reader.__doc__)) for name, reader in READERS]
    return (
        "# What a picture says\n\nThe second picture of a batch of two, as an example. A PNG has two texts (tEXt, or iTXt "
        "where Latin-1 is not enough); a JPEG or WebP has the first as EXIF UserComment.\n\n"
        f"`parameters`, in the form of AUTOMATIC1111:\n\n```text\n{plain}\n```\n\n"
        f"`sdenv` (here with line breaks):\n\n```json\n{json.dumps(own, indent=2)}\n```\n\n"
        "`request` asks for the batch that the picture was made in, `index` says which of its pictures it is, `seed` is "
        "its own seed. Input pictures are inside as base64, without what cameras write beside the pixels, while the text "
        'stays below 1 MiB; of a larger one only `{"sha256": ...}` is kept. `schema` rises when the meaning of a field '
        "changes; a picture with a higher one than this version knows is refused.\n\n"
        "## Read\n\nIn this order: `sdenv`, `parameters`, then those of other programs, then EXIF UserComment. Texts above "
        "1 MiB, 16 MiB together, and chunks with a wrong checksum are skipped.\n\n"
        + table(("source", "what it is"), others)
    )


def http_api_page() -> str:
    """The routes of the native API and the numbers for Prometheus, from a server over the fake backend."""
    import tempfile

    from sdenv.backends.fake import FakeBackend, FakeSettings
    from sdenv.protocols.native import NATIVE_VERSION
    from sdenv.servers.http.app import build_app
    from sdenv.servers.http.context import Service
    from sdenv.servers.http.metrics import Metrics
    from sdenv.servers.http.settings import HttpSettings
    from sdenv.services.engine import Engine
    from sdenv.services.jobs import Jobs

    metrics = Metrics()
    with (
        tempfile.TemporaryDirectory() as folder,
        Engine(FakeBackend(FakeSettings()), name="fake") as engine,
        Jobs(engine, Path(folder)) as jobs,
    ):
        document = build_app(Service(engine, jobs, HttpSettings(), metrics, engine.queue_size)).openapi()
    parts = [
        "# HTTP API\n\nsdenv's own; those of other programs are in [dialects](dialects.md). The whole document is at "
        f"`/openapi.json` of every server. Objects carry `v`, which is {NATIVE_VERSION} and rises when a meaning changes, never "
        'when a field is added. Every error is `{"error": {"code", "kind", "repeats", "what", "why", "hint"}}` '
        "([errors](errors.md)). HEAD works wherever GET does. Every route may also answer 401 (the token is missing or wrong) and "
        "403 (a web page of another origin, or a name that is not the server's).\n",
    ]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            parts.append(_route_text(method.upper(), path, route))
    parts.append(
        "\n## Numbers for Prometheus\n\nAt `/metrics`, beside those of the process (`process_*`).\n\n"
    )
    rows = [
        (f"`{each.name}{'_total' if each.type == 'counter' else ''}`", each.type, each.documentation)
        for each in metrics.families()
    ]
    parts.append(table(("name", "type", "meaning"), rows))
    return "".join(parts)


def _route_text(method: str, path: str, route: dict[str, Any]) -> str:
    rows = [
        (f"`{each['name']}`", each["in"], each.get("description", "")) for each in route.get("parameters", ())
    ]
    answers = [
        (status, "answer", each.get("description", ""))
        for status, each in route["responses"].items()
        if status not in ("401", "403")
    ]
    described = table(("", "", ""), [*rows, *answers])
    return f"\n## {method} {path}\n\n{route['description']}\n\n{described}"


def cli_page() -> str:
    """The help page of every command, as the terminal shows it."""
    import os

    os.environ.update(COLUMNS="100", NO_COLOR="1", TERM="dumb", PYTHONIOENCODING="utf-8")
    from sdenv.cli.tree import COMMANDS

    parts = ["# Command line\n\nEvery page is what `--help` prints.\n"]
    for words in [(), *((name,) for name, row in COMMANDS.items() if not row.hidden)]:
        text = _help_text(*words)
        parts.append(f"\n## sdenv {' '.join(words)}".rstrip() + f"\n\n```text\n{text}```\n")
        names = _subcommands(text) if words else []
        parts += [
            f"\n### sdenv {' '.join((*words, name))}\n\n```text\n{_help_text(*words, name)}```\n"
            for name in names
        ]
    return "".join(parts)


def _help_text(*words: str) -> str:
    import subprocess

    command = [sys.executable, "-m", "sdenv", *words, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.replace("python -m sdenv", "sdenv").rstrip() + "\n"


def _subcommands(text: str) -> list[str]:
    _, found, rest = text.partition("Commands:\n")
    return (
        [line.split()[0] for line in rest.partition("\n\n")[0].splitlines() if line[2:3].strip()]
        if found
        else []
    )


PAGES: dict[str, Callable[[], str]] = {
    "errors.md": errors_page,
    "request.md": request_page,
    "events.md": events_page,
    "backends.md": backends_page,
    "samplers.md": samplers_page,
    "settings.md": settings_page,
    "pictures.md": pictures_page,
    "http-api.md": http_api_page,
    "cli.md": cli_page,
}


def main(arguments: list[str]) -> int:
    """Writes the pages, or compares them; returns the exit code."""
    check = "--check" in arguments
    stale = 0
    for name, build in PAGES.items():
        path, text = REFERENCE / name, GENERATED + build()
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if text == old:
            continue
        stale += 1
        if check:
            difference = difflib.unified_diff(
                old.splitlines(), text.splitlines(), f"docs/reference/{name}", "the code"
            )
            sys.stderr.write("\n".join(list(difference)[:40]) + "\n")
        else:
            path.write_text(text, encoding="utf-8")
    if check and stale:
        sys.stderr.write(f"{stale} page(s) of docs/reference differ from the code: run `make docs`.\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
