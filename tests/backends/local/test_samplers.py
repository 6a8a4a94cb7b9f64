"""What the table of samplers promises is what the classes of diffusers do."""

import inspect
from typing import Any

import diffusers
import pytest
import torch

from sdenv.backends.local.quiet import quieten
from sdenv.core.samplers import AUTOMATIC, LOCAL_SAMPLERS, SAMPLERS, SCHEDULES, scheduler_options
from tests.support.tiny_models import SCALED_LINEAR

PREDICTIONS = ("epsilon", "v_prediction", "sample")


def made(name: str, schedule: str = AUTOMATIC, **config: Any) -> Any:
    quieten()
    sampler = SAMPLERS[name]
    options = scheduler_options(sampler, SCHEDULES[schedule])
    return getattr(diffusers, str(sampler.scheduler)).from_config({**SCALED_LINEAR, **config}, **options)


def parameters(name: str) -> set[str]:
    kind = getattr(diffusers, str(SAMPLERS[name].scheduler))
    return set(inspect.signature(kind.__init__).parameters)


def denoised(scheduler: Any, steps: int = 4) -> torch.Tensor:
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(1)
    sample: torch.Tensor = torch.randn(1, 4, 8, 8, generator=generator) * float(scheduler.init_noise_sigma)
    extra = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
    for timestep in scheduler.timesteps:
        output = scheduler.scale_model_input(sample, timestep) / 2
        sample = scheduler.step(output, timestep, sample, return_dict=False, **extra)[0]
    return sample


@pytest.mark.parametrize("name", LOCAL_SAMPLERS)
def test_every_option_of_a_sampler_and_its_schedules_is_one_of_its_class(name: str) -> None:
    sampler, known = SAMPLERS[name], parameters(name)
    assert set(sampler.options) <= known
    for schedule in sampler.schedules:
        changed = {key for key, value in (SCHEDULES[schedule].options or {}).items() if value is not False}
        assert changed <= known, schedule


TWINS = {"Normal", "Simple"}  # give the same numbers as Uniform and SGM Uniform


@pytest.mark.parametrize("name", LOCAL_SAMPLERS)
def test_each_schedule_that_a_sampler_follows_gives_steps_of_its_own(name: str) -> None:
    seen = set()
    for schedule in SAMPLERS[name].schedules - TWINS:
        scheduler = made(name, schedule)
        scheduler.set_timesteps(7)
        seen.add(tuple(round(float(each), 3) for each in scheduler.timesteps))
    assert len(seen) == len(SAMPLERS[name].schedules - TWINS)


@pytest.mark.parametrize("name", LOCAL_SAMPLERS)
def test_what_a_sampler_says_it_takes_it_takes_and_the_rest_it_refuses(name: str) -> None:
    for prediction in PREDICTIONS:
        scheduler = made(name, prediction_type=prediction)
        if prediction in SAMPLERS[name].predictions:
            assert torch.isfinite(denoised(scheduler)).all(), prediction
            continue
        with pytest.raises((NotImplementedError, ValueError)):
            denoised(scheduler)


@pytest.mark.parametrize("name", LOCAL_SAMPLERS)
def test_who_says_that_it_starts_from_pure_noise_does(name: str) -> None:
    assert SAMPLERS[name].zero_snr is ("rescale_betas_zero_snr" in parameters(name))
    if SAMPLERS[name].zero_snr:
        scheduler = made(name, prediction_type="v_prediction", rescale_betas_zero_snr=True)
        assert torch.isfinite(denoised(scheduler)).all()
