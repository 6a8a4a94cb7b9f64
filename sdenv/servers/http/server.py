"""The server: binds, answers, drains, and ends."""

import asyncio
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from sdenv import __version__
from sdenv.core.errors import PortInUse
from sdenv.core.server import Address, Server, ServerSettings
from sdenv.servers.http.app import ROUTERS, build_app
from sdenv.servers.http.context import Service
from sdenv.servers.http.principal import STATE_KEY, Principal
from sdenv.servers.http.settings import HttpSettings
from sdenv.services.engine import Engine

if TYPE_CHECKING:
    import uvicorn

    from sdenv.services.jobs import Jobs


@final
class HttpServer(Server):
    """All dialects on one port, over one queue of jobs that survives a crash."""

    Settings: ClassVar[type[ServerSettings]] = HttpSettings

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._stopped = False

    def serve(self, engine: Engine, address: Address, ready: Callable[[Address], None]) -> None:
        """See `Server.serve`.

        Raises:
            PortInUse: Another program listens there.
            FolderInUse: Another server keeps its jobs in the data folder.
            Denied: Other machines could reach it, and no token is set.
        """
        with self._data_dir() as folder, self._jobs(engine, folder) as jobs:
            asyncio.run(self._serve(engine, jobs, address, ready))

    def stop(self) -> None:
        """See `Server.stop`."""
        self._stopped = True
        if self._loop is not None and self._stop is not None:
            with _closed_loop_is_fine():
                self._loop.call_soon_threadsafe(self._stop.set)

    @contextmanager
    def _data_dir(self) -> Iterator[Path]:
        if self._settings.data_dir is not None:
            yield self._settings.data_dir
            return
        with tempfile.TemporaryDirectory(prefix="sdenv-") as folder:
            yield Path(folder)

    @contextmanager
    def _jobs(self, engine: Engine, folder: Path) -> "Iterator[Jobs]":
        from sdenv.services.jobs import Jobs, Retention

        settings = self._settings
        retention = Retention(settings.max_age_s, settings.max_jobs, settings.max_bytes)
        shares = {name: token.share for name, token in settings.tokens.items()}
        jobs = Jobs(engine, folder, queue_size=settings.queue_size, retention=retention, shares=shares)
        try:
            yield jobs
        finally:
            jobs.close()

    async def _serve(
        self, engine: Engine, jobs: "Jobs", address: Address, ready: Callable[[Address], None]
    ) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        service = Service(
            engine, jobs, self._settings, __version__, dialects=tuple(each.name for each in ROUTERS)
        )
        app = build_app(service)

        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            scope["state"][STATE_KEY] = Principal()
            await app(scope, receive, send)

        listener = bound(address)
        server = uvicorn_server(guarded)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                await asyncio.sleep(0.001)
            ready(Address(*listener.getsockname()[:2]))
            if not self._stopped:
                await self._stop.wait()
            service.lifetime.draining = True
            await asyncio.to_thread(jobs.drain, self._settings.drain_s)
            service.lifetime.closing.set()
        finally:
            server.should_exit = True
            await serving


@contextmanager
def _closed_loop_is_fine() -> Iterator[None]:
    try:
        yield
    except RuntimeError:  # it has ended by itself
        return


def uvicorn_server(app: Any) -> "uvicorn.Server":
    """A uvicorn that says nothing, asks nobody and believes no header of a proxy."""
    import uvicorn

    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    return uvicorn.Server(config)


def bound(address: Address) -> socket.socket:
    """A socket bound to the address.

    Raises:
        PortInUse: Another program listens there.
    """
    try:
        return socket.create_server((address.host, address.port), backlog=512)
    except OSError as error:
        raise PortInUse(
            f"The port {address.port} of {address.host} cannot be used.",
            why=f"{error}.",
            hint="Give another --port.",
        ) from error
