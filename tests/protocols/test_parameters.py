"""AUTOMATIC1111's text: the example of its documentation, the round trip, and every step of its reader."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sdenv.core.request import Hires, LoRA, ResolvedRequest, parse_request
from sdenv.protocols.parameters import (
    CARRIES,
    Parameters,
    decode_parameters,
    encode_parameters,
    parameters_of,
    request_values,
)

EXAMPLE = """a fox, (snow:1.2)
night <lora:ink:0.6>
Negative prompt: blurry
Steps: 28, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 4242, Size: 512x768, \
Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, Denoising strength: 0.5, Clip skip: 2, \
Lora hashes: "ink: 0123456789ab, oil: 89ab01234567", Version: sdenv 0.1"""

EXAMPLE_VALUES = {
    "Steps": "28",
    "Sampler": "DPM++ 2M",
    "Schedule type": "Karras",
    "CFG scale": "6.5",
    "Seed": "4242",
    "Size": "512x768",
    "Model hash": "6ce0161689",
    "Model": "v1-5-pruned-emaonly",
    "Denoising strength": "0.5",
    "Clip skip": "2",
    "Lora hashes": "ink: 0123456789ab, oil: 89ab01234567",
    "Version": "sdenv 0.1",
}


def made(**changes: object) -> ResolvedRequest:
    usual: dict[str, object] = {
        "prompt": "a fox",
        "model": "v1-5",
        "width": 512,
        "height": 768,
        "steps": 20,
        "guidance_scale": 7.0,
        "seed": 4242,
        "sampler": "Euler a",
        "schedule": "Automatic",
    }
    return ResolvedRequest.model_validate(usual | changes)


def text_of(done: ResolvedRequest) -> str:
    return encode_parameters(parameters_of(done, seed=done.seed, version="sdenv 0.1"))


def test_writes_the_documented_example() -> None:
    written = encode_parameters(
        Parameters("a fox, (snow:1.2)\nnight <lora:ink:0.6>", "blurry", EXAMPLE_VALUES)
    )
    assert written == EXAMPLE


def test_reads_the_documented_example() -> None:
    read = decode_parameters(EXAMPLE)
    sizes = {"Size-1": "512", "Size-2": "768"}
    assert read.prompt == "a fox, (snow:1.2)\nnight <lora:ink:0.6>"
    assert read.negative_prompt == "blurry"
    assert read.values == {key: value for key, value in EXAMPLE_VALUES.items() if key != "Size"} | sizes


def test_the_example_becomes_a_request() -> None:
    values = request_values(decode_parameters(EXAMPLE))
    assert values.pop("strength") == "0.5"
    request = parse_request(values)
    assert request.prompt == "a fox, (snow:1.2)\nnight"
    assert request.loras == (LoRA(name="ink", weight=0.6),)
    assert (request.width, request.height, request.steps, request.seed) == (512, 768, 28, 4242)
    assert (request.sampler, request.schedule, request.guidance_scale) == ("DPM++ 2M", "Karras", 6.5)
    assert (request.model, request.clip_skip) == ("v1-5-pruned-emaonly", 2)


def test_keys_stand_in_the_order_of_automatic1111() -> None:
    done = made(vae="mse", clip_skip=2, hires=Hires(scale=2, steps=9, strength=0.4))
    keys = list(parameters_of(done, seed=1, model_hash="6ce0161689", version="sdenv 0.1").values)
    assert keys == [
        "Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model hash", "Model", "VAE",
        "Denoising strength", "Clip skip", "Hires upscale", "Hires steps", "Version",
    ]  # fmt: skip


def test_clip_skip_one_and_an_empty_negative_prompt_are_not_written() -> None:
    text = text_of(made(clip_skip=1))
    assert "Clip skip" not in text
    assert "Negative prompt" not in text


def test_the_seed_written_is_that_of_the_picture() -> None:
    assert "Seed: 4245," in encode_parameters(parameters_of(made(seed=4242, count=9), seed=4245))


@pytest.mark.parametrize(
    "value", ["a, b", "a: b", "a\nb", '"quoted"', " padded ", "", "back\\slash", '"', "é, ü", "key", "12x34x"]
)
def test_a_value_of_any_form_comes_back(value: str) -> None:
    values = {"key": value, "Steps": "20", "Sampler": "Euler", "Seed": "1"}
    assert decode_parameters(encode_parameters(Parameters("fox", "", values))).values == values


def test_a_last_line_with_fewer_than_three_pairs_is_prompt() -> None:
    read = decode_parameters("a fox\nSteps: 20, Seed: 4")
    assert read == Parameters("a fox\nSteps: 20, Seed: 4")


def test_a_prompt_that_looks_like_parameters_stays_prompt() -> None:
    prompt = "steps: one, two: three, four: five"
    assert decode_parameters(text_of(made(prompt=prompt))).prompt == prompt


def test_a_model_that_is_named_like_a_size_comes_back() -> None:
    done = made(model="768x512")
    assert request_values(decode_parameters(text_of(done)))["model"] == "768x512"


def test_an_empty_value_is_dropped() -> None:
    assert "VAE" not in decode_parameters("fox\nSteps: 20, VAE: , Seed: 4, Size: 8x8").values


def test_further_lines_belong_to_the_negative_prompt_once_it_began() -> None:
    read = decode_parameters("fox\nNegative prompt:\nblurry\n  dark\nSteps: 20, Sampler: Euler, Seed: 1")
    assert (read.prompt, read.negative_prompt) == ("fox", "blurry\ndark")


def test_nothing_but_parameters_is_an_empty_prompt() -> None:
    read = decode_parameters(text_of(made(prompt="")))
    assert (read.prompt, read.values["Seed"]) == ("", "4242")


def test_a_damaged_json_string_is_kept_as_it_is() -> None:
    assert decode_parameters('fox\nSteps: 2, A b: "\\x", Seed: 4').values["A b"] == '"\\x"'


def test_stable_diffusion_cpp_is_read() -> None:
    values = request_values(
        decode_parameters("a fox\nSteps: 20, CFG scale: 7, Seed: 4, Size: 512x512, Sampler: euler_a karras")
    )
    assert values["sampler"] == "euler_a karras"


def test_a_denoising_strength_with_hires_is_that_of_the_second_pass() -> None:
    done = made(hires=Hires(scale=1.5, steps=12, strength=0.4))
    assert parse_request(request_values(decode_parameters(text_of(done)))).hires == done.hires


@pytest.mark.parametrize("part", ["a", " ", "a ", "a:", 'ab:"', "<lora:", "\n", "- "])
def test_a_long_text_of_any_kind_is_read_in_a_moment(part: str) -> None:
    # In time that grows with the square of the length each of these would take minutes.
    read = decode_parameters("x" + part * (2**18 // len(part)) + "x")
    request_values(read)


# Surrogates are no text and NUL cannot stand in a PNG text; neither is typed by anybody.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
NAME = TEXT.filter(bool)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)


def lines_stripped(text: str) -> str:
    return "\n".join(line.strip() for line in text.split("\n")).strip()


@given(
    st.fixed_dictionaries(
        {
            "prompt": TEXT,
            "negative_prompt": TEXT,
            "model": NAME,
            "width": st.integers(1, 4000),
            "height": st.integers(1, 4000),
            "steps": st.integers(1, 1000),
            "guidance_scale": st.floats(0, 100),
            "seed": st.integers(0, 2**32 - 1),
            "sampler": NAME,
            "schedule": NAME,
            "vae": st.none() | NAME,
            "clip_skip": st.none() | st.integers(2, 24),
            "loras": st.lists(
                st.builds(LoRA, name=st.text("abc -_.é0", min_size=1, max_size=9), weight=st.floats(-10, 10)),
                max_size=3,
            ),
            "hires": st.none()
            | st.builds(
                Hires,
                scale=st.floats(1, 8, exclude_min=True),
                steps=st.none() | st.integers(1, 1000),
                strength=st.floats(0, 1),
            ),
        }
    )
)
def test_every_carried_field_comes_back(fields: dict[str, object]) -> None:
    done = ResolvedRequest.model_validate(fields)
    assume("<lora:" not in done.prompt)
    assume("Negative prompt:" not in done.prompt + done.negative_prompt)
    assert fields.keys() == CARRIES

    back = parse_request(request_values(decode_parameters(text_of(done))))

    for name in CARRIES - {"prompt", "negative_prompt"}:
        assert getattr(back, name) == getattr(done, name), name
    assert lines_stripped(back.prompt) == lines_stripped(done.prompt)
    assert lines_stripped(back.negative_prompt or "") == lines_stripped(done.negative_prompt)


@given(st.text())
def test_any_text_is_at_least_a_prompt(text: str) -> None:
    read = decode_parameters(text)
    assert all(line in text for line in read.prompt.split("\n"))
