"""The request: what it takes, what it refuses, and that nothing is lost on the way."""

import json
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdenv.core.errors import InvalidRequest
from sdenv.core.request import (
    MAX_SEED,
    GenerationRequest,
    ResolvedRequest,
    Task,
    parse_request,
    parse_request_json,
    steps_that_run,
)
from sdenv.testing.samples import mask, picture
from tests.support.strategies import requests

IMAGE = picture(8, 8)
RESOLVED = ResolvedRequest(
    model="m", width=64, height=64, steps=20, guidance_scale=7, seed=5, sampler="Euler", schedule="Automatic"
)


@given(requests())
def test_a_request_survives_json(request: GenerationRequest) -> None:
    assert parse_request_json(request.model_dump_json()) == request


@given(requests())
def test_a_request_survives_json_without_what_was_not_said(request: GenerationRequest) -> None:
    short = json.loads(request.model_dump_json(include=set(request.said())))
    assert parse_request_json(json.dumps(short)) == request


@given(requests())
def test_what_was_said_is_what_differs_from_the_empty_request(request: GenerationRequest) -> None:
    rebuilt = GenerationRequest(**{name: getattr(request, name) for name in request.said()})
    assert rebuilt == request


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"steps": 0}, "steps: must be at least 1 (given: 0)"),
        ({"steps": 1_000_000}, "steps: must be at most 1000 (given: 1000000)"),
        ({"steps": 2.5}, "steps: must be a valid integer"),
        ({"count": 17}, "count: must be at most 16"),
        ({"batch_size": 0}, "batch_size: must be at least"),
        ({"width": 8193}, "width: must be at most 8192"),
        ({"height": 0}, "height: must be at least"),
        ({"width": 8192, "height": 8192}, "8192x8192 is 67.1 megapixels; the limit is 16"),
        ({"seed": -1}, "seed: must be at least"),
        ({"seed": 2**32}, "seed: must be at most 4294967295"),
        ({"guidance_scale": float("nan")}, "guidance_scale: must be"),
        ({"guidance_scale": -0.1}, "guidance_scale: must be at least"),
        ({"prompt": "x" * 10_001}, "prompt: string should have at most 10000 characters"),
        ({"prompt": "\udcff"}, "prompt: must be a valid string"),
        ({"negative_prompt": "x" * 10_001}, "negative_prompt: string should have at most 10000"),
        ({"model": ""}, "model: string should have at least 1 character"),
        ({"strength": 0.5}, "strength says how far to move from an init image, and there is none"),
        ({"init_image": IMAGE, "strength": 1.5}, "strength: must be at most 1"),
        ({"mask": IMAGE}, "a mask needs an init image that it belongs to"),
        ({"loras": [{"name": str(i)} for i in range(9)]}, "loras: tuple should have at most 8 items"),
        (
            {"loras": [{"name": "a", "weight": 11}]},
            "loras.0.weight: must be at most 10",
        ),
        ({"controls": [{"type": "pose", "image": IMAGE, "start": 0.9, "end": 0.1}]}, "a control ends before"),
        ({"clip_skip": 0}, "clip_skip: must be at least"),
        ({"hires": {"scale": 1}}, "hires.scale: must be greater than 1"),
        ({"upscale": 1}, "upscale: must be greater than 1"),
        ({"extensions": {"fake": {"a": "x" * 2**16}}}, "extensions: must be at most 65536 bytes as JSON"),
        ({"extensions": {"fake": {"a": [[[[[[[]]]]]]]}}}, "extensions: must be at most 8 levels deep"),
        ({"stpes": 3}, "there is no field 'stpes'"),
        (
            {"controls": [{"type": "pose", "image": IMAGE, "wieght": 1}]},
            "there is no field 'controls.0.wieght'",
        ),
    ],
)
def test_a_value_outside_its_range_is_named(values: dict[str, object], fault: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_request(values)
    assert fault in refused.value.why


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_request({"steps": 0, "width": "wide", "sed": 1})
    assert refused.value.why.count(";") == 2


def test_an_unknown_field_comes_with_the_nearest_known_one() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_request({"stpes": 3})
    assert refused.value.hint == "Did you mean 'steps'?"


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", '{"prompt": "\\ud800"}', b"\xff\xfe"])
def test_text_that_is_no_request_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_request_json(text)
    assert not refused.value.why.startswith(":")


def test_the_error_can_always_be_printed() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_request({"prompt": "\udcff"})
    str(refused.value).encode("utf-8")


def test_an_empty_prompt_is_allowed() -> None:
    assert parse_request({"prompt": ""}).prompt == ""


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ({}, Task.TEXT_TO_IMAGE),
        ({"init_image": IMAGE}, Task.IMAGE_TO_IMAGE),
        ({"init_image": IMAGE, "mask": mask(8, 8)}, Task.INPAINT),
    ],
)
def test_the_task_follows_from_the_pictures(values: dict[str, object], task: Task) -> None:
    assert parse_request(values).task is task


# What was really done


@given(st.integers(1, 1000), st.integers(0, 1000))
@example(50, 580)  # 50 * 0.58 is 28.999999999999996
def test_the_steps_that_run_are_the_floor_of_the_exact_product(steps: int, thousandths: int) -> None:
    exact = Fraction(thousandths, 1000) * steps
    assert steps_that_run(steps, thousandths / 1000) == max(1, exact.numerator // exact.denominator)


def test_without_an_init_image_all_steps_run() -> None:
    assert RESOLVED.steps_to_run == 20
    assert RESOLVED.model_copy(update={"strength": 0.55}).steps_to_run == 11


def test_seeds_count_up_and_wrap_around() -> None:
    resolved = RESOLVED.model_copy(update={"seed": MAX_SEED - 1, "count": 3})
    assert [resolved.seed_of(index) for index in range(3)] == [MAX_SEED - 1, MAX_SEED, 0]


def test_what_was_resolved_can_be_asked_for_again() -> None:
    request = RESOLVED.model_copy(update={"init_image": IMAGE, "strength": 0.5}).as_request()
    assert request == GenerationRequest(
        negative_prompt="",
        model="m",
        width=64,
        height=64,
        steps=20,
        guidance_scale=7,
        seed=5,
        sampler="Euler",
        schedule="Automatic",
        batch_size=1,
        init_image=IMAGE,
        strength=0.5,
    )


def test_every_field_of_the_request_is_resolved() -> None:
    assert set(ResolvedRequest.model_fields) == set(GenerationRequest.model_fields)


def test_a_picture_does_not_print_its_bytes() -> None:
    assert repr(GenerationRequest(init_image=IMAGE)).count("ImageData(image/png, ") == 1
