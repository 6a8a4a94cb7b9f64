"""What latents look like: linear maps from their channels to red, green and blue, by family of models.

For previews, where running the decoder would cost more than a step. The numbers are those of the Draw
Things app (draw-things-community, `ImageConverter.swift`); its protocol sends latents as previews, so
client and server need the same table.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class LatentColours:
    """A linear map to colours of 0 to 255.

    Attributes:
        rows: Coefficients of the channels for red, green and blue.
        bias: Added to red, green and blue.
        affine: Whether the sum lies in -1..1 and is still to be scaled to 0..255.
    """

    rows: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]
    bias: tuple[float, float, float]
    affine: bool = False

    @property
    def channels(self) -> int:
        """Channels of the latents that it maps."""
        return len(self.rows[0])


_STABLE_DIFFUSION: Final = LatentColours(
    rows=(
        (49.521, 29.0283, -23.9673, -39.4981),
        (41.1373, 42.4951, 24.7349, -50.8279),
        (40.2919, 18.9304, 30.0236, -81.9976),
    ),
    bias=(99.9368, 99.8421, 99.5384),
)
_STABLE_DIFFUSION_XL: Final = LatentColours(
    rows=(
        (47.195, -29.114, 11.883, -38.063),
        (53.237, -1.4623, 12.991, -28.043),
        (58.182, 4.3734, -3.3735, -26.722),
    ),
    bias=(141.64, 127.46, 114.5),
)

LATENT_COLOURS: Final[dict[str, LatentColours]] = {
    "v1": _STABLE_DIFFUSION,
    "v2": _STABLE_DIFFUSION,
    "sdxl_base_v0.9": _STABLE_DIFFUSION_XL,
}
"""By name of the family."""
