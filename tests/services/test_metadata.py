"""How a picture was made, read back from the picture: ours exactly, others as far as they say it."""

import io
import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from sd_parsers import ParserManager

from sdenv.core.errors import BadImage, BadMetadata, InvalidRequest
from sdenv.core.image import JPEG, PNG, WEBP, ImageData, decode
from sdenv.core.request import LoRA
from sdenv.protocols.png_text import MAX_TEXT_BYTES, png_texts, png_with_texts
from sdenv.services.files import PictureFacts
from sdenv.services.metadata import Recovered, read_metadata, with_metadata
from tests.support.pictures import done, picture

A1111 = "a fox\nNegative prompt: blurry\nSteps: 28, Sampler: Euler a, Seed: 9, Size: 512x768"


def facts(index: int = 0, **changes: object) -> PictureFacts:
    return PictureFacts(done(**changes), index, "fake", "6ce0161689", {"device": "cpu"})


def told(made: PictureFacts, media_type: str = PNG) -> ImageData:
    """A picture of this type with its metadata."""
    buffer = io.BytesIO()
    decode(picture()).save(buffer, media_type.partition("/")[2])
    return with_metadata(ImageData.from_bytes(buffer.getvalue()), made)


def recovered(made: PictureFacts) -> Recovered:
    return read_metadata(told(made).data)


def with_texts(**texts: str) -> bytes:
    return png_with_texts(picture().data, texts)


def test_a_png_gives_back_the_exact_request() -> None:
    made = facts(
        prompt=" a fox,\n月", strength=0.7, init_image=picture(), mask=picture(value=1), negative_prompt="x"
    )
    found = recovered(made)
    assert found.request == made.resolved.as_request()
    assert (found.source, found.index, found.missing) == ("sdenv", 0, ())
    assert (found.backend, found.model_hash, found.made_with) == ("fake", "6ce0161689", {"device": "cpu"})


def test_a_picture_of_a_batch_knows_which_it_is() -> None:
    found = recovered(facts(3, seed=100, count=5, batch_size=2))
    assert (found.request.seed, found.request.count, found.index, found.seed) == (102, 2, 1, 103)


@pytest.mark.parametrize("media_type", [PNG, JPEG, WEBP])
def test_metadata_changes_no_pixel(media_type: str) -> None:
    buffer = io.BytesIO()
    decode(picture()).save(buffer, media_type.partition("/")[2])
    before = ImageData.from_bytes(buffer.getvalue())
    assert decode(with_metadata(before, facts())).tobytes() == decode(before).tobytes()


def test_a_large_input_has_to_be_given_again_and_is_checked() -> None:
    noise = Image.effect_noise((1024, 1024), 90).convert("RGB")
    buffer = io.BytesIO()
    noise.save(buffer, "PNG", compress_level=0)
    large = ImageData.from_bytes(buffer.getvalue())
    made = facts(init_image=large, strength=0.5)

    found = recovered(made)
    assert [each.field for each in found.missing] == ["init_image"]
    assert found.request.init_image is None
    with pytest.raises(BadMetadata, match="--init-image"):
        found.with_inputs({})
    with pytest.raises(BadMetadata, match="not the one"):
        found.with_inputs({"init_image": picture()})
    assert found.with_inputs({"init_image": large}) == made.resolved.as_request()


def test_a_png_read_as_automatic1111_does_has_the_seed_of_this_picture() -> None:
    texts = png_texts(told(facts(1, seed=7, count=2, model="/home/ann/models/v1-5")).data)
    assert "Seed: 8," in texts["parameters"]
    assert "Model: v1-5," in texts["parameters"]
    assert "ann" not in "".join(texts.values())


@pytest.mark.parametrize("media_type", [JPEG, WEBP])
def test_a_jpeg_and_a_webp_give_back_what_automatic1111_writes(media_type: str) -> None:
    found = read_metadata(told(facts(prompt="a fox, 月", negative_prompt="blurry"), media_type).data)
    assert found.source == "UserComment"
    assert (found.request.prompt, found.request.negative_prompt, found.request.seed) == (
        "a fox, 月",
        "blurry",
        7,
    )


def test_a_jpeg_without_room_for_the_text_is_saved_without_it() -> None:
    with pytest.raises(BadMetadata):
        read_metadata(told(facts(prompt="🦊" * 10_000, negative_prompt="🦊" * 10_000), JPEG).data)


@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + A1111.encode("utf-16-be"),
        b"UNICODE\0" + A1111.encode("utf-16-le"),
        b"ASCII\0\0\0" + A1111.encode(),
        A1111,
    ],
    ids=["big-endian", "little-endian", "ascii", "bare"],
)
def test_a_user_comment_is_read_in_any_encoding(comment: bytes | str) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[0x9286] = comment
    buffer = io.BytesIO()
    decode(picture()).save(buffer, "JPEG", exif=exif)
    assert read_metadata(buffer.getvalue()).request.seed == 9


