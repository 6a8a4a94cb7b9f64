"""What clients of the images API send, and what it asks for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdenv.core.errors import BadImage, BadMask, InvalidRequest, SdenvError, UnsupportedError
from sdenv.core.image import JPEG, PNG, WEBP, ImageData
from sdenv.core.request import MAX_PROMPT_CHARACTERS, GenerationRequest
from sdenv.protocols import openai
from sdenv.protocols.inline import as_base64, as_data_uri
from sdenv.protocols.openai.faults import param_of
from sdenv.testing.samples import mask, picture
from tests.support.strategies import JSON

CAT = {"prompt": "a cat"}


def generation(**values: Any) -> openai.Wanted:
    return openai.wanted_generation({**CAT, **values})


def made(**values: Any) -> GenerationRequest:
    return generation(**values).request


def refused(**values: Any) -> SdenvError:
    with pytest.raises(SdenvError) as error:
        generation(**values)
    return error.value


# Fields that become fields of the request


@pytest.mark.parametrize(
    ("sent", "field", "value"),
    [
        ({"model": "emoji"}, "model", "emoji"),
        ({"n": 3}, "count", 3),
        ({"n": "3"}, "count", 3),
        ({"n": 3.0}, "count", 3),
        ({"negative_prompt": "dogs"}, "negative_prompt", "dogs"),
        ({"steps": 12}, "steps", 12),
        ({"steps": "12"}, "steps", 12),
        ({"num_inference_steps": 12}, "steps", 12),
        ({"guidance_scale": 3}, "guidance_scale", 3.0),
        ({"guidance_scale": "3.5"}, "guidance_scale", 3.5),
        ({"cfg_scale": 3.5}, "guidance_scale", 3.5),
        ({"seed": 7}, "seed", 7),
        ({"seed": "4294967295"}, "seed", 2**32 - 1),
        ({"sampler": "Euler a"}, "sampler", "Euler a"),
        ({"sampler_name": "Euler a"}, "sampler", "Euler a"),
        ({"scheduler": "Karras"}, "schedule", "Karras"),
        ({"clip_skip": 2}, "clip_skip", 2),
        ({"n": 4, "batch_size": "2"}, "batch_size", 2),
    ],
)
def test_fields_reach_the_request_also_as_numbers_in_strings(
    sent: dict[str, Any], field: str, value: object
) -> None:
    wanted = generation(**sent)
    assert getattr(wanted.request, field) == value
    assert wanted.ignored == ()


@pytest.mark.parametrize(
    "sent",
    [
        dict.fromkeys(("model", "n", "size", "quality", "response_format", "output_format", "stream")),
        dict.fromkeys(("steps", "seed", "negative_prompt", "style", "background", "user")),
        {"seed": -1},
        {"clip_skip": -1},
        {"size": "auto"},
        {"size": "AUTO"},
        {"model": ""},
        {"quality": "auto", "moderation": "low", "style": "vivid", "background": "auto"},
        {"user": "somebody", "safety_identifier": "x"},
        {"n": ""},
    ],
)
def test_null_auto_and_defaults_ask_for_nothing(sent: dict[str, Any]) -> None:
    wanted = generation(**sent)
    assert wanted.request == GenerationRequest(prompt="a cat")
    assert wanted.ignored == ()


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512x768", (512, 768)),
        ("1024X1024", (1024, 1024)),
        (" 640 x 480 ", (640, 480)),
        ("1x1", (1, 1)),
        ("auto", (None, None)),
    ],
)
def test_any_size_is_taken_and_auto_leaves_it_open(text: str, size: tuple[int | None, int | None]) -> None:
    request = made(size=text)
    assert (request.width, request.height) == size


@pytest.mark.parametrize("text", ["square", "512", "512x", "x512", "512x512x512", "-1x5", "1e3x5"])
def test_what_is_no_size_is_refused_by_name(text: str) -> None:
    assert param_of(refused(size=text)) == "size"


def test_a_size_beyond_every_limit_is_refused_by_name() -> None:
    assert param_of(refused(size="100000x100000")) == "size"


def test_of_two_synonyms_ours_counts_and_the_other_is_named() -> None:
    wanted = generation(guidance_scale=3.0, cfg_scale=9.0)
    assert wanted.request.guidance_scale == 3.0
    assert wanted.ignored == ("cfg_scale",)


# What cannot be


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": "x" * (MAX_PROMPT_CHARACTERS + 1)}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"n": "many"}, "n"),
        ({"n": 1.5}, "n"),
        ({"n": True}, "n"),
        ({"n": 10**400}, "n"),
        ({"steps": 0}, "steps"),
        ({"steps": 100_000}, "steps"),
        ({"seed": 2**32}, "seed"),
        ({"guidance_scale": "warm"}, "guidance_scale"),
        ({"guidance_scale": float("inf")}, "guidance_scale"),
        ({"guidance_scale": 10**400}, "guidance_scale"),
        ({"response_format": "file"}, "response_format"),
        ({"output_format": "bmp"}, "output_format"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_compression": 101}, "output_compression"),
        ({"output_compression": -1}, "output_compression"),
        ({"partial_images": 4, "stream": True}, "partial_images"),
        ({"stream": "perhaps"}, "stream"),
        ({"model": {"name": "x"}}, "model"),
        ({"background": "transparent", "output_format": "jpeg"}, "background"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_that_the_client_used(sent: dict[str, Any], param: str) -> None:
    assert param_of(refused(**sent)) == param


def test_what_a_client_sends_is_not_repeated_at_length() -> None:
    assert len(str(refused(n="9" * 100_000))) < 300


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"text"', b"\xff\xfe", b"[" * 100_000, b"null"])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        openai.json_object(body)


def test_a_body_is_a_json_object() -> None:
    assert openai.json_object(b' {"prompt": "a"} ') == {"prompt": "a"}


@given(
    st.dictionaries(st.text(max_size=12), JSON, max_size=4),
    st.sampled_from(["n", "size", "stream", "seed"]),
    JSON,
)
def test_any_json_is_a_request_or_an_error_of_ours(values: dict[str, Any], name: str, value: Any) -> None:
    try:
        wanted = openai.wanted_generation({"prompt": "a", **values, name: value})
    except SdenvError:
        return
    assert wanted.request.init_image is None


# How the answer is wanted


@pytest.mark.parametrize(
    ("sent", "with_url", "with_base64"),
    [
        ({}, True, True),
        ({"response_format": "url"}, True, False),
        ({"response_format": "b64_json"}, False, True),
    ],
)
def test_without_a_response_format_both_forms_are_answered(
    sent: dict[str, Any], with_url: bool, with_base64: bool
) -> None:
    wanted = generation(**sent)
    assert (wanted.with_url, wanted.with_base64) == (with_url, with_base64)


@pytest.mark.parametrize(
    ("sent", "media_type", "output_format"),
    [
        ({}, PNG, "png"),
        ({"output_format": "png"}, PNG, "png"),
        ({"output_format": "jpeg"}, JPEG, "jpeg"),
        ({"output_format": "jpg"}, JPEG, "jpeg"),
        ({"output_format": "WEBP"}, WEBP, "webp"),
    ],
)
def test_the_file_type_is_chosen_by_output_format(
    sent: dict[str, Any], media_type: str, output_format: str
) -> None:
    wanted = generation(**sent)
    assert (wanted.media_type, wanted.output_format) == (media_type, output_format)


def test_the_compression_is_taken_for_lossy_files_and_named_where_it_means_nothing() -> None:
    assert generation(output_format="jpeg", output_compression="40").quality == 40
    assert generation(output_format="webp", output_compression=40).ignored == ()
    assert generation(output_compression=40).ignored == ("output_compression",)
    assert generation(output_compression=100).ignored == ()


def test_a_stream_and_its_partial_images_are_asked_for_also_in_words() -> None:
    wanted = generation(stream="true", partial_images="2")
    assert (wanted.stream, wanted.partial_images) == (True, 2)
    assert generation(partial_images=2).ignored == ("partial_images",)
    assert generation(partial_images=2).partial_images == 0


@pytest.mark.parametrize(
    ("sent", "ignored"),
    [
        ({"quality": "hd"}, ("quality",)),
        ({"style": "natural"}, ("style",)),
        ({"background": "transparent"}, ("background",)),
        ({"strength": 0.4}, ("strength",)),
        ({"frobnicate": 1}, ("frobnicate",)),
        ({"frobnicate": "", "other": [], "third": None}, ()),
    ],
)
def test_what_has_no_effect_is_named(sent: dict[str, Any], ignored: tuple[str, ...]) -> None:
    assert generation(**sent).ignored == ignored


def test_a_body_of_a_thousand_unknown_fields_names_some() -> None:
    assert len(generation(**{f"field{i}": 1 for i in range(1000)}).ignored) == 20


# Extra arguments in the prompt, as clients of stable-diffusion.cpp's server hide them


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (
            'a cat <sd_cpp_extra_args>{"sample_params": {"sample_steps": 28, "sample_method": "euler_a", '
            '"scheduler": "karras", "guidance": {"txt_cfg": 2.5}}, "seed": 9}</sd_cpp_extra_args>',
            {"steps": 28, "sampler": "euler_a", "schedule": "karras", "guidance_scale": 2.5, "seed": 9},
        ),
        ('a cat<sd_cpp_extra_args>{"steps": 20}</sd_cpp_extra_args>', {"steps": 20}),
        (
            '<sd_cpp_extra_args>{"width": 64, "height": 128, "batch_count": 2, "negative_prompt": "n"}'
            "</sd_cpp_extra_args>a cat",
            {"width": 64, "height": 128, "count": 2, "negative_prompt": "n"},
        ),
        ("a cat <sd_cpp_extra_args>{}</sd_cpp_extra_args>", {}),
    ],
)
def test_arguments_in_the_prompt_are_taken_out_of_it(prompt: str, expected: dict[str, Any]) -> None:
    assert made(prompt=prompt) == GenerationRequest(prompt="a cat", **expected)


def test_arguments_in_the_prompt_win_over_the_body() -> None:
    prompt = 'a cat <sd_cpp_extra_args>{"sample_params": {"sample_steps": 28}}</sd_cpp_extra_args>'
    assert made(prompt=prompt, steps=5).steps == 28


@pytest.mark.parametrize("inside", ["", "steps=20", "[1]", "{", "[" * 50_000])
def test_arguments_in_the_prompt_that_cannot_be_read_are_refused(inside: str) -> None:
    assert param_of(refused(prompt=f"a<sd_cpp_extra_args>{inside}</sd_cpp_extra_args>")) == "prompt"


# Edits and variations


def cut_out(width_px: int = 64, height_px: int = 64) -> ImageData:
    """A mask of this API: transparent on the right."""
    return openai.transparent_mask(mask(width_px, height_px))


def test_the_first_picture_of_an_edit_is_edited_and_the_others_are_references() -> None:
    images = [picture(), picture(shade=1), picture(shade=2)]
    request = openai.wanted_edit(CAT, images).request
    assert request.init_image == images[0]
    assert request.references == tuple(images[1:])


def test_transparent_parts_of_a_mask_are_repainted() -> None:
    request = openai.wanted_edit(CAT, [picture()], cut_out()).request
    assert request.mask == mask()


@pytest.mark.parametrize(
    "values",
    [
        {"images": [{"image_url": as_data_uri(picture())}]},
        {"images": [{"image_url": {"url": as_data_uri(picture())}}]},
        {"image": as_data_uri(picture())},
        {"image": [as_data_uri(picture())]},
        {"image": as_base64(picture())},
        {"image": as_base64(picture()).rstrip("=") + "\n"},
    ],
)
def test_pictures_may_stand_in_json(values: dict[str, Any]) -> None:
    wanted = openai.wanted_edit({**CAT, **values, "mask": {"image_url": as_data_uri(cut_out())}})
    assert wanted.request.init_image == picture()
    assert wanted.request.mask == mask()
    assert wanted.ignored == ()


@pytest.mark.parametrize(
    ("values", "error", "param"),
    [
        ({}, InvalidRequest, "image"),
        ({"images": []}, InvalidRequest, "image"),
        ({"images": [7]}, InvalidRequest, "image"),
        ({"images": [{}]}, InvalidRequest, "image"),
        ({"images": [{"file_id": "file-1"}]}, UnsupportedError, "image"),
        ({"images": [{"image_url": "https://example.org/cat.png"}]}, BadImage, "image"),
        ({"images": [{"image_url": "file:///etc/passwd"}]}, BadImage, "image"),
        ({"image": "!!"}, BadImage, "image"),
        ({"image": "aGVsbG8="}, BadImage, "image"),
        ({"image": as_data_uri(picture()), "mask": 5}, InvalidRequest, "mask"),
        ({"image": as_data_uri(picture()), "mask": as_data_uri(cut_out(64, 128))}, BadMask, "mask"),
        ({"image": as_data_uri(picture()), "mask": as_data_uri(mask())}, BadMask, "mask"),
        ({"image": as_data_uri(picture()), "markup": "(a file)"}, UnsupportedError, "markup"),
        ({"images": [{"image_url": as_data_uri(picture(8, 8))}] * 17}, InvalidRequest, "image"),
    ],
)
def test_pictures_that_cannot_be_used_are_refused_by_name(
    values: dict[str, Any], error: type[SdenvError], param: str
) -> None:
    with pytest.raises(error) as refused:
        openai.wanted_edit({**CAT, **values})
    assert param_of(refused.value) == param


def test_too_many_files_are_refused() -> None:
    with pytest.raises(InvalidRequest):
        openai.wanted_edit(CAT, [picture(8, 8)] * 17)


def test_an_edit_takes_its_size_from_the_picture_unless_one_is_said() -> None:
    assert openai.wanted_edit(CAT, [picture()]).request.width is None
    assert openai.wanted_edit({**CAT, "size": "32x48"}, [picture()]).request.height == 48
    assert openai.wanted_edit({**CAT, "strength": "0.5"}, [picture()]).request.strength == 0.5


def test_a_mask_without_an_edit_is_refused() -> None:
    assert param_of(refused(mask="x")) == "mask"


def test_a_variation_needs_no_prompt_and_has_no_stream() -> None:
    wanted = openai.wanted_variation({"n": "2", "size": "256x256", "stream": "true"}, [picture()])
    assert wanted.request == GenerationRequest(init_image=picture(), count=2, width=256, height=256)
    assert (wanted.stream, wanted.ignored) == (False, ("stream",))


def test_a_variation_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidRequest) as error:
        openai.wanted_variation({}, [])
    assert param_of(error.value) == "image"
