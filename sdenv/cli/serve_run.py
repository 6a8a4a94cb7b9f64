"""What `sdenv serve` does: one engine, each front end in a thread, an orderly end."""

import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final, final

from sdenv.cli.descriptors import raise_limit
from sdenv.cli.output import print_json, print_text
from sdenv.cli.pairs import key_values
from sdenv.cli.serve import ServeFlags
from sdenv.cli.serve_settings import front_ends_of
from sdenv.cli.signals import Interrupts
from sdenv.cli.terminal import color_choice, terminal_of
from sdenv.core.backend import Backend
from sdenv.core.errors import InternalError, SdenvError, UsageError
from sdenv.core.server import Address, Server
from sdenv.services.choose import Chosen, choose_backend, kind_of
from sdenv.services.engine import QUEUE_SIZE, Engine
from sdenv.services.settings import Settings, load_settings

SUPERVISED: Final = frozenset({"local"})
"""Backends whose work is done in a child process: a crash of the device's driver costs one try of one job."""

_WAIT_S: Final = 0.2  # longest wait in one piece, as in the engine


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
    front_ends = front_ends_of(flags, settings)
    raise_limit()
    with Interrupts() as interrupts:
        backend, name = _backend(flags, settings)
        queue_size = QUEUE_SIZE if flags.queue is None else flags.queue
        with Engine(backend, name=name, queue_size=queue_size) as engine:
            engine.status()  # what is missing is said now, and not with the first picture
            _Run(flags, engine, interrupts, settings).all(front_ends)


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
