"""Masks by transparency, and file types."""

import io

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdenv.core.errors import BadImage, BadMask
from sdenv.core.image import JPEG, PNG, WEBP, ImageData, decode, encode_png, sniff_media_type
from sdenv.protocols import openai
from sdenv.testing.samples import largest_difference, mask, not_pictures, picture


def grey(values: bytes) -> ImageData:
    """A mask of one row of these shades."""
    return encode_png(PIL.Image.frombytes("L", (len(values), 1), values))


@given(st.binary(min_size=1, max_size=64).filter(any))
def test_a_mask_comes_back_from_transparency_to_the_last_shade(values: bytes) -> None:
    row = picture(len(values), 1)
    assert openai.repaint_mask(openai.transparent_mask(grey(values)), row) == grey(values)


def test_alpha_0_is_the_part_to_edit() -> None:
    drawn = PIL.Image.new("RGBA", (2, 1), (255, 255, 255, 255))
    drawn.putpixel((1, 0), (0, 0, 0, 0))
    found = decode(openai.repaint_mask(encode_png(drawn), picture(2, 1)))
    assert list(found.tobytes()) == [0, 255]


def test_a_palette_with_a_transparent_colour_is_a_mask_too() -> None:
    drawn = PIL.Image.new("P", (2, 1))
    drawn.putpalette([255, 0, 0, 0, 255, 0])
    drawn.putpixel((1, 0), 1)
    buffer = io.BytesIO()
    drawn.save(buffer, format="PNG", transparency=1)
    found = openai.repaint_mask(ImageData.from_bytes(buffer.getvalue()), picture(2, 1))
    assert list(decode(found).tobytes()) == [0, 255]


def test_a_mask_of_black_and_white_is_refused_instead_of_being_taken_the_wrong_way_round() -> None:
    with pytest.raises(BadMask, match="transparent"):
        openai.repaint_mask(mask(), picture())


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(BadMask, match="32x64, the picture 64x64"):
        openai.repaint_mask(openai.transparent_mask(mask(32, 64)), picture())


@pytest.mark.parametrize("name", sorted(not_pictures()))
def test_what_is_no_picture_is_no_mask(name: str) -> None:
    with pytest.raises(BadImage):
        openai.transparent_mask(not_pictures()[name])


@pytest.mark.parametrize("media_type", [JPEG, WEBP])
def test_pictures_are_encoded_as_asked_and_smaller_with_less_quality(media_type: str) -> None:
    drawn = picture(128, 128)
    best, small = (openai.encoded_as(drawn, media_type, quality) for quality in (100, 5))
    assert sniff_media_type(best.data) == best.media_type == media_type
    assert len(small.data) < len(best.data)
    assert largest_difference(drawn, best) <= 8
    assert decode(openai.encoded_as(drawn, media_type, 0)).size == (128, 128)


def test_a_png_is_answered_byte_for_byte() -> None:
    assert openai.encoded_as(picture(), PNG, 10) == picture()
