"""OpenAI's own Python package, as it comes, before a server of ours."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai

from sdenv.core.image import ImageData
from sdenv.core.server import Address


@contextmanager
def official_client(address: Address, **options: Any) -> Iterator[openai.OpenAI]:
    """The official client of the server at this address; it proves itself with any key."""
    settings: dict[str, Any] = {"api_key": "any", "timeout": 60.0, **options}
    with openai.OpenAI(base_url=f"http://{address.host}:{address.port}/v1", **settings) as client:
        yield client


def file_of(picture: ImageData, name: str = "picture.png") -> tuple[str, io.BytesIO, str]:
    """A picture as the package takes files."""
    return name, io.BytesIO(picture.data), picture.media_type


def picture_of(text: str | None) -> ImageData:
    """A picture of an answer."""
    assert text is not None
    return ImageData.from_bytes(base64.b64decode(text))
