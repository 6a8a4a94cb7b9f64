"""A request as the body that asks for it: what our client sends."""

from collections.abc import Iterator
from typing import Any, Final

from sdenv.core.capabilities import Mismatch
from sdenv.core.request import MAX_SEED, GenerationRequest
from sdenv.core.samplers import AUTOMATIC
from sdenv.protocols.a1111.extra_arguments import EXTRA_ARGUMENTS
from sdenv.protocols.a1111.names import scheduler_name
from sdenv.protocols.inline import as_base64

CARRIES: Final = frozenset(
    {"prompt", "negative_prompt", "model", "width", "height", "steps", "guidance_scale", "seed", "sampler"}
    | {"schedule", "count", "batch_size", "init_image", "mask", "strength", "loras", "clip_skip", "hires"}
    | {"vae"}
)
"""What a body can say. Not among it: `controls` and `upscale` (an extension's, and another route's),
`references` and `extensions` (there are no such things)."""

_UNCLEAR_IN_TAGS: Final = frozenset("<>:")


def uncarried(request: GenerationRequest) -> tuple[Mismatch, ...]:
    """What in a request of carried fields cannot be said all the same, because of its value."""
    found: list[Mismatch] = []
    if "<lora:" in request.prompt.casefold():
        found.append(Mismatch("prompt", "with '<lora:'", "AUTOMATIC1111 takes that as a command"))
    if EXTRA_ARGUMENTS in request.prompt:
        what = f"with '{EXTRA_ARGUMENTS}'"
        found.append(Mismatch("prompt", what, "servers take that as further arguments"))
    found += [
        Mismatch("loras", repr(lora.name), "its name cannot stand in '<lora:name:weight>'")
        for lora in request.loras
        if _UNCLEAR_IN_TAGS & set(lora.name)
    ]
    if request.hires is not None and request.init_image is not None:
        found.append(Mismatch("hires", "(set)", "AUTOMATIC1111 has no second pass on an init image"))
    return tuple(found)


def parts_of(request: GenerationRequest) -> Iterator[GenerationRequest]:
    """Requests of full batches that make together what was asked for, where `count` is no multiple of
    `batch_size`: a body can only say batch_size times n_iter.

    The seed of the second is None where that of the request is: it follows on what the first has used.
    """  # noqa: D205 - one thought
    batch = min(request.batch_size or 1, request.count)
    full = request.count - request.count % batch
    yield request.model_copy(update={"count": full, "batch_size": batch})
    if rest := request.count - full:
        seed = None if request.seed is None else (request.seed + full) % (MAX_SEED + 1)
        yield request.model_copy(update={"count": rest, "batch_size": rest, "seed": seed})


def body_of(request: GenerationRequest, *, task: str = "") -> dict[str, Any]:
    """The body of txt2img, or of img2img where there is an init image.

    Args:
        request: Of carried fields, and one that `parts_of` has given: whole batches. Width, height, steps,
            guidance scale and strength are set, since what is absent becomes AUTOMATIC1111's default.
        task: Its name in `/internal/progress`; "" = none.
    """
    batch = request.batch_size or 1
    tags = "".join(f" <lora:{lora.name}:{lora.weight!r}>" for lora in request.loras)
    body: dict[str, Any] = {
        "prompt": request.prompt + tags if request.prompt else tags.removeprefix(" "),
        "negative_prompt": request.negative_prompt or "",
        "seed": -1 if request.seed is None else request.seed,
        "batch_size": batch,
        "n_iter": request.count // batch,
        "steps": request.steps,
        "cfg_scale": request.guidance_scale,
        "width": request.width,
        "height": request.height,
        "sampler_name": request.sampler,
        "scheduler": scheduler_name(request.schedule or AUTOMATIC),
        "override_settings": _settings(request),
        "override_settings_restore_afterwards": True,
        "send_images": True,
        "save_images": False,
        "force_task_id": task or None,
    }
    more = _img2img(request) if request.init_image is not None else _hires(request)
    return {name: value for name, value in (body | more).items() if value is not None}


def _settings(request: GenerationRequest) -> dict[str, Any]:
    said = {
        "sd_model_checkpoint": request.model,
        "sd_vae": request.vae,
        "CLIP_stop_at_last_layers": request.clip_skip,
        "samples_format": "png",
    }
    return {name: value for name, value in said.items() if value is not None}


def _hires(request: GenerationRequest) -> dict[str, Any]:
    if request.hires is None:
        return {}
    return {
        "enable_hr": True,
        "hr_scale": request.hires.scale,
        "hr_second_pass_steps": request.hires.steps or 0,
        "hr_upscaler": "Latent",
        "denoising_strength": request.hires.strength,
    }


def _img2img(request: GenerationRequest) -> dict[str, Any]:
    assert request.init_image is not None
    found: dict[str, Any] = {
        "init_images": [as_base64(request.init_image)],
        "denoising_strength": request.strength,
        "resize_mode": 0,
    }
    if request.mask is not None:
        found |= {
            "mask": as_base64(request.mask),
            "mask_blur": 0,
            "mask_blur_x": 0,
            "mask_blur_y": 0,
            "inpainting_fill": 1,  # begin with what is there, as sdenv's own backends do
            "inpaint_full_res": False,
            "inpainting_mask_invert": 0,
        }
    return found
