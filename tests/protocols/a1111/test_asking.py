"""Bodies of txt2img and img2img: what each field becomes, and what each client's oddities become."""

import io
from contextlib import suppress
from typing import Any

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdenv.core.errors import BadImage, InvalidRequest, SdenvError, UnknownSampler
from sdenv.core.image import ImageData, decode, encode_png, size_of
from sdenv.core.request import GenerationRequest, Hires, LoRA
from sdenv.protocols import a1111
from sdenv.protocols.a1111.fields import IMG2IMG, TXT2IMG
from sdenv.protocols.inline import as_base64, as_data_uri
from sdenv.testing.samples import mask, picture
from tests.support.strategies import JSON

INIT = picture(64, 64)
MASK = mask(64, 64)


def txt2img(**body: Any) -> a1111.Ask:
    return a1111.ask_of(body, img2img=False)


def img2img(**body: Any) -> a1111.Ask:
    return a1111.ask_of({"init_images": [as_base64(INIT)], **body}, img2img=True)


# Each field


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        ({"prompt": "a fox"}, "prompt", "a fox"),
        ({"negative_prompt": "red"}, "negative_prompt", "red"),
        ({"seed": 7}, "seed", 7),
        ({"seed": -1}, "seed", None),
        ({}, "seed", None),
        ({"steps": 12}, "steps", 12),
        ({}, "steps", 50),
        ({"cfg_scale": 3.5}, "guidance_scale", 3.5),
        ({}, "guidance_scale", 7.0),
        ({"width": 640}, "width", 640),
        ({"height": 320}, "height", 320),
        ({}, "width", 512),
        ({"sampler_name": "Euler a"}, "sampler", "Euler a"),
        ({"sampler_index": "Heun"}, "sampler", "Heun"),
        ({"sampler_name": "Euler a", "sampler_index": "Heun"}, "sampler", "Euler a"),
        ({"sampler_name": None, "sampler_index": "Heun"}, "sampler", "Heun"),
        ({}, "sampler", None),
        ({"scheduler": "karras"}, "schedule", "Karras"),
        ({"scheduler": "SGM Uniform"}, "schedule", "SGM Uniform"),
        ({"scheduler": "sgm_uniform"}, "schedule", "SGM Uniform"),
        ({"scheduler": "automatic"}, "schedule", None),
        ({"scheduler": "Automatic"}, "schedule", None),
        ({"scheduler": None}, "schedule", None),
        ({"batch_size": 2, "n_iter": 3}, "count", 6),
        ({"batch_size": 2, "n_iter": 3}, "batch_size", 2),
        (
            {"override_settings": {"sd_model_checkpoint": "v1-5.safetensors [6ce0161689]"}},
            "model",
            "v1-5.safetensors",
        ),
        ({"override_settings": {"sd_vae": "mse"}}, "vae", "mse"),
        ({"override_settings": {"sd_vae": "Automatic"}}, "vae", None),
        ({"override_settings": {"CLIP_stop_at_last_layers": 2}}, "clip_skip", 2),
        ({"override_settings": {"CLIP_stop_at_last_layers": 1}}, "clip_skip", None),
        ({"prompt": "a <lora:ink:0.6>"}, "loras", (LoRA(name="ink", weight=0.6),)),
        ({"prompt": "a <lora:ink>"}, "loras", (LoRA(name="ink", weight=1.0),)),
        ({"prompt": "a <lora:ink:0.6:0.3>"}, "loras", (LoRA(name="ink", weight=0.6),)),
        ({"prompt": "<lora:x:-1> a"}, "prompt", " a"),
        ({"prompt": "a <lora:ink:0.6>", "disable_extra_networks": True}, "loras", ()),
        ({"enable_hr": True}, "hires", Hires(scale=2.0, strength=0.75)),
        (
            {"enable_hr": True, "hr_scale": 1.5, "hr_second_pass_steps": 9, "denoising_strength": 0.4},
            "hires",
            Hires(scale=1.5, steps=9, strength=0.4),
        ),
        (
            {"enable_hr": True, "hr_resize_x": 1024, "hr_resize_y": 1024},
            "hires",
            Hires(scale=2.0, strength=0.75),
        ),
        ({"enable_hr": False, "hr_scale": 3, "denoising_strength": 0.2}, "hires", None),
        ({"denoising_strength": 0.2}, "strength", None),
    ],
)
def test_a_field_of_txt2img_becomes_a_field_of_the_request(
    body: dict[str, Any], field: str, value: object
) -> None:
    assert getattr(txt2img(**body).request, field) == value


