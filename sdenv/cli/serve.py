"""`sdenv serve`: the flags, and where to go with them."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final

import typer

from sdenv.cli import options
from sdenv.cli.options import BACKEND, REQUEST, flag
from sdenv.cli.tree import command_app

_listen = partial(flag, "Where it listens")
_access = partial(flag, "Who may use it")
_queue = partial(flag, "Jobs")
_limit = partial(flag, "The most that one request may ask for")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeFlags:
    """What `sdenv serve` was told; None = not said."""

    front_ends: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FRONT_END]...",
            help="Which protocols to speak; http if none is named.",
            autocompletion=options.front_end_names,
        ),
    ] = None

    host: Annotated[
        str | None, _listen("--host", "ADDRESS", "127.0.0.1 unless said; 0.0.0.0 = every network.")
    ] = None
    port: Annotated[
        int | None, _listen("--port", "N", "With one front end: its port; 0 = any that is free.")
    ] = None
    http_port: Annotated[int | None, _listen("--http-port", "N", "Port of http; 9090 unless said.")] = None
    drawthings_http_port: Annotated[
        int | None,
        _listen("--drawthings-http-port", "N", "Also speak Draw Things' HTTP API here, usually 7860."),
    ] = None
    tls: Annotated[bool, _listen("--tls", "", "Speak TLS, with a certificate made at the first start.")] = (
        False
    )
    tls_cert: Annotated[str | None, _listen("--tls-cert", "FILE", "A certificate of yours, in PEM.")] = None
    tls_key: Annotated[str | None, _listen("--tls-key", "FILE", "Its key, in PEM.")] = None
    no_warm: Annotated[
        bool, _listen("--no-warm", "", "Do not lend the loaded model to `sdenv generate -b local`.")
    ] = False

    token_file: Annotated[
        str | None, _access("--token-file", "FILE", "A file whose first line is the token.")
    ] = None
    tokens: Annotated[
        str | None, _access("--tokens", "FILE", "Tokens by name, as TOML, each with its share of the queue.")
    ] = None
    insecure: Annotated[bool, _access("--insecure", "", "Serve other machines without a token.")] = False
    allow_host: Annotated[
        list[str] | None, _access("--allow-host", "NAME", "A further name of this server, behind a proxy.")
    ] = None
    cors_origin: Annotated[
        list[str] | None, _access("--cors-origin", "URL", "Web pages of this origin may use the server.")
    ] = None

    queue: Annotated[int | None, _queue("--queue", "N", "How many jobs may wait; 256 unless said.")] = None
    data_dir: Annotated[
        str | None,
        _queue("--data-dir", "FOLDER", "Where jobs and pictures are kept; the setting `data_dir`."),
    ] = None
    keep_days: Annotated[
        float | None, _queue("--keep-days", "N", "Remove jobs that ended longer ago than this.")
    ] = None
    keep_jobs: Annotated[
        int | None, _queue("--keep-jobs", "N", "Keep the newest N jobs that have ended.")
    ] = None
    keep_bytes: Annotated[
        str | None, _queue("--keep-bytes", "SIZE", "Keep so much of pictures: 20GB; the oldest go first.")
    ] = None
    drain: Annotated[
        float | None,
        _queue("--drain", "SECONDS", "At the end, how long running jobs may take; 30 unless said."),
    ] = None
    idle_unload: Annotated[
        float | None,
        _queue("--idle-unload", "SECONDS", "After so long without a job, free the model's memory."),
    ] = None

    max_steps: Annotated[int | None, _limit("--max-steps", "N", "Denoising steps; 1000 unless said.")] = None
    max_count: Annotated[int | None, _limit("--max-count", "N", "Pictures; 16 unless said.")] = None
    max_side: Annotated[int | None, _limit("--max-side", "PX", "Width or height; 8192 unless said.")] = None
    max_pixels: Annotated[
        int | None, _limit("--max-pixels", "N", "Width times height; 16000000 unless said.")
    ] = None
    max_body: Annotated[
        str | None, _limit("--max-body", "SIZE", "Bytes of a request; 64 MiB unless said, and at most.")
    ] = None
    strict_models: Annotated[
        bool, _limit("--strict-models", "", "Refuse models that are not here; some clients name their own.")
    ] = False

    model: Annotated[
        list[str] | None,
        flag(
            REQUEST,
            "-m --model",
            "NAME|FOLDER",
            "A model to serve, the first is the default; may be repeated. Else all on this machine.",
            options.model_names,
        ),
    ] = None
    json_lines: options.Json = False
    quiet: options.Quiet = False
    debug: options.Debug = False
    color: options.Color = None
    backend: Annotated[
        str | None,
        flag(BACKEND, "-b --backend", "NAME|URL", "What makes the pictures.", options.backend_names),
    ] = None
    option: Annotated[
        list[str] | None, flag(BACKEND, "-O --option", "KEY=VALUE", "An option of the backend.")
    ] = None
    profile: options.Profile = None


_EXAMPLES: Final = """
sdenv serve
sdenv serve --host 0.0.0.0 --token-file token.txt --tls
sdenv serve http -b fake --port 8080 --queue 20
sdenv serve --keep-days 30 --keep-bytes 20GB --idle-unload 600
"""

_HELP: Final = """Serve a backend to clients of other protocols.

The address is printed on stdout as soon as clients can connect. Ctrl-C or SIGTERM ends it: no more
jobs are taken, those that run may finish, those that wait are done after the next start."""


def _serve(flags: ServeFlags) -> None:
    from sdenv.cli.serve_run import serve

    serve(flags)


app = command_app(options.command_from(ServeFlags, _serve, _HELP), name="serve", epilog=_EXAMPLES)
