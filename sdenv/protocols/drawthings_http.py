"""The HTTP API of the Draw Things app: pictures from changes to the current settings.

Source: the app's `Libraries/HTTPAPIServer/Sources/HTTPAPIServer.swift` and what its clients send. It looks
like AUTOMATIC1111's, and is stricter: an unknown key is an error, and so is a key together with its synonym.

OURS: a value that is the current one is never outside of its range, so that all settings can be sent back;
null is absent, and numbers may stand in strings; at most 16 pictures a request, as everywhere here.
UNVERIFIED: what the app says of a value outside of its range.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from pydantic import ValidationError

from sdenv.core.backend import BackendStatus
from sdenv.core.errors import InvalidRequest, SdenvError
from sdenv.core.image import ImageData, size_of
from sdenv.core.request import MAX_COUNT, GenerationRequest
from sdenv.core.samplers import AUTOMATIC
from sdenv.protocols.a1111.values import Body, WrongFields, number, row, text, truth, whole
from sdenv.protocols.drawthings_settings import (
    NAMES,
    SAMPLERS,
    SETTINGS,
    SIDE_MULTIPLE_PX,
    Setting,
    pair_of,
    settings_record,
)
from sdenv.protocols.inline import inline_picture

__all__ = ["Ask", "UnknownKeys", "ask_of", "error_body", "settings_record"]


@final
class UnknownKeys(InvalidRequest):
    """Keys that the app has not."""


@final
@dataclass(frozen=True, slots=True)
class Ask:
    """What a body asks for.

    Attributes:
        request: What is wanted.
        notes: What is left out of it, one sentence each.
    """

    request: GenerationRequest
    notes: tuple[str, ...] = ()


def ask_of(body: Body, status: BackendStatus, *, img2img: bool) -> Ask:
    """What a body asks for: changes to the current settings.

    Args:
        body: As it came.
        status: What the backend says of itself.
        img2img: Whether it was posted there.

    Raises:
        UnknownKeys: There are keys that the app has not.
        WrongFields: A key beside its synonym; a value of the wrong type or outside of its range; a wrong
            number of init images, or one of another size.
        BadImage: The init image is no picture.
    """
    if unknown := sorted(body.keys() - NAMES.keys() - {"init_images"}):
        raise UnknownKeys(f"Unrecognized keys: {json.dumps(unknown)[:1000]}")
    current = settings_record(status, text(body, _key(body, "model")) or None)
    said = {
        name: _value(body, key, SETTINGS[name], current[name])
        for name in SETTINGS
        if body.get(key := _key(body, name)) is not None
    }
    values = _values(said, current)
    if img2img:
        values |= _start(body, said, current)
    elif body.get("init_images") is not None:
        raise WrongFields(("init_images", "txt2img takes none; post it to img2img"))
    return Ask(_checked(values), _notes(said, current))


def _key(body: Body, name: str) -> str:
    """The key under which a setting is said.

    Raises:
        WrongFields: It is said under several.
    """
    keys = [each for each in (name, *SETTINGS[name].synonyms) if body.get(each) is not None]
    if len(keys) > 1:
        raise WrongFields((keys[1], f"means the same as {keys[0]}; say one of them"))
    return keys[0] if keys else name


def _value(body: Body, key: str, setting: Setting, current: Any) -> Any:
    """What is said under a key, in the type of its setting and within its range.

    Raises:
        WrongFields: It is neither.
    """
    if isinstance(setting.usual, str):
        word = text(body, key)
        if setting.words and word not in (*setting.words, current):
            raise WrongFields((key, f"must be one of: {', '.join(setting.words)}"))
        return word
    if isinstance(setting.usual, bool):
        return truth(body, key, setting.usual)
    if isinstance(setting.usual, tuple):
        return row(body, key)
    read = whole if isinstance(setting.usual, int) else number
    found = read(body, key, current)
    if found != current and not _within(found, setting):
        raise WrongFields((key, f"must be from {setting.low} to {setting.high} (given: {found})"))
    if NAMES[key] in ("width", "height") and found != current and found % SIDE_MULTIPLE_PX:
        raise WrongFields((key, f"must be a multiple of {SIDE_MULTIPLE_PX} (given: {found})"))
    return found


def _within(value: float, setting: Setting) -> bool:
    return setting.low is None or setting.high is None or setting.low <= value <= setting.high


def _values(said: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the request that are said, but the init image."""
    count = said.get("batch_count", 1) * said.get("batch_size", 1)
    if count > MAX_COUNT:
        raise WrongFields(("batch_count", f"batch_count times batch_size must be at most {MAX_COUNT}"))
    same = ("prompt", "negative_prompt", "steps", "guidance_scale")
    found = {name: said[name] for name in same if name in said}
    found |= {"model": said.get("model") or None, "count": count, "batch_size": said.get("batch_size")}
    if "width" in said or "height" in said:
        found |= {side: said.get(side, current[side]) for side in ("width", "height")}
    if said.get("seed", -1) != -1:
        found["seed"] = said["seed"]
    if said.get("clip_skip", 1) > 1:
        found["clip_skip"] = said["clip_skip"]
    if sampler := said.get("sampler"):
        found["sampler"], found["schedule"] = pair_of(sampler) if sampler in SAMPLERS else (sampler, None)
        if found["schedule"] == AUTOMATIC:
            found["schedule"] = None
    found["loras"] = [_lora(each) for each in said.get("loras", ())]
    return found


