"""What may be left out of a request when its sender would rather have a nearby picture than a refusal.

Foreign dialects run like this (their clients expect it), the command line with `--allow-degraded`. Every
change is named in a notice. What would make it another picture altogether is never left out: it is refused as
ever.
"""

from dataclasses import dataclass
from typing import Final

from sdenv.core.capabilities import Mismatch, SizeRule
from sdenv.core.errors import SizeNotPossible
from sdenv.core.events import Notice
from sdenv.core.request import GenerationRequest

ESSENTIAL: Final = frozenset({"prompt", "init_image", "mask", "count"})
"""Without one of these it is not the picture that was asked for, or not as many as the sender waits for."""


@dataclass(frozen=True, slots=True)
class Degraded:
    """A request without what the backend cannot do.

    Attributes:
        request: What will be made; it may still hold things that cannot be left out.
        notices: One for each change.
        fit_to: Width and height in pixels that the pictures are resampled to afterwards; None = left as made.
    """

    request: GenerationRequest
    notices: tuple[Notice, ...] = ()
    fit_to: tuple[int, int] | None = None


def degrade(request: GenerationRequest, found: tuple[Mismatch, ...], rule: SizeRule) -> Degraded:
    """Leaves out what is optional and cannot be done; a size that cannot be made becomes the nearest one.

    Args:
        request: What was asked for.
        found: What the backend cannot do of it.
        rule: Which sizes the backend makes.
    """
    changes: dict[str, object] = {}
    notices: list[Notice] = []
    fit_to: tuple[int, int] | None = None
    for mismatch in found:
        if mismatch.error_type is SizeNotPossible:
            fit_to = _asked_size(request)
            changes["width"], changes["height"] = rule.nearest(*fit_to)
            made = f"made at {changes['width']}x{changes['height']} and resampled"
            notices.append(Notice("size-fitted", f"{mismatch.wanted} is {made}."))
        elif mismatch.field in GenerationRequest.model_fields and mismatch.field not in ESSENTIAL:
            changes[mismatch.field] = GenerationRequest.model_fields[mismatch.field].get_default(
                call_default_factory=True
            )
            left_out = f"Left out: {mismatch}".rstrip()
            ended = left_out.endswith((".", "?"))
            notices.append(Notice("degraded", left_out if ended else f"{left_out}."))
    return Degraded(request.model_copy(update=changes), tuple(notices), fit_to)


def _asked_size(request: GenerationRequest) -> tuple[int, int]:
    """Both sides; a side that was not given is as long as the other."""
    side_px = request.width or request.height or 1
    return request.width or side_px, request.height or side_px
