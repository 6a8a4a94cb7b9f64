"""What a supervised backend makes is what the backend behind it makes: pixels, events, errors."""

import io
import logging
import threading
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.errors import (
    BadImage,
    Cancelled,
    InternalError,
    OutOfMemory,
    SdenvError,
    UnavailableError,
    UnsupportedError,
)
from sdenv.core.events import Measured, Notice, PhaseStarted, StepDone
from sdenv.services.engine import Engine
from sdenv.services.worker import SupervisedBackend
from sdenv.testing.fakes import PATIENCE_S, Recorder
from sdenv.testing.requests import run
from sdenv.testing.samples import mask, picture
from tests.services.worker.conftest import Supervise
from tests.services.worker.support import asked, made, notice, watched
from tests.support.misbehaving import FLOOD, MisbehavingBackend, MisbehavingSettings

REQUESTS = {
    "one picture": asked(),
    "several": asked(count=4, batch_size=2, negative_prompt="rain", guidance_scale=3.5),
    "on a picture": asked(init_image=picture(), mask=mask(), strength=0.7),
}


@pytest.mark.parametrize("preview_every", [0, 1])
@pytest.mark.parametrize("name", list(REQUESTS))
def test_pixels_and_events_are_those_of_the_backend_behind(
    running: SupervisedBackend, name: str, preview_every: int
) -> None:
    there = run(running, REQUESTS[name], preview_every)
    here = run(MisbehavingBackend(MisbehavingSettings()), REQUESTS[name], preview_every)
    assert there.events == here.events
    assert there.result.model_copy(update={"seconds": 0}) == here.result.model_copy(update={"seconds": 0})


def test_it_says_when_the_process_must_be_started_first(backend: SupervisedBackend) -> None:
    first, second = made(backend), made(backend)
    assert first.events == [PhaseStarted("starting"), *second.events]


def test_numbers_that_json_has_no_word_for_arrive_as_such(running: SupervisedBackend) -> None:
    (measured,) = made(running, "strange").of(Measured)
    assert str(measured.values["loss"]) == "nan"


def test_jobs_run_side_by_side_in_one_process(supervise: Supervise) -> None:
    backend = supervise(MisbehavingSettings(step_seconds=0.02))
    with Engine(backend, name="four") as engine:
        jobs = [engine.submit(asked("tell", seed=seed)) for seed in range(4)]
        done = [job.result(PATIENCE_S) for job in jobs]
        processes = {notice(list(job.snapshot().notices), "process") for job in jobs}
    assert len(processes) == 1
    assert [each.resolved.seed for each in done] == [0, 1, 2, 3]


# Settings and surroundings


def test_settings_arrive_with_their_secrets(supervise: Supervise, tmp_path: Path) -> None:
    settings = MisbehavingSettings(secret=SecretStr("open sesame"), folder=tmp_path)
    events = made(supervise(settings), "tell").events
    assert (notice(events, "secret"), notice(events, "folder")) == ("open sesame", str(tmp_path))


def test_a_file_in_the_current_folder_is_not_imported_in_place_of_a_library(
    backend: SupervisedBackend, here: Path
) -> None:
    (here / "json.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    assert not notice(made(backend, "tell").events, "json").startswith(str(here))


def test_a_library_that_prints_disturbs_nothing(
    running: SupervisedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "sdenv.services.worker"):
        assert made(running, "chatty").result.images == made(running, "chatty").result.images
    assert "to stderr, more than a pipe holds" in caplog.text
    assert "to stdout, where the messages would be" in caplog.text


# Errors


@pytest.mark.parametrize("error_type", [OutOfMemory, BadImage, UnsupportedError, UnavailableError])
def test_an_error_keeps_its_class_and_its_words(
    running: SupervisedBackend, error_type: type[SdenvError]
) -> None:
    with pytest.raises(SdenvError) as raised:
        made(running, f"raise {error_type.__name__}")
    assert type(raised.value) is error_type
    assert raised.value.args == ("What happened.", "Why it did.", "type this")
    assert running.facts().losses == 0


@pytest.mark.parametrize(("prompt", "why"), [("bug 0", "ZeroDivisionError: "), ("leave 3", "SystemExit: 3")])
def test_a_bug_costs_one_job_and_says_what_it_says_in_process(
    running: SupervisedBackend, prompt: str, why: str
) -> None:
    with pytest.raises(InternalError) as raised:
        made(running, prompt)
    assert raised.value.why.startswith(why)
    assert "Traceback" not in str(raised.value)
    assert made(running).result.images
    assert running.facts().starts == 1


def test_a_backend_that_cannot_be_built_says_why_to_every_call(supervise: Supervise) -> None:
    backend = supervise(MisbehavingSettings(import_fails=True))
    for ask in (backend.probe, lambda: made(backend)):
        with pytest.raises(InternalError, match="no such driver"):
            ask()
    assert backend.facts().losses == 0


# Cancel


def test_a_cancel_reaches_a_backend_that_is_silent(running: SupervisedBackend) -> None:
    with watched(running, asked("silent")) as job:
        job.until(Notice)
        job.cancel()
        assert isinstance(job.end(), Cancelled)
    assert made(running).result.images
    assert running.facts().starts == 1


def test_a_cancel_stops_the_child_within_one_step(supervise: Supervise) -> None:
    backend = supervise(MisbehavingSettings(step_seconds=0.3, concurrency=1))
    with watched(backend, asked(steps=1000)) as job:
        job.until(StepDone)
        job.cancel()
        assert isinstance(job.end(), Cancelled)  # `generate` waits until the child has let go
    assert backend.facts().starts == 1


def test_a_job_that_was_cancelled_before_it_began_starts_no_process(backend: SupervisedBackend) -> None:
    recorder = Recorder()
    recorder.cancel()
    with pytest.raises(Cancelled):
        backend.generate(asked(), recorder)
    assert backend.facts().starts == 0


def test_a_cancel_while_the_process_starts_is_a_cancel(backend: SupervisedBackend) -> None:
    recorder = Recorder(cancel_when=lambda event: event == PhaseStarted("starting"))
    with pytest.raises(Cancelled):
        backend.generate(asked("silent"), recorder)
    assert recorder.events == [PhaseStarted("starting")]
    assert made(backend).result.images


# Pipes


def test_full_pipes_in_both_directions_block_nothing(running: SupervisedBackend) -> None:
    """Four jobs flood the parent, which reads slowly, while it sends them pictures of megabytes."""
    noise = io.BytesIO()
    import PIL.Image

    PIL.Image.effect_noise((1500, 1500), 90).save(noise, "PNG", compress_level=0)
    large = picture().model_copy(update={"data": noise.getvalue()})
    ends: list[int] = []

    def flooded(number: int) -> None:
        request = asked("flood", init_image=large, strength=0.5, seed=number, width=64, height=64)
        ends.append(len(run(running, request).events))

    threads = [threading.Thread(target=flooded, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads)
    assert len(ends) == 4
    assert min(ends) > FLOOD


# The end


def test_a_closed_backend_says_so(backend: SupervisedBackend) -> None:
    status = backend.probe()
    backend.close()
    with pytest.raises(UnavailableError, match="closed"):
        made(backend)
    assert backend.probe() == status


def test_one_that_was_never_used_can_be_closed() -> None:
    with closing(SupervisedBackend("fake", FakeSettings())) as backend:
        assert backend.declared == FakeBackend.declared
    assert backend.facts().starts == 0
