"""Texts and EXIF inside picture files, read and written without touching a pixel.

Sources: PNG specification, third edition, 5.3 (chunks) and 11.3.3 (tEXt, zTXt, iTXt); JPEG, ITU-T T.81,
B.1.1; EXIF 2.32, 4.5.4; WebP, RFC 9649, 2.7. Files come from strangers: a chunk whose checksum is wrong is
skipped, and no text grows beyond a limit when it is inflated.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from sdenv.core.image import JPEG, PNG, ImageData, size_of

MAX_TEXT_BYTES: Final = 2**20  # a text after inflation, keyword not counted
MAX_TEXTS_BYTES: Final = 16 * 2**20  # all texts of a file together
MAX_JPEG_EXIF_BYTES: Final = (
    65_533 - 6
)  # a segment counts its own length field in 16 bits; "Exif\0\0" goes before

_PNG_SIGNATURE_BYTES: Final = 8
_PNG_TEXT_KINDS: Final = (b"tEXt", b"zTXt", b"iTXt")
_PNG_HEADER_END: Final = _PNG_SIGNATURE_BYTES + 12 + 13  # IHDR, always first, has 13 bytes of its own
_EXIF_MARK: Final = b"Exif\0\0"
_WEBP_EXIF_FLAG: Final = 0x08
_WEBP_ALPHA_FLAG: Final = 0x10


def png_texts(data: bytes) -> dict[str, str]:
    """The text chunks of a PNG by keyword, the first of each; damaged and oversized ones are left out."""
    found: dict[str, str] = {}
    left_bytes = MAX_TEXTS_BYTES
    for kind, body, chunk in _png_chunks(data):
        if kind not in _PNG_TEXT_KINDS or not _is_intact(chunk):
            continue
        keyword, raw, encoding = _text_of(kind, body, min(left_bytes, MAX_TEXT_BYTES))
        if raw is None or len(raw) > min(left_bytes, MAX_TEXT_BYTES):
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
        texts: By keyword: 1 to 79 Latin-1 characters. Latin-1 texts become tEXt, others iTXt, as Pillow
        does it.
    """
    new = b"".join(_text_chunk(keyword, text) for keyword, text in texts.items())
    kept = _without_texts(data, texts)
    return kept[:_PNG_HEADER_END] + new + kept[_PNG_HEADER_END:]


def without_texts(image: ImageData) -> ImageData:
    """The same picture without texts and EXIF, pixels untouched."""
    if image.media_type == PNG:
        return image.model_copy(update={"data": _without_texts(image.data, None)})
    return with_exif(image, b"")


def with_exif(image: ImageData, exif: bytes) -> ImageData:
    """The same JPEG or WebP with this EXIF block in place of the one it has, pixels untouched.

    Args:
        image: A JPEG or WebP.
        exif: A TIFF structure as EXIF wants it; empty = none.
    """
    insert = _jpeg_with_exif if image.media_type == JPEG else _webp_with_exif
    return image.model_copy(update={"data": insert(image, exif)})


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Kind, body and the whole chunk, up to the first that is not complete."""
    start = _PNG_SIGNATURE_BYTES
    while start + 12 <= len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        end = start + 12 + length
        if end > len(data):
            return
        yield data[start + 4 : start + 8], data[start + 8 : end - 4], data[start:end]
        start = end


def _is_intact(chunk: bytes) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


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


def _without_texts(data: bytes, keywords: Iterable[str] | None) -> bytes:
    """A PNG without the texts of these keywords; None = without all texts and EXIF."""
    names = None if keywords is None else {keyword.encode("latin-1") for keyword in keywords}
    dropped = [
        chunk
        for kind, body, chunk in _png_chunks(data)
        if (kind in _PNG_TEXT_KINDS and (names is None or body.partition(b"\0")[0] in names))
        or (kind == b"eXIf" and names is None)
    ]
    for chunk in dropped:
        data = data.replace(chunk, b"", 1)
    return data


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and whole segment, from after the start of the image to before the scan."""
    start = 2
    while start + 4 <= len(data) and data[start] == 0xFF and data[start + 1] != 0xDA:
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        yield data[start + 1], data[start:end]
        start = end


def _jpeg_with_exif(image: ImageData, exif: bytes) -> bytes:
    segments = list(_jpeg_segments(image.data))
    rest = image.data[2 + sum(len(segment) for _, segment in segments) :]
    kept = [segment for marker, segment in segments if marker != 0xE1]  # APP1: EXIF and XMP
    if exif:
        body = _EXIF_MARK + exif
        leading = 1 if segments and segments[0][0] == 0xE0 else 0  # JFIF's APP0 wants to be first
        kept.insert(leading, b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body)
    return image.data[:2] + b"".join(kept) + rest


def _webp_with_exif(image: ImageData, exif: bytes) -> bytes:
    chunks = [(kind, body) for kind, body in _webp_chunks(image.data) if kind not in (b"EXIF", b"XMP ")]
    flags = next((body[0] for kind, body in chunks if kind == b"VP8X"), 0) & ~0x0C
    if any(kind == b"ALPH" or (kind == b"VP8L" and body[4] & 0x10) for kind, body in chunks):
        flags |= _WEBP_ALPHA_FLAG
    if exif:
        flags |= _WEBP_EXIF_FLAG
        chunks.append((b"EXIF", exif))
    width_px, height_px = size_of(image)
    canvas = (width_px - 1).to_bytes(3, "little") + (height_px - 1).to_bytes(3, "little")
    extended = [(b"VP8X", bytes([flags, 0, 0, 0]) + canvas)]
    extended += [(kind, body) for kind, body in chunks if kind != b"VP8X"]
    packed = b"".join(
        kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2) for kind, body in extended
    )
    return b"RIFF" + struct.pack("<I", len(packed) + 4) + b"WEBP" + packed


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = 12
    while start + 8 <= len(data):
        length = int.from_bytes(data[start + 4 : start + 8], "little")
        yield data[start : start + 4], data[start + 8 : start + 8 + length]
        start += 8 + length + length % 2
