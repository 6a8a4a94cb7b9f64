"""Pictures as this API has them: data URIs, masks by transparency, and the file types of answers."""

import io
from typing import Any, Final

from sdenv.core.errors import BadMask, UnsupportedError
from sdenv.core.image import JPEG, ImageData, decode, encode_png, size_of
from sdenv.protocols.inline import inline_picture
from sdenv.protocols.loose_fields import fault

_NO_TRANSPARENCY: Final = 255
_BEST_JPEG_QUALITY: Final = 95  # above it Pillow's files grow by half, and no eye sees a difference
_FULL_COLOUR_QUALITY: Final = 90


def picture_of_json(value: Any, name: str) -> ImageData:
    """The picture in a JSON value: `{"image_url": "data:..."}`, or a text: a data URI, or bare base64.

    Args:
        value: What a client sent.
        name: The field, for errors.

    Raises:
        UnsupportedError: It is a `file_id`: this server keeps no files of clients.
        BadImage: It is an address, which is not fetched because a client says so; or no picture.
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
    return inline_picture(value, name)


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
    """A mask of ours as this API wants it: white = repaint becomes transparent = edit.

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
