"""Our server of AUTOMATIC1111's API keeps the contract of servers; the matrix holds our client to its own."""

from contextlib import closing

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import Backend
from sdenv.core.request import GenerationRequest
from sdenv.core.server import Address, Server
from sdenv.servers.http.server import HttpServer
from sdenv.servers.http.settings import HttpSettings
from sdenv.testing.contracts import ServerContract
from sdenv.testing.requests import run
from sdenv.testing.samples import mask, picture
from tests.support.a1111_servers import a1111_client
from tests.support.http_servers import http_server


class TestA1111Server(ServerContract):
    @pytest.fixture
    def server(self) -> Server:
        return HttpServer(HttpSettings(drain_s=0.0))

    def client(self, address: Address) -> Backend:
        return a1111_client(address)


def test_a_chain_of_two_servers_gives_the_same_pixels() -> None:
    request = GenerationRequest(
        prompt="a fox, (snow:1.2)",
        negative_prompt="blurry",
        width=128,
        height=192,
        steps=7,
        guidance_scale=3.25,
        seed=2**32 - 2,
        sampler="Euler a",
        schedule="Karras",
        count=3,
        batch_size=2,
        init_image=picture(128, 192),
        mask=mask(128, 192),
        strength=0.625,
    )
    with (
        http_server() as far,
        http_server(a1111_client(far)) as near,
        closing(a1111_client(near)) as client,
    ):
        made = run(client, request).result
    itself = run(FakeBackend(FakeSettings()), request).result
    assert made.images == itself.images
    assert made.resolved == itself.resolved
