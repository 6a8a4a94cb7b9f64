"""What our client sends is what our server reads; answers, progress, lists and errors come back the same."""

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.errors import (
    Busy,
    Denied,
    FailedError,
    InvalidRequest,
    Kind,
    OutOfMemory,
    PeerBrokeProtocol,
    SdenvError,
    SizeNotPossible,
    UnavailableError,
    UnknownSampler,
    UnsupportedError,
    all_error_types,
)
from sdenv.core.events import PreviewReady, Progress
from sdenv.core.request import MAX_SEED, GenerationRequest, LoRA, ResolvedRequest
from sdenv.core.samplers import AUTOMATIC, SAMPLERS, SCHEDULES
from sdenv.protocols import a1111
from sdenv.protocols.a1111 import lists
from sdenv.protocols.inline import as_base64
from sdenv.testing.samples import picture
from tests.support.pictures import done
from tests.support.strategies import JSON, requests

STATUS = FakeBackend(FakeSettings()).probe()


@st.composite
def sayable(draw: st.DrawFn) -> GenerationRequest:
    """Requests of carried fields, with everything decided that a body cannot leave open."""
    wild = draw(requests())
    assume("<lora:" not in wild.prompt)
    wanted: dict[str, Any] = {name: getattr(wild, name) for name in a1111.CARRIES & wild.said()}
    wanted |= {"width": draw(st.integers(1, 2000)), "height": draw(st.integers(1, 2000))}
    wanted |= {"steps": draw(st.integers(1, 1000)), "guidance_scale": draw(st.floats(0, 100))}
    wanted |= {"negative_prompt": wild.negative_prompt or "", "batch_size": wild.batch_size or 1}
    wanted["sampler"] = draw(st.none() | st.sampled_from(sorted(SAMPLERS)))
    wanted["schedule"] = draw(st.none() | st.sampled_from(sorted(set(SCHEDULES) - {AUTOMATIC})))
    wanted["model"] = draw(st.none() | st.sampled_from(["mosaic", "mosaic-native"]))
    wanted["vae"] = draw(st.none() | st.sampled_from(["mse", "a b"]))
    wanted["hires"] = None if wild.init_image is not None else wild.hires
    if wild.init_image is not None:
        wanted["strength"] = draw(st.floats(0, 1))
    wanted["loras"] = tuple(lora for lora in wild.loras if not set("<>:") & set(lora.name))
    wanted["clip_skip"] = wild.clip_skip
    return GenerationRequest(**{name: value for name, value in wanted.items() if value is not None})


@given(sayable())
def test_what_our_client_says_is_what_our_server_reads(request: GenerationRequest) -> None:
    assert not a1111.uncarried(request)
    known = a1111.Known(models=("mosaic", "mosaic-native"), samplers=None)
    part = next(a1111.parts_of(request))
    body = json.loads(json.dumps(a1111.body_of(part, task="t")))
    ask = a1111.ask_of(body, img2img=part.init_image is not None, exact=True, known=known)
    assert ask.request == part
    assert ask.exact
    assert ask.task == "t"
    assert not ask.ignored
    assert not ask.notes


@given(st.integers(1, 16), st.none() | st.integers(1, 16), st.none() | st.integers(0, MAX_SEED))
def test_parts_are_whole_batches_and_make_up_the_count(
    count: int, batch: int | None, seed: int | None
) -> None:
    parts = list(a1111.parts_of(GenerationRequest(count=count, batch_size=batch, seed=seed)))
    assert sum(part.count for part in parts) == count
    assert all(part.count % (part.batch_size or 1) == 0 for part in parts)
    assert len(parts) <= 2
    if seed is not None and len(parts) == 2:
        assert parts[1].seed == (seed + parts[0].count) % (MAX_SEED + 1)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (GenerationRequest(prompt="a <LoRA:x:1>"), "prompt"),
        (GenerationRequest(loras=(LoRA(name="a:b"),)), "loras"),
        (GenerationRequest(init_image=picture(), hires={"scale": 2.0}), "hires"),
    ],
)
def test_a_value_that_cannot_be_said_is_named_by_its_field(request_: GenerationRequest, field: str) -> None:
    assert [each.field for each in a1111.uncarried(request_)] == [field]


# Answers


def answer(resolved: ResolvedRequest, count: int, **changes: Any) -> dict[str, Any]:
    ask = a1111.ask_of({"prompt": resolved.prompt, "width": 512}, img2img=False)
    made = a1111.Made(
        resolved=resolved,
        seeds=tuple(resolved.seed_of(index) for index in range(count)),
        size=(resolved.width, resolved.height),
        model_hash="6ce0161689",
        notes=("It is smaller.",),
    )
    pictures = [picture(8, 8, shade=index) for index in range(count)]
    return a1111.answer_record(replace(ask, **changes), made, pictures)


