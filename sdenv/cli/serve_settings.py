"""What the flags of `sdenv serve` say to each front end."""

import importlib
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from sdenv.cli.quantities import parse_bytes
from sdenv.cli.serve import ServeFlags
from sdenv.cli.tokens import read_token, read_tokens
from sdenv.core.errors import BadConfig, UsageError
from sdenv.core.registry import Registry
from sdenv.core.server import Address, Server
from sdenv.services.preferences import MACHINE_SIDES_PX
from sdenv.services.settings import Settings
from sdenv.services.warm import socket_path

DEFAULT_HOST: Final = "127.0.0.1"
HIGHEST_PORT: Final = 65_535

_DAY_S: Final = 86_400.0


def _registry() -> Registry[Server]:
    """By name: front ends stand beside the command line, not below it."""
    found: Registry[Server] = importlib.import_module("sdenv.servers").SERVERS
    return found


def front_ends_of(flags: ServeFlags, settings: Settings) -> list[tuple[str, Server, Address]]:
    """Each front end, built, and where it is to listen.

    Raises:
        UnknownName: There is no such front end.
        ExtraMissing: What it needs is not installed.
        BadConfig: A value that it cannot have.
    """
    names = list(dict.fromkeys(flags.front_ends or ["http"]))
    if flags.port is not None and len(names) > 1:
        hint = " ".join(f"--{name}-port N" for name in names)
        raise UsageError("--port says the port of one front end, and there are several.", hint=hint)
    values = _values(flags, settings)
    found = []
    for name in names:
        server_type = _registry().load(name)
        known = {key: value for key, value in values.items() if key in server_type.Settings.model_fields}
        own_port = {"http": flags.http_port}.get(name)
        port = next((each for each in (flags.port, own_port) if each is not None), server_type.default_port)
        if port not in range(HIGHEST_PORT + 1):
            raise UsageError(
                f"There is no port {port}.", why=f"Ports are 0 (any that is free) to {HIGHEST_PORT}."
            )
        address = Address(flags.host or DEFAULT_HOST, port)
        found.append((name, server_type(_checked(server_type, known)), address))
    return found


def _values(flags: ServeFlags, settings: Settings) -> dict[str, Any]:
    """What was said, by the names that settings of front ends have."""
    limits = {
        "steps": flags.max_steps,
        "count": flags.max_count,
        "side_px": flags.max_side,
        "pixels": flags.max_pixels,
        "body_bytes": None if flags.max_body is None else parse_bytes(flags.max_body, "--max-body"),
    }
    keep_bytes = None if flags.keep_bytes is None else parse_bytes(flags.keep_bytes, "--keep-bytes")
    said = {
        "data_dir": settings.data_dir,
        "token": None if flags.token_file is None else read_token(Path(flags.token_file).expanduser()),
        "tokens": None if flags.tokens is None else read_tokens(Path(flags.tokens).expanduser()),
        "insecure": flags.insecure,
        "cors_origins": flags.cors_origin,
        "hosts": flags.allow_host,
        "limits": {name: value for name, value in limits.items() if value is not None},
        "queue_size": flags.queue,
        "seed_side_px": settings.machine_size and MACHINE_SIDES_PX[settings.machine_size],
        "strict_models": flags.strict_models,
        "tls": flags.tls,
        "tls_cert": flags.tls_cert,
        "tls_key": flags.tls_key,
        "socket_path": None if flags.no_warm else socket_path(settings),
        "drawthings_http_port": flags.drawthings_http_port,
        "drain_s": flags.drain,
        "max_age_s": None if flags.keep_days is None else flags.keep_days * _DAY_S,
        "max_jobs": flags.keep_jobs,
        "max_bytes": keep_bytes,
    }
    return {name: value for name, value in said.items() if value is not None}


_FLAG_OF: Final = {
    "limits.steps": "--max-steps",
    "limits.count": "--max-count",
    "limits.side_px": "--max-side",
    "limits.pixels": "--max-pixels",
    "limits.body_bytes": "--max-body",
    "queue_size": "--queue",
    "drawthings_http_port": "--drawthings-http-port",
    "drain_s": "--drain",
    "max_age_s": "--keep-days",
    "max_jobs": "--keep-jobs",
    "max_bytes": "--keep-bytes",
}


def _checked(server_type: type[Server], values: dict[str, Any]) -> Any:
    try:
        return server_type.Settings.model_validate(values)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]  # an input may be a secret
        name = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        message = message.replace("Input should be greater than or equal to", "It must be at least")
        message = message.replace("Input should be less than or equal to", "It must be at most")
        what = f"{_FLAG_OF.get(name, name)} has a value that it cannot have." if name else f"{message}."
        raise BadConfig(what, why=f"{message}." if name else "") from error
