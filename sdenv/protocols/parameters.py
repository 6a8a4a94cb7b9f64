r"""AUTOMATIC1111's text about how a picture was made: PNG chunk `parameters`, EXIF UserComment.

    text   = [prompt] ["\nNegative prompt: " negative] "\n" params
    params = pair *(", " pair);  pair = key ": " value

Written so that AUTOMATIC1111's own reader gets every value back, and read exactly as that reader does
(`parse_generation_parameters` in its `modules/infotext_utils.py`). The form has holes: a prompt line that
begins with "Negative prompt:" cannot be told apart, and blanks around lines are lost; sdenv's own chunk
keeps the exact request.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sdenv.core.request import ResolvedRequest

CARRIES: Final = frozenset(
    {
        "prompt",
        "negative_prompt",
        "model",
        "width",
        "height",
        "steps",
        "guidance_scale",
        "seed",
        "sampler",
        "schedule",
    }
    | {"loras", "clip_skip", "hires", "vae"}
)
"""Fields that come back from the text. `strength` is written too, but says nothing without its init image."""

_PAIR: Final = re.compile(r'(\w[\w \-/]{1,80}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
"""AUTOMATIC1111's pattern, with a limit on keys and without the blanks before them: in its own form the time
for a long line without pairs grows with the square of its length, and pictures come from strangers."""

_SIZE: Final = re.compile(r"^(\d+)x(\d+)$")
_LORA: Final = re.compile(r" ?<lora:([^:<>]+)(?::(-?[\d.]+(?:e-?\d+)?))?>")
_NEGATIVE: Final = "Negative prompt:"
_MIN_PAIRS: Final = 3  # a last line with fewer pairs is prompt


@dataclass(frozen=True, slots=True)
class Parameters:
    """The text taken apart.

    Attributes:
        prompt: The prompt, with `<lora:...>` tags as they stand.
        negative_prompt: The negative prompt.
        values: The pairs in order, by key.
    """

    prompt: str = ""
    negative_prompt: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


def encode_parameters(parameters: Parameters) -> str:
    """The text; AUTOMATIC1111's reader takes it apart into the same, blanks around lines not counted."""
    pairs = [f"{key}: {_quoted(value)}" for key, value in parameters.values.items()]
    negative = f"\n{_NEGATIVE} {parameters.negative_prompt}" if parameters.negative_prompt else ""
    return f"{parameters.prompt}{negative}\n{', '.join(pairs)}".replace("\0", "").strip()


def _quoted(value: str) -> str:
    """As JSON where the plain value would not be read back."""
    plain = value and value == value.strip() and not value.startswith('"') and not re.search(r"[,:\n]", value)
    return value if plain else json.dumps(value, ensure_ascii=False)


def decode_parameters(text: str) -> Parameters:
    """Takes a text apart as AUTOMATIC1111's reader does; never fails, for any text is at least a prompt."""
    *lines, last = text.strip().split("\n")
    pairs = _PAIR.findall(last)
    if len(pairs) < _MIN_PAIRS:
        lines.append(last)
        pairs = []
    prompt: list[str] = []
    negative: list[str] = []
    current = prompt
    for line in (each.strip() for each in lines):
        if line.startswith(_NEGATIVE):
            current = negative
            line = line.removeprefix(_NEGATIVE).strip()
        current.append(line)
    return Parameters("\n".join(prompt).lstrip("\n"), "\n".join(negative).lstrip("\n"), _values(pairs))


def _values(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """The values by key, unquoted, sizes as two; empty ones are dropped, as AUTOMATIC1111 does."""
    values: dict[str, str] = {}
    for key, raw in pairs:
        value = _unquoted(raw)
        if size := _SIZE.match(value):
            values[f"{key}-1"], values[f"{key}-2"] = size[1], size[2]
        elif raw:
            values[key] = value
    return values


def _unquoted(value: str) -> str:
    if len(value) < 2 or not (value.startswith('"') and value.endswith('"')):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value


def parameters_of(done: ResolvedRequest, *, seed: int, model_hash: str = "", version: str = "") -> Parameters:
    """How a picture was made, in AUTOMATIC1111's words and order.

    Args:
        done: The request with every decision made.
        seed: The seed of this picture.
        model_hash: First 10 hex digits of the SHA-256 of the weights; "" = unknown.
        version: What made it, for example `sdenv 0.1.0`.
    """
    tags = [f"<lora:{lora.name}:{_number(lora.weight)}>" for lora in done.loras]
    hires = done.hires if done.strength is None else None  # one "Denoising strength" cannot say both
    strength = hires.strength if hires else done.strength
    values = {
        "Steps": str(done.steps),
        "Sampler": done.sampler,
        "Schedule type": done.schedule,
        "CFG scale": _number(done.guidance_scale),
        "Seed": str(seed),
        "Size": f"{done.width}x{done.height}",
        "Model hash": model_hash or None,
        "Model": done.model,
        "VAE": done.vae,
        "Denoising strength": None if strength is None else _number(strength),
        "Clip skip": str(done.clip_skip) if (done.clip_skip or 1) > 1 else None,
        "Hires upscale": _number(hires.scale) if hires else None,
        "Hires steps": str(hires.steps) if hires and hires.steps else None,
        "Version": version or None,
    }
    prompt = " ".join([*([done.prompt] if done.prompt else []), *tags])
    return Parameters(
        prompt, done.negative_prompt, {key: value for key, value in values.items() if value is not None}
    )


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


_FIELDS: Final[Mapping[str, str]] = {
    "steps": "Steps",
    "sampler": "Sampler",
    "schedule": "Schedule type",
    "guidance_scale": "CFG scale",
    "seed": "Seed",
    "width": "Size-1",
    "height": "Size-2",
    "model": "Model",
    "vae": "VAE",
    "clip_skip": "Clip skip",
}


def request_values(parameters: Parameters) -> dict[str, Any]:
    """The request that a text stands for, as values for `parse_request`; other keys are not used.

    `strength` is among them if the picture was made from another one, which the text does not hold.
    """
    values = parameters.values
    found: dict[str, Any] = {"prompt": _LORA.sub("", parameters.prompt).strip()}
    if parameters.negative_prompt:
        found["negative_prompt"] = parameters.negative_prompt.strip()
    loras = [{"name": name, "weight": weight or 1} for name, weight in _LORA.findall(parameters.prompt)]
    if loras:
        found["loras"] = loras
    found.update({name: said for name, key in _FIELDS.items() if (said := _said(values, key))})
    scale, strength = _said(values, "Hires upscale"), _said(values, "Denoising strength")
    if scale and strength:
        found["hires"] = {"scale": scale, "strength": strength}
        if steps := _said(values, "Hires steps"):
            found["hires"]["steps"] = steps
    elif strength:
        found["strength"] = strength
    return found


def _said(values: Mapping[str, str], key: str) -> str:
    """The value of a key; one that looks like a size was taken apart by the reader and is joined again."""
    if f"{key}-1" in values:
        return f"{values[f'{key}-1']}x{values[f'{key}-2']}"
    return values.get(key, "")
