"""A real HTTP server on a free loopback port, for tests of clients."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.backends.http import HttpBackend, HttpBackendSettings
from sdenv.core.backend import Backend
from sdenv.core.server import Address
from sdenv.net.address import Access
from sdenv.net.native_client import NativeClient
from sdenv.net.session import Session
from sdenv.servers.http.server import HttpServer
from sdenv.servers.http.settings import HttpSettings
from sdenv.services.engine import Engine
from sdenv.testing.server_contract import serving


def url_of(address: Address) -> str:
    return f"http://{address.host}:{address.port}"


def http_client(address: Address, **options: Any) -> HttpBackend:
    """A client of the server at this address."""
    return HttpBackend(HttpBackendSettings(url=url_of(address), **options))


@contextmanager
def http_server(backend: Backend | None = None, *, queue_size: int = 8, **settings: Any) -> Iterator[Address]:
    """A server over a backend, by default one that draws at once; gives where it listens."""
    with (
        Engine(backend or FakeBackend(FakeSettings()), name="behind", queue_size=queue_size) as engine,
        serving(HttpServer(HttpSettings(**{"drain_s": 0.0, **settings})), engine) as address,
    ):
        yield address


@contextmanager
def native_client(address: Address, **access: Any) -> Iterator[NativeClient]:
    """A client of a server's jobs."""
    client = NativeClient(Session(Access(url=url_of(address), **access)))
    try:
        yield client
    finally:
        client.close()


@contextmanager
def http_backend(folder: Path) -> Iterator[Backend]:
    """The backend `http` before a server that draws at once."""
    with http_server(data_dir=folder) as address:
        client = http_client(address)
        try:
            yield client
        finally:
            client.close()
