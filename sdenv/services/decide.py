"""What will be decided for a request, as far as it is known before any work: what `--dry-run` shows."""

from typing import Any, Final

from sdenv.core.backend import BackendStatus, ModelInfo
from sdenv.core.families import DEFAULT_STRENGTH, family_named
from sdenv.core.image import size_of
from sdenv.core.request import GenerationRequest, Task, steps_that_run
from sdenv.core.samplers import AUTOMATIC, find_sampler, find_schedule

_PICTURES: Final = frozenset({"init_image", "mask", "controls", "references"})


def decided(request: GenerationRequest, status: BackendStatus) -> dict[str, Any]:
    """The request's fields with the defaults of the model put in, as JSON values; pictures as their sizes.

    The seed stays null if none was given, because it is drawn when the work begins. A backend that does not
    tell its models decides by itself: what it was not told stays null.

    Args:
        request: What was asked for; the backend can do it.
        status: What the backend says of itself.
    """
    values: dict[str, Any] = {
        name: value
        for name, value in request.model_dump(mode="json", exclude=set(_PICTURES)).items()
        if value not in ((), [], {}) or name == "prompt"
    }
    for name in ("init_image", "mask"):
        picture = getattr(request, name)
        values[name] = None if picture is None else "x".join(map(str, size_of(picture)))
    model = status.model(request.model)
    if model is not None:
        values |= _defaults(request, model)
    if values.get("strength") is not None and values.get("steps") is not None:
        values["steps_to_run"] = steps_that_run(values["steps"], values["strength"])
    return {"task": request.task.value, **values}


def _defaults(request: GenerationRequest, model: ModelInfo) -> dict[str, Any]:
    family = family_named(model.family)
    guidance = family.guidance_scale if model.guidance_scale is None else model.guidance_scale
    sampler, own_schedule = find_sampler(request.sampler or model.sampler or family.sampler)
    schedule = find_schedule(request.schedule) if request.schedule else own_schedule
    width, height = size_to_make(request, model)
    return {
        "model": model.name,
        "width": width,
        "height": height,
        "steps": request.steps or model.steps or family.steps,
        "guidance_scale": guidance if request.guidance_scale is None else request.guidance_scale,
        "sampler": sampler.name,
        "schedule": schedule.name if schedule else AUTOMATIC,
        "batch_size": request.batch_size or 1,
        "strength": _strength(request),
    }


def _strength(request: GenerationRequest) -> float | None:
    if request.strength is not None or request.init_image is None:
        return request.strength
    return 1.0 if request.task is Task.INPAINT else DEFAULT_STRENGTH


def size_to_make(request: GenerationRequest, model: ModelInfo) -> tuple[int, int]:
    """Width and height in pixels: as asked, else the size nearest to the init image, else the model's."""
    if request.width is not None or request.height is not None:
        side_px = request.width or request.height or 1
        return request.width or side_px, request.height or side_px
    if request.init_image is not None:
        return model.size.nearest(*size_of(request.init_image, "the init image"))
    return model.default_size