def test_strength_is_that_of_img2img_and_its_default_is_three_quarters() -> None:
    assert img2img().request.strength == 0.75
    assert img2img(denoising_strength=0.3).request.strength == 0.3
    assert img2img(denoising_strength=None).request.strength == 0.75


@pytest.mark.parametrize("write", [as_base64, as_data_uri])
def test_the_init_image_is_base64_with_or_without_a_data_uri(write: Any) -> None:
    request = a1111.ask_of({"init_images": [write(INIT)]}, img2img=True).request
    assert request.init_image == INIT


# Oddities of clients (OURS-12)


@pytest.mark.parametrize("fields", [TXT2IMG, IMG2IMG], ids=["txt2img", "img2img"])
def test_null_is_the_default_for_every_field(fields: dict[str, Any]) -> None:
    is_img2img = fields is IMG2IMG
    nulls: dict[str, Any] = dict.fromkeys(fields)
    given_init = {"init_images": [as_base64(INIT)]} if is_img2img else {}
    with_nulls = a1111.ask_of(nulls | given_init, img2img=is_img2img)
    without = a1111.ask_of(given_init, img2img=is_img2img)
    assert with_nulls == without
    assert not with_nulls.ignored


@pytest.mark.parametrize("fields", [TXT2IMG, IMG2IMG], ids=["txt2img", "img2img"])
def test_the_documented_default_of_every_field_is_the_same_as_its_absence(fields: dict[str, Any]) -> None:
    is_img2img = fields is IMG2IMG
    given_init = {"init_images": [as_base64(INIT)]} if is_img2img else {}
    said = a1111.ask_of({**fields, **given_init, "sampler_index": None}, img2img=is_img2img)
    assert said.request == a1111.ask_of(given_init, img2img=is_img2img).request
    assert not said.ignored


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("steps", "20", "steps", 20),
        ("steps", "20.0", "steps", 20),
        ("steps", 20.0, "steps", 20),
        ("cfg_scale", "7.5", "guidance_scale", 7.5),
        ("width", "640", "width", 640),
        ("seed", "7", "seed", 7),
        ("n_iter", "2", "count", 2),
    ],
)
def test_numbers_may_stand_in_strings(name: str, text: object, field: str, value: object) -> None:
    assert getattr(txt2img(**{name: text}).request, field) == value


def test_a_scale_in_a_string_is_a_number_as_text_generation_webui_sends_it() -> None:
    assert txt2img(enable_hr=False, hr_scale="1.0").request.hires is None
    assert txt2img(enable_hr="true", hr_scale="1.5").request.hires == Hires(scale=1.5, strength=0.75)


def test_unknown_keys_are_ignored_and_named_as_sillytavern_sends_them() -> None:
    ask = txt2img(prompt="a", url="http://localhost:7860", auth="user:secret")
    assert ask.request.prompt == "a"
    assert ask.ignored == ("url", "auth")