def test_the_info_is_a_text_that_holds_json_with_every_documented_key() -> None:
    record = answer(done(count=2), 2)
    assert isinstance(record["info"], str)
    info = json.loads(record["info"])
    assert set(info) >= {
        "prompt", "all_prompts", "negative_prompt", "all_negative_prompts", "seed", "all_seeds", "subseed",
        "all_subseeds", "subseed_strength", "width", "height", "sampler_name", "cfg_scale", "steps",
        "batch_size", "restore_faces", "face_restoration_model", "sd_model_name", "sd_model_hash",
        "sd_vae_name", "sd_vae_hash", "seed_resize_from_w", "seed_resize_from_h", "denoising_strength",
        "extra_generation_params", "index_of_first_image", "infotexts", "styles", "job_timestamp",
        "clip_skip", "is_using_inpainting_conditioning", "version",
    }  # fmt: skip
    assert info["all_seeds"] == [7, 8]
    assert (info["seed"], info["index_of_first_image"]) == (7, 0)
    assert len(info["infotexts"]) == 2
    assert info["infotexts"][1].startswith("a fox\nSteps: 20,")
    assert len(info["job_timestamp"]) == 14


def test_pictures_are_bare_base64_and_absent_when_nobody_wants_them() -> None:
    record = answer(done(), 1)
    assert record["images"] == [as_base64(picture(8, 8))]
    assert answer(done(), 1, send_images=False)["images"] == []


def test_the_parameters_echo_the_body_without_pictures() -> None:
    echoed = a1111.ask_of({"init_images": [as_base64(picture())], "steps": 3}, img2img=True).parameters
    assert (echoed["init_images"], echoed["mask"], echoed["steps"], echoed["cfg_scale"]) == (
        None,
        None,
        3,
        7.0,
    )
    kept = a1111.ask_of(
        {"init_images": [as_base64(picture())], "include_init_images": True}, img2img=True
    ).parameters
    assert kept["init_images"] == [as_base64(picture())]


def test_what_was_changed_stands_in_the_info() -> None:
    info = json.loads(answer(done(), 1)["info"])
    assert info["extra_generation_params"]["Notes"] == "It is smaller."
    assert "Notes: It is smaller." in info["infotexts"][0]


def test_an_answer_is_read_as_it_was_written() -> None:
    resolved = done(count=2, schedule="Karras", negative_prompt="red")
    read = a1111.answer_of(json.loads(json.dumps(answer(resolved, 2))))
    assert read.pictures == (picture(8, 8), picture(8, 8, shade=1))
    assert read.seeds == (7, 8)
    request = GenerationRequest(prompt="a fox", negative_prompt="red", count=2)
    assert a1111.resolved_of(request, read) == resolved


def test_a_grid_that_comes_first_is_no_picture() -> None:
    record = answer(done(), 1)
    info = json.loads(record["info"]) | {"index_of_first_image": 1}
    grid = {"images": [as_base64(picture(16, 16)), *record["images"]], "info": json.dumps(info)}
    assert a1111.answer_of(grid).pictures == (picture(8, 8),)


@pytest.mark.parametrize("info", ["", None, "not json", "[1]"])
def test_an_answer_without_a_usable_info_is_its_pictures(info: object) -> None:
    read = a1111.answer_of({"images": [as_base64(picture())], "info": info})
    assert read.pictures == (picture(),)
    wanted = GenerationRequest(prompt="a", width=64, height=64, steps=3, guidance_scale=2.0, seed=5)
    resolved = a1111.resolved_of(wanted, read)
    assert (resolved.steps, resolved.seed, resolved.sampler) == (3, 5, "unknown")


@given(JSON)
def test_any_answer_is_read_or_a_broken_protocol(value: Any) -> None:
    for record in (value, {"images": value, "info": "{}"}, {"images": [], "info": json.dumps(value)}):
        with suppress(PeerBrokeProtocol):
            a1111.resolved_of(GenerationRequest(), a1111.answer_of(record))


# Progress


def running(**changes: Any) -> a1111.Running:
    usual: dict[str, Any] = {"task": "t", "progress": Progress(count=4), "began_at": 100.0}
    return a1111.Running(**(usual | changes))


def test_idle_is_exactly_zero() -> None:
    record = a1111.progress_record(None, now=0.0)
    assert (record["progress"], record["eta_relative"], record["current_image"]) == (0, 0, None)
    assert record["state"]["job_count"] == 0
    assert set(record["state"]) == {
        "skipped", "interrupted", "stopping_generation", "job", "job_count", "job_timestamp", "job_no",
        "sampling_step", "sampling_steps",
    }  # fmt: skip


def test_a_job_that_waits_or_has_just_begun_is_not_idle() -> None:
    for each in (running(begun=False), running()):
        record = a1111.progress_record(each, now=100.0)
        assert record["progress"] == 0.01
        assert record["state"]["job_count"] > 0


