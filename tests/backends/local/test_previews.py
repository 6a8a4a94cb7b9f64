"""Previews show what the picture will be, for every sampler and every kind of prediction."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy
import pytest
import torch
from PIL import Image

from sdenv.backends.local import LocalBackend, LocalSettings
from sdenv.backends.local.previews import coloured, estimate_clean, noise_level, to_pictures
from sdenv.backends.local.quiet import quieten
from sdenv.core.events import PreviewReady
from sdenv.core.image import ImageData, decode
from sdenv.core.latent_colours import LATENT_COLOURS
from sdenv.core.request import GenerationRequest
from sdenv.core.samplers import LOCAL_SAMPLERS, SAMPLERS, SCHEDULES, scheduler_options
from sdenv.testing.fakes import Recorder
from tests.support.tiny_models import SCALED_LINEAR

STEPS = 10


def scheduler_of(sampler: str, schedule: str, prediction: str) -> Any:
    quieten()
    row = SAMPLERS[sampler]
    config = {**SCALED_LINEAR, "prediction_type": prediction}
    options = scheduler_options(row, SCHEDULES[schedule])
    return getattr(diffusers, str(row.scheduler)).from_config(config, **options)


def answer(scheduler: Any, prediction: str, sample: torch.Tensor, timestep: Any, clean: torch.Tensor) -> Any:
    """What a model that knows the clean latents predicts for a scaled sample."""
    a, s = noise_level(scheduler, float(timestep))
    noise = (sample - a * clean) / s
    return noise if prediction == "epsilon" else a * noise - s * clean


def run(scheduler: Any, prediction: str, clean: torch.Tensor, look: Callable[[Any, Any, Any], None]) -> Any:
    """Denoises with a model that knows the clean latents; returns where the sampler ends."""
    scheduler.set_timesteps(STEPS)
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn(clean.shape, generator=generator) * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        output = answer(scheduler, prediction, scheduler.scale_model_input(sample, timestep), timestep, clean)
        look(output, timestep, sample)
        sample = scheduler.step(output, timestep, sample, return_dict=False)[0]
    return sample


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("sampler", LOCAL_SAMPLERS)
def test_the_clean_latents_are_estimated_exactly_whatever_the_sampler(sampler: str, prediction: str) -> None:
    clean = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    scheduler = scheduler_of(sampler, "Automatic", prediction)
    errors: list[float] = []

    def look(output: Any, timestep: Any, sample: Any) -> None:
        estimate = estimate_clean(scheduler, output, timestep, sample)
        errors.append(float((estimate - clean).abs().max()))

    run(scheduler, prediction, clean, look)
    assert max(errors) < 0.05  # PLMS mixes in the predictions of earlier steps; the others are exact to 0.001


@pytest.mark.parametrize(
    ("sampler", "schedule"), [("DPM++ 2M", "Karras"), ("Euler", "Exponential"), ("Heun", "Beta")]
)
def test_the_estimate_holds_on_other_schedules_too(sampler: str, schedule: str) -> None:
    clean = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    scheduler = scheduler_of(sampler, schedule, "epsilon")
    estimates: list[torch.Tensor] = []
    run(scheduler, "epsilon", clean, lambda *seen: estimates.append(estimate_clean(scheduler, *seen)))
    middle = estimates[len(estimates) // 2]
    assert float(torch.corrcoef(torch.stack([middle.flatten(), clean.flatten()]))[0, 1]) > 0.95


def test_the_estimate_holds_for_flow_matching() -> None:
    clean = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(STEPS)
    for timestep, share in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        sample = (1 - share) * clean + share * noise
        assert torch.allclose(estimate_clean(scheduler, noise - clean, timestep, sample), clean, atol=1e-3)


@pytest.mark.parametrize("family", LATENT_COLOURS)
def test_a_latent_of_zeros_has_the_colour_that_the_table_gives_it(family: str) -> None:
    colours = LATENT_COLOURS[family]
    shown = to_pictures(coloured(colours, torch.zeros(1, colours.channels, 2, 2)))[0]
    assert shown.getpixel((0, 0)) == tuple(round(each) for each in colours.bias)


def test_what_is_not_a_number_is_shown_as_black_and_what_is_too_bright_as_white() -> None:
    rgb = torch.tensor([float("nan"), 50.0, -50.0]).view(1, 3, 1, 1)
    assert to_pictures(rgb)[0].getpixel((0, 0)) == (0, 255, 0)


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "Euler a", "Heun"])
def test_at_half_the_steps_a_preview_shows_the_picture_of_a_model_that_knows_it(
    models: dict[str, Path], sampler: str
) -> None:
    settings = LocalSettings(models={"sd2": str(models["sd2"])}, device="cpu", precision="float32")
    backend = LocalBackend(settings)
    request = GenerationRequest(prompt="a fox", seed=1, steps=STEPS, sampler=sampler, width=128, height=128)
    backend.generate(request.model_copy(update={"steps": 1}), Recorder())
    assert backend._painter is not None
    assert backend._painter._warm is not None
    pipeline = backend._painter._warm.pipeline
    clean = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(2)) * 3

    def know(_module: Any, inputs: Any, _output: Any) -> tuple[torch.Tensor]:
        sample, timestep = inputs[:2]
        return (answer(pipeline.scheduler, "v_prediction", sample, timestep, clean),)

    hook = pipeline.unet.register_forward_hook(know)
    recorder = Recorder(preview_every=STEPS // 2)
    final = backend.generate(request, recorder).images[0]
    hook.remove()
    backend.close()
    previews = [event.picture for event in recorder.events if isinstance(event, PreviewReady)]
    assert correlation(previews[0], final) > 0.8  # here it is all but 1


def correlation(one: ImageData, other: ImageData) -> float:
    """How alike two pictures are at 32 pixels; 1 = the same."""
    small = [decode(each).convert("RGB").resize((32, 32), Image.Resampling.BOX) for each in (one, other)]
    first, second = (numpy.asarray(each, dtype=float).ravel() for each in small)
    return float(numpy.corrcoef(first, second)[0, 1])
