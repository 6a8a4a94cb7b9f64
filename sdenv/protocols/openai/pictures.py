"""Pictures as this API has them: data URIs, masks by transparency, and the file types of answers."""

import base64
import binascii
import io
import re
from typing import Any, Final

from sdenv.core.errors import BadImage, BadMask, UnsupportedError
from sdenv.core.image import JPEG, MAX_ENCODED_BYTES, ImageData, decode, encode_png, size_of
from sdenv.protocols.loose import fault

_DATA_URI: Final = re.compile(r"data:[\w.+/-]*(?:;[\w.=+-]+)*;base64,", re.ASCII)
_REMOTE: Final = re.compile(r"[a-zA-Z][\w.+-]{1,15}://")
_BLANK: Final = re.compile(r"\s+")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_NO_TRANSPARENCY: Final = 255
_BEST_JPEG_QUALITY: Final = 95  # above it Pillow's files grow by half, and no eye sees a difference
_FULL_COLOUR_QUALITY: Final = 90


def picture_of_text(text: str, name: str) -> ImageData:
    """The picture in a data URI or in bare base64: blanks are allowed, missing padding is added (OURS-13).

    Args:
        text: What a client sent.
        name: The field, for errors.

    Raises:
        UnsupportedError: It is an address; nothing is fetched because a client says so.
        BadImage: It is not a picture, or a larger one than is read.
    """
    start = _DATA_URI.match(text)
    if start is None and (remote := _REMOTE.match(text.lstrip())):
        raise UnsupportedError(
            "This server does not fetch pictures from addresses.",
            why=f"{name}: an address that begins with {remote[0]!r}.",
            hint="Send the picture itself, as a file or as a data URI (data:image/png;base64,...).",
        )
    if len(text) > MAX_ENCODED_BYTES * 4 // 3 + 100:
        raise BadImage(f"{name} has more than {MAX_ENCODED_BYTES} bytes.")
    bare = _BLANK.sub("", text[start.end() :] if start else text).rstrip("=")
    if not _BASE64.fullmatch(bare):
        raise BadImage("What was sent is not a picture.", why=f"{name}: neither base64 nor a data URI.")
    try:
        data = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except binascii.Error as error:
        raise BadImage("What was sent is not a picture.", why=f"{name}: {error}.") from error
    return ImageData.from_bytes(data, name)


def picture_of_json(value: Any, name: str) -> ImageData:
    """The picture in a JSON value: `{"image_url": "data:..."}`, or a text as `picture_of_text` has it.

    Raises:
        UnsupportedError: It is a `file_id`: this server keeps no files of clients. Or as `picture_of_text`.
        InvalidRequest: It is something else.
    """
    if isinstance(value, dict):
        if value.get("file_id") is not None:
            raise UnsupportedError(
                "This server keeps no uploaded files.",
                why=f"{name}: a file_id.",
                hint="Send the picture itself.",
            )
        address = value.get("image_url")
        value = address.get("url") if isinstance(address, dict) else address
    if not isinstance(value, str):
        raise fault(name, 'must be a picture: {"image_url": "data:image/png;base64,..."}')
    return picture_of_text(value, name)


def repaint_mask(mask: ImageData, picture: ImageData) -> ImageData:
    """A mask of this API as sdenv's own: transparent = repaint becomes white = repaint (OURS-14).

    Args:
        mask: With transparency; alpha 0 is the part to edit.
        picture: The picture that it belongs to.

    Raises:
        BadMask: It has no transparent part, which is how the senses of masks are confused; or another size.
        BadImage: One of the two is not a picture.
    """
    import PIL.ImageChops

    size, wanted = size_of(mask, "mask"), size_of(picture, "image")
    if size != wanted:
        raise BadMask(
            f"The mask is {size[0]}x{size[1]}, the picture {wanted[0]}x{wanted[1]}.",
            hint="Send a mask of the size of the picture.",
        )
    decoded = decode(mask, "mask")
    alpha = decoded.convert("RGBA").getchannel("A")
    if alpha.getextrema() == (_NO_TRANSPARENCY, _NO_TRANSPARENCY):
        raise BadMask(
            "The mask has no transparent part.",
            why="In this API transparent pixels are those to repaint; black and white mean nothing.",
            hint="Send a PNG whose alpha is 0 where the picture is to change.",
        )
    return encode_png(PIL.ImageChops.invert(alpha))


def transparent_mask(mask: ImageData) -> ImageData:
    """The mask of a request as this API wants it: white = repaint becomes transparent. As `repaint_mask` reads it.

    Raises:
        BadImage: It is not a picture.
    """
    import PIL.Image
    import PIL.ImageChops

    alpha = PIL.ImageChops.invert(decode(mask, "the mask").convert("L"))
    picture = PIL.Image.new("RGBA", alpha.size)
    picture.putalpha(alpha)
    return encode_png(picture)


def encoded_as(picture: ImageData, media_type: str, quality: int) -> ImageData:
    """The picture as a file of this type, without metadata; untouched if it has the type.

    Args:
        picture: PNG, as backends make them.
        media_type: PNG, JPEG or WebP.
        quality: 0 to 100, `output_compression`. It is called a compression level and its default is 100; that
            the picture gets better with it, as here, is UNVERIFIED.
    """
    if picture.media_type == media_type:
        return picture
    decoded = decode(picture).convert("RGB")
    buffer = io.BytesIO()
    if media_type == JPEG:
        subsampling = 0 if quality >= _FULL_COLOUR_QUALITY else -1
        best = max(1, min(_BEST_JPEG_QUALITY, quality))
        decoded.save(buffer, format="JPEG", quality=best, subsampling=subsampling)
    else:
        decoded.save(buffer, format="WEBP", quality=quality, method=4)
    return ImageData(data=buffer.getvalue(), media_type=media_type)