def test_the_number_is_that_of_automatic1111() -> None:
    half = Progress(count=4, finished=frozenset({0, 1}), steps={0: (10, 10), 2: (5, 10), 3: (5, 10)})
    each = running(progress=half, batch_size=2)
    record = a1111.progress_record(each, now=110.0)
    assert record["progress"] == pytest.approx(0.01 + 1 / 2 + 0.5 / 2)
    assert record["eta_relative"] == pytest.approx(10 / 0.76 - 10)
    state = record["state"]
    assert (state["job_no"], state["job_count"]) == (1, 2)
    assert (state["sampling_step"], state["sampling_steps"]) == (5, 10)
    assert record["current_task"] == "t"


@given(
    st.integers(1, 16), st.integers(1, 16), st.frozensets(st.integers(0, 15)),
    st.dictionaries(st.integers(0, 15), st.tuples(st.integers(1, 50), st.just(50)), max_size=4),
    st.booleans(),
)  # fmt: skip
def test_progress_never_leaves_its_range(
    count: int, batch: int, finished: frozenset[int], steps: dict[int, tuple[int, int]], begun: bool
) -> None:
    each = running(progress=Progress(count, steps=steps, finished=finished), batch_size=batch, begun=begun)
    record = a1111.progress_record(each, now=101.0)
    assert 0 < record["progress"] <= 1
    assert record["eta_relative"] >= 0
    assert json.loads(json.dumps(record)) == record


def test_a_poll_is_read_as_it_was_written() -> None:
    seen = Progress(count=4, steps={0: (3, 10)}, preview=PreviewReady(3, 0, picture()))
    record = json.loads(json.dumps(a1111.progress_record(running(progress=seen), now=101.0)))
    assert a1111.polled_of(record) == a1111.Polled(record["progress"], "t", 0, 4, 3, 10, picture())
    bare = a1111.progress_record(running(progress=seen), now=101.0, with_picture=False)
    assert a1111.polled_of(bare).picture is None


@given(JSON, JSON)
def test_any_poll_is_read_or_a_broken_protocol(value: Any, state: Any) -> None:
    for record in (value, {"progress": value, "state": state}, {"progress": 0.5, "state": {"job_no": value}}):
        with suppress(PeerBrokeProtocol):
            a1111.polled_of(record)


def test_internal_progress_tells_waiting_running_and_ended() -> None:
    seen = Progress(preview=PreviewReady(3, 0, picture()))

    def told(each: a1111.Running | None, completed: bool = False, last: int = -1) -> dict[str, Any]:
        return a1111.internal_record(
            each, completed=completed, last_preview=last, with_picture=True, now=101.0
        )

    waits, runs = told(running(begun=False)), told(running(progress=seen))
    assert (waits["queued"], waits["active"], waits["completed"]) == (True, False, False)
    assert (runs["queued"], runs["active"]) == (False, True)
    assert runs["live_preview"].startswith("data:image/png;base64,")
    assert runs["id_live_preview"] == 3
    assert told(running(progress=seen), last=3)["live_preview"] is None
    assert told(None, completed=True)["completed"]


# Lists


def test_our_client_learns_from_our_server_everything_that_it_can_do() -> None:
    flags = json.loads(json.dumps(lists.flags_record(STATUS)))
    found = lists.status_from(None, None, None, None, flags, name="a1111")
    assert found.models == STATUS.models
    assert found.capabilities.carries == STATUS.capabilities.carries & a1111.CARRIES
    assert found.capabilities.samplers == STATUS.capabilities.samplers
    assert found.name == "a1111"


def test_the_lists_of_the_original_are_a_status() -> None:
    models = [
        {"title": "a.safetensors [0123456789]", "model_name": "a", "hash": "0123456789"},
        {"title": "b.safetensors [abcdef0123]", "model_name": "b", "hash": "abcdef0123"},
    ]
    samplers = [
        {"name": "DPM++ 2M", "aliases": ["k_dpmpp_2m"], "options": {}},
        {"name": "Odd", "aliases": []},
    ]
    schedulers = [{"name": "automatic", "label": "Automatic"}, {"name": "kl_optimal", "label": "KL Optimal"}]
    options = {"sd_model_checkpoint": "b.safetensors [abcdef0123]"}
    found = lists.status_from(models, samplers, schedulers, options, {}, name="a1111")
    assert [model.name for model in found.models] == ["b", "a"]
    assert found.capabilities.samplers == ("DPM++ 2M", "Odd")
    assert found.capabilities.schedules == ("Automatic", "KL Optimal")
    assert (
        "schedule"
        not in lists.status_from(models, samplers, None, options, None, name="x").capabilities.carries
    )


