"""From what a client of the images API sends to a request, and to how it wants the answer."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from sdenv.core.errors import InvalidRequest, UnsupportedError
from sdenv.core.image import PNG, ImageData
from sdenv.core.request import GenerationRequest, parse_request
from sdenv.protocols.loose_fields import LooseFields, fault
from sdenv.protocols.openai.pictures import picture_of_json, repaint_mask
from sdenv.protocols.openai.words import (
    EXTENSIONS,
    FORMATS,
    MAX_COMPRESSION,
    MAX_IMAGES,
    MAX_PARTIAL_IMAGES,
)
from sdenv.protocols.prompt_arguments import with_extra_arguments


class Call(Enum):
    """Which of the three calls it is; the value is the word before the dot in the names of stream events."""

    GENERATION = "image_generation"
    EDIT = "image_edit"
    VARIATION = "image_variation"  # has no stream, so the word is never sent


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client wants.

    Attributes:
        request: What to make.
        call: How it was asked.
        media_type: File type of the answer's pictures.
        quality: 0 to 100, of JPEG and WebP.
        with_url: Answer addresses of pictures.
        with_base64: Answer pictures in base64.
        stream: Answer as a stream of events.
        partial_images: How many pictures on the way to send in a stream, 0 to 3.
        ignored: Names of fields that asked for something and have no effect.
    """

    request: GenerationRequest
    call: Call = Call.GENERATION
    media_type: str = PNG
    quality: int = MAX_COMPRESSION
    with_url: bool = True
    with_base64: bool = True
    stream: bool = False
    partial_images: int = 0
    ignored: tuple[str, ...] = ()

    @property
    def output_format(self) -> str:
        """The file type as this API calls it."""
        return next(name for name, media_type in FORMATS.items() if media_type == self.media_type)


_FORMAT_WORDS: Final = {**FORMATS, "jpg": FORMATS["jpeg"]}
_ANSWER_WORDS: Final = {"url": (True, False), "b64_json": (False, True)}

_ASKS_FOR_NOTHING: Final[Mapping[str, frozenset[str]]] = {
    "quality": frozenset({"auto", "standard"}),
    "moderation": frozenset({"auto", "low"}),
    "background": frozenset({"auto", "opaque"}),
    "style": frozenset({"vivid"}),
    "input_fidelity": frozenset({"low"}),
}
"""Values that are defaults: a client that sends them asks for nothing."""

_ABOUT_THE_CALLER: Final = frozenset({"user", "safety_identifier", "metadata"})
_OF_ANOTHER_MODEL: Final = frozenset({"gif", "svg"})  # output formats that no model here draws
_SIZE: Final = re.compile(r"\s*(\d{1,6})\s*[xX\u00d7]\s*(\d{1,6})\s*")
_SHOWN_NAMES: Final = 20


def wanted_generation(values: Mapping[str, Any]) -> Wanted:
    """What a body of `POST /v1/images/generations` asks for.

    Args:
        values: The JSON object.

    Raises:
        InvalidRequest: A value is wrong; `why` begins with the name of the field.
    """
    return _wanted(Call.GENERATION, values, (), None)


def wanted_edit(
    values: Mapping[str, Any], images: Sequence[ImageData] = (), mask: ImageData | None = None
) -> Wanted:
    """What `POST /v1/images/edits` asks for. The first picture is edited, the others are references.

    Args:
        values: The fields of the form without files, or the JSON object with pictures inside.
        images: The files `image` or `image[]` of a form.
        mask: The file `mask` of a form.

    Raises:
        InvalidRequest: As `wanted_generation`.
        BadMask: The mask has another size than the picture, or no transparent part.
        BadImage: Something is not a picture.
        UnsupportedError: A picture is given as an address or as the id of a file.
    """
    rest = dict(values)
    found = [*images, *_pictures(rest)]
    mask_value = rest.pop("mask", None)
    if mask is None and mask_value not in (None, ""):
        mask = picture_of_json(mask_value, "mask")
    return _wanted(Call.EDIT, rest, found, mask)


def wanted_variation(values: Mapping[str, Any], images: Sequence[ImageData]) -> Wanted:
    """What `POST /v1/images/variations` asks for; it has no prompt, and one is taken if it comes.

    Args:
        values: The fields of the form without files.
        images: The file `image`.

    Raises:
        InvalidRequest: As `wanted_generation`; or as `wanted_edit`.
    """
    rest = dict(values)
    return _wanted(Call.VARIATION, rest, [*images, *_pictures(rest)], None)


def _pictures(values: dict[str, Any]) -> list[ImageData]:
    """The pictures in JSON values (or in text fields of a form), which are taken out."""
    found: list[ImageData] = []
    for name in ("images", "image", "image[]"):
        value = values.pop(name, None)
        for each in value if isinstance(value, list) else [value]:
            if each not in (None, ""):
                if len(found) == MAX_IMAGES:
                    raise fault("image", f"must be at most {MAX_IMAGES} pictures")
                found.append(picture_of_json(each, "image"))
    return found


