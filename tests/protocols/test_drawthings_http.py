"""Draw Things' HTTP API: which bodies ask for what, and which are refused."""

import base64
from dataclasses import replace
from typing import Any, Final

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.errors import BadImage, InvalidRequest, OutOfMemory
from sdenv.core.samplers import DRAW_THINGS
from sdenv.protocols.a1111 import WrongFields
from sdenv.protocols.drawthings_http import Ask, UnknownKeys, ask_of, error_body, settings_record
from sdenv.protocols.drawthings_settings import NAMES, SAMPLERS, SETTINGS, pair_of
from sdenv.testing.samples import picture

STATUS: Final = FakeBackend(FakeSettings()).probe()
PICTURE: Final = base64.b64encode(picture(128, 192, 1).data).decode()
PLACED: Final = {"init_images": [PICTURE], "width": 128, "height": 192}


def txt2img(**body: Any) -> Ask:
    return ask_of(body, STATUS, img2img=False)


def img2img(**body: Any) -> Ask:
    return ask_of(body, STATUS, img2img=True)


@pytest.mark.parametrize(
    ("key", "value", "field", "wanted"),
    [
        ("prompt", "a cat", "prompt", "a cat"),
        ("negative_prompt", "dogs", "negative_prompt", "dogs"),
        ("steps", 7, "steps", 7),
        ("steps", "7", "steps", 7),
        ("steps", None, "steps", None),
        ("guidance_scale", 3, "guidance_scale", 3.0),
        ("cfg_scale", 3.5, "guidance_scale", 3.5),
        ("seed", 5, "seed", 5),
        ("seed", -1, "seed", None),
        ("batch_count", 3, "count", 3),
        ("n_iter", 3, "count", 3),
        ("batch_size", 2, "count", 2),
        ("sampler", "Euler a", "sampler", "Euler a"),
        ("sampler_name", "DPM++ 2M Karras", "sampler", "DPM++ 2M"),
        ("sampler_index", "DPM++ 2M AYS", "schedule", "Align Your Steps"),
        ("sampler", "UniPC", "schedule", None),
        ("clip_skip", 2, "clip_skip", 2),
        ("clip_skip", 1, "clip_skip", None),
        ("strength", 0.3, "strength", None),  # txt2img starts from nothing, so all of the schedule runs
    ],
)
def test_a_key_becomes_a_field(key: str, value: object, field: str, wanted: object) -> None:
    ask = txt2img(**{key: value})
    assert getattr(ask.request, field) == wanted
    assert not ask.notes


def test_a_side_that_is_not_said_is_the_current_one() -> None:
    request = txt2img(width=128).request
    assert (request.width, request.height) == (128, settings_record(STATUS)["height"])


def test_each_name_of_a_sampler_is_one_pair_that_the_app_has() -> None:
    assert sorted(map(pair_of, SAMPLERS)) == sorted(DRAW_THINGS.values())


@pytest.mark.parametrize(
    ("key", "value"),
    [(name, bad) for name, each in SETTINGS.items() if each.low is not None and each.high is not None
     for bad in (each.low - 1, each.high + 1)]
    + [("width", 200), ("height", 129), ("sampler", "Euler"), ("seed_mode", "Best"), ("prompt", 3),
       ("hires_fix", "perhaps"), ("steps", 2.5), ("batch_count", 17), ("loras", "x"), ("loras", [1]),
       ("loras", [{"weight": 1}]), ("steps", float("nan"))],
)  # fmt: skip
def test_a_value_out_of_range_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(WrongFields, match=key):
        txt2img(**{key: value})


def test_an_unknown_key_is_refused_in_the_words_of_the_app() -> None:
    with pytest.raises(UnknownKeys) as caught:
        txt2img(prompt="a cat", scheduler="Karras", alwayson_scripts={})
    assert error_body(caught.value) == {
        "error": "HTTPException",
        "detail": 'Unrecognized keys: ["alwayson_scripts", "scheduler"]',
        "body": "",
        "errors": "",
    }


@pytest.mark.parametrize("synonym", sorted(NAMES.keys() - SETTINGS.keys()))
def test_a_key_together_with_its_synonym_is_refused(synonym: str) -> None:
    key = NAMES[synonym]
    usual = SETTINGS[key].usual or (SAMPLERS[0] if key == "sampler" else SETTINGS[key].usual)
    with pytest.raises(WrongFields, match=f"{synonym}: means the same as"):
        txt2img(**{key: usual, synonym: usual})


def test_every_current_setting_can_be_sent_back_and_changes_nothing() -> None:
    current = settings_record(STATUS)
    ask = txt2img(**current)
    assert not ask.notes
    assert (ask.request.width, ask.request.seed) == (current["width"], None)


def test_current_settings_of_a_small_model_are_not_out_of_range() -> None:
    small = replace(STATUS, models=(replace(STATUS.models[0], default_size=(64, 72)),))
    request = ask_of(settings_record(small), small, img2img=False).request
    assert (request.width, request.height) == (64, 72)


def test_what_is_not_done_here_is_named() -> None:
    ask = txt2img(sharpness=5, enable_hr=True, loras=[{"file": "a.ckpt", "weight": 0.5, "mode": "refiner"}])
    assert [note.split()[0] for note in ask.notes] == ["sharpness", "hires_fix", "loras.mode"]
    assert [(each.name, each.weight) for each in ask.request.loras] == [("a.ckpt", 0.5)]


def test_an_init_image_of_the_right_size_is_where_img2img_starts() -> None:
    request = img2img(**PLACED, denoising_strength=0.4).request
    assert (request.width, request.height, request.strength) == (128, 192, 0.4)
    assert request.init_image is not None
    assert img2img(**PLACED).request.strength == settings_record(STATUS)["strength"]


@pytest.mark.parametrize(
    "changes",
    [
        {"init_images": None},
        {"init_images": []},
        {"init_images": [PICTURE, PICTURE]},
        {"init_images": PICTURE},
        {"init_images": [f"data:image/png;base64,{PICTURE}"]},
        {"width": 192},
    ],
)
def test_anything_but_one_bare_picture_of_that_size_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(WrongFields, match="init_images"):
        img2img(**{**PLACED, **changes})


def test_a_picture_by_its_address_is_refused() -> None:
    with pytest.raises(BadImage):
        img2img(**{**PLACED, "init_images": ["http://127.0.0.1/secret.png"]})


def test_txt2img_takes_no_init_image() -> None:
    with pytest.raises(WrongFields, match="init_images"):
        txt2img(**PLACED)


def test_an_error_says_its_code_word() -> None:
    assert error_body(OutOfMemory("Too large."))["detail"] == "Too large. (out-of-memory)"
    assert "(invalid-request)" in error_body(InvalidRequest("No."))["detail"]
