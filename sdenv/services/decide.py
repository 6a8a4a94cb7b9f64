"""What will be decided for a request, as far as it is known before any work: what `--dry-run` shows."""

from typing import Any, Final

from sdenv.core.backend import BackendStatus, ModelInfo
from sdenv.core.defaults import size_of_request, strength_of
from sdenv.core.families import family_named
from sdenv.core.image import size_of
from sdenv.core.request import GenerationRequest, steps_that_run
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
    init = None if request.init_image is None else size_of(request.init_image, "the init image")
    width, height = size_of_request(request, model.size, model.default_size, init)
    return {
        "model": model.name,
        "width": width,
        "height": height,
        "steps": request.steps or model.steps or family.steps,
        "guidance_scale": guidance if request.guidance_scale is None else request.guidance_scale,
        "sampler": sampler.name,
        "schedule": schedule.name if schedule else AUTOMATIC,
        "batch_size": request.batch_size or 1,
        "strength": strength_of(request),
    }
