"""Our server of AUTOMATIC1111's API keeps the contract of servers, and our client over it that of backends."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from sdenv.core.backend import Backend
from sdenv.core.server import Address, Server
from sdenv.servers.http.server import HttpServer
from sdenv.servers.http.settings import HttpSettings
from sdenv.testing.contracts import BackendContract, ServerContract
from tests.support.a1111_servers import a1111_client
from tests.support.http_servers import http_server


class TestA1111Server(ServerContract):
    @pytest.fixture
    def server(self) -> Server:
        return HttpServer(HttpSettings(drain_s=0.0))

    def client(self, address: Address) -> Backend:
        return a1111_client(address)


@pytest.fixture(scope="module")
def chain() -> Iterator[Backend]:
    """A client over a server, over a client over a server, over a backend."""
    with (
        http_server() as far,
        http_server(a1111_client(far)) as near,
        closing(a1111_client(near)) as client,
    ):
        yield client


class TestChainOfThree(BackendContract):
    @pytest.fixture
    def backend(self, chain: Backend) -> Backend:
        return chain
