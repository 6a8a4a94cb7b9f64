"""Pictures at the waist: encoded bytes and their media type, never tensors and never decoded pixels.

Decoding is a promise to be careful: sizes are read from the header before any pixel is, so that a
decompression bomb costs nothing, and a truncated file is an error instead of a half-grey picture.
"""

import io
import struct
import warnings
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict

from sdenv.core.errors import BadImage

if TYPE_CHECKING:
    from PIL.Image import Image

PNG: Final = "image/png"
JPEG: Final = "image/jpeg"
WEBP: Final = "image/webp"

MAX_DECODED_PIXELS: Final = 64_000_000  # conventions, "Limits": decoded input 64 MP
MAX_ENCODED_BYTES: Final = 64 * 2**20  # conventions, "Limits": body 64 MiB

_MAGIC: Final[tuple[tuple[bytes, str], ...]] = ((b"\x89PNG\r\n\x1a\n", PNG), (b"\xff\xd8\xff", JPEG))
_PILLOW_FORMATS: Final = ("PNG", "JPEG", "WEBP")  # what is read; Pillow's other parsers are never reached


class ImageData(BaseModel):
    """An encoded picture.

    Attributes:
        data: The bytes of the file, PNG, JPEG or WebP; base64 in JSON.
        media_type: For example `image/png`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")

    data: bytes
    media_type: str

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "the picture") -> "ImageData":
        """Wraps bytes whose type is recognised by their first bytes, whatever the file is called.

        Args:
            data: An encoded picture.
            name: What to call it in an error.

        Raises:
            BadImage: The bytes are neither PNG, JPEG nor WebP.
        """
        return cls(data=data, media_type=sniff_media_type(data, name))

    def __repr__(self) -> str:
        return f"ImageData({self.media_type}, {len(self.data)} bytes)"


def sniff_media_type(data: bytes, name: str = "the picture") -> str:
    """The media type that the first bytes announce; raises BadImage for anything but PNG, JPEG and WebP."""
    for magic, media_type in _MAGIC:
        if data.startswith(magic):
            return media_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    found = "it is empty" if not data else f"it begins with {data[:8]!r}"
    raise BadImage(
        f"{name} is not a picture that sdenv reads: {found}.", hint="Give a PNG, JPEG or WebP file."
    )


def open_checked(image: ImageData, name: str = "the picture") -> "Image":
    """Opens a picture without decoding it: format known, size within the limit.

    Raises:
        BadImage: Not a picture, or more than MAX_DECODED_PIXELS pixels.
    """
    import PIL.Image

    if len(image.data) > MAX_ENCODED_BYTES:
        raise BadImage(f"{name} has {len(image.data)} bytes; the limit is {MAX_ENCODED_BYTES}.")
    # Pillow warns of large pictures at a limit of its own (ours is checked below), and of damaged metadata,
    # which hurts nobody. Not `catch_warnings`: it is not safe in threads.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        opened = PIL.Image.open(io.BytesIO(image.data), formats=_PILLOW_FORMATS)
    except PIL.Image.DecompressionBombError as error:
        raise _too_large(f"{name} would decode to far too many pixels.") from error
    except _DAMAGED as error:
        raise BadImage(f"{name} cannot be read as a picture.", why=_cause(error)) from error
    width_px, height_px = opened.size
    if width_px * height_px > MAX_DECODED_PIXELS:
        raise _too_large(f"{name} would decode to {width_px}x{height_px} pixels.")
    return opened


def _cause(error: Exception) -> str:
    """What Pillow says; nothing where it only names an object of ours."""
    import PIL

    return "" if isinstance(error, PIL.UnidentifiedImageError) else f"{error}."


def _too_large(what: str) -> BadImage:
    limit = f"The limit for input pictures is {MAX_DECODED_PIXELS // 1_000_000} megapixels."
    return BadImage(what, why=limit, hint="Give a smaller picture.")


def size_of(image: ImageData, name: str = "the picture") -> tuple[int, int]:
    """Width and height in pixels as a viewer shows them (EXIF rotation applied), read from the header."""
    opened = open_checked(image, name)
    width_px, height_px = opened.size
    return (height_px, width_px) if _orientation(opened) in _ROTATED else (width_px, height_px)


_EXIF_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = 1
_ROTATED: Final = frozenset({5, 6, 7, 8})  # EXIF 2.3, table 6: these swap rows and columns
_DAMAGED: Final = (OSError, SyntaxError, ValueError, TypeError, struct.error)
"""What Pillow's parsers raise for bytes that are not what their header says."""


def orientation_of(image: ImageData, name: str = "the picture") -> int:
    """How the camera was held: EXIF orientation, 1 to 8; 1 = the picture is shown as it lies."""
    return _orientation(open_checked(image, name))


def exif_value(image: ImageData, tag: int, directory: int, name: str = "the picture") -> object:
    """A value from one of the directories of a picture's EXIF; None if there is none or it is damaged."""
    return _exif_value(open_checked(image, name), tag, directory)


def _orientation(opened: "Image") -> int:
    found = _exif_value(opened, _EXIF_ORIENTATION)
    return found if isinstance(found, int) and found in range(1, 9) else _UPRIGHT


def _exif_value(opened: "Image", tag: int, directory: int | None = None) -> object:
    """A value from what stands before the pixels."""
    if opened.format == "PNG" and "exif" not in opened.info:
        return None  # Pillow would decode all of it to look for the chunk behind the pixels
    try:
        exif = opened.getexif()
        return (exif if directory is None else exif.get_ifd(directory)).get(tag)
    except _DAMAGED:  # only the metadata is damaged, and a viewer shows the picture as it lies
        return None


def decode(image: ImageData, name: str = "the picture") -> "Image":
    """Decodes a picture completely, with its EXIF rotation applied.

    Returns:
        A loaded Pillow image in its own mode (RGB, RGBA, L, ...).

    Raises:
        BadImage: Not a picture, too large, or truncated.
    """
    import PIL.ImageOps

    opened = open_checked(image, name)
    upright = _orientation(opened) == _UPRIGHT
    _load(opened, name)
    return opened if upright else PIL.ImageOps.exif_transpose(opened)


def check_whole(image: ImageData, name: str = "the picture") -> None:
    """Decodes a picture to see whether all of it is there; raises as `decode`, and keeps nothing of it."""
    with open_checked(image, name) as opened:
        _load(opened, name)


def _load(opened: "Image", name: str) -> None:
    try:
        opened.load()
    except (*_DAMAGED, MemoryError) as error:
        raise BadImage(
            f"{name} is damaged or incomplete.", why=f"{error}.", hint="Copy or download the file again."
        ) from error


def encode_png(picture: "Image") -> ImageData:
    """Encodes a Pillow image as PNG without metadata, losslessly.

    Compression level 1: measured on 512 px pictures it costs a fifth of Pillow's default 6 for files a tenth
    to a fifth larger. Pictures are read more often than written, but the person at the prompt waits for this.
    """
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=1)
    return ImageData(data=buffer.getvalue(), media_type=PNG)


def resampled(image: ImageData, width_px: int, height_px: int) -> ImageData:
    """The picture at exactly this size, as PNG (Lanczos); for a size that the model itself cannot make."""
    import PIL.Image

    return encode_png(decode(image).resize((width_px, height_px), PIL.Image.Resampling.LANCZOS))
