"""The a1111 backend against a double of the original, and what it does that the contract does not show."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from queue import Queue
from typing import Any

import pytest

from sdenv.backends.a1111 import A1111Backend, A1111Settings
from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import Backend
from sdenv.core.errors import (
    Cancelled,
    ConnectionFailed,
    Denied,
    FailedError,
    InvalidRequest,
    OutOfMemory,
    PeerBrokeProtocol,
    SdenvError,
    UnsupportedError,
)
from sdenv.core.events import PictureReady, PreviewReady, StepDone
from sdenv.core.request import GenerationRequest, LoRA
from sdenv.testing.fakes import PATIENCE_S, Recorder, SlowBackend
from sdenv.testing.requests import run
from sdenv.testing.samples import mask, picture
from tests.support.a1111_servers import a1111_client
from tests.support.http_servers import http_server
from tests.support.original_a1111 import OriginalA1111, original_a1111
from tests.support.waiting import until

CAT = GenerationRequest(prompt="a cat", width=64, height=64, steps=3, seed=7)


@pytest.fixture
def original() -> Iterator[OriginalA1111]:
    with original_a1111() as double:
        yield double


@contextmanager
def client_of(original: OriginalA1111, **options: Any) -> Iterator[A1111Backend]:
    values = {"url": original.url, "poll_s": 0.01, "previews": False, **options}
    with closing(A1111Backend(A1111Settings(**values))) as client:
        yield client


@pytest.fixture
def client(original: OriginalA1111) -> Iterator[Backend]:
    with client_of(original) as made:
        yield made


def started(client: Backend, recorder: Recorder, request: GenerationRequest = CAT) -> "Queue[object]":
    """What a job in a thread of its own ends with."""
    ends: Queue[object] = Queue()

    def generate() -> None:
        try:
            ends.put(client.generate(request, recorder))
        except SdenvError as error:
            ends.put(error)

    threading.Thread(target=generate, daemon=True).start()
    return ends


def test_a_probe_tells_what_the_lists_say_the_loaded_model_first(client: Backend) -> None:
    status = client.probe()
    assert [model.name for model in status.models] == ["v1-5-pruned-emaonly", "ink"]
    assert status.capabilities.samplers == ("DPM++ 2M", "Euler a", "Euler")
    assert status.capabilities.schedules == ("Automatic", "Karras")
    assert status.capabilities.concurrency == 1


def test_a_server_from_before_schedulers_refuses_them_by_name(original: OriginalA1111) -> None:
    original.old = True
    with client_of(original) as client:
        assert "schedule" not in client.probe().capabilities.carries


def test_the_body_says_everything_in_the_words_of_the_original(
    original: OriginalA1111, client: Backend
) -> None:
    request = GenerationRequest(
        prompt="a cat",
        negative_prompt="red",
        model="ink",
        width=64,
        height=72,
        steps=4,
        guidance_scale=3.5,
        seed=9,
        sampler="Euler a",
        schedule="Karras",
        count=2,
        batch_size=2,
        clip_skip=2,
        vae="mse",
        loras=(LoRA(name="ink", weight=0.5),),
    )
    run(client, request)
    body = original.bodies[0]
    expected = {
        "route": "txt2img",
        "prompt": "a cat <lora:ink:0.5>",
        "negative_prompt": "red",
        "width": 64,
        "height": 72,
        "steps": 4,
        "cfg_scale": 3.5,
        "seed": 9,
        "sampler_name": "Euler a",
        "scheduler": "karras",
        "batch_size": 2,
        "n_iter": 1,
        "send_images": True,
        "save_images": False,
    }
    assert {name: body[name] for name in expected} == expected
    assert body["override_settings"] == {
        "sd_model_checkpoint": "ink",
        "sd_vae": "mse",
        "CLIP_stop_at_last_layers": 2,
        "samples_format": "png",
    }


def test_an_inpainting_asks_for_the_whole_picture_unblurred(original: OriginalA1111, client: Backend) -> None:
    run(client, CAT.model_copy(update={"init_image": picture(), "mask": mask(), "strength": 0.5}))
    body = original.bodies[0]
    assert (body["route"], body["denoising_strength"], body["mask_blur"]) == ("img2img", 0.5, 0)
    assert (body["inpaint_full_res"], body["inpainting_fill"], body["inpainting_mask_invert"]) == (
        False,
        1,
        0,
    )


def test_what_the_user_leaves_open_is_decided_from_the_table_and_not_by_the_defaults_of_the_api(
    original: OriginalA1111, client: Backend
) -> None:
    run(client, GenerationRequest(prompt="a"))
    body = original.bodies[0]
    assert (body["steps"], body["cfg_scale"], body["width"], body["height"]) == (20, 7.0, 512, 512)
    assert "sampler_name" not in body
    assert "sd_model_checkpoint" not in body["override_settings"]


def test_a_count_that_is_no_multiple_of_the_batch_is_asked_for_in_two_calls(
    original: OriginalA1111, client: Backend
) -> None:
    made = run(client, CAT.model_copy(update={"count": 5, "batch_size": 2, "seed": None}))
    assert [(body["n_iter"], body["batch_size"]) for body in original.bodies] == [(2, 2), (1, 1)]
    assert original.bodies[1]["seed"] == 127
    assert [event.seed for event in made.of(PictureReady)] == [123, 124, 125, 126, 127]
    assert made.result.resolved.count == 5


def test_steps_and_previews_are_polled(original: OriginalA1111) -> None:
    original.free = False
    with client_of(original, previews=True) as client:
        recorder = Recorder(preview_every=1)
        ends = started(client, recorder, CAT.model_copy(update={"count": 2}))
        for _ in range(4):
            original.steps.release()
            assert original.began.wait(PATIENCE_S)
        until(lambda: any(isinstance(event, StepDone) and event.index == 1 for event in recorder.events))
        original.free = True
        original.steps.release(100)
        assert not isinstance(ends.get(timeout=PATIENCE_S), SdenvError)
    steps = [(event.index, event.step) for event in recorder.events if isinstance(event, StepDone)]
    assert steps == sorted(set(steps))
    previews = [event for event in recorder.events if isinstance(event, PreviewReady)]
    assert previews[0].picture == picture(16, 16)


def test_a_cancel_interrupts_the_job_that_runs(original: OriginalA1111, client: Backend) -> None:
    original.free = False
    recorder = Recorder()
    ends = started(client, recorder)
    assert original.began.wait(PATIENCE_S)
    recorder.cancel()
    assert isinstance(ends.get(timeout=PATIENCE_S), Cancelled)
    assert original.interrupts == 1


def test_a_cancel_of_a_job_that_waits_leaves_the_one_of_somebody_else_alone(
    original: OriginalA1111, client: Backend
) -> None:
    original.free = False
    first = started(client, Recorder())
    assert original.began.wait(PATIENCE_S)
    with client_of(original) as another:
        recorder = Recorder()
        second = started(another, recorder)
        until(lambda: len(original.bodies) == 2)
        recorder.cancel()
        assert isinstance(second.get(timeout=PATIENCE_S), Cancelled)
    assert original.interrupts == 0
    original.free = True
    original.steps.release(100)
    assert not isinstance(first.get(timeout=PATIENCE_S), SdenvError)


def test_a_job_that_somebody_else_interrupts_hands_over_what_came(
    original: OriginalA1111, client: Backend
) -> None:
    original.free = False
    recorder = Recorder()
    ends = started(client, recorder, CAT.model_copy(update={"count": 2}))
    original.steps.release(3)
    until(lambda: original.job_no == 1)
    original.interrupted = True
    original.steps.release(100)
    failed = ends.get(timeout=PATIENCE_S)
    assert isinstance(failed, FailedError)
    assert "1 of 2" in failed.why
    assert len([event for event in recorder.events if isinstance(event, PictureReady)]) == 1


@pytest.mark.parametrize(
    ("fails", "error_type"),
    [
        ((500, {"error": "OutOfMemoryError", "detail": "", "body": "", "errors": "CUDA"}), OutOfMemory),
        ((500, {"error": "RuntimeError", "detail": "", "body": "", "errors": "boom"}), FailedError),
        ((422, {"detail": [{"loc": ["body", "steps"], "msg": "bad", "type": "x"}]}), InvalidRequest),
        ((200, {"images": "none"}), PeerBrokeProtocol),
        ((200, ["nothing"]), PeerBrokeProtocol),
    ],
)
def test_its_errors_become_ours(
    original: OriginalA1111, client: Backend, fails: tuple[int, Any], error_type: type[SdenvError]
) -> None:
    original.fails = fails
    with pytest.raises(error_type):
        client.generate(CAT, Recorder())


def test_user_and_password_stand_in_the_url_or_in_the_token(original: OriginalA1111) -> None:
    original.password = "ann:s3cret"
    with client_of(original) as client, pytest.raises(Denied):
        client.probe()
    with client_of(original, url=original.url.replace("://", "://ann:s3cret@")) as client:
        assert client.probe().models
    with client_of(original, token="ann:s3cret") as client:
        assert run(client, CAT).result.images


def test_a_server_that_is_something_else_says_so() -> None:
    with http_server() as address:
        url = f"a1111://{address.host}:{address.port}/elsewhere"
        with closing(A1111Backend(A1111Settings(url=url))) as client, pytest.raises(PeerBrokeProtocol):
            client.probe()


def test_a_server_that_no_longer_answers_is_given_up(original: OriginalA1111) -> None:
    original.free, original.silent = False, True
    with client_of(original, timeout_s=0.1) as client, pytest.raises(ConnectionFailed):
        client.generate(CAT, Recorder())


def test_nothing_listens_is_a_failed_connection(original: OriginalA1111) -> None:
    with client_of(original, url="a1111://127.0.0.1:9") as client, pytest.raises(ConnectionFailed):
        client.probe()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prompt": "a <lora:x:1>"}, "prompt"),
        ({"loras": (LoRA(name="a:b"),)}, "loras"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(client: Backend, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(UnsupportedError) as refused:
        client.generate(CAT.model_copy(update=changes), Recorder())
    assert field in refused.value.why


def test_pictures_on_the_way_come_from_our_server_as_well() -> None:
    with (
        http_server(FakeBackend(FakeSettings(step_seconds=0.05))) as address,
        closing(a1111_client(address, previews=True, poll_s=0.01)) as client,
    ):
        recorder = Recorder(preview_every=1, cancel_when=lambda event: isinstance(event, PreviewReady))
        with pytest.raises(Cancelled):
            client.generate(CAT.model_copy(update={"steps": 1000}), recorder)
    assert any(isinstance(event, StepDone) for event in recorder.events)


def test_several_jobs_at_once_are_several_jobs_on_our_server() -> None:
    slow = SlowBackend(concurrency=2)
    with http_server(slow) as address, closing(a1111_client(address, poll_s=0.01)) as client:
        assert client.probe().capabilities.concurrency == 2
        ends = [started(client, Recorder(), CAT.model_copy(update={"seed": seed})) for seed in (1, 2)]
        slow.let(1000)
        results = [end.get(timeout=PATIENCE_S) for end in ends]
    assert [each for each in results if isinstance(each, SdenvError)] == []
