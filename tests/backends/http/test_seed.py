"""The client of the seed dialect, against a double of the original, faults and all, and our server."""

import threading
from collections.abc import Iterator

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.backends.http import HttpBackend, HttpBackendSettings
from sdenv.core.backend import Backend
from sdenv.core.errors import Busy, Cancelled, ConnectionFailed, FailedError, PeerBrokeProtocol, WorkerLost
from sdenv.core.events import Notice, PhaseStarted, PictureReady, RequestResolved
from sdenv.core.request import GenerationRequest
from sdenv.testing.contracts import BackendContract
from sdenv.testing.fakes import PATIENCE_S, Recorder
from sdenv.testing.requests import run
from sdenv.testing.samples import picture
from tests.support.http_servers import http_server, url_of
from tests.support.seed_servers import Original, original_seed, seed_client

CAT = GenerationRequest(prompt="a cat")


@pytest.fixture
def original() -> Iterator[Original]:
    with original_seed() as double:
        yield double


@pytest.fixture
def client(original: Original) -> Iterator[Backend]:
    with seed_client(original.url) as made:
        yield made


@pytest.fixture(scope="module")
def our_url() -> Iterator[str]:
    with http_server() as address:
        yield url_of(address)


class TestOverTheOriginal(BackendContract):
    """A server that says nearly nothing is a backend all the same."""

    @pytest.fixture
    def backend(self, client: Backend) -> Backend:
        return client


class TestOverOurServer(BackendContract):
    """Our server of the dialect carries what the dialect can."""

    @pytest.fixture
    def backend(self, our_url: str) -> Iterator[Backend]:
        with seed_client(our_url) as made:
            yield made


def test_a_picture_of_our_server_tells_how_it_was_made_and_is_that_of_the_backend() -> None:
    with http_server() as address, seed_client(url_of(address)) as client:
        far, near = run(client, CAT), run(FakeBackend(FakeSettings()), CAT)
    assert far.result.images == near.result.images
    assert far.result.resolved == near.result.resolved
    assert not far.of(Notice)


def test_the_original_gets_nothing_but_the_prompt(original: Original, client: Backend) -> None:
    assert run(client, CAT).result.images == (picture(64, 64),)
    assert original.prompts == ["a cat"]


def test_what_the_original_does_not_tell_is_said_to_be_unknown(client: Backend) -> None:
    made = run(client, CAT)
    assert made.result.resolved.model == "stabilityai/stable-diffusion-2-1"
    assert (made.result.resolved.width, made.result.resolved.height) == (64, 64)
    assert [each.code for each in made.of(Notice)] == ["seed-unknown"]


def test_events_come_in_order(client: Backend) -> None:
    kinds = [type(event) for event in run(client, CAT).events]
    assert kinds == [PhaseStarted, PhaseStarted, Notice, RequestResolved, PictureReady]


def test_a_busy_server_is_asked_again_until_it_is_free(original: Original, client: Backend) -> None:
    original.busy_answers = 3
    assert run(client, CAT).result.images
    assert original.busy_answers == 0


def test_a_server_that_stays_busy_is_busy_after_the_deadline(original: Original) -> None:
    original.busy_answers = 1000
    with seed_client(original.url, busy_s=0.05) as client, pytest.raises(Busy, match="Go away"):
        client.generate(CAT, Recorder())
    assert not original.prompts


def test_a_lost_answer_is_not_asked_for_again_and_its_job_is_found(
    original: Original, client: Backend
) -> None:
    original.drops = 1
    assert run(client, CAT).result.images
    assert original.prompts == ["a cat"]


def test_the_job_of_a_lost_answer_is_not_mistaken_for_an_older_one_of_the_same_prompt(
    original: Original, client: Backend
) -> None:
    run(client, CAT)
    for result in original.results.values():
        result["created_time"] = "2025-04-01T10:00:00.000001"
    original.made = lambda _: picture(64, 64, shade=5).data
    original.drops = 1
    original.hold.clear()
    threading.Timer(0.1, original.hold.set).start()
    assert run(client, CAT).result.images == (picture(64, 64, shade=5),)


def test_a_lost_answer_whose_job_never_shows_is_a_lost_connection(
    original: Original, client: Backend
) -> None:
    original.drops, original.loses = 1, True
    with pytest.raises(ConnectionFailed):
        client.generate(CAT, Recorder())
    assert original.prompts == ["a cat"]


def test_a_job_that_vanishes_is_lost_and_not_waited_for_for_ever(original: Original, client: Backend) -> None:
    original.loses = True
    with pytest.raises(WorkerLost):
        client.generate(CAT, Recorder())


def test_a_failure_keeps_the_words_of_the_server(original: Original, client: Backend) -> None:
    original.fails = "boom happened"
    with pytest.raises(FailedError, match="boom happened"):
        client.generate(CAT, Recorder())


def test_the_answer_to_a_dry_run_is_no_picture(original: Original, client: Backend) -> None:
    original.made = lambda _: b"deadbeef"
    with pytest.raises(FailedError, match="dry run"):
        client.generate(CAT, Recorder())


def test_data_that_is_no_picture_is_a_broken_protocol(original: Original, client: Backend) -> None:
    original.made = lambda _: b"<html>"
    with pytest.raises(PeerBrokeProtocol):
        client.generate(CAT, Recorder())


def test_a_cancel_ends_the_waiting_at_once(original: Original, client: Backend) -> None:
    original.hold.clear()
    recorder = Recorder()
    errors: list[BaseException] = []

    def generate() -> None:
        try:
            client.generate(CAT, recorder)
        except Cancelled as error:
            errors.append(error)

    thread = threading.Thread(target=generate)
    thread.start()
    while not original.polls:
        assert thread.is_alive()
    recorder.cancel()
    thread.join(PATIENCE_S)
    assert len(errors) == 1


def test_the_http_backend_falls_back_to_it_and_says_what_it_can(original: Original) -> None:
    backend = HttpBackend(HttpBackendSettings(url=original.url))
    try:
        status = backend.probe()
        assert status.version == "seed"
        assert status.capabilities.carries == {"prompt"}
        assert status.capabilities.cancel == "never"
        assert run(backend, CAT).result.images
    finally:
        backend.close()