def test_the_text_of_automatic1111_is_read() -> None:
    found = read_metadata(with_texts(parameters=A1111 + ", Model: v1-5, Model hash: abc, Version: v1.10.1"))
    assert (found.source, found.model_hash, found.version) == ("parameters", "abc", "v1.10.1")
    assert (found.request.prompt, found.request.width, found.request.height) == ("a fox", 512, 768)


def test_an_image_to_image_picture_of_automatic1111_asks_for_its_init_image() -> None:
    found = read_metadata(with_texts(parameters=A1111 + ", Denoising strength: 0.4"))
    assert found.request.strength is None
    assert [each.field for each in found.missing] == ["init_image"]
    request = found.with_inputs({"init_image": picture()})
    assert (request.strength, request.init_image) == (0.4, picture())


def test_our_own_text_goes_before_that_of_automatic1111() -> None:
    texts = png_texts(told(facts()).data)
    assert read_metadata(with_texts(parameters=A1111, sdenv=texts["sdenv"])).request.seed == 7


def test_the_text_of_automatic1111_goes_before_those_of_others() -> None:
    dream = '"a dog" -s 5 -S 3'
    assert read_metadata(with_texts(Dream=dream, parameters=A1111)).source == "parameters"
    found = read_metadata(with_texts(Dream=dream, parameters="of another kind"))
    assert (found.source, found.request.prompt, found.request.seed) == ("Dream", "a dog", 3)


def test_a_damaged_own_text_leaves_that_of_automatic1111() -> None:
    assert read_metadata(with_texts(sdenv='{"schema": 1, "requ', parameters=A1111)).source == "parameters"


def test_a_newer_own_text_is_an_error_and_not_half_understood() -> None:
    with pytest.raises(BadMetadata, match="newer"):
        read_metadata(with_texts(sdenv='{"schema": 9}', parameters=A1111))


def test_a_picture_that_says_nothing_is_an_error() -> None:
    with pytest.raises(BadMetadata, match="does not say"):
        read_metadata(picture().data)
    with pytest.raises(BadMetadata, match="Comment"):
        read_metadata(with_texts(Comment="hello"))


def test_what_is_not_a_picture_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadImage):
        read_metadata(b"hello")
    monkeypatch.setattr("sdenv.services.metadata.MAX_ENCODED_BYTES", 100)
    with pytest.raises(BadImage, match="limit is 100"):
        read_metadata(picture().data)


def test_values_outside_the_limits_are_named() -> None:
    with pytest.raises(InvalidRequest, match="steps"):
        read_metadata(with_texts(parameters=A1111.replace("28", "28000")))


@pytest.mark.parametrize("media_type", [PNG, JPEG, WEBP])
def test_an_independent_reader_understands_our_pictures(tmp_path: Path, media_type: str) -> None:
    made = facts(
        prompt="a fox, (snow:1.2)\nnight 🦊", negative_prompt="blurry, dark", model="v1-5", schedule="Karras",
        loras=(LoRA(name="ink", weight=0.6),), clip_skip=2,
    )  # fmt: skip
    path = tmp_path / f"picture.{media_type.partition('/')[2]}"
    path.write_bytes(told(made, media_type).data)

    read = ParserManager().parse(path)

    assert read is not None
    (sampler,) = read.samplers
    assert [each.value for each in sampler.prompts] == ["a fox, (snow:1.2)\nnight 🦊 <lora:ink:0.6>"]
    assert [each.value for each in sampler.negative_prompts] == ["blurry, dark"]
    assert sampler.name == "DPM++ 2M"
    assert sampler.parameters == {"scheduler": "Karras", "cfg_scale": "4", "seed": "7", "steps": "20"}
    assert sampler.model is not None
    assert (sampler.model.name, sampler.model.hash) == ("v1-5", "6ce0161689")
    assert (read.metadata["Size"], read.metadata["Clip skip"]) == ("32x24", "2")


VALID = told(facts(prompt="a fox, 月", init_image=picture(), strength=0.5)).data


@settings(max_examples=200)
@given(st.data())
def test_a_changed_picture_gives_a_request_or_a_clear_error(data: st.DataObject) -> None:
    changed = bytearray(VALID)
    for _ in range(data.draw(st.integers(0, 4))):
        changed[data.draw(st.integers(0, len(VALID) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(VALID)))
    with suppress(BadImage, BadMetadata):
        assert read_metadata(bytes(changed[:end])).request.steps == 20


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just({"sha256": "x"}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELD = st.sampled_from(
    ["prompt", "init_image", "mask", "controls", "references", "steps", "loras", "nonsense"]
)


@given(st.dictionaries(FIELD, JSON), st.integers(-1, 17), JSON)
def test_any_json_in_our_text_gives_a_request_or_a_clear_error(
    request: object, index: int, made_with: object
) -> None:
    own = json.dumps({"schema": 1, "request": request, "index": index, "made_with": made_with})
    assert len(own) < MAX_TEXT_BYTES
    with suppress(BadMetadata, InvalidRequest):
        assert read_metadata(with_texts(sdenv=own)).source == "sdenv"