def test_the_model_in_the_options_is_a_title_of_the_models() -> None:
    titles = [each["title"] for each in lists.models_record(STATUS)]
    assert lists.options_record(a1111.Options(), STATUS)["sd_model_checkpoint"] == titles[0]
    chosen = lists.options_record(a1111.Options(model="mosaic-native"), STATUS)
    assert chosen["sd_model_checkpoint"] == titles[1]


def test_what_options_say_can_be_posted_back_unchanged() -> None:
    options = a1111.Options(model="mosaic-native", vae="mse", clip_skip=2, samples_format="webp")
    names = lists.names_of(STATUS)
    assert a1111.overridden(a1111.Options(), lists.options_record(options, STATUS), names)[0] == options


def test_every_alias_that_is_listed_is_accepted() -> None:
    for sampler in lists.samplers_record(STATUS):
        for alias in (sampler["name"], *sampler["aliases"]):
            request = a1111.ask_of({"sampler_name": alias}, img2img=False).request
            assert request.sampler == sampler["name"], alias
    for scheduler in lists.schedulers_record(STATUS)[1:]:
        for name in (scheduler["name"], scheduler["label"]):
            found = a1111.ask_of({"scheduler": name}, img2img=False).request.schedule
            assert found == scheduler["label"], name


@given(JSON, JSON)
def test_any_lists_are_read_or_a_broken_protocol(value: Any, other: Any) -> None:
    for arguments in (
        (value, other, None, None, None),
        ([value], [other], value, other, {lists.OURS: other}),
    ):
        with suppress(PeerBrokeProtocol):
            lists.status_from(*arguments, name="a1111")


# Errors


@pytest.mark.parametrize("error_type", list(all_error_types()), ids=lambda each: each.code)
def test_every_error_comes_back_as_it_was(error_type: type[SdenvError]) -> None:
    error = error_type("It broke.", "Because.", "Do this.")
    back = a1111.error_in(500, json.loads(json.dumps(a1111.error_body(error))))
    assert (type(back), back.what, back.why, back.hint) == (type(error), error.what, error.why, error.hint)


@pytest.mark.parametrize("error_type", list(all_error_types()), ids=lambda each: each.code)
def test_every_error_has_the_four_keys_or_fastapis_form_and_our_code_word(
    error_type: type[SdenvError],
) -> None:
    body = a1111.error_body(error_type("It broke."))
    if error_type.kind is Kind.DENIED and error_type.code != "origin-denied":
        assert body["detail"] == "Incorrect username or password"
        return
    assert set(body) == {"error", "detail", "body", "errors", "sdenv"}
    assert error_type.code in body["detail"]


def test_an_unknown_sampler_and_a_lack_of_memory_are_said_as_automatic1111_says_them() -> None:
    assert a1111.error_body(UnknownSampler("x"))["detail"].startswith("Sampler not found")
    assert a1111.status_by_code(UnknownSampler("x")) == 400
    assert a1111.error_body(OutOfMemory("x"))["error"] == "OutOfMemoryError"


@pytest.mark.parametrize(
    ("status", "record", "error_type"),
    [
        (401, {"detail": "Incorrect username or password"}, Denied),
        (404, {"detail": "Not Found"}, UnsupportedError),
        (422, {"detail": [{"loc": ["body", "steps"], "msg": "bad", "type": "t"}]}, InvalidRequest),
        (400, {"detail": "Sampler not found"}, InvalidRequest),
        (500, {"error": "OutOfMemoryError", "detail": "", "body": "", "errors": "CUDA"}, OutOfMemory),
        (500, {"error": "RuntimeError", "detail": "", "body": "", "errors": "boom"}, FailedError),
        (503, None, UnavailableError),
        (429, None, Busy),
        (500, [1], FailedError),
    ],
)
def test_the_errors_of_the_original_become_ours(
    status: int, record: object, error_type: type[SdenvError]
) -> None:
    error = a1111.error_in(status, record)
    assert type(error) is error_type
    assert error.why


def test_our_own_error_survives_with_its_details() -> None:
    refused = SizeNotPossible("No.", "The nearest is 64x64.")
    assert isinstance(a1111.error_in(422, a1111.error_body(refused)), SizeNotPossible)


# png-info


def test_an_infotext_is_taken_apart_with_the_defaults_of_its_reader() -> None:
    found = a1111.infotext_record(
        "a fox\nNegative prompt: red\nSteps: 9, Sampler: Euler a, Seed: 4, Size: 64x72"
    )
    assert found["Prompt"] == "a fox"
    assert found["Negative prompt"] == "red"
    assert (found["Steps"], found["Size-1"], found["Size-2"]) == ("9", "64", "72")
    assert (found["Clip skip"], found["RNG"], found["Schedule type"]) == ("1", "GPU", "Automatic")
    assert a1111.infotext_record("") == {}
