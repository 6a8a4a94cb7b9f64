"""What a model folder says about the pictures it makes: family, sizes and defaults, from its configurations.

A folder may carry a file `sdenv.json` of its own, which is read before anything is guessed:
`{"family": "emoji", "native_sizes": [[256, 256]], "default_steps": 20, "default_guidance_scale": 4.0,
"default_sampler": "DPM++ 2M", "summary": "..."}`; every key is optional.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sdenv.checkpoints.folder import OWN_SETTINGS, ModelFolder
from sdenv.core.capabilities import SizeRule
from sdenv.core.errors import ModelIncomplete
from sdenv.core.families import Family, family_named
from sdenv.core.request import MAX_SIDE_PX, Task
from sdenv.core.samplers import FLOW_SAMPLER, find_sampler, is_flow, runnable_samplers

_BY_PIPELINE: Final = (
    ("StableDiffusionXL", "sdxl_base_v0.9"),
    ("StableDiffusion3", "sd3"),
    ("Flux", "flux1"),
)
"""Families by how the pipeline's class name begins; Stable Diffusion 1 and 2 share theirs."""

_SMALLEST_LATENT_SIDE: Final = 8
"""Smallest side of a latent: the UNets halve it three times."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What to do with a model when the user says nothing, and what it can do.

    Attributes:
        family: Its family, with the model's own defaults put in.
        size: Which sizes it makes; says nothing of memory.
        default_size: Width and height in pixels.
        samplers: The samplers that can run its noise schedule.
        latent_channels: Channels of its latents.
        vae_factor: Pixels along a side of one latent.
        tasks: What it can do; a UNet that takes the mask as input can do nothing but inpaint.
        summary: One line for people.
    """

    family: Family
    size: SizeRule
    default_size: tuple[int, int]
    samplers: tuple[str, ...]
    latent_channels: int
    vae_factor: int
    tasks: frozenset[Task] = frozenset(Task)
    summary: str = ""


def family_of(pipeline: str, unet: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """The name of a model's family, from its pipeline class, its UNet's configuration and its own settings.

    Stable Diffusion 2 projects linearly where version 1 convolves (`use_linear_projection`): the only
    difference in structure that does not depend on widths.
    """
    if isinstance(own.get("family"), str):
        return str(own["family"])
    for start, name in _BY_PIPELINE:
        if pipeline.startswith(start):
            return name
    if pipeline.startswith("StableDiffusion"):
        return "v2" if unet.get("use_linear_projection") else "v1"
    return "other"


def facts_of(folder: ModelFolder) -> ModelFacts:
    """What a model folder says about its pictures.

    Raises:
        ModelIncomplete: Its `sdenv.json` says something that cannot be.
    """
    own = _checked(folder)
    family = _family(folder, own)
    vae = folder.config("vae")
    factor = 2 ** (len(vae.get("block_out_channels", (0,) * 4)) - 1)
    native = tuple((int(width), int(height)) for width, height in own.get("native_sizes", ()))
    side = _side_px(folder, family, factor)
    multiple = max(factor, family.multiple_px if factor == _USUAL_FACTOR else factor)
    rule = SizeRule(multiple, _SMALLEST_LATENT_SIDE * factor, MAX_SIDE_PX - MAX_SIDE_PX % multiple, native)
    latent_channels = int(vae.get("latent_channels", 4))
    takes_mask = int(folder.config("unet").get("in_channels", 0)) == 2 * latent_channels + 1
    return ModelFacts(
        family=family,
        size=rule,
        default_size=native[0] if native else (side, side),
        samplers=runnable_samplers(folder.config("scheduler")),
        latent_channels=latent_channels,
        vae_factor=factor,
        tasks=frozenset({Task.INPAINT} if takes_mask else Task),
        summary=str(own.get("summary", "")),
    )


_USUAL_FACTOR: Final = 8
"""Pixels a latent for which the table of families gives the multiple of the sides."""


def _side_px(folder: ModelFolder, family: Family, factor: int) -> int:
    denoiser = folder.denoiser
    cells = {} if denoiser is None else denoiser.config
    side = cells.get("sample_size")
    if isinstance(side, int) and 0 < side * factor <= MAX_SIDE_PX:
        return side * factor
    return family.side_px


def _family(folder: ModelFolder, own: dict[str, Any]) -> Family:
    name = family_of(folder.pipeline, folder.config("unet"), own)
    known = family_named(name)
    scheduler = folder.config("scheduler")
    sampler = str(own.get("default_sampler", known.sampler))
    if "default_sampler" not in own and sampler not in runnable_samplers(scheduler):
        sampler = FLOW_SAMPLER if is_flow(scheduler) else runnable_samplers(scheduler)[0]
    return Family(
        name=name,
        title=known.title if known.name == name else name,
        side_px=known.side_px,
        multiple_px=known.multiple_px,
        steps=int(own.get("default_steps", known.steps)),
        guidance_scale=float(own.get("default_guidance_scale", known.guidance_scale)),
        sampler=find_sampler(sampler)[0].name,
    )


def _checked(folder: ModelFolder) -> dict[str, Any]:
    """The model's own settings, each of the right type."""
    own = dict(folder.own)
    sizes = own.get("native_sizes", [])
    whole = isinstance(sizes, list) and all(
        isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)
        for size in sizes
    )
    numbers = all(
        isinstance(own.get(name, 1), (int, float)) and own.get(name, 1) > 0
        for name in ("default_steps", "default_guidance_scale")
    )
    texts = all(isinstance(own.get(name, ""), str) for name in ("family", "default_sampler", "summary"))
    if not (whole and numbers and texts):
        raise ModelIncomplete(f"{folder.path / OWN_SETTINGS} has a value of the wrong type.")
    return own
