"""The HTTP server keeps the contract of servers, and a client over it, at any depth, that of backends."""

from collections.abc import Iterator

import pytest

from sdenv.core.backend import Backend
from sdenv.core.server import Address, Server
from sdenv.servers.http.server import HttpServer
from sdenv.servers.http.settings import HttpSettings
from sdenv.testing.contracts import BackendContract, ServerContract
from tests.support.http_servers import http_client, http_server


class TestHttpServer(ServerContract):
    @pytest.fixture
    def server(self) -> Server:
        return HttpServer(HttpSettings(drain_s=0.0))

    def client(self, address: Address) -> Backend:
        return http_client(address)


@pytest.fixture(scope="module")
def chain() -> Iterator[Backend]:
    """A client over a server, over a client over a server, over a backend."""
    with http_server() as far, http_server(http_client(far)) as near:
        client = http_client(near)
        yield client
        client.close()


class TestChainOfThree(BackendContract):
    @pytest.fixture
    def backend(self, chain: Backend) -> Backend:
        return chain
