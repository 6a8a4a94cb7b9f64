"""The crossing between the device's thread and the caller's."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sdenv.backends.local.relay import Relay
from sdenv.core.errors import Cancelled, OutOfMemory
from sdenv.core.events import Notice
from sdenv.testing.fakes import PATIENCE_S, Recorder


@pytest.fixture
def device() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as executor:
        yield executor


def test_what_the_device_reports_is_emitted_in_order_by_the_caller(device: ThreadPoolExecutor) -> None:
    recorder = Recorder()

    def work(relay: Relay) -> int:
        for number in range(100):
            relay.put(Notice("n", str(number)))
        return 5

    assert Relay().run(device, work, recorder) == 5
    assert recorder.events == [Notice("n", str(number)) for number in range(100)]


def test_an_error_of_the_device_reaches_the_caller_after_what_came_before_it(
    device: ThreadPoolExecutor,
) -> None:
    recorder = Recorder()

    def work(relay: Relay) -> None:
        relay.put(Notice("n", "before"))
        raise OutOfMemory("full")

    with pytest.raises(OutOfMemory):
        Relay().run(device, work, recorder)
    assert recorder.events == [Notice("n", "before")]


def test_a_cancel_while_nothing_is_reported_stops_the_device_at_its_next_look(
    device: ThreadPoolExecutor,
) -> None:
    began, recorder, raised = threading.Event(), Recorder(), []

    def work(relay: Relay) -> None:
        began.set()
        while True:
            relay.check()

    def call() -> None:
        try:
            Relay().run(device, work, recorder)
        except Cancelled as error:
            raised.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    assert began.wait(PATIENCE_S)
    recorder.cancel()
    caller.join(PATIENCE_S)
    assert len(raised) == 1


def test_a_cancelled_caller_returns_only_when_the_device_has_let_go(device: ThreadPoolExecutor) -> None:
    ended = threading.Event()

    def work(relay: Relay) -> None:
        try:
            while True:
                relay.put(Notice("n", "again"))
                relay.check()
        finally:
            ended.set()

    with pytest.raises(Cancelled):
        Relay().run(device, work, Recorder(cancel_when=lambda _: True))
    assert ended.is_set()


def test_a_job_that_is_cancelled_while_it_waits_for_the_device_never_begins(
    device: ThreadPoolExecutor,
) -> None:
    release, recorder, began = threading.Event(), Recorder(), []
    device.submit(release.wait, PATIENCE_S)
    recorder.cancel()
    with pytest.raises(Cancelled):
        Relay().run(device, lambda _: began.append(1), recorder)
    release.set()
    assert began == []