def test_what_webuiapi_sends_for_txt2img_asks_for_nothing_more() -> None:
    body = {
        "enable_hr": False, "hr_scale": 2, "hr_upscaler": "Latent", "hr_second_pass_steps": 0,
        "hr_resize_x": 0,
        "hr_resize_y": 0, "hr_checkpoint_name": None, "hr_sampler_name": None, "hr_scheduler": None,
        "hr_prompt": "", "hr_negative_prompt": "", "denoising_strength": 0.7, "firstphase_width": 0,
        "firstphase_height": 0, "prompt": "a", "styles": [], "seed": -1, "subseed": -1,
        "subseed_strength": 0.0,
        "seed_resize_from_h": 0, "seed_resize_from_w": 0, "batch_size": 1, "n_iter": 1, "steps": 20,
        "cfg_scale": 7.0, "width": 512, "height": 512, "restore_faces": False, "tiling": False,
        "do_not_save_samples": False, "do_not_save_grid": False, "negative_prompt": "", "eta": 1.0,
        "s_churn": 0, "s_tmax": 0, "s_tmin": 0, "s_noise": 1, "override_settings": {},
        "override_settings_restore_afterwards": True, "sampler_name": "Euler a", "scheduler": "automatic",
        "sampler_index": "Euler a", "script_name": None, "script_args": [], "send_images": True,
        "save_images": False, "alwayson_scripts": {},
    }  # fmt: skip
    ask = txt2img(**body)
    assert not ask.ignored
    assert not ask.notes
    assert ask.request.sampler == "Euler a"


def test_a_control_net_without_arguments_asks_for_nothing() -> None:
    empty = {"ControlNet": {"args": []}, "ADetailer": {"args": [False]}, "animatediff": {"args": [False]}}
    assert not txt2img(alwayson_scripts=empty).ignored


def test_a_script_that_is_asked_for_something_is_named() -> None:
    unit = {"image": "abc", "module": "none", "enabled": True}
    ask = txt2img(alwayson_scripts={"ControlNet": {"args": [unit]}})
    assert ask.ignored == ("alwayson_scripts.ControlNet",)
    off = txt2img(alwayson_scripts={"ControlNet": {"args": [{**unit, "enabled": False}]}})
    assert not off.ignored


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("restore_faces", True), ("tiling", True), ("styles", ["x"]), ("subseed_strength", 0.5), ("eta", 0.3),
        ("refiner_checkpoint", "x"), ("seed_resize_from_w", 512), ("s_churn", 3),
    ],
)  # fmt: skip
def test_what_has_no_effect_here_is_named(name: str, value: object) -> None:
    assert txt2img(**{name: value}).ignored == (name,)


def test_what_inpainting_has_no_effect_here_is_named_only_with_a_mask() -> None:
    body = {"inpainting_fill": 0, "inpaint_full_res": True}
    assert not img2img(**body).ignored
    assert img2img(**body, mask=as_base64(MASK)).ignored == ("inpainting_fill", "inpaint_full_res")


def test_other_settings_are_named() -> None:
    ask = txt2img(override_settings={"eta_noise_seed_delta": 31337, "samples_format": "webp"})
    assert ask.ignored == ("override_settings.eta_noise_seed_delta",)
    assert ask.options.samples_format == "webp"


def test_an_infotext_fills_what_the_body_does_not_say() -> None:
    pairs = "Steps: 9, Sampler: Euler a, CFG scale: 3, Seed: 4, Size: 64x72, Model: m"
    infotext = f"a fox\nNegative prompt: red\n{pairs}"
    request = txt2img(infotext=infotext, steps=5, seed=-1).request
    assert (request.prompt, request.negative_prompt, request.steps) == ("a fox", "red", 5)
    assert (request.guidance_scale, request.width, request.height) == (3.0, 64, 72)
    assert (request.sampler, request.model, request.seed) == ("Euler a", "m", None)


# Names (OURS-3)


@pytest.mark.parametrize(
    ("name", "sampler", "schedule"),
    [
        ("DPM++ 2M", "DPM++ 2M", None),
        ("dpm++ 2m", "DPM++ 2M", None),
        ("DPM++ 2M Karras", "DPM++ 2M", "Karras"),
        ("DPM++ 2M SDE Exponential", "DPM++ 2M SDE", "Exponential"),
        ("k_euler_a", "Euler a", None),
        ("euler_a", "Euler a", None),
        ("dpm++2m", "DPM++ 2M", None),
        ("k_dpmpp_2m_sde", "DPM++ 2M SDE", None),
        ("ddim", "DDIM", None),
        ("lcm", "LCM", None),
        ("UniPC", "UniPC", None),
        ("DPM++ SDE Karras", "DPM++ SDE", "Karras"),
        ("Automatic", None, None),
    ],
)
def test_samplers_are_found_by_any_of_their_names(
    name: str, sampler: str | None, schedule: str | None
) -> None:
    request = txt2img(sampler_name=name).request
    assert (request.sampler, request.schedule) == (sampler, schedule)