def _wanted(
    call: Call, values: Mapping[str, Any], images: Sequence[ImageData], mask: ImageData | None
) -> Wanted:
    fields = LooseFields(with_extra_arguments(values))
    request = _request(call, fields, images, mask)
    media_type = _media_type(fields)
    quality = _in_range(fields, "output_compression", 0, MAX_COMPRESSION)
    answer = fields.choice("response_format", {"url": "url", "b64_json": "b64_json"})
    with_url, with_base64 = _ANSWER_WORDS[answer] if answer else (True, True)
    stream = fields.boolean("stream") or False
    partial_images = _in_range(fields, "partial_images", 0, MAX_PARTIAL_IMAGES) or 0
    lossless = quality is not None and quality < MAX_COMPRESSION and media_type == PNG
    ignored = [*(["output_compression"] if lossless else []), *_left_over(fields, media_type)]
    if stream and call is Call.VARIATION:
        stream, ignored = False, ["stream", *ignored]
    if partial_images and not stream:
        ignored.append("partial_images")
    return Wanted(
        request=request,
        call=call,
        media_type=media_type,
        quality=MAX_COMPRESSION if quality is None else quality,
        with_url=with_url,
        with_base64=with_base64,
        stream=stream,
        partial_images=partial_images if stream else 0,
        ignored=tuple(ignored[:_SHOWN_NAMES]),
    )


def _request(
    call: Call, fields: LooseFields, images: Sequence[ImageData], mask: ImageData | None
) -> GenerationRequest:
    names = EXTENSIONS
    prompt = fields.text("prompt")
    if prompt is None and call is not Call.VARIATION:
        raise fault("prompt", "is missing")
    width, height = _size(fields)
    found: dict[str, Any] = {
        "prompt": prompt,
        "model": fields.name("model"),
        "count": fields.integer("n"),
        "width": width,
        "height": height,
        "negative_prompt": fields.text(*names["negative_prompt"]),
        "steps": fields.integer(*names["steps"]),
        "guidance_scale": fields.number(*names["guidance_scale"]),
        "seed": _unless_negative(fields.integer(*names["seed"])),
        "sampler": fields.name(*names["sampler"]),
        "schedule": fields.name(*names["schedule"]),
        "clip_skip": _unless_negative(fields.integer(*names["clip_skip"])),
        "batch_size": fields.integer(*names["batch_size"]),
    }
    if images:
        found["strength"] = fields.number(*names["strength"])
        found |= {"init_image": images[0], "references": tuple(images[1:MAX_IMAGES])}
    elif call is not Call.GENERATION:
        raise fault("image", "is missing")
    if len(images) > MAX_IMAGES:
        raise fault("image", f"must be at most {MAX_IMAGES} pictures")
    if mask is not None:
        found["mask"] = repaint_mask(mask, images[0])
    return parse_request({name: value for name, value in found.items() if value is not None})


def _unless_negative(value: int | None) -> int | None:
    """-1 is how other programs say "you decide" for a seed or for clip skip."""
    return None if value is not None and value < 0 else value


def _size(fields: LooseFields) -> tuple[int | None, int | None]:
    """Width and height in pixels; None for `auto`: the model's own size, or that of the picture (OURS-16)."""
    size = fields.name("size")
    if size is None:
        return fields.integer("width"), fields.integer("height")
    if size.casefold() == "auto":
        return None, None
    found = _SIZE.fullmatch(size)
    if found is None:
        raise fault("size", 'must be "auto" or such as "512x768"', size)
    return int(found[1]), int(found[2])


def _media_type(fields: LooseFields) -> str:
    name = fields.name("output_format")
    if name is not None and name.casefold() in _OF_ANOTHER_MODEL:
        raise UnsupportedError(
            "Pictures of this type are not made here.",
            why=f"output_format: {name!r}; possible are {', '.join(FORMATS)}.",
        )
    if name is not None and name.casefold() not in _FORMAT_WORDS:
        raise fault("output_format", f"must be one of {', '.join(FORMATS)}", name)
    return PNG if name is None else _FORMAT_WORDS[name.casefold()]


def _in_range(fields: LooseFields, name: str, lowest: int, highest: int) -> int | None:
    value = fields.integer(name)
    if value is not None and not lowest <= value <= highest:
        raise fault(name, f"must be from {lowest} to {highest}", value)
    return value


def _left_over(fields: LooseFields, media_type: str) -> list[str]:
    """Names of the fields that nobody has taken and that ask for something.

    Raises:
        InvalidRequest: A transparent JPEG, which nobody can make.
        UnsupportedError: A picture that the answer would be wrong without.
    """
    left = fields.left()
    if left.get("background") == "transparent" and media_type not in (FORMATS["png"], FORMATS["webp"]):
        raise fault("background", "cannot be transparent in a JPEG; set output_format to png or webp")
    for name in ("mask", "markup"):
        if left.get(name):
            raise UnsupportedError(
                "This picture cannot be used here.", why=f"{name}: not possible in this call."
            )
    return [name for name, value in left.items() if not _says_nothing(name, value)]


def _says_nothing(name: str, value: Any) -> bool:
    if name in _ABOUT_THE_CALLER or value in ("", [], {}):
        return True
    return isinstance(value, str) and value.casefold() in _ASKS_FOR_NOTHING.get(name, ())


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        InvalidRequest: It is not JSON, or another kind of value.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("The body is not JSON.", why=f"{str(error)[:200]}.") from error
    if not isinstance(found, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return found
