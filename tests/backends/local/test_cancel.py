"""A cancel stops at the next step, wherever it comes from, and leaves the model as it was."""

import threading
from pathlib import Path
from typing import Any

import pytest

from sdenv.backends.local import LocalBackend, LocalSettings
from sdenv.core.errors import Cancelled
from sdenv.core.events import Event, PhaseStarted, PictureReady, StepDone
from sdenv.core.request import GenerationRequest
from sdenv.testing.fakes import PATIENCE_S, Recorder

REQUEST = GenerationRequest(prompt="a fox", model="sd1", seed=9, steps=8, sampler="DPM++ 2M")


def is_step(number: int) -> Any:
    return lambda event: isinstance(event, StepDone) and event.step == number


def steps(events: list[Event]) -> list[int]:
    return [event.step for event in events if isinstance(event, StepDone)]


def test_a_cancel_at_a_step_ends_there_and_the_next_picture_is_the_same(backend: LocalBackend) -> None:
    before = backend.generate(REQUEST, Recorder()).images
    recorder = Recorder(cancel_when=is_step(2))
    with pytest.raises(Cancelled):
        backend.generate(REQUEST, recorder)
    assert steps(recorder.events) == [1, 2]
    assert backend.generate(REQUEST, Recorder()).images == before


def test_a_cancelled_model_stays_loaded(backend: LocalBackend) -> None:
    with pytest.raises(Cancelled):
        backend.generate(REQUEST, Recorder(cancel_when=is_step(1)))
    recorder = Recorder()
    backend.generate(REQUEST, recorder)
    assert PhaseStarted("loading") not in recorder.events


def test_pictures_that_are_ready_survive_a_cancel(backend: LocalBackend) -> None:
    recorder = Recorder(cancel_when=lambda event: isinstance(event, PictureReady))
    with pytest.raises(Cancelled):
        backend.generate(REQUEST.model_copy(update={"count": 3}), recorder)
    assert [event.index for event in recorder.events if isinstance(event, PictureReady)] == [0]


def test_a_cancel_from_another_thread_ends_a_job_long_before_its_last_step(backend: LocalBackend) -> None:
    started = threading.Event()

    def watch(event: Event) -> bool:
        if isinstance(event, StepDone):
            started.set()
        return False

    recorder = Recorder(cancel_when=watch)
    raised: list[type[BaseException]] = []

    def generate() -> None:
        try:
            backend.generate(REQUEST.model_copy(update={"steps": 1000}), recorder)
        except Cancelled as error:
            raised.append(type(error))

    caller = threading.Thread(target=generate)
    caller.start()
    assert started.wait(PATIENCE_S)
    recorder.cancel()
    caller.join(PATIENCE_S)
    assert raised == [Cancelled]
    assert len(steps(recorder.events)) < 1000


def test_a_keyboard_interrupt_in_the_caller_stops_the_device_too(backend: LocalBackend) -> None:
    def interrupt(event: Event) -> bool:
        if isinstance(event, StepDone) and event.step == 2:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        backend.generate(REQUEST.model_copy(update={"steps": 1000}), Recorder(cancel_when=interrupt))
    assert backend.generate(REQUEST, Recorder()).images


def test_closing_stops_a_running_job_at_its_next_step(models: dict[str, Path]) -> None:
    backend = LocalBackend(LocalSettings(models={"sd1": str(models["sd1"])}, device="cpu"))
    started = threading.Event()
    raised: list[type[BaseException]] = []

    def watch(event: Event) -> bool:
        if isinstance(event, StepDone):
            started.set()
        return False

    def generate() -> None:
        try:
            backend.generate(REQUEST.model_copy(update={"steps": 1000}), Recorder(cancel_when=watch))
        except Cancelled as error:
            raised.append(type(error))

    caller = threading.Thread(target=generate)
    caller.start()
    assert started.wait(PATIENCE_S)
    backend.close()
    caller.join(PATIENCE_S)
    assert raised == [Cancelled]


def test_events_are_emitted_by_the_thread_that_called(backend: LocalBackend) -> None:
    threads: set[int] = set()

    def watch(_: Event) -> bool:
        threads.add(threading.get_ident())
        return False

    backend.generate(REQUEST, Recorder(cancel_when=watch))
    assert threads == {threading.get_ident()}


def test_one_thread_owns_the_device_whoever_calls(backend: LocalBackend) -> None:
    before = {thread.ident for thread in threading.enumerate() if thread.name.startswith("sdenv-device")}
    callers = [threading.Thread(target=backend.generate, args=(REQUEST, Recorder())) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE_S)
    backend.generate(REQUEST, Recorder())
    after = {thread.ident for thread in threading.enumerate() if thread.name.startswith("sdenv-device")}
    assert len(after - before) <= 1
