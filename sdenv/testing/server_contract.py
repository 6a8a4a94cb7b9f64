"""What every front end promises: a client of its protocol, over it, over any backend, is again a backend."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings, differing_fields
from sdenv.core.backend import Backend
from sdenv.core.capabilities import EVERYTHING
from sdenv.core.errors import Busy, Cancelled, Kind, SdenvError
from sdenv.core.events import PictureReady, StepDone
from sdenv.core.request import GenerationRequest
from sdenv.core.server import Address, Server
from sdenv.services.engine import Engine
from sdenv.testing.fakes import PATIENCE_S, BrokenBackend, Recorder, SilentBackend
from sdenv.testing.requests import RequestMaker, run

GARBAGE = (b"", b"\0" * 64, b"\xff" * 4096, b"GET / HTTP/1.1\r\n\r\n", b"{" * 10_000)


@contextmanager
def serving(
    server: Server,
    engine: Engine,
    address: Address = Address(),  # noqa: B008 - frozen
) -> Iterator[Address]:
    """Runs a server in a thread of its own; gives the address that it has really bound."""
    bound: Queue[Address] = Queue()
    thread = threading.Thread(target=server.serve, args=(engine, address, bound.put), daemon=True)
    thread.start()
    try:
        yield bound.get(timeout=PATIENCE_S)
    finally:
        server.stop()
        thread.join(PATIENCE_S)
    assert not thread.is_alive(), "stop() has not ended serve()"


class ServerContract(RequestMaker):
    """Subclass it, name the subclass `Test...`, and give it a fixture `server` and a method `client`."""

    @pytest.fixture
    def server(self) -> Server:
        """A server that is not running yet."""
        raise NotImplementedError("give your subclass a fixture `server`")

    def client(self, address: Address) -> Backend:
        """A client of the same protocol."""
        raise NotImplementedError("give your subclass a method `client`")

    @contextmanager
    def over(self, server: Server, backend: Backend, queue_size: int = 8) -> Iterator[Backend]:
        """The client over the server over a backend."""
        with (
            Engine(backend, name="behind", queue_size=queue_size) as engine,
            serving(server, engine) as address,
        ):
            client = self.client(address)
            yield client
            client.close()

    def test_a_client_over_it_can_do_no_more_than_the_backend_behind_it(self, server: Server) -> None:
        """Capabilities only get narrower."""
        fake = FakeBackend(FakeSettings())
        with self.over(server, fake) as client:
            behind, found = fake.probe().capabilities, client.probe().capabilities
        assert found.tasks <= behind.tasks
        assert found.carries <= behind.carries
        assert found.max_count <= behind.max_count

    @pytest.mark.parametrize("name", sorted(EVERYTHING))
    def test_every_field_that_it_carries_arrives(self, server: Server, name: str) -> None:
        """The picture at the far end shows each field; the pixels are those of the backend alone."""
        fake = FakeBackend(FakeSettings())
        with self.over(server, fake) as client:
            request = self.with_value(client, name)
            capabilities = client.probe().capabilities
            if not request.said() <= capabilities.carries or request.task not in capabilities.tasks:
                return
            far, near = run(client, request), run(fake, request)
        assert differing_fields(far.result.images[0], near.result.images[0]) == ()
        assert far.result.images == near.result.images
        assert far.result.resolved == near.result.resolved

    def test_steps_and_pictures_arrive_as_they_were_sent(self, server: Server) -> None:
        """As finely as the protocol can say."""
        fake = FakeBackend(FakeSettings())
        with self.over(server, fake) as client:
            request = self.many(client, 2)
            far, near = run(client, request), run(fake, request)
            finely = client.probe().capabilities.progress == "steps"
        assert far.of(PictureReady) == near.of(PictureReady)
        assert not finely or far.of(StepDone) == near.of(StepDone)

    def test_a_refusal_keeps_its_kind(self, server: Server) -> None:
        """What the backend cannot do is refused on the way in, not answered with a wrong picture."""
        with self.over(server, FakeBackend(FakeSettings())) as client:
            if "width" in client.probe().capabilities.carries:
                with pytest.raises(SdenvError) as refused:
                    client.generate(self.small(client, width=67, height=64), Recorder())
                assert refused.value.kind in {Kind.USAGE, Kind.UNSUPPORTED}

    def test_a_failure_keeps_its_kind_and_the_server_lives(self, server: Server) -> None:
        """Twice, since the second job is the one that finds a dead worker."""
        with self.over(server, FakeBackend(FakeSettings(fail_at_step=2))) as client:
            for _ in range(2):
                with pytest.raises(SdenvError) as failed:
                    client.generate(self.small(client), Recorder())
                assert failed.value.kind is Kind.FAILED

    def test_a_bug_behind_it_is_an_error_and_the_server_lives(self, server: Server) -> None:
        """The client learns that it failed, not what the traceback says."""
        with self.over(server, BrokenBackend()) as client:
            for _ in range(2):
                with pytest.raises(SdenvError) as failed:
                    client.generate(GenerationRequest(prompt="a cat"), Recorder())
                assert failed.value.kind in {Kind.BUG, Kind.FAILED}
                assert "Traceback" not in str(failed.value)

    def test_a_full_queue_is_busy(self, server: Server) -> None:
        """At once; the job that runs goes on."""
        silent = SilentBackend()
        with self.over(server, silent, queue_size=0) as client:
            recorder = Recorder()
            thread, ends = started(client, recorder)
            assert silent.began.wait(PATIENCE_S)
            with pytest.raises(Busy):
                client.generate(GenerationRequest(prompt="a cat"), Recorder())
            recorder.cancel()
            thread.join(PATIENCE_S)
            assert isinstance(ends.get(timeout=PATIENCE_S), Cancelled)

    def test_a_client_that_cancels_or_hangs_up_stops_the_work(self, server: Server) -> None:
        """Also while the backend is silent, when no event could tell the server that nobody listens."""
        silent = SilentBackend()
        with self.over(server, silent) as client:
            recorder = Recorder()
            thread, ends = started(client, recorder)
            assert silent.began.wait(PATIENCE_S)
            recorder.cancel()
            thread.join(PATIENCE_S)
            assert isinstance(ends.get(timeout=PATIENCE_S), Cancelled)
            assert silent.unblocked.wait(PATIENCE_S)

    def test_bytes_that_are_not_its_protocol_hurt_nobody(self, server: Server) -> None:
        """Whatever a stranger sends, the next client is served."""
        with Engine(FakeBackend(FakeSettings()), name="behind") as engine, serving(server, engine) as address:
            for garbage in GARBAGE:
                with socket.create_connection((address.host, address.port), PATIENCE_S) as stranger:
                    stranger.sendall(garbage)
            client = self.client(address)
            assert run(client, self.small(client)).result.images
            client.close()

    def test_it_stops_when_told_frees_its_port_and_leaves_the_engine_open(self, server: Server) -> None:
        """`stop` may be called twice."""
        with Engine(FakeBackend(FakeSettings()), name="behind") as engine:
            with serving(server, engine) as address:
                pass
            server.stop()
            with socket.socket() as again:
                again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                again.bind((address.host, address.port))
            assert engine.submit(GenerationRequest(prompt="a cat", width=64, height=64)).result(PATIENCE_S)

    def test_it_listens_on_this_machine_only_unless_told_otherwise(self, server: Server) -> None:
        """The default address is loopback."""
        with Engine(FakeBackend(FakeSettings()), name="behind") as engine, serving(server, engine) as address:
            assert address.host in {"127.0.0.1", "::1", "localhost"}
            assert address.port > 0


def started(client: Backend, recorder: Recorder) -> "tuple[threading.Thread, Queue[object]]":
    """A job in a thread of its own, and the queue that gets its result or its error."""
    ends: Queue[object] = Queue()

    def generate() -> None:
        try:
            ends.put(client.generate(GenerationRequest(prompt="a cat"), recorder))
        except SdenvError as error:
            ends.put(error)

    thread = threading.Thread(target=generate, daemon=True)
    thread.start()
    return thread, ends