def _lora(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise WrongFields(("loras", 'must be a list of {"file": ..., "weight": ...}'))
    return {"name": text(value, "file"), "weight": number(value, "weight", 1.0)}


def _start(body: Body, said: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
    """Init image and strength, and the size that both must have.

    OURS: without a picture the app takes its canvas; there is none here, so it is an error.
    """
    images = row(body, "init_images")
    if len(images) != 1 or not isinstance(images[0], str):
        raise WrongFields(("init_images", "must be exactly one picture as base64; there is no canvas here"))
    if images[0].lstrip()[:5].casefold() == "data:":
        raise WrongFields(("init_images", "must be bare base64, without data:"))
    picture: ImageData = inline_picture(images[0], "init_images.0")
    width, height = (said.get(side, current[side]) for side in ("width", "height"))
    across, down = size_of(picture)
    if (across, down) != (width, height):
        why = f"is {across}x{down}, and must have the size of the picture to make, {width}x{height}"
        raise WrongFields(("init_images", why))
    strength = said.get("strength", current["strength"])
    return {"init_image": picture, "width": width, "height": height, "strength": strength}


def _notes(said: Mapping[str, Any], current: Mapping[str, Any]) -> tuple[str, ...]:
    """What asks for something that is not done here; a current value asks for nothing."""
    names = [name for name in said if not SETTINGS[name].done and said[name] != current[name]]
    if any(each.get("mode") not in (None, "all") for each in said.get("loras", ())):
        names.append("loras.mode")
    return tuple(f"{name} is left out: this server has no such setting." for name in names)


_THEIRS: Final = {"count": "batch_count", "init_image": "init_images"}


def _checked(values: Mapping[str, Any]) -> GenerationRequest:
    try:
        return GenerationRequest.model_validate({name: x for name, x in values.items() if x is not None})
    except ValidationError as error:
        raise WrongFields(*(_fault(each["loc"], each["msg"]) for each in error.errors())) from error


def _fault(location: tuple[int | str, ...], message: str) -> tuple[str, str]:
    ours = str(location[0]) if location else "width"  # of the rules over several fields, that of the area
    return _THEIRS.get(ours, ours), message.removeprefix("Value error, ")


# Errors


def error_body(error: SdenvError) -> dict[str, Any]:
    """The four keys of the app; `detail` ends with our code word, but for the one text that clients know."""
    detail = error.what if isinstance(error, UnknownKeys) else f"{error} ({error.code})"
    return {"error": "HTTPException", "detail": detail, "body": "", "errors": ""}
