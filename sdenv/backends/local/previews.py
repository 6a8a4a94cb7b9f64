"""What a picture looks like while it is made, for any latent model.

After a step the clean latents are estimated from what the model predicted in it: for noise eps, x0 = (x - s
eps) / a; for v, x0 = a x - s v (Salimans and Ho 2022, appendix D), with a and s of the noise level at that
timestep; for flow matching, x0 = x - t v. They become colours through the model's own decoder where that is
small, through the linear map of the family where there is one, and else through the decoder on latents made
smaller first.
"""

import math
from typing import TYPE_CHECKING, Any, Final, final

import numpy
import torch

from sdenv.core.latent_colours import LATENT_COLOURS, LatentColours
from sdenv.core.samplers import is_flow

if TYPE_CHECKING:
    from jaxtyping import Float
    from PIL.Image import Image
    from torch import Tensor

# b pictures, c latent channels, h and w rows and columns of latents

_SMALL_DECODER: Final = 5_000_000
"""Parameters up to which the model's own decoder is used: the built-in model's has one million; that of
Stable Diffusion has 49.5 million and costs two steps."""

_SMALL_LATENT_CELLS: Final = 256
"""Cells of the latents that a large decoder is given: 16x16 become a picture of 128 pixels."""

_NOISE_SPACE_SIGMA: Final = 1.5
"""Schedulers that start from noise of a larger deviation keep their samples unscaled, as x0 + sigma * noise
(Karras et al. 2022); the others keep them at a x0 + s noise, where pure noise has deviation 1."""


@final
class Previewer:
    """Watches one scheduler and turns what it is given into small pictures.

    Args:
        pipeline: The pipeline that runs.
        scheduler: The scheduler of this job; its `step` is wrapped.
        family: Name of the model's family.
    """

    def __init__(self, pipeline: Any, scheduler: Any, family: str) -> None:
        self._pipeline = pipeline
        self._scheduler = scheduler
        self._colours = LATENT_COLOURS.get(family)
        self._seen: tuple[Any, Any, Any] | None = None
        self._watch()

    def _watch(self) -> None:
        from functools import wraps

        original = self._scheduler.step

        @wraps(original)
        def watched(model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
            self._seen = (model_output, timestep, sample)
            return original(model_output, timestep, sample, *args, **kwargs)

        self._scheduler.step = watched

    def pictures(self) -> "list[Image]":
        """What the pictures of the batch look like after the last step; empty where that cannot be shown."""
        if self._seen is None:
            return []
        model_output, timestep, sample = self._seen
        if sample.ndim != 4:  # packed or moving latents, of which only their pipeline knows the layout
            return []
        clean = estimate_clean(self._scheduler, model_output.float(), timestep, sample.float())
        return to_pictures(self._rgb(clean))

    def _rgb(self, clean: "Float[Tensor, 'b c h w']") -> "Float[Tensor, 'b 3 y x']":
        vae = self._pipeline.vae
        if _decoder_parameters(vae) <= _SMALL_DECODER:
            return decoded(vae, clean)
        if self._colours is not None and self._colours.channels == clean.shape[1]:
            return coloured(self._colours, clean)
        cells = clean.shape[2] * clean.shape[3]
        factor = math.sqrt(min(1.0, _SMALL_LATENT_CELLS / cells))
        size = [max(1, round(side * factor)) for side in clean.shape[2:]]
        return decoded(vae, torch.nn.functional.interpolate(clean, size=size, mode="area"))


def _decoder_parameters(vae: Any) -> int:
    return sum(each.numel() for each in vae.decoder.parameters())


def estimate_clean(
    scheduler: Any, output: "Float[Tensor, 'b c h w']", timestep: Any, sample: "Float[Tensor, 'b c h w']"
) -> "Float[Tensor, 'b c h w']":
    """The clean latents that a prediction amounts to.

    Args:
        scheduler: A diffusers scheduler; its configuration says what is predicted.
        output: What the model predicted, guidance applied.
        timestep: Where on the training schedule, 0 to 1000; fractions are interpolated.
        sample: The latents that it was asked about, as the scheduler keeps them.
    """
    if is_flow({**scheduler.config, "_class_name": type(scheduler).__name__}):
        return sample - float(timestep) / int(scheduler.config.num_train_timesteps) * output
    a, s = noise_level(scheduler, float(timestep))
    if float(scheduler.init_noise_sigma) > _NOISE_SPACE_SIGMA:
        sample = sample * a  # x0 + sigma noise with sigma = s / a
    prediction = scheduler.config.get("prediction_type", "epsilon")
    if prediction == "v_prediction":
        return a * sample - s * output
    if prediction == "sample":
        return output
    return (sample - s * output) / a


def noise_level(scheduler: Any, timestep: float) -> tuple[float, float]:
    """Shares of picture and of noise at a timestep, a^2 + s^2 = 1, interpolated on the training schedule."""
    cumulative = scheduler.alphas_cumprod
    low = min(max(math.floor(timestep), 0), len(cumulative) - 1)
    high = min(low + 1, len(cumulative) - 1)
    share = float(cumulative[low]) + (timestep - low) * float(cumulative[high] - cumulative[low])
    share = min(max(share, 1e-8), 1.0)  # the last level of a zero-SNR schedule is pure noise: a would be 0
    return math.sqrt(share), math.sqrt(1 - share)


def decoded(vae: Any, latents: "Float[Tensor, 'b c h w']") -> "Float[Tensor, 'b 3 y x']":
    """What the model's own decoder makes of latents, in -1..1."""
    config = vae.config
    mean, deviation = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and deviation is not None:
        shape = (1, -1, 1, 1)
        latents = latents * torch.tensor(deviation, device=latents.device).view(shape) / config.scaling_factor
        latents = latents + torch.tensor(mean, device=latents.device).view(shape)
    else:
        latents = latents / config.scaling_factor + (config.get("shift_factor") or 0.0)
    picture: Tensor = vae.decode(latents.to(vae.dtype), return_dict=False)[0].float()
    return picture


def coloured(colours: LatentColours, latents: "Float[Tensor, 'b c h w']") -> "Float[Tensor, 'b 3 h w']":
    """What a linear map makes of latents, in -1..1."""
    rows = torch.tensor(colours.rows, device=latents.device)
    bias = torch.tensor(colours.bias, device=latents.device).view(1, 3, 1, 1)
    rgb = torch.einsum("kc,bchw->bkhw", rows, latents) + bias
    return rgb if colours.affine else rgb / 127.5 - 1


def to_pictures(rgb: "Float[Tensor, 'b 3 y x']") -> "list[Image]":
    """Pictures from colours in -1..1; what is not a number is black."""
    import PIL.Image

    bytes_ = torch.nan_to_num((rgb * 127.5 + 127.5).clamp(0, 255)).round().to(torch.uint8)
    pixels: numpy.ndarray[Any, Any] = bytes_.permute(0, 2, 3, 1).cpu().numpy()
    return [PIL.Image.fromarray(each) for each in pixels]
