"""stable-diffusion.cpp's own API: bodies both ways, what is ignored, ids that carry the file type."""

from typing import Any

import pytest

from sdenv.core.errors import BadImage, InvalidRequest, UnknownJob, UnsupportedError
from sdenv.core.request import GenerationRequest, Hires, LoRA
from sdenv.core.samplers import SAMPLERS, SCHEDULES, find_sampler, find_schedule
from sdenv.protocols import a1111, sdcpp
from sdenv.protocols.inline import as_base64, as_data_uri
from sdenv.testing.samples import mask, picture

EXAMPLE: dict[str, Any] = {
    "prompt": "a cat sitting on a chair",
    "negative_prompt": "",
    "clip_skip": -1,
    "width": 1024,
    "height": 1024,
    "strength": 0.75,
    "seed": -1,
    "batch_count": 1,
    "auto_resize_ref_image": True,
    "increase_ref_index": False,
    "control_strength": 0.9,
    "embed_image_metadata": True,
    "init_image": None,
    "ref_images": [],
    "mask_image": None,
    "control_image": None,
    "sample_params": {
        "scheduler": "discrete",
        "sample_method": "euler_a",
        "sample_steps": 28,
        "eta": 1.0,
        "shifted_timestep": 0,
        "custom_sigmas": [],
        "flow_shift": 0.0,
        "guidance": {
            "txt_cfg": 7.0,
            "img_cfg": 7.0,
            "distilled_guidance": 3.5,
            "slg": {"layers": [7, 8, 9], "layer_start": 0.01, "layer_end": 0.2, "scale": 0.0},
        },
    },
    "lora": [],
    "hires": {"enabled": False, "upscaler": "Latent", "scale": 2.0, "target_width": 0, "steps": 0},
    "vae_tiling_params": {"enabled": False, "tile_size_x": 0, "target_overlap": 0.5},
    "cache_mode": "disabled",
    "scm_policy_dynamic": True,
    "output_format": "png",
    "output_compression": 100,
}
"""The example of the API's own document."""

WHOLE = GenerationRequest(
    prompt="a fox",
    negative_prompt="dogs",
    model="emoji",
    width=64,
    height=128,
    steps=12,
    guidance_scale=3.5,
    seed=2**32 - 1,
    sampler="Euler a",
    schedule="Karras",
    count=3,
    init_image=picture(64, 128),
    mask=mask(64, 128),
    strength=0.5,
    loras=(LoRA(name="ink", weight=0.5),),
    clip_skip=2,
    hires=Hires(scale=1.5, steps=4, strength=0.4),
    references=(picture(8, 8),),
)


def test_the_example_of_the_document_asks_for_nothing_in_vain() -> None:
    ask = sdcpp.ask_of(EXAMPLE)
    assert ask.ignored == ()
    assert ask.output == sdcpp.Output()
    assert ask.request == GenerationRequest(
        prompt="a cat sitting on a chair",
        negative_prompt="",
        width=1024,
        height=1024,
        steps=28,
        guidance_scale=7.0,
        sampler="euler_a",
        schedule="discrete",
    )


def test_every_carried_field_survives_both_ways() -> None:
    assert WHOLE.said() == sdcpp.CARRIES
    output = sdcpp.Output("webp", 70, metadata=False)
    assert sdcpp.ask_of(sdcpp.body_of(WHOLE, output)) == sdcpp.Ask(WHOLE, output)
    assert sdcpp.ask_of(sdcpp.body_of(GenerationRequest())).request == GenerationRequest()


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"seed": "7", "width": "64", "batch_count": 2.0}, {"seed": 7, "width": 64, "count": 2}),
        ({"sample_params": {"sample_method": "default", "scheduler": None}}, {}),
        ({"sample_params": None, "hires": None, "lora": None}, {}),
        ({"strength": 0.5}, {}),
        ({"init_image": as_data_uri(picture(8, 8))}, {"init_image": picture(8, 8)}),
        ({"lora": [{"path": "styles/ink.safetensors"}]}, {"loras": (LoRA(name="styles/ink"),)}),
        (
            {"lora": [{"path": "/home/me/ink.gguf", "multiplier": "0.5"}]},
            {"loras": (LoRA(name="ink", weight=0.5),)},
        ),
        (
            {"width": 64, "height": 64, "hires": {"enabled": True, "target_width": 128, "target_height": 96}},
            {"width": 64, "height": 64, "hires": Hires(scale=2.0)},
        ),
    ],
)
def test_a_field_is_read_as_clients_write_it(sent: dict[str, Any], expected: dict[str, Any]) -> None:
    ask = sdcpp.ask_of(sent)
    assert (ask.request, ask.ignored) == (GenerationRequest(**expected), ())


