"""Calls of sdenv's own API against a real server over the fake backend."""

from collections.abc import Iterator

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.errors import (
    Busy,
    ConnectionFailed,
    Denied,
    JobNotFinished,
    KeyReused,
    NoStepInTime,
    PeerBrokeProtocol,
    SizeNotPossible,
    UnknownJob,
)
from sdenv.core.image import size_of
from sdenv.core.job_record import JobState
from sdenv.core.request import GenerationRequest
from sdenv.core.server import Address
from sdenv.net.native_client import NativeClient, NotNative
from sdenv.testing.fakes import PATIENCE_S, SilentBackend
from sdenv.testing.requests import run
from sdenv.testing.samples import mask, picture
from tests.support.http_servers import http_server, native_client
from tests.support.raw_servers import Relay, http_answer, raw_server, saying

REQUEST = GenerationRequest(prompt="a red square", width=64, height=64, steps=2, seed=7)


@pytest.fixture(scope="module")
def client() -> Iterator[NativeClient]:
    with http_server() as address, native_client(address) as client:
        yield client


def test_it_says_what_it_is(client: NativeClient) -> None:
    status = client.status()
    assert status.backend == FakeBackend(FakeSettings()).probe()
    assert status.kind == "fake"
    assert status.queue.size == 8
    assert "native" in status.dialects
    assert client.ping() < PATIENCE_S


def test_a_job_is_submitted_followed_and_fetched(client: NativeClient) -> None:
    job = client.submit(REQUEST)
    events = list(client.events(job.id))
    assert [event.type for event in events][-2:] == ["picture-ready", "job-ended"]
    done = client.get(job.id)
    assert done.state is JobState.DONE
    alone = run(FakeBackend(FakeSettings()), REQUEST).result.images[0]
    assert client.picture(job.id, 0, metadata=False) == alone
    assert client.picture(job.id, 0) != alone
    assert size_of(client.picture(job.id, 0, form="webp")) == (64, 64)


def test_events_go_on_after_the_one_that_is_known(client: NativeClient) -> None:
    job = client.submit(REQUEST)
    events = list(client.events(job.id))
    assert list(client.events(job.id, after=events[2].id)) == events[3:]
    assert list(client.events(job.id, after=events[-1].id)) == []


def test_a_job_is_found_by_its_words_its_state_and_its_id(client: NativeClient) -> None:
    job = client.submit(REQUEST.model_copy(update={"prompt": "an unusual walrus"}))
    client.wait(job.id, PATIENCE_S)
    found = client.find(text="walrus", states=[JobState.DONE], limit=5)
    assert [each.id for each in found.jobs] == [job.id]
    assert [each.id for each in client.find(id_part=job.id[-6:]).jobs] == [job.id]
    assert client.find(text="walrus", states=[JobState.FAILED]).jobs == ()


def test_pages_follow_each_other(client: NativeClient) -> None:
    ids = [client.submit(REQUEST).id for _ in range(3)]
    first = client.find(limit=2)
    assert [job.id for job in first.jobs] == ids[:0:-1]
    assert [job.id for job in client.find(limit=1, before=first.next).jobs] == ids[:1]


def test_what_was_asked_for_comes_back_whole(client: NativeClient) -> None:
    wanted = REQUEST.model_copy(update={"init_image": picture(), "mask": mask(), "strength": 0.5})
    assert client.request_of(client.submit(wanted).id) == wanted


def test_a_job_that_has_ended_can_be_removed(client: NativeClient) -> None:
    job = client.submit(REQUEST)
    client.wait(job.id, PATIENCE_S)
    client.remove(job.id)
    with pytest.raises(UnknownJob):
        client.get(job.id)


@pytest.mark.parametrize("job_id", ["01K00000000000000000000000", "../status", "x y", "\u00e4"])
def test_a_job_that_there_is_not_is_an_error(client: NativeClient, job_id: str) -> None:
    for call in (client.get, client.cancel, client.remove, client.request_of):
        with pytest.raises(Exception, match=r".") as failed:
            call(job_id)
        assert failed.value.__class__.__module__ == "sdenv.core.errors"
    with pytest.raises(UnknownJob):
        client.get("01K00000000000000000000000")


def test_a_refusal_is_the_one_of_the_server(client: NativeClient) -> None:
    with pytest.raises(SizeNotPossible, match="67x64"):
        client.submit(REQUEST.model_copy(update={"width": 67}))


