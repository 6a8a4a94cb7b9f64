"""Texts in PNG files: what is written others read, what strangers send does no harm."""

import io
import struct
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from sdenv.core.errors import BadImage
from sdenv.core.image import PNG
from sdenv.protocols.png_text import MAX_TEXT_BYTES, MAX_TEXTS_BYTES, png_texts, png_with_texts
from tests.support.pictures import encoded, picture


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    return data[:33] + chunk(kind, body) + data[33:]


def pillow_texts(data: bytes) -> dict[str, str]:
    opened = Image.open(io.BytesIO(data))
    assert isinstance(opened, PngImagePlugin.PngImageFile)
    return dict(opened.text)


@pytest.mark.parametrize("text", ["plain", "café", "a 🦊\nand 月", "", "x" * 100_000])
def test_a_text_written_here_is_read_by_pillow_and_by_us(text: str) -> None:
    data = png_with_texts(picture().data, {"parameters": text})
    assert pillow_texts(data) == {"parameters": text}
    assert png_texts(data) == {"parameters": text}


@pytest.mark.parametrize(
    ("compressed", "text"), [(False, "plain"), (True, "plain"), (False, "月"), (True, "月")]
)
def test_texts_written_by_pillow_are_read(compressed: bool, text: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("key", text, zip=compressed)
    info.add_itxt("international", text, "en", "clé", zip=compressed)
    assert png_texts(encoded(PNG, pnginfo=info).data) == {"key": text, "international": text}


def test_latin_texts_are_text_chunks_and_others_international_ones() -> None:
    assert b"tEXtparameters\0caf\xe9" in png_with_texts(picture().data, {"parameters": "café"})
    assert b"iTXtparameters\0\0\0\0\0\xe6\x9c\x88" in png_with_texts(picture().data, {"parameters": "月"})


def test_everything_but_the_text_stays_byte_for_byte() -> None:
    data = picture().data
    told = png_with_texts(data, {"a": "b"})
    assert told == with_chunk(data, b"tEXt", b"a\0b")


def test_a_text_replaces_the_one_of_the_same_keyword_only() -> None:
    data = png_with_texts(png_with_texts(picture().data, {"a": "old", "b": "kept"}), {"a": "new"})
    assert png_texts(data) == {"a": "new", "b": "kept"}
    assert data.count(b"tEXta\0") == 1


@pytest.mark.parametrize(
    ("kind", "body"),
    [(b"iTXt", b"bad\0\0\0\0\0\xff"), (b"zTXt", b"bad\0\0xx"), (b"zTXt", b"bad"), (b"iTXt", b"bad\0\1")],
)
def test_a_text_that_cannot_be_decoded_is_left_out(kind: bytes, body: bytes) -> None:
    data = with_chunk(png_with_texts(picture().data, {"a": "good"}), kind, body)
    assert png_texts(data) == {"a": "good"}


def test_what_is_no_whole_png_takes_no_text() -> None:
    with pytest.raises(BadImage):
        png_with_texts(picture().data[:20], {"a": "b"})


def test_a_chunk_with_a_wrong_checksum_is_skipped() -> None:
    data = bytearray(png_with_texts(picture().data, {"a": "good", "b": "bad!"}))
    data[data.index(b"bad!")] ^= 1
    assert png_texts(bytes(data)) == {"a": "good"}


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_a_text_that_inflates_beyond_the_limit_is_left_out(kind: bytes) -> None:
    start = b"bomb\0\0" if kind == b"zTXt" else b"bomb\0\1\0\0\0"
    for length, found in ((MAX_TEXT_BYTES, True), (MAX_TEXT_BYTES + 1, False)):
        data = with_chunk(picture().data, kind, start + zlib.compress(b"x" * length))
        assert ("bomb" in png_texts(data)) == found


def test_inflating_stops_at_the_limit() -> None:
    data = with_chunk(picture().data, b"zTXt", b"bomb\0\0" + zlib.compress(bytes(64 * MAX_TEXT_BYTES)))
    tracemalloc.start()
    try:
        png_texts(data)
        assert tracemalloc.get_traced_memory()[1] < 8 * MAX_TEXT_BYTES
    finally:
        tracemalloc.stop()


def test_texts_together_have_a_limit() -> None:
    data = picture().data
    packed = zlib.compress(b"x" * MAX_TEXT_BYTES)
    for number in range(20):
        data = with_chunk(data, b"zTXt", f"k{number}".encode() + b"\0\0" + packed)
    assert len(png_texts(data)) == MAX_TEXTS_BYTES // MAX_TEXT_BYTES


@given(st.integers(8, 400), st.integers(0, 255))
def test_a_png_changed_anywhere_never_breaks_the_reader(at: int, value: int) -> None:
    data = bytearray(
        png_with_texts(with_chunk(picture().data, b"zTXt", b"z\0\0" + zlib.compress(b"y")), {"a": "月"})
    )
    data[at % len(data)] = value
    assert set(png_texts(bytes(data))) <= {"a", "z"}
    png_texts(bytes(data[:at]))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    assert isinstance(png_texts(b"\x89PNG\r\n\x1a\n" + data), dict)
