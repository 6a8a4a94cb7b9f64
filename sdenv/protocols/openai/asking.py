"""From a request to what a client of the images API sends, and from the answer to pictures."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from sdenv.core.errors import PeerBrokeProtocol
from sdenv.core.events import Notice
from sdenv.core.families import family_named
from sdenv.core.image import ImageData
from sdenv.core.request import GenerationRequest, ResolvedRequest
from sdenv.protocols.native.reading import Record, reading
from sdenv.protocols.native.reading import texts as texts_of
from sdenv.protocols.openai.forms import Upload, form_body
from sdenv.protocols.openai.pictures import transparent_mask
from sdenv.protocols.openai.words import EDITS, EXTENSION, EXTENSIONS, GENERATIONS

UNKNOWN_NAME: Final = "unknown"
_SUFFIXES: Final = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
_INPUTS: Final = ("init_image", "mask")


@dataclass(frozen=True, slots=True)
class Asked:
    """What to send.

    Attributes:
        path: With the prefix `/v1`.
        values: The fields.
        uploads: The files; empty = the body is JSON, else a form.
    """

    path: str
    values: Mapping[str, Any]
    uploads: tuple[Upload, ...] = ()

    def body(self) -> tuple[str, bytes]:
        """The content type and the body."""
        if not self.uploads:
            return "application/json", json.dumps(self.values, allow_nan=False).encode()
        return form_body({name: _form_text(value) for name, value in self.values.items()}, self.uploads)


@dataclass(frozen=True, slots=True)
class Received:
    """One picture of an answer.

    Attributes:
        data: The file; None = it is to be fetched from `url`.
        url: Where it lies.
        seed: Its seed; None = the server does not say.
        index: Which of the pictures it is.
        revised_prompt: The prompt that the server made of ours; "" = ours.
        facts: What an sdenv server says more.
    """

    data: bytes | None
    url: str = ""
    seed: int | None = None
    index: int = 0
    revised_prompt: str = ""
    facts: Record | None = None


@dataclass(frozen=True, slots=True)
class ReceivedPartial:
    """A picture on the way.

    Attributes:
        data: The file.
        index: Which of the pictures it will be.
        step: After how many steps; at least 1.
    """

    data: bytes
    index: int
    step: int


def _form_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def asked_of(
    request: GenerationRequest,
    *,
    response_format: str | None = None,
    partial_images: int | None = None,
) -> Asked:
    """What to send for a request; fields of it that this API has no words for are not looked at.

    Args:
        request: What is wanted, of the fields in CARRIES.
        response_format: `b64_json`; None = not said, since the GPT image models refuse the field.
        partial_images: Ask for a stream with so many pictures on the way; None = no stream.

    Raises:
        BadImage: The mask is not a picture.
    """
    side_px = request.width or request.height
    size = f"{request.width or side_px}x{request.height or side_px}" if side_px else None
    values: dict[str, Any] = {
        "prompt": request.prompt,
        "model": request.model,
        "n": request.count if request.count > 1 else None,
        "size": size,
        "response_format": response_format,
    }
    values |= {names[0]: getattr(request, field) for field, names in EXTENSIONS.items()}
    if partial_images is not None:
        values |= {"stream": True, "partial_images": partial_images}
    said = {name: value for name, value in values.items() if value is not None}
    if request.init_image is None:
        return Asked(GENERATIONS, said)
    uploads = [_upload("image", request.init_image)]
    if request.mask is not None:
        uploads.append(_upload("mask", transparent_mask(request.mask)))
    return Asked(EDITS, said, tuple(uploads))


def _upload(field: str, picture: ImageData) -> Upload:
    return Upload(field, f"{field}.{_SUFFIXES.get(picture.media_type, 'png')}", picture)


def pictures_of(answer: Any) -> tuple[Received, ...]:
    """The pictures of an answer that is no stream.

    Raises:
        PeerBrokeProtocol: It is not such an answer.
    """

    def read() -> tuple[Received, ...]:
        facts = _facts(answer)
        return tuple(_received(each, index, facts) for index, each in enumerate(answer["data"]))

    return reading("an images answer", read)


def completed_of(event: Any, number: int) -> Received:
    """The picture of a `...completed` event.

    Args:
        event: Its data.
        number: How many were completed before: which picture it is, unless the server says so.

    Raises:
        PeerBrokeProtocol: It is not such an event.
    """

    def read() -> Received:
        facts = _facts(event)
        return _received(event, number if facts is None else int(facts.get("index", number)), facts)

    return reading("an image event", read)


def partial_of(event: Any) -> ReceivedPartial:
    """The picture of a `...partial_image` event.

    Raises:
        PeerBrokeProtocol: It is not such an event.
    """

    def read() -> ReceivedPartial:
        own = _facts(event) or {}
        number = int(event.get("partial_image_index", 0))
        step = max(1, int(own.get("step", number + 1)))
        return ReceivedPartial(_bytes(event["b64_json"]), int(own.get("index", 0)), step)

    return reading("an image event", read)


def _received(value: Mapping[str, Any], index: int, facts: Record | None) -> Received:
    seed, revised = value.get("seed"), value.get("revised_prompt")
    data = value.get("b64_json")
    url = value.get("url")
    if data is None and not isinstance(url, str):
        raise KeyError("b64_json")
    return Received(
        data=None if data is None else _bytes(data),
        url=url if isinstance(url, str) else "",
        seed=None if seed is None else int(seed),
        index=index,
        revised_prompt=revised if isinstance(revised, str) else "",
        facts=facts,
    )


def _bytes(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise PeerBrokeProtocol(
            "The other side sent a picture that is not base64.", why=f"{error}."
        ) from error


def _facts(value: Any) -> Record | None:
    found = value.get(EXTENSION)
    return found if isinstance(found, dict) else None


def resolved_of(facts: Record, request: GenerationRequest) -> ResolvedRequest:
    """What an sdenv server has really made, with the input pictures that it does not send back.

    Raises:
        PeerBrokeProtocol: It does not say so in a way that can be read.
    """

    def read() -> ResolvedRequest:
        values = {name: value for name, value in facts["resolved"].items() if name not in _INPUTS}
        resolved = ResolvedRequest.model_validate_json(json.dumps(values))
        return resolved.model_copy(update={name: getattr(request, name) for name in _INPUTS})

    return reading("what it made", read)


def made_with_of(facts: Record) -> Mapping[str, str]:
    """What decides about the last bit, as an sdenv server says it."""
    return reading("what it made it with", lambda: MappingProxyType(texts_of(facts["made_with"])))


def notices_of(facts: Record) -> tuple[Notice, ...]:
    """What an sdenv server wants a person to know."""

    def read() -> tuple[Notice, ...]:
        return tuple(Notice(str(each["code"]), str(each["message"])) for each in facts.get("notices", ()))

    return reading("its notices", read)


_NOT_TOLD: Final = ("model", "steps", "guidance_scale", "seed", "sampler", "schedule")


def assumed(
    request: GenerationRequest, size: tuple[int, int], seed: int | None
) -> tuple[ResolvedRequest, tuple[str, ...]]:
    """What another maker's server has made, as far as it is known; and which fields are only assumed.

    Args:
        request: What was asked for.
        size: Width and height in pixels of the first picture.
        seed: Of the first picture, where the server says it.
    """
    family = family_named("other")
    stand_ins: dict[str, Any] = {
        "model": UNKNOWN_NAME,
        "steps": family.steps,
        "guidance_scale": family.guidance_scale,
        "seed": 0,
        "sampler": UNKNOWN_NAME,
        "schedule": UNKNOWN_NAME,
    }
    said = {name: getattr(request, name) for name in request.said()}
    if seed is not None and "seed" not in said:
        said["seed"] = seed
    resolved = ResolvedRequest(**{**stand_ins, **said, "width": size[0], "height": size[1]})
    return resolved, tuple(name for name in _NOT_TOLD if name not in said)
