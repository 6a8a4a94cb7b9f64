"""Small pictures and requests for tests of files and their metadata."""

import io
from typing import Any

from PIL import Image

from sdenv.core.image import ImageData, decode, encode_png
from sdenv.core.request import ResolvedRequest


def picture(width: int = 32, height: int = 24, *, value: int = 0) -> ImageData:
    """A PNG with a gradient, so that a changed or moved pixel shows; `value` makes different ones."""
    red = Image.linear_gradient("L").resize((width, height))
    return encode_png(Image.merge("RGB", (red, red.rotate(180), Image.new("L", (width, height), value))))


def done(**changes: object) -> ResolvedRequest:
    """A request with every decision made."""
    usual: dict[str, object] = {
        "prompt": "a fox",
        "model": "emoji",
        "width": 32,
        "height": 24,
        "steps": 20,
        "guidance_scale": 4.0,
        "seed": 7,
        "sampler": "DPM++ 2M",
        "schedule": "Automatic",
    }
    return ResolvedRequest.model_validate(usual | changes)


def encoded(media_type: str, mode: str = "RGB", **options: Any) -> ImageData:
    """The picture in this file type and mode, written by Pillow."""
    buffer = io.BytesIO()
    decode(picture()).convert(mode).save(buffer, media_type.partition("/")[2], **options)
    return ImageData.from_bytes(buffer.getvalue())
