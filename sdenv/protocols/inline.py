"""Pictures inside JSON: base64, bare or as a data URI, as the HTTP dialects send them.

Clients break their base64 into lines, leave its padding out, or put `data:image/png;base64,` before it; all
of that is read. A URL is never fetched for a client.
"""

import base64
import binascii
import re
from typing import Final

from sdenv.core.errors import BadImage
from sdenv.core.image import MAX_ENCODED_BYTES, PNG, ImageData, open_checked

_DATA_URI: Final = re.compile(r"\s*data:([\w.+/-]*)((?:;[\w.+=-]+)*?)(;base64)?,", re.IGNORECASE | re.ASCII)
_URL: Final = re.compile(r"\s*(?:https?|ftp|file)://", re.IGNORECASE)
_BLANKS: Final = re.compile(rb"\s+")
_MAX_TEXT: Final = MAX_ENCODED_BYTES // 3 * 4 + 2**20  # base64 is a third longer; some line breaks besides


def inline_picture(text: str, name: str = "the picture") -> ImageData:
    """The picture that a text holds; its size is known to be within the limit, its pixels are not decoded.

    Args:
        text: Base64, bare or as a data URI.
        name: What to call it in an error.

    Raises:
        BadImage: It is a URL, is not base64, has too many bytes or pixels, or is not a PNG, JPEG or WebP.
    """
    image = ImageData.from_bytes(inline_bytes(text, name), name)
    open_checked(image, name)
    return image


def inline_bytes(text: str, name: str = "the picture") -> bytes:
    """The bytes that a text holds.

    Raises:
        BadImage: It is a URL, is not base64, or has too many bytes.
    """
    if _URL.match(text):
        what = f"{name} is given as a URL, and this server fetches none."
        raise BadImage(what, hint="Send the picture itself, as base64.")
    if len(text) > _MAX_TEXT:
        raise BadImage(f"{name} is too large.", why=f"The limit is {MAX_ENCODED_BYTES} bytes.")
    body = text
    if head := _DATA_URI.match(text):
        if not head[3]:
            raise BadImage(f"{name} is a data URI that is not base64.", hint="data:image/png;base64,...")
        body = text[head.end() :]
    try:
        packed = _BLANKS.sub(b"", body.encode("ascii")).rstrip(b"=")
        data = base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadImage(f"{name} is not base64.", hint="Send a PNG, JPEG or WebP as base64.") from error
    if len(data) > MAX_ENCODED_BYTES:
        raise BadImage(f"{name} has {len(data)} bytes; the limit is {MAX_ENCODED_BYTES}.")
    return data


def as_base64(picture: ImageData) -> str:
    """Standard base64, without a prefix and without line breaks."""
    return base64.b64encode(picture.data).decode("ascii")


def as_data_uri(picture: ImageData) -> str:
    """As a browser takes it."""
    return f"data:{picture.media_type or PNG};base64,{as_base64(picture)}"
