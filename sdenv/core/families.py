"""What each family of models wants when the user says nothing.

Some protocols cannot say "unset" (Draw Things sends 0 for it, and 0 steps is no picture), so these values are
put in before a request is encoded, by every backend from this one table.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Family:
    """Defaults of one family of models.

    Attributes:
        name: The name in tables and JSON; Draw Things' `version` word where it has one.
        title: The name for people.
        side_px: Native side of a square picture in pixels.
        multiple_px: Sides are multiples of this many pixels.
        steps: Denoising steps.
        guidance_scale: Classifier-free guidance.
        sampler: AUTOMATIC1111's name.
    """

    name: str
    title: str
    side_px: int
    multiple_px: int
    steps: int
    guidance_scale: float
    sampler: str = "DPM++ 2M"


FAMILIES: Final[dict[str, Family]] = {
    family.name: family
    for family in (
        Family("v1", "Stable Diffusion 1.x", 512, 8, 20, 7.0),
        Family("v2", "Stable Diffusion 2.x", 768, 8, 20, 7.0),
        Family("sdxl_base_v0.9", "Stable Diffusion XL", 1024, 8, 30, 6.0),
        Family("sd3", "Stable Diffusion 3", 1024, 16, 28, 4.5, "Euler"),
        Family("flux1", "FLUX.1", 1024, 16, 28, 3.5, "Euler"),
        Family("emoji", "emoji (built in)", 256, 64, 20, 2.0, "DDIM"),
        Family("other", "other", 512, 8, 20, 7.0),
    )
}
"""By name. The numbers for v1 and SDXL are settled in the project's conventions; those of newer families are
the defaults of their diffusers pipelines (`StableDiffusion3Pipeline.__call__`, `FluxPipeline.__call__`)."""


def family_named(name: str) -> Family:
    """The family of this name; the family `other` for a name that is not in the table."""
    return FAMILIES.get(name, FAMILIES["other"])
