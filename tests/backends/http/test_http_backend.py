"""The backend `http` when things go wrong between it and its server; the contract is in the matrix."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.backends.http import HttpBackend, HttpBackendSettings
from sdenv.backends.http.native_job import NativeJob
from sdenv.core.backend import Backend
from sdenv.core.errors import (
    Busy,
    Cancelled,
    CertificateChanged,
    ConnectionFailed,
    Denied,
    PeerBrokeProtocol,
    SdenvError,
)
from sdenv.core.events import Notice, PhaseStarted, PictureReady, RequestResolved, StepDone
from sdenv.core.job_record import JobState
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult
from sdenv.core.server import Address
from sdenv.servers.http.server import HttpServer
from sdenv.servers.http.settings import HttpSettings
from sdenv.services.engine import Engine
from sdenv.testing.fakes import PATIENCE_S, Recorder, SilentBackend, SlowBackend
from sdenv.testing.requests import run
from tests.support.http_servers import http_client, http_server, native_client, url_of
from tests.support.raw_servers import Relay, http_answer, raw_server, saying, silent

REQUEST = GenerationRequest(prompt="a red square", width=64, height=64, steps=4, seed=7)


class Working:
    """A job in a thread of its own."""

    def __init__(self, backend: Backend, recorder: Recorder | None = None) -> None:
        self.recorder = recorder or Recorder()
        self._ends: Queue[GenerationResult | SdenvError] = Queue()
        self._thread = threading.Thread(target=self._work, args=(backend,), daemon=True)
        self._thread.start()

    def _work(self, backend: Backend) -> None:
        try:
            self._ends.put(backend.generate(REQUEST, self.recorder))
        except SdenvError as error:
            self._ends.put(error)

    def end(self) -> GenerationResult | SdenvError:
        end = self._ends.get(timeout=PATIENCE_S)
        self._thread.join(PATIENCE_S)
        return end

    def result(self) -> GenerationResult:
        end = self.end()
        assert isinstance(end, GenerationResult), end
        return end

    def steps(self) -> list[int]:
        return [event.step for event in self.recorder.events if isinstance(event, StepDone)]

    def notices(self) -> list[str]:
        return [event.code for event in self.recorder.events if isinstance(event, Notice)]


@contextmanager
def a_server(
    backend: SlowBackend, folder: Path, port: int = 0, gone: threading.Event | None = None
) -> Iterator[Address]:
    """A server over a slow backend; when it ends it takes a job that runs from it.

    Args:
        backend: Does the work.
        folder: Where the jobs are.
        port: Where to listen.
        gone: Set when the client has seen that the server ends; then the backend may obey.
    """
    bound: Queue[Address] = Queue()
    server = HttpServer(HttpSettings(data_dir=folder, drain_s=0.0))
    with Engine(backend, name="behind") as engine:
        asked = (engine, Address(port=port), bound.put)
        thread = threading.Thread(target=server.serve, args=asked, daemon=True)
        thread.start()
        try:
            yield bound.get(timeout=PATIENCE_S)
        finally:
            server.stop()
            if gone is not None:
                assert gone.wait(PATIENCE_S)
                backend.let(1)  # it obeys between steps only
            thread.join(PATIENCE_S)


def test_a_server_that_is_started_anew_in_mid_job_goes_on_with_it(tmp_path: Path) -> None:
    """The client notices, waits, and gets the picture of an undisturbed run."""
    slow, gone = SlowBackend(), threading.Event()
    with a_server(slow, tmp_path, gone=gone) as address:
        client = http_client(address)
        working = Working(client, Recorder(cancel_when=lambda event: set_at_notice(gone, event)))
        assert slow.began.wait(PATIENCE_S)
        slow.let(2)
    again = SlowBackend()
    again.let(4)
    with a_server(again, tmp_path, address.port):
        made = working.result()
    client.close()
    alone = SlowBackend()
    alone.let(4)
    assert made.images == run(alone, REQUEST).result.images
    assert working.steps() == sorted(set(working.steps()))
    assert "connection-lost" in working.notices()
    assert len([event for event in working.recorder.events if isinstance(event, RequestResolved)]) == 1


def test_a_connection_that_breaks_in_mid_job_is_made_again_and_nothing_is_missed() -> None:
    slow = SlowBackend()
    with http_server(slow) as address:
        relay = Relay(address.port)
        with raw_server(relay.answer) as port:
            client = http_client(Address(port=port))
            stepped = threading.Event()
            working = Working(client, Recorder(cancel_when=lambda event: set_at(stepped, event, 1)))
            slow.let(1)
            assert stepped.wait(PATIENCE_S)
            relay.cut()
            slow.let(3)
            assert working.result().images
            client.close()
    assert working.steps() == [1, 2, 3, 4]
    assert working.notices() == ["connection-lost"]


def set_at_notice(reached: threading.Event, event: object) -> bool:
    """Sets the event at a notice, and cancels nothing."""
    if isinstance(event, Notice):
        reached.set()
    return False


def set_at(reached: threading.Event, event: object, step: int) -> bool:
    """Sets the event at a step, and cancels nothing."""
    if isinstance(event, StepDone) and event.step == step:
        reached.set()
    return False


def test_a_picture_whose_bytes_are_cut_off_is_fetched_again() -> None:
    with http_server() as address:
        relay = Relay(address.port)
        with raw_server(relay.answer) as port:
            client = http_client(Address(port=port))
            client.probe()

            def cut_before_pictures(event: object) -> bool:
                if isinstance(event, StepDone) and event.step == 4:
                    relay.swallow_answers = 1
                return False

            recorder = Recorder(cancel_when=cut_before_pictures)
            assert client.generate(REQUEST, recorder).images == run(_alone(), REQUEST).result.images
            client.close()


def _alone() -> Backend:
    return FakeBackend(FakeSettings())


def test_a_server_that_stays_away_is_given_up_and_the_job_is_said_not_to_be_lost() -> None:
    slow = SlowBackend()
    with http_server(slow) as address:
        relay = Relay(address.port)
        with raw_server(relay.answer) as port:
            client = http_client(Address(port=port), reconnect_s=0.3)
            client.probe()
            working = Working(client)
            assert slow.began.wait(PATIENCE_S)
            relay.refusing = True
            relay.cut()
            error = working.end()
            client.close()
        slow.let(4)
    assert isinstance(error, ConnectionFailed)
    assert "has not come back within 0.3 s" in error.what
    assert f"sdenv jobs list -b http://127.0.0.1:{port}" in error.hint


def test_a_cancel_while_the_server_is_away_is_at_once() -> None:
    slow = SlowBackend()
    with http_server(slow) as address:
        relay = Relay(address.port)
        with raw_server(relay.answer) as port:
            client = http_client(Address(port=port))
            working = Working(client)
            assert slow.began.wait(PATIENCE_S)
            relay.refusing = True
            relay.cut()
            working.recorder.cancel()
            assert isinstance(working.end(), Cancelled)
            client.close()
        slow.let(4)


def test_a_cancel_reaches_the_job_on_the_server() -> None:
    silent_backend = SilentBackend()
    with http_server(silent_backend) as address, native_client(address) as calls:
        client = http_client(address)
        working = Working(client)
        assert silent_backend.began.wait(PATIENCE_S)
        working.recorder.cancel()
        assert isinstance(working.end(), Cancelled)
        assert silent_backend.unblocked.wait(PATIENCE_S)
        job = calls.find().jobs[0]
        assert calls.wait(job.id, PATIENCE_S).state is JobState.CANCELLED
        client.close()


def test_a_cancel_while_the_submission_is_not_answered_leaves_no_job_behind() -> None:
    """Its id never came; the same key gives it again, so that it can be cancelled."""
    silent_backend = SilentBackend()
    with http_server(silent_backend) as address, native_client(address) as calls:
        relay = Relay(address.port)
        with raw_server(relay.answer) as port:
            client = http_client(Address(port=port))
            client.probe()
            relay.cut()
            relay.swallow_answers = 1
            recorder = Recorder(cancel_when=lambda event: isinstance(event, Notice))
            assert isinstance(Working(client, recorder).end(), Cancelled)
            job = calls.find().jobs[0]
            assert calls.wait(job.id, PATIENCE_S).state is JobState.CANCELLED
            client.close()


def test_a_full_queue_is_waited_for_if_that_is_wanted() -> None:
    slow = SlowBackend()
    with http_server(slow, queue_size=0) as address, native_client(address) as calls:
        first = calls.submit(REQUEST)
        client = http_client(address, busy_s=PATIENCE_S)
        waiting = threading.Event()
        working = Working(client, Recorder(cancel_when=lambda event: set_while_waiting(waiting, event)))
        assert waiting.wait(PATIENCE_S)
        slow.let(8)
        assert calls.wait(first.id, PATIENCE_S).state is JobState.DONE
        assert working.result().images
        client.close()


def set_while_waiting(waiting: threading.Event, event: object) -> bool:
    if isinstance(event, PhaseStarted) and "queue" in event.phase:
        waiting.set()
    return False


def test_a_full_queue_is_busy_at_once_otherwise() -> None:
    silent_backend = SilentBackend()
    with http_server(silent_backend, queue_size=0) as address, native_client(address) as calls:
        calls.submit(REQUEST)
        client = http_client(address)
        assert isinstance(Working(client).end(), Busy)
        client.close()


def test_a_job_is_forgotten_by_the_server_if_that_is_wanted() -> None:
    with http_server() as address, native_client(address) as calls:
        client = http_client(address, forget=True)
        assert client.generate(REQUEST, Recorder()).images
        assert calls.find().jobs == ()
        client.close()


def test_the_certificate_of_a_server_is_trusted_at_first_and_must_not_change(tmp_path: Path) -> None:
    trust_file = tmp_path / "trust.json"

    def https(address: Address) -> HttpBackend:
        url = url_of(address).replace("http", "https")
        return HttpBackend(HttpBackendSettings(url=url, trust_file=trust_file))

    with http_server(tls=True, data_dir=tmp_path / "one") as address:
        for expected in (["certificate-trusted"], []):
            client = https(address)
            recorder = Recorder()
            assert client.generate(REQUEST, recorder).images
            assert [event.code for event in recorder.events if isinstance(event, Notice)] == expected
            client.close()
    kept = trust_file.read_text()
    with http_server(tls=True, data_dir=tmp_path / "other") as other:
        trust_file.write_text(kept.replace(f":{address.port}", f":{other.port}"))
        client = https(other)
        with pytest.raises(CertificateChanged):
            client.probe()
        client.close()


def test_a_token_is_asked_for() -> None:
    with http_server(token="right") as address:
        client = http_client(address)
        with pytest.raises(Denied):
            client.probe()
        client.close()
        with_token = http_client(address, token="right")
        assert with_token.generate(REQUEST, Recorder()).images
        with_token.close()


def test_a_cancel_before_the_server_has_said_what_it_speaks_is_at_once() -> None:
    reached = threading.Event()

    def never_answer(connection: socket.socket) -> None:
        reached.set()
        silent(connection)

    with raw_server(never_answer) as port:
        client = http_client(Address(port=port), timeout_s=PATIENCE_S)
        working = Working(client)
        assert reached.wait(PATIENCE_S)
        began_s = time.monotonic()
        working.recorder.cancel()
        assert isinstance(working.end(), Cancelled)
        assert time.monotonic() - began_s < PATIENCE_S / 2
        client.close()


@pytest.mark.parametrize("answer", [saying(http_answer("200 OK", b"<html></html>")), silent])
def test_what_is_no_server_of_ours_is_unavailable(answer: Callable[..., None]) -> None:
    with raw_server(answer) as port:
        client = http_client(Address(port=port), timeout_s=0.2)
        with pytest.raises(ConnectionFailed):
            client.probe()
        client.close()


def test_an_end_without_a_result_or_an_error_is_the_servers_fault() -> None:
    client = http_client(Address(port=1))
    record = {"state": "done", "result": None, "error": None}
    job = NativeJob(client.client(), REQUEST, Recorder(), shown_as="http")
    with pytest.raises(PeerBrokeProtocol):
        job._made("01K00000000000000000000000", record)


def test_pictures_come_with_their_seeds_also_when_only_the_end_tells_of_them() -> None:
    with http_server() as address:
        client = http_client(address)
        recorder = Recorder()
        made = client.generate(REQUEST.model_copy(update={"count": 2}), recorder)
        ready = [event for event in recorder.events if isinstance(event, PictureReady)]
        assert [event.seed for event in ready] == [7, 8]
        assert made.backend == "http"
        client.close()
