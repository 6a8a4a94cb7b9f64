"""What is decided for a request where its sender says nothing: for every backend, and for a dry run."""

import math
from typing import Final

from sdenv.core.capabilities import SizeRule
from sdenv.core.request import GenerationRequest, Task

STRENGTHS: Final = {Task.IMAGE_TO_IMAGE: 0.75, Task.INPAINT: 1.0}
"""How far an init image is changed: AUTOMATIC1111's img2img default, and diffusers' for inpainting."""

_LARGER_IS_SCALED: Final = 2.25
"""An init image with more than this times the model's usual area is made at the usual area: 1.5 times the
side is about where models trained on one size begin to draw things twice."""
_SMALLER_IS_SCALED: Final = 0.25


def strength_of(request: GenerationRequest) -> float | None:
    """The strength that runs; None without an init image."""
    return STRENGTHS.get(request.task) if request.strength is None else request.strength


def size_of_request(
    request: GenerationRequest, rule: SizeRule, usual: tuple[int, int], init: tuple[int, int] | None
) -> tuple[int, int]:
    """Width and height in pixels of the picture to make.

    Args:
        request: What was asked for.
        rule: Which sizes the model makes.
        usual: The model's own size.
        init: Size of the init image; None = there is none.
    """
    if request.width is not None or request.height is not None:
        side = request.width or request.height or 0
        return request.width or side, request.height or side
    return usual if init is None else _size_like(init, rule, usual)


def _size_like(init: tuple[int, int], rule: SizeRule, usual: tuple[int, int]) -> tuple[int, int]:
    """The possible size nearest to that of an init image."""
    if rule.native:
        return rule.nearest(*init)
    share = init[0] * init[1] / (usual[0] * usual[1])
    factor = 1.0 if _SMALLER_IS_SCALED <= share <= _LARGER_IS_SCALED else 1 / math.sqrt(share)
    size = rule.nearest(max(1, round(init[0] * factor)), max(1, round(init[1] * factor)))
    return size if rule.fits(*size) else usual
