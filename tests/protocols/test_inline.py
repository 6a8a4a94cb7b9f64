"""Pictures in JSON: every way in which clients write base64, and nothing else."""

import base64
import struct
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdenv.core.errors import BadImage
from sdenv.core.image import PNG
from sdenv.protocols.inline import as_base64, as_data_uri, inline_bytes, inline_picture
from sdenv.testing.samples import picture

IMAGE = picture(8, 8)
BARE = as_base64(IMAGE)


@pytest.mark.parametrize(
    "text",
    [
        BARE,
        f"data:image/png;base64,{BARE}",
        f" data:image/png;base64,{BARE}",
        f"DATA:image/PNG;BASE64,{BARE}",
        f"data:;base64,{BARE}",
        f"data:image/png;charset=utf-8;base64,{BARE}",
        f"data:image/jpeg;base64,{BARE}",
        BARE.rstrip("="),
        "\n".join(BARE[start : start + 76] for start in range(0, len(BARE), 76)),
        f"  {BARE}\r\n",
    ],
)
def test_base64_is_read_however_it_is_written(text: str) -> None:
    assert inline_picture(text) == IMAGE


def test_what_is_written_is_read() -> None:
    assert inline_picture(as_data_uri(IMAGE)) == IMAGE
    assert as_data_uri(IMAGE) == f"data:{PNG};base64,{BARE}"


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/a.png", "https://example.org/a.png", " HTTP://x", "file:///etc/passwd", "ftp://x"],
)
def test_no_url_is_fetched(url: str) -> None:
    with pytest.raises(BadImage, match="fetches none"):
        inline_picture(url)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc?",
        "data:image/png,abc",
        "data:image/png;base64,",
        "é",
        "\ud800",
        "A",
        base64.b64encode(b"x" * 99).decode(),
    ],
)
def test_what_is_no_picture_is_refused(text: str) -> None:
    with pytest.raises(BadImage):
        inline_picture(text)


def test_a_picture_that_would_be_far_too_large_is_refused_before_it_is_decoded() -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    rows = b"IDAT" + zlib.compress(b"\0")
    chunks = (
        struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each))
        for each in (header, rows)
    )
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
    with pytest.raises(BadImage, match="pixels"):
        inline_picture(base64.b64encode(bomb).decode())


@given(st.binary(max_size=200))
def test_any_bytes_come_back(data: bytes) -> None:
    assert inline_bytes(base64.b64encode(data).decode()) == data


@given(st.text(max_size=60))
def test_any_text_is_bytes_or_refused(text: str) -> None:
    with suppress(BadImage):
        inline_bytes(text)