@pytest.mark.parametrize(
    ("name", "schedule"),
    [("discrete", "Automatic"), ("ays", "Align Your Steps"), ("kl_optimal", "KL Optimal"), ("beta", "Beta")],
)
def test_schedulers_of_stable_diffusion_cpp_are_found_as_well(name: str, schedule: str) -> None:
    assert txt2img(scheduler=name).request.schedule == schedule


def test_a_schedule_that_is_named_wins_over_that_of_the_sampler() -> None:
    request = txt2img(sampler_name="DPM++ 2M Karras", scheduler="exponential").request
    assert (request.sampler, request.schedule) == ("DPM++ 2M", "Exponential")


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(UnknownSampler):
        txt2img(sampler_name="no such")


@pytest.mark.parametrize(
    "said",
    ["v1-5", "v1-5.safetensors", "V1-5 [6ce0161689]", "v1-5.ckpt [6ce0161689]", "models/v1-5.safetensors"],
)
def test_a_model_is_found_by_title_file_name_or_name(said: str) -> None:
    known = a1111.Known(models=["other", "v1-5"])
    body = {"override_settings": {"sd_model_checkpoint": said.removeprefix("models/")}}
    assert a1111.ask_of(body, img2img=False, known=known).request.model == "v1-5"


# Sizes (OURS-16)


def test_a_size_is_rounded_down_to_a_multiple_of_8_with_a_note() -> None:
    ask = txt2img(width=519, height=64)
    assert (ask.request.width, ask.request.height) == (512, 64)
    assert "519x64" in ask.notes[0]
    assert not txt2img(width=520).notes


# Masks and frames


def grey(image: ImageData) -> bytes:
    return decode(image).convert("L").tobytes()


def test_white_is_repainted_and_no_blur_leaves_the_mask_as_it_came() -> None:
    assert img2img(mask=as_base64(MASK), mask_blur=0).request.mask == MASK


def test_an_inverted_mask_repaints_black() -> None:
    inverted = img2img(mask=as_base64(MASK), mask_blur=0, inpainting_mask_invert=1).request.mask
    assert inverted is not None
    assert grey(inverted) == bytes(255 - level for level in grey(MASK))


def test_a_mask_is_blurred_by_its_default_of_4_as_by_the_one_said() -> None:
    default = img2img(mask=as_base64(MASK)).request.mask
    assert default == img2img(mask=as_base64(MASK), mask_blur=4).request.mask
    assert default is not None
    assert grey(default) != grey(MASK)


def test_a_mask_of_another_size_is_brought_to_that_of_the_init_image() -> None:
    made = img2img(mask=as_base64(mask(128, 32)), mask_blur=0).request.mask
    assert made is not None
    assert size_of(made) == (64, 64)


@pytest.mark.parametrize(("mode", "size"), [(0, (64, 64)), (1, (128, 64)), (2, (128, 64)), (3, (64, 64))])
def test_an_init_image_of_another_shape_is_stretched_cropped_or_filled(
    mode: int, size: tuple[int, int]
) -> None:
    request = img2img(resize_mode=mode, width=128, height=64, mask=as_base64(MASK), mask_blur=0).request
    assert request.init_image is not None
    assert request.mask is not None
    assert size_of(request.init_image) == size_of(request.mask) == size


def test_filled_borders_continue_the_edges() -> None:
    drawn = PIL.Image.new("RGB", (10, 10), "red")
    drawn.paste("blue", (5, 0, 10, 10))
    request = a1111.ask_of(
        {"init_images": [as_base64(encode_png(drawn))], "resize_mode": 2, "width": 64, "height": 32},
        img2img=True,
    ).request
    assert request.init_image is not None
    filled = decode(request.init_image).convert("RGB")
    assert filled.getpixel((0, 16)) == (255, 0, 0)
    assert filled.getpixel((63, 16)) == (0, 0, 255)


# What is refused


