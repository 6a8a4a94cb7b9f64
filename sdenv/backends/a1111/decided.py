"""What is decided before a request is encoded, since the API cannot say "you decide"."""

from typing import Any

from sdenv.core.backend import BackendStatus, ModelInfo
from sdenv.core.capabilities import mismatches, refusal
from sdenv.core.defaults import size_of_request, strength_of
from sdenv.core.errors import BadMask
from sdenv.core.families import family_named
from sdenv.core.image import size_of
from sdenv.core.request import GenerationRequest
from sdenv.protocols import a1111


def refused(request: GenerationRequest, status: BackendStatus) -> None:
    """Refuses what a body cannot say, and sizes that the server would change without a word.

    Raises:
        UnsupportedError: Something cannot be said; the error names the field.
        SizeNotPossible: The size.
        BadMask: The mask does not have the size of the init image.
    """
    offered = status.capabilities_for(request.model)
    sizes = (each for each in mismatches(request, offered) if each.field == "size")
    if found := (*a1111.uncarried(request), *sizes):
        raise refusal(found, status.name)
    if request.init_image is None or request.mask is None:
        return
    init, mask = size_of(request.init_image, "the init image"), size_of(request.mask, "the mask")
    if init != mask:
        raise BadMask(
            f"The mask is {mask[0]}x{mask[1]}, the init image {init[0]}x{init[1]}.",
            hint="Give a mask of the size of the init image.",
        )


def decided(request: GenerationRequest, status: BackendStatus, *, name_model: bool) -> GenerationRequest:
    """The request with what the user left open decided from the model, or from the table of families.

    Args:
        request: What was asked for.
        status: What the server can do.
        name_model: Whether the default model is named as well; else the server uses the one it has loaded.
    """
    model = status.model(request.model) or ModelInfo("other")
    family = family_named(model.family)
    guidance = family.guidance_scale if model.guidance_scale is None else model.guidance_scale
    rule = status.capabilities_for(request.model).size
    init = None if request.init_image is None else size_of(request.init_image, "the init image")
    width, height = size_of_request(request, rule, model.default_size, init)
    changes: dict[str, Any] = {
        "width": width,
        "height": height,
        "steps": request.steps or model.steps or family.steps,
        "guidance_scale": guidance if request.guidance_scale is None else request.guidance_scale,
        "strength": strength_of(request),
        "batch_size": min(request.batch_size or 1, request.count),
    }
    if name_model and request.model is None and status.models:
        changes["model"] = model.name
    return request.model_copy(update=changes)