@pytest.mark.parametrize(
    ("sent", "ignored"),
    [
        ({"frobnicate": 1}, "frobnicate"),
        ({"sample_params": {"eta": 0.5}}, "sample_params.eta"),
        ({"sample_params": {"custom_sigmas": [1, 0]}}, "sample_params.custom_sigmas"),
        ({"vae_tiling_params": {"enabled": True}}, "vae_tiling_params.enabled"),
        ({"cache_mode": "easycache"}, "cache_mode"),
        ({"mask_image": as_base64(mask(8, 8))}, "mask_image"),
        ({"hires": {"enabled": True, "scale": 1}}, "hires.scale"),
    ],
)
def test_what_has_no_effect_is_named(sent: dict[str, Any], ignored: str) -> None:
    assert sdcpp.ask_of(sent).ignored == (ignored,)


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ({"width": "wide"}, "width"),
        ({"sample_params": [1]}, "sample_params"),
        ({"sample_params": {"sample_steps": "many"}}, "sample_params.sample_steps"),
        ({"output_format": "bmp"}, "output_format"),
        ({"lora": ["ink"]}, "lora.0"),
        ({"ref_images": "x"}, "ref_images"),
        ({"batch_count": 17}, "count"),
    ],
)
def test_a_wrong_value_is_refused_by_name(sent: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        sdcpp.ask_of(sent)
    assert error.value.why.startswith(f"{name}:")


def test_a_picture_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="control_image"):
        sdcpp.ask_of({"control_image": as_base64(picture(8, 8))})
    with pytest.raises(BadImage, match="fetches none"):
        sdcpp.ask_of({"init_image": "http://127.0.0.1/secret.png"})


@pytest.mark.parametrize("output", [sdcpp.Output(), sdcpp.Output("jpeg", 80), sdcpp.Output(metadata=False)])
def test_an_id_says_which_files_are_wanted(output: sdcpp.Output) -> None:
    assert sdcpp.output_of(sdcpp.wire_id("01ABC", output)) == ("01ABC", output)


@pytest.mark.parametrize("told", ["", "01ABC-gif-1", "01ABC-jpeg", "a b", "01ABC-jpeg-80-bare-x", "\u0661"])
def test_an_id_that_was_never_told_is_unknown(told: str) -> None:
    with pytest.raises(UnknownJob):
        sdcpp.output_of(told)


def test_every_sampler_and_schedule_is_found_by_the_word_that_is_told_for_it() -> None:
    assert (sdcpp.sampler_word("DPM++ 2M"), sdcpp.sampler_word("Euler a")) == ("dpm++2m", "euler_a")
    assert (sdcpp.schedule_word("Automatic"), sdcpp.schedule_word("Align Your Steps")) == ("discrete", "ays")
    assert all(find_sampler(sdcpp.sampler_word(name))[0].name == name for name in SAMPLERS)
    assert all(find_schedule(sdcpp.schedule_word(name)).name == name for name in SCHEDULES)


# The same arguments inside a prompt of AUTOMATIC1111's form

ARGUMENTS = (
    'a cat <sd_cpp_extra_args>{"sample_params": {"sample_steps": 28, "sample_method": "dpm++2m",'
    ' "scheduler": "ays", "guidance": {"txt_cfg": 2.5}}, "seed": 9, "batch_count": 2, "clip_skip": 2}'
    "</sd_cpp_extra_args>"
)


def test_arguments_in_the_prompt_of_txt2img_win_over_the_body() -> None:
    ask = a1111.ask_of({"prompt": ARGUMENTS, "steps": 5, "batch_size": 4}, img2img=False)
    made = ask.request
    assert made.prompt == "a cat"
    assert (made.steps, made.sampler, made.schedule) == (28, "DPM++ 2M", "Align Your Steps")
    assert (made.guidance_scale, made.seed, made.count, made.clip_skip) == (2.5, 9, 2, 2)
    assert ask.ignored == ()


def test_arguments_in_a_prompt_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="prompt"):
        a1111.ask_of({"prompt": "a<sd_cpp_extra_args>{</sd_cpp_extra_args>"}, img2img=False)


def test_our_client_does_not_send_a_prompt_that_would_be_taken_for_arguments() -> None:
    assert [each.field for each in a1111.uncarried(GenerationRequest(prompt=ARGUMENTS))] == ["prompt"]
