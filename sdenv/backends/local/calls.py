"""From a plan to the call of a diffusers pipeline: scheduler, noise and keyword arguments."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import diffusers
import torch

from sdenv.backends.local.plan import Plan
from sdenv.core.request import Task
from sdenv.core.samplers import is_flow, scheduler_options


def make_scheduler(plan: Plan) -> Any:
    """A fresh scheduler: the model's own configuration, sampler's and schedule's options on top.

    Fresh for every batch, because schedulers remember the steps before and change their own configuration.
    """
    config = dict(plan.folder.config("scheduler"))
    name = config["_class_name"] if is_flow(config) else plan.sampler.scheduler
    return getattr(diffusers, str(name)).from_config(config, **scheduler_options(plan.sampler, plan.schedule))


def noise_of(plan: Plan, indexes: range, device: str = "cpu") -> list[torch.Generator]:
    """One generator a picture; those of the CPU make a seed mean the same noise on every device.

    torch rounds its CPU noise from float32, so the noise of a lower precision is that of a higher one,
    rounded.
    """
    return [torch.Generator(device).manual_seed(plan.resolved.seed_of(index)) for index in indexes]


def pipeline_strength(steps: int, strength: float, steps_to_run: int) -> float:
    """The strength that makes diffusers run exactly `steps_to_run` steps.

    diffusers runs int(steps * strength) steps, which is 0 for small strengths and loses one to rounding for
    some products (50 * 0.58 = 28.999...); the user's own number is kept wherever it gives the right count.
    """
    if int(steps * strength) == steps_to_run:
        return strength
    return min(1.0, (steps_to_run + 0.5) / steps)


def call_arguments(plan: Plan, indexes: range, noise_device: str = "cpu") -> dict[str, Any]:
    """The keyword arguments of the pipeline's call, as anyone would write them.

    An empty negative prompt is left out, because Stable Diffusion XL was trained with zeros in its place.
    The init image is given once a picture, so that each picture encodes it with noise of its own, alone or
    in a batch.
    """
    resolved = plan.resolved
    count = len(indexes)
    arguments: dict[str, Any] = {
        "prompt": [resolved.prompt] * count,
        "num_inference_steps": resolved.steps,
        "guidance_scale": resolved.guidance_scale,
        "generator": noise_of(plan, indexes, noise_device),
    }
    if resolved.negative_prompt:
        arguments["negative_prompt"] = [resolved.negative_prompt] * count
    if resolved.task is not Task.IMAGE_TO_IMAGE:
        arguments |= {"width": resolved.width, "height": resolved.height}
    if resolved.strength is not None:
        strength = pipeline_strength(resolved.steps, resolved.strength, resolved.steps_to_run)
        arguments |= {"image": [plan.init_image] * count, "strength": strength}
    if plan.mask is not None:
        arguments["mask_image"] = [plan.mask] * count
    return arguments


def with_embeddings(arguments: dict[str, Any], embeddings: dict[str, Any], count: int) -> dict[str, Any]:
    """The arguments with embeddings in place of the texts, one row a picture."""
    texts = {"prompt", "negative_prompt"}
    kept = {name: value for name, value in arguments.items() if name not in texts}
    rows = {
        name: value.repeat_interleave(count, 0) for name, value in embeddings.items() if value is not None
    }
    return {**kept, **rows}


def steps_finished(number: int, calls: int, total: int, order: int) -> int:
    """Steps finished after call `number` (from 0) of `calls` calls of the model.

    Second-order samplers call the model twice a step and once in the last, PLMS once more at the start; the
    count is that of diffusers' own progress bar.
    """
    if number == calls - 1:
        return total
    warmup = max(0, calls - total * order)
    return max(0, (number + 1 - warmup) // order)


_PLAIN_CHANNELS: Final = 4
"""Input channels by which diffusers' inpainting pipelines know a UNet that takes no mask."""


@contextmanager
def shown_as_plain(pipeline: Any, task: Task) -> Iterator[None]:
    """Lets inpainting pipelines take UNets whose latents do not have four channels.

    They keep the unmasked part by blending latents only where `unet.config.in_channels` is 4, and refuse
    all but 4 and 9; nothing else reads that number after the UNet is built. It is put back in any case.
    """
    unet = getattr(pipeline, "unet", None)
    if task is not Task.INPAINT or unet is None:
        yield
        return
    channels = unet.config.in_channels
    plain = channels == pipeline.vae.config.latent_channels and channels != _PLAIN_CHANNELS
    if plain:
        unet.register_to_config(in_channels=_PLAIN_CHANNELS)
    try:
        yield
    finally:
        if plain:
            unet.register_to_config(in_channels=channels)
