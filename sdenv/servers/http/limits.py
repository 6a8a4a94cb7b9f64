"""What one request may ask for at most; checked before it is queued, in every dialect."""

import threading
from dataclasses import replace
from typing import Final

from sdenv.core.backend import BackendStatus
from sdenv.core.capabilities import Capabilities, SizeRule
from sdenv.core.errors import BadMask, InvalidRequest
from sdenv.core.image import ImageData, check_whole, size_of
from sdenv.core.request import GenerationRequest
from sdenv.servers.http.principal import Principal
from sdenv.servers.http.settings import Limits

ORDINARY_PRIORITY: Final = 0

_DECODING: Final = threading.Semaphore(2)
"""So many pictures of strangers are decoded at once: each may take 256 MB."""


def check_limits(request: GenerationRequest, limits: Limits) -> None:
    """Refuses what is too much, and pictures that are none or damaged; blocks while it decodes them.

    Raises:
        InvalidRequest: A number above a limit.
        BadImage: A picture that cannot be read, is cut off, or would decode to too many pixels.
        BadMask: A mask of another size than its picture.
    """
    faults = [
        f"{name}: must be at most {limit} on this server (given: {given})"
        for name, given, limit in _numbers(request, limits)
        if given > limit
    ]
    if faults:
        raise InvalidRequest(
            "The request asks for more than this server allows.", why=f"{'; '.join(faults)}."
        )
    _check_pictures(request)


def _numbers(request: GenerationRequest, limits: Limits) -> list[tuple[str, int, int]]:
    width, height = request.width or 0, request.height or 0
    scale = (request.hires.scale if request.hires else 1.0) * (request.upscale or 1.0)
    return [
        ("steps", request.steps or 0, limits.steps),
        ("count", request.count, limits.count),
        ("width", round(width * scale), limits.side_px),
        ("height", round(height * scale), limits.side_px),
        ("width x height", round(width * height * scale * scale), limits.pixels),
    ]


def _check_pictures(request: GenerationRequest) -> None:
    inputs: list[tuple[str, ImageData]] = [
        *((f"controls.{index}.image", each.image) for index, each in enumerate(request.controls)),
        *((f"references.{index}", each) for index, each in enumerate(request.references)),
    ]
    if request.init_image is not None:
        inputs.append(("init_image", request.init_image))
    if request.mask is not None:
        inputs.append(("mask", request.mask))
    sizes = {name: size_of(picture, name) for name, picture in inputs}
    if "mask" in sizes and (found := sizes["mask"]) != (size := sizes["init_image"]):
        raise BadMask(
            "The mask does not have the size of the init image.",
            why=f"The mask is {found[0]}x{found[1]}, the init image {size[0]}x{size[1]}.",
        )
    for name, picture in inputs:
        with _DECODING:
            check_whole(picture, name)


def allowed_priority(priority: int, asker: Principal) -> int:
    """The priority, if the asker may ask for it.

    Raises:
        InvalidRequest: It would go before the jobs of others.
    """
    if priority > ORDINARY_PRIORITY and not asker.sees_all:
        raise InvalidRequest(
            f"The token {asker.name!r} may not ask for the priority {priority}.",
            why="A priority above 0 goes before everybody else's jobs.",
            hint="Leave it out, or ask with a token that sees all jobs.",
        )
    return priority


def limited(status: BackendStatus, limits: Limits) -> BackendStatus:
    """What the backend says of itself, narrowed to what this server allows."""
    capabilities = replace(
        status.capabilities,
        max_count=min(status.capabilities.max_count, limits.count),
        size=limited_size(status.capabilities, limits),
    )
    return replace(status, capabilities=capabilities)


def limited_size(capabilities: Capabilities, limits: Limits) -> SizeRule:
    """The sizes that the backend makes and this server allows."""
    rule = capabilities.size
    if limits == Limits() and (rule.max_pixels or 0) <= limits.pixels:
        return rule  # the limits of the request itself: nothing to narrow
    return rule.narrowed(SizeRule(max_px=limits.side_px, max_pixels=limits.pixels))
