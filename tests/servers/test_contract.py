"""The contract of servers can be kept: the smallest server keeps it, and its client is a backend again."""

from collections.abc import Iterator

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import Backend
from sdenv.core.server import Address, Server, ServerSettings
from sdenv.services.engine import Engine
from sdenv.testing.contracts import BackendContract, ServerContract
from sdenv.testing.server_contract import serving
from tests.support.lines import LineBackend, LineServer, LineSettings


def line_client(address: Address) -> Backend:
    return LineBackend(LineSettings(host=address.host, port=address.port))


class TestLineServer(ServerContract):
    @pytest.fixture
    def server(self) -> Server:
        return LineServer(ServerSettings())

    def client(self, address: Address) -> Backend:
        return line_client(address)


class TestClientOverServer(BackendContract):
    """Law 5: a client over a server over a backend passes the contract of backends."""

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        engine = Engine(FakeBackend(FakeSettings()), name="fake")
        with engine, serving(LineServer(ServerSettings()), engine) as address:
            yield line_client(address)


class TestChainOfThree(BackendContract):
    """And so does a chain of any length."""

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        last = Engine(FakeBackend(FakeSettings()), name="last")
        with last, serving(LineServer(ServerSettings()), last) as far:
            middle = Engine(line_client(far), name="middle")
            with middle, serving(LineServer(ServerSettings()), middle) as near:
                yield line_client(near)
