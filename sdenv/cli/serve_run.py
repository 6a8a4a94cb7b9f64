"""What `sdenv serve` does: one engine, each front end in a thread, an orderly end."""

import importlib
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, final

from pydantic import ValidationError

from sdenv.cli.output import print_json, print_text
from sdenv.cli.pairs import key_values
from sdenv.cli.quantities import parse_bytes
from sdenv.cli.serve import ServeFlags
from sdenv.cli.signals import Interrupts
from sdenv.cli.terminal import color_choice, terminal_of
from sdenv.cli.tokens import read_token, read_tokens
from sdenv.core.backend import Backend
from sdenv.core.errors import BadConfig, InternalError, SdenvError, UsageError
from sdenv.core.registry import Registry
from sdenv.core.server import Address, Server
from sdenv.services.choose import Chosen, choose_backend, kind_of
from sdenv.services.engine import QUEUE_SIZE, Engine
from sdenv.services.preferences import MACHINE_SIDES_PX
from sdenv.services.settings import Settings, load_settings
from sdenv.services.warm import socket_path

DEFAULT_HOST: Final = "127.0.0.1"
SUPERVISED: Final = frozenset({"local"})
"""Backends whose work is done in a child process: a crash of the device's driver costs one try of one job."""

_WAIT_S: Final = 0.2  # longest wait in one piece, as in the engine
_DAY_S: Final = 86_400.0


@final
@dataclass(frozen=True, slots=True)
class _Listening:
    """A front end that clients can reach."""

    name: str
    server: Server
    address: Address


@final
@dataclass(frozen=True, slots=True)
class _Ended:
    """A front end that is over, with what it has raised."""

    name: str
    error: BaseException | None


def serve(flags: ServeFlags) -> None:
    """Runs the command, until a signal or an error ends it.

    Raises:
        SdenvError: What it ends with.
    """
    settings = load_settings(flags.profile, {"color": flags.color, "data_dir": flags.data_dir})
    color_choice.set(settings.color)
    front_ends = _front_ends(flags, settings)
    with Interrupts() as interrupts:
        backend, name = _backend(flags, settings)
        queue_size = QUEUE_SIZE if flags.queue is None else flags.queue
        with Engine(backend, name=name, queue_size=queue_size) as engine:
            engine.status()  # what is missing is said now, and not with the first picture
            _Run(flags, engine, interrupts, settings).all(front_ends)


def _registry() -> Registry[Server]:
    """By name: front ends stand beside the command line, not below it."""
    found: Registry[Server] = importlib.import_module("sdenv.servers").SERVERS
    return found


def _front_ends(flags: ServeFlags, settings: Settings) -> list[tuple[str, Server, Address]]:
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
        what = f"{_FLAG_OF.get(name, name)} has a value that it cannot have." if name else f"{message}."
        raise BadConfig(what, why=f"{message}." if name else "") from error


def _backend(flags: ServeFlags, settings: Settings) -> tuple[Backend, str]:
    """What makes the pictures, and what the user calls it."""
    typed = flags.backend or settings.backend
    options = key_values(flags.option or [], "-O")
    kind = kind_of(typed, settings)
    first, *others = _models(flags, settings, kind)
    chosen = choose_backend(typed, options, settings, first, others)
    if kind not in SUPERVISED:
        if flags.idle_unload is not None:
            chosen.backend.close()
            raise UsageError(f"--idle-unload: the backend {chosen.name!r} keeps no model on this machine.")
        return chosen.backend, chosen.name
    return _supervised(chosen, flags.idle_unload), chosen.name


def _models(flags: ServeFlags, settings: Settings, kind: str) -> list[str | None]:
    """The models to serve, the default first; None = what the settings or the backend say."""
    if flags.model:
        if kind not in SUPERVISED:
            raise UsageError(
                f"-m: the models of the backend {kind!r} lie elsewhere.", why="It serves all that it has."
            )
        return [*flags.model]
    if kind not in SUPERVISED:
        return [None]
    from sdenv.services.models import find_models

    found = [each.name for each in find_models(settings.models_dirs) if not each.problem]
    return [None, *(name for name in found if name != settings.model)]


