"""Everything that can be decided and refused before the device is touched: from a request to a plan.

No torch in here. Strength defaults to 0.75 on an init image and to 1.0 with a mask, as AUTOMATIC1111 and
diffusers have it; without a size, an init image keeps its own (or its shape at the model's size, when it is
much larger or smaller than what the model makes).
"""

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdenv.checkpoints.facts import ModelFacts
from sdenv.checkpoints.folder import ModelFolder
from sdenv.core.capabilities import SizeRule
from sdenv.core.defaults import size_of_request, strength_of
from sdenv.core.errors import BadMask, DoesNotFit, UnsupportedError
from sdenv.core.events import Notice
from sdenv.core.image import decode
from sdenv.core.request import MAX_SEED, GenerationRequest, ResolvedRequest, Task
from sdenv.core.samplers import (
    AUTOMATIC,
    SCHEDULES,
    Sampler,
    Schedule,
    check_runnable,
    find_sampler,
    find_schedule,
)

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Plan:
    """What the device is to do.

    Attributes:
        folder: The model.
        facts: What the model can do.
        resolved: The request with every decision made.
        sampler: How each step is taken.
        schedule: How the steps are spread.
        init_image: RGB, of the size of the picture to make.
        mask: One channel, white = repaint, of the same size.
        notices: What to tell the person before work starts.
        preview_every: Make a preview every so many steps; 0 = none.
    """

    folder: ModelFolder
    facts: ModelFacts
    resolved: ResolvedRequest
    sampler: Sampler
    schedule: Schedule
    init_image: "Image | None" = None
    mask: "Image | None" = None
    notices: tuple[Notice, ...] = ()
    preview_every: int = 0


def make_plan(
    request: GenerationRequest, model: str, folder: ModelFolder, facts: ModelFacts, preview_every: int = 0
) -> Plan:
    """Decides everything that a request leaves open.

    Args:
        request: What was asked for; the backend's capabilities are checked already.
        model: Name of the model.
        folder: Its folder.
        facts: What it can do.
        preview_every: Make a preview every so many steps; 0 = none.

    Raises:
        UnknownSampler: The sampler or the schedule cannot run this model.
        UnsupportedError: The model cannot do this task.
        BadImage: The init image or the mask cannot be decoded.
        BadMask: The mask does not have the size of the init image.
    """
    _check_task(request.task, facts)
    sampler, schedule = _sampling(request, facts)
    check_runnable(sampler, schedule, folder.config("scheduler"))
    init_image = None if request.init_image is None else _rgb(decode(request.init_image, "the init image"))
    mask = None if request.mask is None else _grey(decode(request.mask, "the mask"))
    if init_image is not None and mask is not None and mask.size != init_image.size:
        raise _mask_of_other_size(mask.size, init_image.size)
    init_size = None if init_image is None else init_image.size
    width_px, height_px = size_of_request(request, facts.size, facts.default_size, init_size)
    _check_memory(width_px, height_px, request, facts.size)
    notices = _notices(request, init_image, (width_px, height_px))
    resolved = _resolved(request, model, facts, sampler, schedule, (width_px, height_px))
    return Plan(
        folder,
        facts,
        resolved,
        sampler,
        schedule,
        _scaled(init_image, (width_px, height_px)),
        _scaled(mask, (width_px, height_px)),
        notices,
        preview_every,
    )


def _check_task(task: Task, facts: ModelFacts) -> None:
    if task not in facts.tasks:
        raise UnsupportedError(
            "This model only repaints parts of pictures.",
            why="Its UNet takes a mask and a masked picture as input.",
            hint="Give --init-image and --mask, or use another model.",
        )


def _sampling(request: GenerationRequest, facts: ModelFacts) -> tuple[Sampler, Schedule]:
    sampler, schedule = find_sampler(request.sampler or facts.family.sampler)
    if request.schedule is not None:
        schedule = find_schedule(request.schedule)
    return sampler, schedule or SCHEDULES[AUTOMATIC]


def _rgb(picture: "Image") -> "Image":
    """Without transparency: on white, as AUTOMATIC1111 does it."""
    import PIL.Image

    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", layer.size, "white"), layer)
    return picture.convert("RGB")


def _grey(mask: "Image") -> "Image":
    """One channel; what is transparent in a mask is black, so it is kept."""
    import PIL.Image

    if mask.mode in ("RGBA", "LA", "PA") or "transparency" in mask.info:
        layer = mask.convert("RGBA")
        mask = PIL.Image.alpha_composite(PIL.Image.new("RGBA", layer.size, "black"), layer)
    return mask.convert("L")


def _mask_of_other_size(mask: tuple[int, int], init: tuple[int, int]) -> BadMask:
    return BadMask(
        f"The mask has {mask[0]}x{mask[1]} pixels and the init image {init[0]}x{init[1]}.",
        why="A mask belongs to its picture pixel by pixel.",
        hint="Give a mask of the same size; white is repainted.",
    )


def _check_memory(width_px: int, height_px: int, request: GenerationRequest, rule: SizeRule) -> None:
    """Refuses a batch that arithmetic says does not fit; a single picture was refused by its size before."""
    together = min(request.count, request.batch_size or 1)
    if rule.max_pixels is not None and width_px * height_px * together > rule.max_pixels:
        count = "A picture" if together == 1 else f"{together} pictures"
        room = f"There is room for about {rule.max_pixels / 1e6:.2f} megapixels in all."
        raise DoesNotFit(
            f"{count} of {width_px}x{height_px} at once would not fit in memory.",
            why=room if rule.max_pixels else "The weights of the model alone do not fit.",
            hint="Ask for a smaller --batch or --size, or close other programs.",
        )


def _notices(request: GenerationRequest, init: "Image | None", size: tuple[int, int]) -> tuple[Notice, ...]:
    found: list[Notice] = []
    if init is not None and init.size != size:
        sizes = f"from {init.size[0]}x{init.size[1]} to {size[0]}x{size[1]}"
        found.append(Notice("init-image-scaled", f"The init image is scaled {sizes} pixels."))
    if request.negative_prompt and request.guidance_scale is not None and request.guidance_scale <= 1:
        found.append(
            Notice("negative-prompt-unused", "With a guidance of 1 or less a negative prompt does nothing.")
        )
    return tuple(found)


def _scaled(picture: "Image | None", size: tuple[int, int]) -> "Image | None":
    import PIL.Image

    if picture is None or picture.size == size:
        return picture
    return picture.resize(size, PIL.Image.Resampling.LANCZOS)


def _resolved(
    request: GenerationRequest,
    model: str,
    facts: ModelFacts,
    sampler: Sampler,
    schedule: Schedule,
    size: tuple[int, int],
) -> ResolvedRequest:
    family = facts.family
    return ResolvedRequest(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt or "",
        model=model,
        width=size[0],
        height=size[1],
        steps=request.steps or family.steps,
        guidance_scale=family.guidance_scale if request.guidance_scale is None else request.guidance_scale,
        seed=secrets.randbelow(MAX_SEED + 1) if request.seed is None else request.seed,
        sampler=sampler.name,
        schedule=schedule.name,
        count=request.count,
        batch_size=request.batch_size or 1,
        init_image=request.init_image,
        mask=request.mask,
        strength=strength_of(request),
    )
