"""The images API keeps the contracts: a client of it over a server of it is a backend, in chains too."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from sdenv.core.backend import Backend
from sdenv.core.server import Address, Server
from sdenv.servers.http import HttpServer, HttpSettings
from sdenv.testing.contracts import BackendContract, ServerContract
from tests.support.http_servers import http_server
from tests.support.openai_servers import openai_client


class TestOpenAIServer(ServerContract):
    @pytest.fixture
    def server(self) -> Server:
        return HttpServer(HttpSettings(drain_s=0.0))

    def client(self, address: Address) -> Backend:
        return openai_client(address)


@pytest.fixture(scope="module")
def chain() -> Iterator[Backend]:
    """A client over a server, over a client over a server, over a backend."""
    with (
        http_server() as far,
        http_server(openai_client(far)) as near,
        closing(openai_client(near)) as client,
    ):
        yield client


@pytest.mark.slow
class TestChainOfThree(BackendContract):
    """The matrix of backends has the chain of two."""

    @pytest.fixture
    def backend(self, chain: Backend) -> Backend:
        return chain
