"""EXIF inside JPEG and WebP files, and pictures freed of everything private, without touching a pixel.

Sources: JPEG, ITU-T T.81, B.1.1; EXIF 2.32, 4.5.4 and 4.6.5 (UserComment); WebP, RFC 9649, 2.7.
"""

import re
import struct
from collections.abc import Iterator
from typing import Final

from sdenv.core.image import JPEG, PNG, ImageData, open_checked, orientation_of
from sdenv.protocols.png_text import png_anonymous

USER_COMMENT_MARK: Final = b"UNICODE\0"  # the character code that EXIF wants before UTF-16
MAX_JPEG_EXIF_BYTES: Final = 65_527  # 16 bits count the length field itself and "Exif\0\0" as well

_JPEG_START: Final = b"\xff\xd8"
_JPEG_END: Final = b"\xff\xd9"
_JPEG_APP0: Final = 0xE0  # JFIF
_JPEG_APP1: Final = 0xE1  # EXIF, XMP
_JPEG_APP2: Final = 0xE2  # ICC profiles, and further pictures
_JPEG_SCAN: Final = 0xDA
_JPEG_PRIVATE: Final = frozenset({0xFE, *range(0xE0, 0xF0)} - {_JPEG_APP0, _JPEG_APP2, 0xEE})
"""Comments and what applications put in, without what says how to show the pixels: JFIF, ICC, Adobe."""
_JPEG_MARKER_AFTER_SCAN: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_EXIF_MARK: Final = b"Exif\0\0"
_ORIENTATION: Final = 0x0112
_EXIF_DIRECTORY: Final = 0x8769
_USER_COMMENT: Final = 0x9286
_TIFF_SHORT: Final = 3
_TIFF_LONG: Final = 4
_TIFF_UNDEFINED: Final = 7
_WEBP_PICTURE_KINDS: Final = (b"VP8X", b"ICCP", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L")
_WEBP_EXIF_FLAG: Final = 0x08
_WEBP_XMP_FLAG: Final = 0x04
_WEBP_ALPHA_FLAG: Final = 0x10


def anonymous(image: ImageData) -> ImageData:
    """The same picture with nothing but its pixels, its colours and which way up it is.

    Texts, EXIF (a photograph's may name its owner and the place), XMP, IPTC, further pictures, manifests and
    dates go.

    Raises:
        BadImage: Not a picture.
    """
    orientation = orientation_of(image)
    exif = b"" if orientation == 1 else _exif([_tiff_entry(_ORIENTATION, _TIFF_SHORT, 1, orientation << 16)])
    if image.media_type == PNG:
        return image.model_copy(update={"data": png_anonymous(image.data, exif)})
    return with_exif(image, exif, keep_others=False)


def with_exif(image: ImageData, exif: bytes, *, keep_others: bool = True) -> ImageData:
    """The same JPEG or WebP with this EXIF block in place of the one it has, pixels untouched.

    Args:
        image: A JPEG or WebP.
        exif: A TIFF structure as EXIF wants it; empty = none.
        keep_others: Whether to keep comments and what else programs have put in beside the pixels.
    """
    insert = _jpeg_with_exif if image.media_type == JPEG else _webp_with_exif
    return image.model_copy(update={"data": insert(image, exif, keep_others)})


def user_comment_exif(text: str, orientation: int = 1) -> bytes:
    """An EXIF block that holds a UserComment, in UTF-16 big-endian as AUTOMATIC1111 writes it.

    Written here because Pillow gives the comment the type BYTE, and common readers want UNDEFINED.

    Args:
        text: The comment.
        orientation: EXIF orientation of the picture, 1 to 8; 1 = as it is stored.
    """
    comment = USER_COMMENT_MARK + text.encode("utf-16-be", errors="replace")
    first = [] if orientation == 1 else [_tiff_entry(_ORIENTATION, _TIFF_SHORT, 1, orientation << 16)]
    exif_at = 8 + 2 + 12 * (len(first) + 1) + 4
    inner = _tiff_entry(_USER_COMMENT, _TIFF_UNDEFINED, len(comment), exif_at + 2 + 12 + 4)
    first.append(_tiff_entry(_EXIF_DIRECTORY, _TIFF_LONG, 1, exif_at))
    return _exif(first) + _tiff_directory([inner]) + comment


def _exif(entries: list[bytes]) -> bytes:
    return b"MM\0*" + struct.pack(">I", 8) + _tiff_directory(entries)


def _tiff_entry(tag: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack(">HHII", tag, kind, count, value)


def _tiff_directory(entries: list[bytes]) -> bytes:
    return struct.pack(">H", len(entries)) + b"".join(entries) + b"\0\0\0\0"


def _jpeg_parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and bytes of each segment, a scan with its data; then 0 and the end with what follows it."""
    start = len(_JPEG_START)
    while start + 4 <= len(data) and data[start] == 0xFF and not data.startswith(_JPEG_END, start):
        marker = data[start + 1]
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if marker == _JPEG_SCAN:
            after = _JPEG_MARKER_AFTER_SCAN.search(data, end)
            end = after.start() if after else len(data)
        yield marker, data[start:end]
        start = end
    yield 0, data[start:]


def _jpeg_with_exif(image: ImageData, exif: bytes, keep_others: bool) -> bytes:
    parts = [
        (marker, part)
        for marker, part in _jpeg_parts(image.data)
        if marker != _JPEG_APP1 and (keep_others or not _is_private(marker, part))
    ]
    if exif:
        body = _EXIF_MARK + exif
        leading = 1 if parts[0][0] == _JPEG_APP0 else 0  # JFIF wants to be first
        parts.insert(leading, (_JPEG_APP1, b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body))
    if not keep_others and parts[-1][1].startswith(_JPEG_END):
        parts[-1] = (0, _JPEG_END)
    return _JPEG_START + b"".join(part for _, part in parts)


def _is_private(marker: int, part: bytes) -> bool:
    return marker in _JPEG_PRIVATE or (marker == _JPEG_APP2 and part[4:16] != b"ICC_PROFILE\0")


def _webp_with_exif(image: ImageData, exif: bytes, keep_others: bool) -> bytes:
    chunks = [
        (kind, body)
        for kind, body in _webp_chunks(image.data)
        if kind not in (b"EXIF", b"XMP ") and (keep_others or kind in _WEBP_PICTURE_KINDS)
    ]
    flags = next((body[0] for kind, body in chunks if kind == b"VP8X"), 0)
    flags &= ~(_WEBP_EXIF_FLAG | _WEBP_XMP_FLAG)
    if any(kind == b"ALPH" or (kind == b"VP8L" and body[4:5] and body[4] & 0x10) for kind, body in chunks):
        flags |= _WEBP_ALPHA_FLAG
    if exif:
        flags |= _WEBP_EXIF_FLAG
        chunks.append((b"EXIF", exif))
    width_px, height_px = open_checked(image).size  # as stored, not as turned
    canvas = (width_px - 1).to_bytes(3, "little") + (height_px - 1).to_bytes(3, "little")
    extended = [(b"VP8X", bytes([flags, 0, 0, 0]) + canvas)]
    extended += [(kind, body) for kind, body in chunks if kind != b"VP8X"]
    packed = b"".join(
        kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2) for kind, body in extended
    )
    return b"RIFF" + struct.pack("<I", len(packed) + 4) + b"WEBP" + packed


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    start, end = 12, 8 + int.from_bytes(data[4:8], "little")
    while start + 8 <= min(end, len(data)):
        length = int.from_bytes(data[start + 4 : start + 8], "little")
        yield data[start : start + 4], data[start + 8 : start + 8 + length]
        start += 8 + length + length % 2
