"""Further arguments inside the prompt, as clients of stable-diffusion.cpp's server hide them.

    a fox <sd_cpp_extra_args>{"sample_params": {"sample_steps": 28}, "seed": 7}</sd_cpp_extra_args>

Source: leejet/stable-diffusion.cpp, `examples/server/api.md`. The words are those of its own API; the flat
form `{"steps": 28}`, which older clients send, is taken as well.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from sdenv.protocols.loose_fields import fault

_EXTRA_ARGUMENTS: Final = re.compile(r"<sd_cpp_extra_args>(.*?)</sd_cpp_extra_args>", re.DOTALL)
_OURS: Final[Mapping[Any, str]] = {
    "sample_steps": "steps",
    "sample_method": "sampler",
    "scheduler": "schedule",
}
_LONGEST_CHARACTERS: Final = 100_000


def with_extra_arguments(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields, with those that stand in the prompt; where both say something, the prompt does.

    Args:
        values: What a client sent.

    Raises:
        InvalidRequest: What stands there is not a JSON object.
    """
    prompt = values.get("prompt")
    extra = extra_arguments(prompt) if isinstance(prompt, str) else {}
    return {**values, **extra}


def extra_arguments(prompt: str) -> dict[str, Any]:
    """What stands in a prompt, as plain fields, with the prompt that is left; empty = there is nothing.

    Raises:
        InvalidRequest: What stands there is not a JSON object.
    """
    block = _EXTRA_ARGUMENTS.search(prompt)
    if block is None:
        return {}
    extra = _extra_arguments(block[1])
    rest = f"{prompt[: block.start()]}{prompt[block.end() :]}".strip()
    return {**_flat(extra), "prompt": extra.get("prompt", rest)}


def _extra_arguments(text: str) -> dict[str, Any]:
    try:
        extra = json.loads(text) if len(text) <= _LONGEST_CHARACTERS else None
    except (ValueError, RecursionError):
        extra = None
    if not isinstance(extra, dict):
        raise fault("prompt", "holds sd_cpp_extra_args that are not a JSON object")
    return extra


def _flat(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Its nested words as plain fields; `{"steps": 20}` is taken as well as `sample_params.sample_steps`."""
    flat = {name: value for name, value in extra.items() if name not in ("sample_params", "batch_count")}
    sample = extra.get("sample_params")
    if isinstance(sample, dict):
        flat |= {_OURS.get(name, name): value for name, value in sample.items() if name != "guidance"}
        guidance = sample.get("guidance")
        if isinstance(guidance, dict) and guidance.get("txt_cfg") is not None:
            flat["guidance_scale"] = guidance["txt_cfg"]
    if extra.get("batch_count") is not None:
        flat["n"] = extra["batch_count"]
    return flat