def test_the_same_key_is_the_same_job(client: NativeClient) -> None:
    first = client.submit(REQUEST, key="only-once")
    assert client.submit(REQUEST, key="only-once").id == first.id
    with pytest.raises(KeyReused):
        client.submit(REQUEST.model_copy(update={"seed": 8}), key="only-once")


def test_a_job_is_cancelled_and_its_picture_is_not_there() -> None:
    with http_server(SilentBackend()) as address, native_client(address) as client:
        job = client.submit(GenerationRequest(prompt="x"))
        with pytest.raises(JobNotFinished):
            client.picture(job.id, 0)
        with pytest.raises(NoStepInTime):
            client.wait(job.id, 0.05)
        assert client.preview(job.id) is None
        client.cancel(job.id)
        assert client.wait(job.id, PATIENCE_S).state is JobState.CANCELLED


def test_a_full_queue_says_when_to_come_back() -> None:
    with http_server(SilentBackend(), queue_size=0) as address, native_client(address) as client:
        client.submit(GenerationRequest(prompt="x"))
        with pytest.raises(Busy) as refused:
            client.submit(GenerationRequest(prompt="y"))
        assert refused.value.retry_after_s is not None
        assert refused.value.retry_after_s >= 1


def test_a_wrong_token_is_denied_with_what_to_do() -> None:
    with http_server(token="right") as address:
        for token in (None, "wrong"):
            with native_client(address, token=token) as client, pytest.raises(Denied) as denied:
                client.status()
            assert "SDENV_TOKEN" in denied.value.hint
        with native_client(address, token="right") as client:
            assert client.status().kind == "fake"


def test_an_answer_that_was_lost_is_asked_for_again_and_the_job_is_not_made_twice() -> None:
    with http_server() as address:
        relay = Relay(address.port)
        with raw_server(relay.answer) as port, native_client(Address(port=port)) as client:
            relay.swallow_answers = 1
            lost: list[ConnectionFailed] = []
            job = client.submit(REQUEST, on_lost=lost.append)
            assert relay.reached.is_set()
            assert len(lost) == 1
            assert [each.id for each in client.find().jobs] == [job.id]


FOREIGN = {
    "a page": http_answer("200 OK", b"<html>", "Content-Type: text/html", "Server: nginx"),
    "other JSON": http_answer("200 OK", b'{"v": 1}', "Server: nginx"),
    "nothing": http_answer("404 Not Found", b"", "Server: nginx"),
    "an error of its own": http_answer("500 Internal Server Error", b'{"error": "boom"}', "Server: nginx"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_server_that_is_not_ours_is_called_so(kind: str) -> None:
    with raw_server(saying(FOREIGN[kind])) as port, native_client(Address(port=port)) as client:
        with pytest.raises(NotNative, match="is not a server of sdenv") as refused:
            client.status()
        assert "'nginx'" in refused.value.why


@pytest.mark.parametrize(
    ("status", "expected"),
    [("401 Unauthorized", Denied), ("502 Bad Gateway", ConnectionFailed), ("301 Moved", ConnectionFailed)],
)
def test_a_proxy_before_the_server_is_told_apart(status: str, expected: type[Exception]) -> None:
    answer = http_answer(status, b"<html>", "Location: https://elsewhere/")
    with raw_server(saying(answer)) as port, native_client(Address(port=port)) as client:
        with pytest.raises(expected) as failed:
            client.status()
        assert not isinstance(failed.value, NotNative)
        assert status.split()[0] in str(failed.value)


BROKEN = {
    "not JSON": b"{",
    "a list": b"[]",
    "nesting without end": b'{"a":' * 100_000,
    "a job without an id": b'{"v": 1}',
    "numbers where texts belong": b'{"v": 1, "id": 5, "state": "done"}',
}


@pytest.mark.parametrize("kind", BROKEN)
def test_an_answer_that_makes_no_sense_is_the_other_sides_fault(kind: str) -> None:
    answer = saying(http_answer("200 OK", BROKEN[kind]))
    with raw_server(answer) as port, native_client(Address(port=port)) as client:
        with pytest.raises(PeerBrokeProtocol):
            client.get("01K00000000000000000000000")
        with pytest.raises(PeerBrokeProtocol):
            client.picture("01K00000000000000000000000", 0)
