"""The server: binds, answers, drains, and ends."""

import asyncio
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, final

from sdenv.core.errors import Denied
from sdenv.core.events import Notice
from sdenv.core.server import Address, Server, ServerSettings
from sdenv.servers.http.access import Access
from sdenv.servers.http.app import DRAW_THINGS, ROUTERS, build_app, build_draw_things_app, guarded
from sdenv.servers.http.bodies import BodyReader
from sdenv.servers.http.context import Service
from sdenv.servers.http.descriptors import most_connections
from sdenv.servers.http.guards import Guards
from sdenv.servers.http.metrics import Metrics
from sdenv.servers.http.settings import HttpSettings
from sdenv.servers.http.slow import connection_type
from sdenv.servers.http.sockets import bound, unix_socket
from sdenv.servers.http.tls import fingerprint_of, own_certificate, own_names, server_context
from sdenv.services.engine import Engine

if TYPE_CHECKING:
    import uvicorn

    from sdenv.services.jobs import Jobs

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_LAST_WORDS_S: Final = 5  # how long answers that are being sent may take when the server ends
_TICK_S: Final = 0.001


@final
class HttpServer(Server):
    """All dialects on one port, over one queue of jobs that survives a crash."""

    Settings: ClassVar[type[ServerSettings]] = HttpSettings
    default_port: ClassVar[int] = 9090

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._stopping = False
        self._notices: tuple[Notice, ...] = ()

    def serve(self, engine: Engine, address: Address, ready: Callable[[Address], None]) -> None:
        """See `Server.serve`. Told to stop, it lets running jobs end, for `drain_s` at most.

        Raises:
            PortInUse: Another program listens there.
            FolderInUse: Another server keeps its jobs in the data folder.
            Denied: Other machines could reach it, and no token is set.
        """
        settings = self._settings
        if address.host not in LOOPBACK and not settings.has_tokens and not settings.insecure:
            raise Denied(
                f"At {address.host} other machines can use this server, and no token is set.",
                hint="Give --token-file FILE, or say --insecure.",
            )
        with ExitStack() as stack:
            folder = stack.enter_context(self._data_dir())
            listener = stack.enter_context(bound(address))
            here = Address(*listener.getsockname()[:2])
            draw_things = self._draw_things_port(address.host, stack)
            context = self._tls_context(folder, here)
            own_socket = stack.enter_context(unix_socket(settings.socket_path))
            self._note_socket(own_socket)
            metrics = Metrics()
            jobs = stack.enter_context(self._jobs(engine, folder, metrics))
            listeners = _Listeners(here, listener, context, own_socket, draw_things)
            asyncio.run(self._serve(engine, jobs, metrics, listeners, ready))

    def stop(self) -> None:
        """See `Server.stop`."""
        self._stopping = True  # before the loop is looked for: `_serve` looks the other way round
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)

    def notices(self) -> tuple[Notice, ...]:
        """See `Server.notices`."""
        return self._notices

    @contextmanager
    def _data_dir(self) -> Iterator[Path]:
        if self._settings.data_dir is not None:
            yield self._settings.data_dir
            return
        with tempfile.TemporaryDirectory(prefix="sdenv-") as folder:
            yield Path(folder)

    @contextmanager
    def _jobs(self, engine: Engine, folder: Path, metrics: Metrics) -> "Iterator[Jobs]":
        from sdenv.services.jobs import Jobs, Retention

        settings = self._settings
        with Jobs(
            engine,
            folder,
            queue_size=settings.queue_size,
            retention=Retention(settings.max_age_s, settings.max_jobs, settings.max_bytes),
            shares={name: token.share for name, token in settings.tokens.items()},
            observer=metrics,
        ) as jobs:
            yield jobs

    def _tls_context(self, folder: Path, address: Address) -> ssl.SSLContext | None:
        settings = self._settings
        if settings.tls_cert is not None and settings.tls_key is not None:
            return server_context(settings.tls_cert, settings.tls_key)
        if not settings.tls:
            return None
        certificate, key = own_certificate(folder / "tls", own_names(address.host, *settings.hosts))
        text = f"Fingerprint of the certificate: {fingerprint_of(certificate)}"
        self._notices += (Notice("tls-fingerprint", text),)
        return server_context(certificate, key)

    def _note_socket(self, own_socket: socket.socket | None) -> None:
        if own_socket is None and self._settings.socket_path is not None:
            text = f"Another server has the socket {self._settings.socket_path}; this one serves without."
            self._notices += (Notice("socket-taken", text),)

    def _draw_things_port(self, host: str, stack: ExitStack) -> socket.socket | None:
        """Where clients of the Draw Things app are answered; None = nowhere."""
        if self._settings.drawthings_http_port is None:
            return None
        address = Address(host, self._settings.drawthings_http_port)
        listener = stack.enter_context(bound(address, "--drawthings-http-port"))
        shown = f"[{host}]" if ":" in host else host
        scheme = "https" if self._settings.speaks_tls else "http"
        text = f"Draw Things' HTTP API: {scheme}://{shown}:{listener.getsockname()[1]}"
        self._notices += (Notice("drawthings-http", text),)
        return listener

    async def _serve(
        self,
        engine: Engine,
        jobs: "Jobs",
        metrics: Metrics,
        listeners: "_Listeners",
        ready: Callable[[Address], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        if self._stopping:
            self._stop.set()
        settings = self._settings
        size = engine.queue_size if settings.queue_size is None else settings.queue_size
        names = tuple(dialect.name for dialect in ROUTERS)
        service = Service(engine, jobs, settings, metrics, size, dialects=names)
        servers = listeners.servers(service)
        running = [asyncio.create_task(server.serve(sockets=[at])) for server, at in servers]
        try:
            while not all(server.started for server, _ in servers):
                await asyncio.sleep(_TICK_S)
            ready(listeners.address)
            await self._stop.wait()
            service.lifetime.draining = True
            await asyncio.to_thread(jobs.drain, settings.drain_s)
        finally:
            service.lifetime.closing.set()
            for server, _ in servers:
                server.should_exit = True
            await asyncio.gather(*running)


@final
class _Listeners:
    """Where one server listens."""

    def __init__(
        self,
        address: Address,
        port: socket.socket,
        context: ssl.SSLContext | None,
        own_socket: socket.socket | None,
        draw_things: socket.socket | None,
    ) -> None:
        self.address = address
        self._port = port
        self._context = context
        self._own_socket = own_socket
        self._draw_things = draw_things

    def servers(self, service: Service) -> "list[tuple[uvicorn.Server, socket.socket]]":
        """One server for each listener; they share everything but their guards."""
        app, settings = build_app(service), service.settings
        bodies = BodyReader(settings.limits.body_bytes, settings.body_s)
        access = Access(settings, self.address)
        found = [(_server(guarded(app, service, access, bodies), settings, self._context), self._port)]
        if self._own_socket is not None:
            found.append((_server(guarded(app, service, None, bodies), settings, None), self._own_socket))
        if self._draw_things is not None:
            app = build_draw_things_app(service)
            guards = guarded(app, service, access, bodies, DRAW_THINGS)
            found.append((_server(guards, settings, self._context), self._draw_things))
        return found


def _server(app: Guards, settings: HttpSettings, context: ssl.SSLContext | None) -> "uvicorn.Server":
    """A uvicorn that says nothing, asks nobody and believes no header of a proxy."""
    import uvicorn

    config = uvicorn.Config(
        app,
        http=connection_type(settings.header_s),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=most_connections(settings.max_connections),
        timeout_graceful_shutdown=_LAST_WORDS_S,
        ssl_context_factory=None if context is None else lambda *_: context,
    )
    return uvicorn.Server(config)
