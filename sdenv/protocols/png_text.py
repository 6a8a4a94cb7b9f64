"""Texts inside PNG files, read and written without touching any other byte.

Source: PNG specification, third edition, 5.3 (chunks) and 11.3.3 (tEXt, zTXt, iTXt). Files come from
strangers: a chunk whose checksum is wrong is skipped, and no text grows beyond a limit when it is inflated.
"""

import struct
import zlib
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Final, NamedTuple

from sdenv.core.errors import BadImage

MAX_TEXT_BYTES: Final = 2**20  # a text after inflation, keyword not counted
MAX_TEXTS_BYTES: Final = 16 * 2**20  # all texts of a file together

_SIGNATURE_BYTES: Final = 8
_TEXT_KINDS: Final = (b"tEXt", b"zTXt", b"iTXt")
_PRIVATE_KINDS: Final = (*_TEXT_KINDS, b"eXIf", b"tIME", b"caBX")


class _Chunk(NamedTuple):
    """A PNG chunk: its kind and where it lies, length field and checksum included."""

    kind: bytes
    start: int
    end: int

    def body(self, data: bytes) -> bytes:
        return data[self.start + 8 : self.end - 4]

    def is_intact(self, data: bytes) -> bool:
        checksum = int.from_bytes(data[self.end - 4 : self.end], "big")
        return zlib.crc32(data[self.start + 4 : self.end - 4]) == checksum


def png_texts(data: bytes) -> dict[str, str]:
    """The text chunks of a PNG by keyword, the first of each; damaged and oversized ones are left out."""
    found: dict[str, str] = {}
    left_bytes = MAX_TEXTS_BYTES
    for chunk in _chunks(data):
        if chunk.kind not in _TEXT_KINDS or not chunk.is_intact(data):
            continue
        limit_bytes = min(left_bytes, MAX_TEXT_BYTES)
        keyword, raw, encoding = _text_of(chunk.kind, chunk.body(data), limit_bytes)
        if raw is None or len(raw) > limit_bytes:
            continue
        left_bytes -= len(raw)
        try:
            found.setdefault(keyword, raw.decode(encoding))
        except UnicodeDecodeError:
            continue
    return found


def png_with_texts(data: bytes, texts: Mapping[str, str]) -> bytes:
    """The same PNG with these texts, in place of any of the same keyword; all other bytes stay as they are.

    Args:
        data: A PNG file.
        texts: By keyword (1 to 79 Latin-1 characters). Latin-1 texts become tEXt, others iTXt.

    Raises:
        BadImage: It ends before its first chunk does.
    """
    new = b"".join(_text_chunk(keyword, text) for keyword, text in texts.items())
    return _after_header(png_without_texts(data, texts), new)


def png_without_texts(data: bytes, keywords: Container[str]) -> bytes:
    """The same PNG without the texts of these keywords: `png_with_texts` backwards."""

    def is_dropped(chunk: _Chunk) -> bool:
        keyword = chunk.body(data).partition(b"\0")[0] if chunk.kind in _TEXT_KINDS else b""
        return keyword.decode("latin-1") in keywords

    return _without(data, is_dropped)


def png_anonymous(data: bytes, exif: bytes) -> bytes:
    """The same PNG without texts, dates, manifests and what follows its end, with this EXIF block only."""
    end = next((chunk.end for chunk in _chunks(data) if chunk.kind == b"IEND"), len(data))
    bare = _without(data[:end], lambda chunk: chunk.kind in _PRIVATE_KINDS)
    return _after_header(bare, _chunk(b"eXIf", exif) if exif else b"")


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """The chunks up to the first that is not complete."""
    start = _SIGNATURE_BYTES
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if end > len(data):
            return
        yield _Chunk(data[start + 4 : start + 8], start, end)
        start = end


def _text_of(kind: bytes, body: bytes, limit_bytes: int) -> tuple[str, bytes | None, str]:
    """Keyword, raw text (None if it cannot be had within the limit) and its encoding."""
    keyword, _, rest = body.partition(b"\0")
    name = keyword.decode("latin-1")
    if kind == b"tEXt":
        return name, rest, "latin-1"
    if kind == b"zTXt":
        return name, _inflated(rest[1:], limit_bytes), "latin-1"
    compressed, rest = rest[:1] == b"\1", rest[2:]
    text = rest.partition(b"\0")[2].partition(b"\0")[2]  # after the language and the translated keyword
    return name, _inflated(text, limit_bytes) if compressed else text, "utf-8"


def _inflated(data: bytes, limit_bytes: int) -> bytes | None:
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(data, limit_bytes + 1)
    except zlib.error:
        return None
    return text if inflater.eof and len(text) <= limit_bytes else None


def _text_chunk(keyword: str, text: str) -> bytes:
    name = keyword.encode("latin-1")
    try:
        return _chunk(b"tEXt", name + b"\0" + text.encode("latin-1"))
    except UnicodeEncodeError:
        return _chunk(b"iTXt", name + b"\0" + b"\0\0" + b"\0\0" + text.encode())


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _after_header(data: bytes, chunks: bytes) -> bytes:
    """A PNG with chunks after its IHDR, which is always first."""
    header = next(_chunks(data), None)
    if header is None:
        raise BadImage("The picture is not a complete PNG.")
    return data[: header.end] + chunks + data[header.end :]


def _without(data: bytes, is_dropped: Callable[[_Chunk], bool]) -> bytes:
    kept = []
    end = 0
    for chunk in filter(is_dropped, _chunks(data)):
        kept.append(data[end : chunk.start])
        end = chunk.end
    return b"".join([*kept, data[end:]])
