"""Pictures at the waist: recognised by their bytes, decoded with care."""

import io
import struct
import zlib

import PIL.Image
import PIL.PngImagePlugin
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdenv.core.errors import BadImage
from sdenv.core.image import (
    JPEG,
    MAX_ENCODED_BYTES,
    PNG,
    WEBP,
    ImageData,
    decode,
    encode_png,
    resampled,
    size_of,
    sniff_media_type,
)
from sdenv.testing.samples import largest_difference, picture
from tests.support.strategies import PICTURES

FORMATS = {"PNG": PNG, "JPEG": JPEG, "WEBP": WEBP}
ORIENTATION = 0x0112


def drawn(width_px: int = 24, height_px: int = 16) -> PIL.Image.Image:
    return decode(picture(width_px, height_px)).convert("RGB")


def encoded(pillow_format: str, orientation: int | None = None, size: tuple[int, int] = (24, 16)) -> bytes:
    exif = PIL.Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    buffer = io.BytesIO()
    drawn(*size).save(buffer, format=pillow_format, exif=exif)
    return buffer.getvalue()


def png_that_claims(width_px: int, height_px: int) -> ImageData:
    """A PNG of a few bytes whose header announces a size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return ImageData(data=b"\x89PNG\r\n\x1a\n" + body, media_type=PNG)


# Recognising


@pytest.mark.parametrize(("pillow_format", "media_type"), FORMATS.items())
def test_a_picture_is_recognised_by_its_first_bytes(pillow_format: str, media_type: str) -> None:
    assert ImageData.from_bytes(encoded(pillow_format)).media_type == media_type


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "it is empty"),
        (b"GIF89a....", "it begins with b'GIF89a..'"),
        (b"<svg xmlns=", "it begins with b'<svg xml'"),
        (b"RIFF1234WAVE", "it begins with b'RIFF1234'"),
        (b"%!PS-Adobe-3.0 EPSF", "it begins with b'%!PS-Ado'"),
    ],
)
def test_anything_else_is_refused_by_name(data: bytes, found: str) -> None:
    with pytest.raises(BadImage) as refused:
        sniff_media_type(data, "cat.png")
    assert refused.value.what == f"cat.png is not a picture that sdenv reads: {found}."
    assert refused.value.hint == "Give a PNG, JPEG or WebP file."


def test_a_parser_that_is_not_needed_is_not_reached() -> None:
    buffer = io.BytesIO()
    drawn().save(buffer, format="GIF")
    with pytest.raises(BadImage):
        decode(ImageData(data=buffer.getvalue(), media_type=PNG))


# Decoding


@pytest.mark.parametrize("pillow_format", FORMATS)
def test_a_whole_picture_is_decoded(pillow_format: str) -> None:
    image = ImageData.from_bytes(encoded(pillow_format))
    assert size_of(image) == decode(image).size == (24, 16)


@pytest.mark.parametrize("pillow_format", FORMATS)
@pytest.mark.parametrize("orientation", range(10))
def test_the_rotation_that_a_camera_noted_is_applied(pillow_format: str, orientation: int) -> None:
    image = ImageData.from_bytes(encoded(pillow_format, orientation))
    expected = (16, 24) if 5 <= orientation <= 8 else (24, 16)
    assert size_of(image) == decode(image).size == expected


def test_a_rotation_moves_the_pixels() -> None:
    upside_down = decode(ImageData.from_bytes(encoded("PNG", orientation=3)))
    assert upside_down.tobytes() == drawn().transpose(PIL.Image.Transpose.ROTATE_180).tobytes()


def test_a_picture_with_damaged_metadata_is_shown_as_it_lies() -> None:
    buffer = io.BytesIO()
    drawn().save(buffer, format="PNG", exif=b"Exif\0\0no such thing")
    image = ImageData.from_bytes(buffer.getvalue())
    assert size_of(image) == (24, 16)
    assert decode(image).tobytes() == drawn().tobytes()


@pytest.mark.parametrize("pillow_format", FORMATS)
def test_a_truncated_picture_is_an_error_and_not_half_grey(pillow_format: str) -> None:
    whole = encoded(pillow_format, size=(128, 128))
    with pytest.raises(BadImage, match=r"cat\.png (is damaged|cannot be read)"):
        decode(ImageData.from_bytes(whole[: len(whole) * 2 // 3]), "cat.png")


def test_the_size_of_a_png_is_read_without_its_pixels() -> None:
    assert size_of(png_that_claims(1000, 700)) == (1000, 700)


# Bombs


@pytest.mark.parametrize("size", [(8001, 8000), (9500, 9500), (100_000, 100_000), (1, 64_000_001)])
def test_a_decompression_bomb_is_refused_from_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(BadImage, match=r"would decode to|cannot be read as a picture"):
        decode(png_that_claims(*size))


def test_a_picture_of_exactly_the_limit_is_looked_at() -> None:
    assert size_of(png_that_claims(8000, 8000)) == (8000, 8000)


def test_a_text_chunk_that_unpacks_to_megabytes_is_refused() -> None:
    notes = PIL.PngImagePlugin.PngInfo()
    notes.add_text("parameters", "a" * (4 * 2**20), zip=True)
    buffer = io.BytesIO()
    drawn().save(buffer, format="PNG", pnginfo=notes)
    assert len(buffer.getvalue()) < 50_000
    with pytest.raises(BadImage):
        decode(ImageData.from_bytes(buffer.getvalue()))


def test_a_file_beyond_the_limit_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(BadImage, match="the limit is 67108864"):
        size_of(ImageData(data=b"\x89PNG\r\n\x1a\n".ljust(MAX_ENCODED_BYTES + 1, b"\0"), media_type=PNG))


# Whatever comes


@given(
    st.sampled_from(list(FORMATS)),
    st.sampled_from([None, 6]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
    st.floats(0, 1),
)
def test_damaged_bytes_give_a_picture_or_an_error_and_nothing_else(
    pillow_format: str, orientation: int | None, changes: list[tuple[float, int]], kept: float
) -> None:
    data = bytearray(encoded(pillow_format, orientation))
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    image = ImageData(data=bytes(data[: max(1, int(kept * len(data)))]), media_type=FORMATS[pillow_format])
    try:
        size = size_of(image)
        found = decode(image).size
    except BadImage:
        return
    assert found == size


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadImage):
        decode(ImageData(data=data, media_type=PNG))


# Encoding


def test_png_keeps_every_pixel_and_carries_no_metadata() -> None:
    image = encode_png(drawn())
    assert decode(image).tobytes() == drawn().tobytes()
    assert PIL.Image.open(io.BytesIO(image.data)).info == {}


def test_a_picture_is_resampled_to_exactly_the_size_asked_for() -> None:
    assert size_of(resampled(picture(24, 16), 31, 57)) == (31, 57)
    assert largest_difference(resampled(picture(24, 16), 24, 16), picture(24, 16)) == 0


def test_pictures_survive_json() -> None:
    for image in PICTURES:
        assert ImageData.model_validate_json(image.model_dump_json()) == image