@pytest.mark.parametrize("images", [None, [], [None]])
def test_a_missing_init_image_is_said_as_automatic1111_says_it(images: object) -> None:
    with pytest.raises(a1111.InitImageMissing) as missing:
        a1111.ask_of({"init_images": images}, img2img=True)
    assert a1111.status_by_code(missing.value) == 404
    assert a1111.error_body(missing.value)["detail"] == "Init image not found"


def test_a_url_is_never_fetched() -> None:
    with pytest.raises(BadImage, match="Invalid encoded image"):
        a1111.ask_of({"init_images": ["http://127.0.0.1/secret.png"]}, img2img=True)


def test_a_script_is_refused_as_automatic1111_refuses_one_that_it_does_not_have() -> None:
    with pytest.raises(InvalidRequest, match="Script 'x/y plot' not found"):
        txt2img(script_name="x/y plot")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"steps": "many"}, "steps"),
        ({"steps": 0}, "steps"),
        ({"steps": 10**400}, "steps"),
        ({"steps": 1.5}, "steps"),
        ({"steps": True}, "steps"),
        ({"cfg_scale": float("nan")}, "cfg_scale"),
        ({"cfg_scale": 10**400}, "cfg_scale"),
        ({"cfg_scale": 1e9}, "cfg_scale"),
        ({"width": 100_000, "height": 100_000}, "width"),
        ({"width": 0}, "width"),
        ({"seed": -2}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"batch_size": 5, "n_iter": 5}, "n_iter"),
        ({"batch_size": -1, "n_iter": -1}, "n_iter"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": "\ud800"}, "prompt"),
        ({"prompt": "a" * 10_001}, "prompt"),
        ({"override_settings": []}, "override_settings"),
        ({"override_settings": {"samples_format": "bmp"}}, "samples_format"),
        ({"override_settings": {"CLIP_stop_at_last_layers": 0}}, "CLIP_stop_at_last_layers"),
        ({"alwayson_scripts": "x"}, "alwayson_scripts"),
        ({"prompt": "<lora:a:99>"}, "prompt"),
    ],
)
def test_a_wrong_value_is_refused_under_the_name_that_the_client_used(
    body: dict[str, Any], name: str
) -> None:
    with pytest.raises(a1111.WrongFields) as wrong:
        txt2img(**body)
    assert wrong.value.faults[0][0].startswith(name)
    assert a1111.error_body(wrong.value)["detail"][0]["loc"][:2] == ["body", name]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"denoising_strength": 2}, "denoising_strength"),
        ({"resize_mode": 7}, "resize_mode"),
        ({"mask_blur": 9999}, "mask_blur"),
        ({"init_images": "abc"}, "init_images"),
        ({"init_images": [3]}, "init_images"),
    ],
)
def test_a_wrong_value_of_img2img_is_refused_by_name(body: dict[str, Any], name: str) -> None:
    with pytest.raises(a1111.WrongFields) as wrong:
        img2img(mask=as_base64(MASK), **body)
    assert wrong.value.faults[0][0].startswith(name)


def test_a_size_far_too_large_is_refused_before_the_init_image_is_brought_to_it() -> None:
    with pytest.raises(a1111.WrongFields):
        img2img(width=100_000, height=50_000, resize_mode=1)


BODIES = st.dictionaries(st.sampled_from(sorted({*TXT2IMG, *IMG2IMG, "x"})), JSON, max_size=6)


@given(BODIES, st.booleans())
def test_any_body_is_a_request_or_a_refusal(body: dict[str, Any], is_img2img: bool) -> None:
    with suppress(SdenvError):
        ask = a1111.ask_of({"init_images": [as_base64(INIT)], **body}, img2img=is_img2img)
        assert isinstance(ask.request, GenerationRequest)


def test_a_picture_in_another_format_is_taken_as_it_is() -> None:
    buffer = io.BytesIO()
    decode(INIT).save(buffer, format="WEBP", lossless=True)
    init = ImageData.from_bytes(buffer.getvalue())
    assert a1111.ask_of({"init_images": [as_data_uri(init)]}, img2img=True).request.init_image == init
