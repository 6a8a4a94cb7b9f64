"""A picture's parameters taken apart as AUTOMATIC1111's png-info answers them, its defaults put in.

Source: AUTOMATIC1111/stable-diffusion-webui, `modules/infotext_utils.py` (parse_generation_parameters).
"""

from collections.abc import Mapping
from typing import Any, Final

from sdenv.protocols.parameters import decode_parameters

_DEFAULTS: Final[Mapping[str, Any]] = {
    "Clip skip": "1",
    "Hires resize-1": 0,
    "Hires resize-2": 0,
    "Hires sampler": "Use same sampler",
    "Hires checkpoint": "Use same checkpoint",
    "Hires prompt": "",
    "Hires negative prompt": "",
    "RNG": "GPU",
    "Schedule type": "Automatic",
    "Mask mode": "Inpaint masked",
    "Masked content": "original",
    "Inpaint area": "Whole picture",
    "Masked area padding": 32,
    "VAE Encoder": "Full",
    "VAE Decoder": "Full",
    "FP8 weight": "Disable",
}
"""What its reader puts in where the text is silent."""


def infotext_record(text: str) -> dict[str, Any]:
    """The parameters of png-info; empty for an empty text."""
    if not text:
        return {}
    read = decode_parameters(text)
    said = {"Prompt": read.prompt, "Negative prompt": read.negative_prompt, **read.values}
    return {**_DEFAULTS, **said}
