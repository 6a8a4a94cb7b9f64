"""What a seed means: the same noise alone or in a batch, whatever the device and its precision."""

from pathlib import Path

import pytest
import torch

from sdenv.backends.local import LocalBackend
from sdenv.backends.local.calls import noise_of
from sdenv.backends.local.plan import make_plan
from sdenv.checkpoints.facts import facts_of
from sdenv.checkpoints.folder import read_folder
from sdenv.core.request import GenerationRequest
from sdenv.testing.fakes import Recorder
from sdenv.testing.samples import largest_difference, mask, picture

ROUNDING = 2
"""Levels of 255: convolutions of a batch add in another order than those of a single picture."""


@pytest.mark.parametrize("task", ["text", "image", "mask"])
@pytest.mark.parametrize("sampler", ["DPM++ 2M", "Euler a", "DPM++ SDE"])
def test_a_picture_is_the_same_alone_as_in_a_batch(backend: LocalBackend, task: str, sampler: str) -> None:
    start = {} if task == "text" else {"init_image": picture(), "strength": 0.6}
    if task == "mask":
        start["mask"] = mask()
    values = {"prompt": "a fox", "model": "sd1", "steps": 4, "sampler": sampler, **start}
    batch = GenerationRequest(seed=2**32 - 2, count=3, batch_size=3, **values)
    together = backend.generate(batch, Recorder())
    for index, image in enumerate(together.images):
        seed = (2**32 - 2 + index) % 2**32
        alone = backend.generate(GenerationRequest(seed=seed, **values), Recorder()).images[0]
        assert largest_difference(image, alone) <= ROUNDING


def test_the_noise_is_the_same_bit_for_bit_alone_or_in_a_batch(models: dict[str, Path]) -> None:
    folder = read_folder(models["sd1"])
    facts = facts_of(folder)

    def noise(seed: int, count: int) -> list[torch.Tensor]:
        plan = make_plan(GenerationRequest(seed=seed, count=count), "sd1", folder, facts)
        return [torch.randn(1, 4, 8, 8, generator=each) for each in noise_of(plan, range(count))]

    together = noise(2**32 - 2, 3)
    alone = [noise(seed, 1)[0] for seed in (2**32 - 2, 2**32 - 1, 0)]
    assert all(torch.equal(one, other) for one, other in zip(together, alone, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_noise_of_half_precision_is_that_of_full_precision_rounded(dtype: torch.dtype) -> None:
    def noise(of: torch.dtype) -> torch.Tensor:
        return torch.randn(1, 4, 64, 64, generator=torch.Generator("cpu").manual_seed(3), dtype=of)

    assert torch.equal(noise(torch.float32).to(dtype), noise(dtype))


def test_without_a_seed_two_pictures_differ_and_say_their_seeds(backend: LocalBackend) -> None:
    one, other = (
        backend.generate(GenerationRequest(model="sd1", steps=1, prompt="a fox"), Recorder())
        for _ in range(2)
    )
    assert one.resolved.seed != other.resolved.seed
    assert one.images[0] != other.images[0]
    again = backend.generate(one.resolved.as_request(), Recorder())
    assert again.images == one.images
