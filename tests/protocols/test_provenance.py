"""sdenv's own text: the exact request comes back, nothing private goes in, and damage is noticed."""

import base64
import hashlib
import io
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

import sdenv
from sdenv.core.errors import BadMetadata
from sdenv.core.image import ImageData, decode
from sdenv.core.request import Control, GenerationRequest, Hires, LoRA, ResolvedRequest, parse_request_json
from sdenv.protocols.png_text import MAX_TEXT_BYTES
from sdenv.protocols.provenance import (
    MissingInput,
    PictureFacts,
    batch_of,
    decode_provenance,
    encode_provenance,
    missing_inputs,
    put_picture,
    without_inputs,
)
from tests.support.pictures import done, encoded, picture


def facts(index: int = 0, **changes: object) -> PictureFacts:
    return PictureFacts(done(**changes), index, "fake", "6ce0161689", {"device": "cpu"})


def record(made: PictureFacts) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(encode_provenance(made))
    return read


def request_back(made: PictureFacts) -> GenerationRequest:
    found = decode_provenance(encode_provenance(made))
    assert found is not None
    return parse_request_json(json.dumps(found.values))


def big_picture(size_bytes: int) -> ImageData:
    """A PNG that cannot be packed any smaller."""
    noise = Image.frombytes("L", (1024, size_bytes // 1024), random.Random(0).randbytes(size_bytes))
    buffer = io.BytesIO()
    noise.save(buffer, "PNG", compress_level=0)
    return ImageData.from_bytes(buffer.getvalue())


EVERYTHING: dict[str, Any] = {
    "prompt": 'a "fox",\n月 <lora:x:1>\nNegative prompt: no',
    "negative_prompt": " blurry ",
    "init_image": picture(),
    "mask": picture(value=1),
    "strength": 0.7300000000000001,
    "controls": (Control(type="sketch", image=picture(value=2), weight=0.3, start=0.1, end=0.9),),
    "references": (picture(value=3),),
    "loras": (LoRA(name="ink", weight=-0.1),),
    "clip_skip": 1,
    "hires": Hires(scale=1.5),
    "upscale": 2.0,
    "vae": "mse",
    "extensions": {"local": {"eta": 0.1, "flags": [True, None]}},
}


def test_the_text_is_compact_json_that_says_who_made_what() -> None:
    assert encode_provenance(facts()) == (
        f'{{"schema":1,"version":"{sdenv.__version__}","backend":"fake","model_hash":"6ce0161689",'
        '"seed":7,"index":0,"made_with":{"device":"cpu"},"request":{"prompt":"a fox","negative_prompt":"",'
        '"model":"emoji","width":32,"height":24,"steps":20,"guidance_scale":4.0,"seed":7,'
        '"sampler":"DPM++ 2M","schedule":"Automatic","count":1,"batch_size":1}}'
    )


def test_every_field_of_the_request_comes_back_exactly() -> None:
    usual = done().model_dump(exclude_unset=True).keys()
    assert EVERYTHING.keys() | usual | {"count", "batch_size"} == GenerationRequest.model_fields.keys()
    assert request_back(facts(**EVERYTHING)) == done(**EVERYTHING).as_request()


@given(
    prompt=st.text(st.characters(exclude_categories=["Cs"])),
    seed=st.integers(0, 2**32 - 1),
    guidance_scale=st.floats(0, 100),
    count=st.integers(1, 16),
    batch_size=st.integers(1, 16),
    index=st.integers(0, 15),
)
def test_the_batch_of_any_picture_is_asked_for_again(
    prompt: str, seed: int, guidance_scale: float, count: int, batch_size: int, index: int
) -> None:
    index %= count
    made = facts(
        index, prompt=prompt, seed=seed, guidance_scale=guidance_scale, count=count, batch_size=batch_size
    )
    found = decode_provenance(encode_provenance(made))
    assert found is not None
    request = parse_request_json(json.dumps(found.values))
    assert request.seed is not None
    assert (request.seed + found.index) % 2**32 == made.seed
    assert found.index < request.count <= batch_size
    assert (request.prompt, request.guidance_scale) == (prompt, guidance_scale)


def test_a_picture_of_the_last_batch_brings_only_those_made_with_it() -> None:
    request, index = batch_of(done(seed=100, count=5, batch_size=2), 4)
    assert (request.seed, request.count, request.batch_size, index) == (104, 1, 1, 0)
    request, index = batch_of(done(seed=100, count=5, batch_size=2), 3)
    assert (request.seed, request.count, request.batch_size, index) == (102, 2, 2, 1)


@pytest.mark.parametrize(
    "path",
    ["/home/ann/models/mine", "~/mine", "./mine", "../x/mine/", "C:\\Users\\ann\\mine", "\\\\host\\mine"],
)
def test_a_model_is_named_without_its_place(path: str) -> None:
    text = encode_provenance(facts(model=path, vae=path, loras=(LoRA(name=path),)))
    request = json.loads(text)["request"]
    assert (request["model"], request["vae"], request["loras"][0]["name"]) == ("mine", "mine", "mine")


def test_a_name_with_an_owner_stays_whole() -> None:
    name = "runwayml/stable-diffusion-v1-5"
    assert record(facts(model=name))["request"]["model"] == name


def test_no_secret_and_no_place_of_an_extension_goes_in() -> None:
    extension = {
        "api_key": "hush", "nested": {"shared_secret": "hush", "eta": 1}, "dir": "/home/ann", "url": "http://ann@gpu:1",
        "list": ["/home/ann", "kept"],
    }  # fmt: skip
    text = encode_provenance(facts(extensions={"http": extension}))
    assert "hush" not in text
    assert "ann" not in text
    assert json.loads(text)["request"]["extensions"]["http"]["nested"] == {"eta": 1}


def test_inputs_are_inside_while_the_text_is_below_its_limit() -> None:
    made = facts(init_image=picture(), mask=picture(value=1))
    values = record(made)["request"]
    assert base64.urlsafe_b64decode(values["init_image"]["data"]) == picture().data
    assert missing_inputs(values) == ()


def test_what_a_camera_wrote_into_an_input_does_not_go_in() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "ann"
    exif[ExifTags.Base.Orientation] = 6
    photograph = encoded("image/jpeg", exif=exif, comment=b"ann")
    found = request_back(facts(init_image=photograph)).init_image
    assert found is not None
    assert b"ann" not in found.data
    assert decode(found).size == (24, 32)
    assert decode(found).tobytes() == decode(photograph).tobytes()


def test_of_an_input_that_is_no_picture_only_the_hash_is_kept() -> None:
    values = record(facts(init_image=ImageData(data=b"ann", media_type="image/png")))["request"]
    assert [each.field for each in missing_inputs(values)] == ["init_image"]


def test_of_the_largest_input_only_the_hash_is_kept_beyond_the_limit() -> None:
    large, small = big_picture(MAX_TEXT_BYTES), picture()
    text = encode_provenance(facts(init_image=large, mask=small))
    assert len(text) < MAX_TEXT_BYTES
    values = json.loads(text)["request"]
    assert missing_inputs(values) == (MissingInput("init_image", hashlib.sha256(large.data).hexdigest()),)
    assert values["mask"] == small.model_dump(mode="json")


def test_inputs_that_are_too_large_only_together_are_left_out_one_by_one() -> None:
    half = big_picture(MAX_TEXT_BYTES // 2)
    controls = tuple(Control(type="depth", image=each) for each in (half, picture(), half))
    values = record(facts(controls=controls, references=(half, picture())))["request"]
    assert [each.field for each in missing_inputs(values)] == ["controls.0", "controls.2"]


def test_missing_inputs_are_left_out_and_can_be_put_back() -> None:
    large = big_picture(MAX_TEXT_BYTES)
    controls = (Control(type="depth", image=large), Control(type="canny", image=picture()))
    made = facts(init_image=large, mask=picture(), strength=0.5, controls=controls, references=(large,))
    values = record(made)["request"]
    missing = missing_inputs(values)

    partial = parse_request_json(json.dumps(without_inputs(values, missing)))
    assert (partial.init_image, partial.mask, partial.strength, partial.references) == (None, None, None, ())
    assert [each.type for each in partial.controls] == ["canny"]

    for each in missing:
        put_picture(values, each.field, large.model_dump(mode="json"))
    assert parse_request_json(json.dumps(values)) == made.resolved.as_request()


def test_a_text_of_a_newer_sdenv_is_an_error_that_says_so() -> None:
    with pytest.raises(BadMetadata, match="newer sdenv"):
        decode_provenance('{"schema": 2, "request": []}')


@pytest.mark.parametrize(
    "text",
    ["", "fox", "[]", "{}", '{"schema": "1"}', '{"schema": 1}', '{"schema": 1, "request": 5}', "[" * 100_000,
     '{"schema": 1, "request": {}, "index": -1}', '{"schema": 1, "request": {}, "index": 99}',
     '{"schema": 1, "request": {}, "made_with": []}'],
)  # fmt: skip
def test_a_text_that_is_not_ours_is_not_taken_for_ours(text: str) -> None:
    assert decode_provenance(text) is None


def test_a_resolved_request_has_no_field_that_the_text_forgets() -> None:
    assert ResolvedRequest.model_fields.keys() == GenerationRequest.model_fields.keys()
