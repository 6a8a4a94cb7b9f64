"""Texts and EXIF inside picture files, read and written without touching a pixel.

Sources: PNG specification, third edition, 5.3 (chunks) and 11.3.3 (tEXt, zTXt, iTXt); JPEG, ITU-T T.81,
B.1.1; EXIF 2.32, 4.5.4 and 4.6.5 (UserComment); WebP, RFC 9649, 2.7. Files come from strangers: a chunk whose
checksum is wrong is skipped, and no text grows beyond a limit when it is inflated.
"""

import struct
import zlib
from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

from sdenv.core.errors import BadImage
from sdenv.core.image import JPEG, PNG, ImageData, size_of

MAX_TEXT_BYTES: Final = 2**20  # a text after inflation, keyword not counted
MAX_TEXTS_BYTES: Final = 16 * 2**20  # all texts of a file together
MAX_JPEG_EXIF_BYTES: Final = (
    65_533 - 6
)  # a segment counts its length field in 16 bits; "Exif\0\0" goes before

USER_COMMENT_MARK: Final = b"UNICODE\0"  # the character code that EXIF wants before UTF-16

_PNG_SIGNATURE_BYTES: Final = 8
_PNG_TEXT_KINDS: Final = (b"tEXt", b"zTXt", b"iTXt")
_JPEG_APP0: Final = 0xE0  # JFIF
_JPEG_APP1: Final = 0xE1  # EXIF, XMP
_JPEG_COMMENT: Final = 0xFE
_JPEG_SCAN: Final = 0xDA
_EXIF_MARK: Final = b"Exif\0\0"
_TIFF_SHORT: Final = 3
_TIFF_LONG: Final = 4
_TIFF_UNDEFINED: Final = 7
_WEBP_EXIF_FLAG: Final = 0x08
_WEBP_XMP_FLAG: Final = 0x04
_WEBP_ALPHA_FLAG: Final = 0x10


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
    for chunk in _png_chunks(data):
        if chunk.kind not in _PNG_TEXT_KINDS or not chunk.is_intact(data):
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
    kept = _without_texts(data, texts.keys())
    header = next(_png_chunks(kept), None)  # IHDR, always first
    if header is None:
        raise BadImage("The picture is not a complete PNG.")
    return kept[: header.end] + new + kept[header.end :]


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


def user_comment_exif(text: str, orientation: int = 1) -> bytes:
    """An EXIF block that holds a UserComment, in UTF-16 big-endian as AUTOMATIC1111 writes it.

    Written here because Pillow gives the comment the type BYTE, and common readers want UNDEFINED.

    Args:
        text: The comment.
        orientation: EXIF orientation of the picture, 1 to 8; 1 = as it is stored.
    """
    comment = USER_COMMENT_MARK + text.encode("utf-16-be", errors="replace")
    entries = [] if orientation == 1 else [_tiff_entry(0x0112, _TIFF_SHORT, 1, orientation << 16)]
    exif_at = 8 + 2 + 12 * (len(entries) + 1) + 4
    entries.append(_tiff_entry(0x8769, _TIFF_LONG, 1, exif_at))
    comment_at = exif_at + 2 + 12 + 4
    inner = _tiff_entry(0x9286, _TIFF_UNDEFINED, len(comment), comment_at)
    return b"MM\0*" + struct.pack(">I", 8) + _tiff_directory(entries) + _tiff_directory([inner]) + comment


def _tiff_entry(tag: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack(">HHII", tag, kind, count, value)


def _tiff_directory(entries: list[bytes]) -> bytes:
    return struct.pack(">H", len(entries)) + b"".join(entries) + b"\0\0\0\0"


def _png_chunks(data: bytes) -> Iterator[_Chunk]:
    """The chunks up to the first that is not complete."""
    start = _PNG_SIGNATURE_BYTES
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


def _without_texts(data: bytes, keywords: Collection[str] | None) -> bytes:
    """A PNG without the texts of these keywords; None = without all texts and EXIF."""
    kept = []
    end = 0
    for chunk in _png_chunks(data):
        if _is_kept(chunk, data, keywords):
            continue
        kept.append(data[end : chunk.start])
        end = chunk.end
    return b"".join([*kept, data[end:]])


def _is_kept(chunk: _Chunk, data: bytes, keywords: Collection[str] | None) -> bool:
    if chunk.kind in _PNG_TEXT_KINDS and keywords is not None:
        return chunk.body(data).partition(b"\0")[0].decode("latin-1") not in keywords
    return chunk.kind not in (*_PNG_TEXT_KINDS, b"eXIf") or keywords is not None


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and whole segment, from after the start of the image to before the scan."""
    start = 2
    while start + 4 <= len(data) and data[start] == 0xFF and data[start + 1] != _JPEG_SCAN:
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        yield data[start + 1], data[start:end]
        start = end


def _jpeg_with_exif(image: ImageData, exif: bytes) -> bytes:
    segments = list(_jpeg_segments(image.data))
    rest = image.data[2 + sum(len(segment) for _, segment in segments) :]
    dropped = {_JPEG_APP1} if exif else {_JPEG_APP1, _JPEG_COMMENT}
    kept = [segment for marker, segment in segments if marker not in dropped]
    if exif:
        body = _EXIF_MARK + exif
        leading = 1 if segments and segments[0][0] == _JPEG_APP0 else 0  # JFIF wants to be first
        kept.insert(leading, b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body)
    return image.data[:2] + b"".join(kept) + rest


def _webp_with_exif(image: ImageData, exif: bytes) -> bytes:
    chunks = [(kind, body) for kind, body in _webp_chunks(image.data) if kind not in (b"EXIF", b"XMP ")]
    flags = next((body[0] for kind, body in chunks if kind == b"VP8X"), 0)
    flags &= ~(_WEBP_EXIF_FLAG | _WEBP_XMP_FLAG)
    if any(kind == b"ALPH" or (kind == b"VP8L" and body[4:5] and body[4] & 0x10) for kind, body in chunks):
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