def _supervised(chosen: Chosen, idle_unload_s: float | None) -> Backend:
    from sdenv.services.worker import SupervisedBackend

    chosen.backend.close()
    return SupervisedBackend(chosen.kind, chosen.settings, idle_unload_s=idle_unload_s)


@final
class _Run:
    """The front ends of one command, from their start to their end."""

    def __init__(self, flags: ServeFlags, engine: Engine, interrupts: Interrupts, settings: Settings) -> None:
        self._flags = flags
        self._engine = engine
        self._interrupts = interrupts
        self._settings = settings
        self._news: SimpleQueue[_Listening | _Ended] = SimpleQueue()
        self._stopping = threading.Event()

    def all(self, front_ends: Sequence[tuple[str, Server, Address]]) -> None:
        """Serves until a signal comes or a front end fails.

        Raises:
            SdenvError: What the first front end that failed has raised.
        """
        threads = [
            threading.Thread(target=self._one, args=each, name=f"sdenv-serve-{each[0]}")
            for each in front_ends
        ]

        def stop() -> None:
            self._stopping.set()
            for _, server, _ in front_ends:
                server.stop()

        failed: SdenvError | None = None
        with self._interrupts.cancelling(stop):
            for thread in threads:
                thread.start()
            running, told = len(threads), False
            while running:
                if self._stopping.is_set() and not told:
                    told = True
                    self._tell(
                        "Ending: running jobs may finish, waiting ones are kept. Ctrl-C again ends at once."
                    )
                match self._next():
                    case _Listening() as listening:
                        self._announce(listening)
                    case _Ended(name, error):
                        running -= 1
                        if error is not None and failed is None:
                            failed = _as_error(name, error)
                            stop()
        for thread in threads:
            thread.join()
        if failed is not None:
            raise failed

    def _next(self) -> _Listening | _Ended | None:
        try:
            return self._news.get(timeout=_WAIT_S)
        except Empty:
            return None

    def _one(self, name: str, server: Server, address: Address) -> None:
        """Runs a front end, in its own thread."""
        error: BaseException | None = None
        try:
            server.serve(self._engine, address, lambda bound: self._news.put(_Listening(name, server, bound)))
        except BaseException as raised:  # noqa: BLE001 - it is raised again in the main thread
            error = raised
        self._news.put(_Ended(name, error))

    def _announce(self, listening: _Listening) -> None:
        address, flags = listening.address, self._flags
        url = _url(listening.name, address, tls=flags.tls or flags.tls_cert is not None)
        notices = listening.server.notices()
        if flags.json_lines:
            print_json(
                {
                    "type": "serving",
                    "front_end": listening.name,
                    "url": url,
                    "host": address.host,
                    "port": address.port,
                    "notices": [{"code": each.code, "message": each.message} for each in notices],
                }
            )
        else:
            print_text(url)
        for notice in notices:
            self._tell(notice.message)
        secret = f" -O token_file={flags.token_file}" if flags.token_file else ""
        self._tell(f'Try it: sdenv generate -b {url}{secret} "a pizza, 3d". Ctrl-C ends the server.')

    def _tell(self, text: str) -> None:
        if not self._flags.quiet:
            print(terminal_of(sys.stderr).clean(text), file=sys.stderr, flush=True)


def _url(name: str, address: Address, *, tls: bool) -> str:
    """The address as clients of sdenv type it; for every address of this machine, its loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    shown = f"[{host}]" if ":" in host else host
    scheme = ("https" if tls else "http") if name == "http" else name
    return f"{scheme}://{shown}:{address.port}"


def _as_error(name: str, error: BaseException) -> SdenvError:
    if isinstance(error, SdenvError):
        return error
    bug = InternalError(f"The front end {name!r} failed.", why=f"{type(error).__name__}: {error}.")
    bug.__cause__ = error
    return bug
