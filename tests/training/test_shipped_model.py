"""The emoji model in the package: it loads with plain diffusers, is small, and draws what it is told."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
)

import sdenv

FOLDER = Path(sdenv.__file__).parent / "assets" / "emoji"


@pytest.fixture(scope="module")
def pipeline() -> Iterator[Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    loaded = DiffusionPipeline.from_pretrained(FOLDER, dtype=torch.float32)
    loaded.set_progress_bar_config(disable=True)
    yield loaded
    torch.set_num_threads(threads)


def _draw(pipeline: Any, prompt: str, **more: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    return pipeline(prompt, num_inference_steps=8, guidance_scale=2.0, generator=generator, **more).images[0]


def test_loads_with_plain_diffusers_as_an_ordinary_stable_diffusion_pipeline(pipeline: Any) -> None:
    assert type(pipeline) is StableDiffusionPipeline
    assert pipeline.safety_checker is None


def test_is_at_most_20_mb_on_disk() -> None:
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) <= 20e6


def test_keeps_the_limits_of_its_parts(pipeline: Any) -> None:
    def count(module: torch.nn.Module) -> int:
        return sum(each.numel() for each in module.parameters())

    assert count(pipeline.unet) <= 7_500_000
    assert count(pipeline.text_encoder) <= 1_200_000
    assert count(pipeline.vae) <= 1_000_000


def test_all_weights_are_half_precision_safetensors() -> None:
    assert not [file for file in FOLDER.rglob("*") if file.suffix in (".bin", ".pt", ".ckpt", ".pkl")]
    from safetensors import safe_open

    for file in FOLDER.rglob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            assert {opened.get_slice(key).get_dtype() for key in opened.keys()} == {"F16"}, file  # noqa: SIM118


def test_says_its_defaults_and_sizes() -> None:
    about = json.loads((FOLDER / "sdenv.json").read_text())
    assert about["family"] == "emoji"
    assert [256, 256] in about["native_sizes"]
    assert set(about) == {
        "family",
        "native_sizes",
        "default_steps",
        "default_guidance_scale",
        "default_sampler",
    }


def test_draws_a_red_apple_on_white(pipeline: Any) -> None:
    picture = _draw(pipeline, "an apple, flat")
    assert picture.size == (256, 256)
    assert min(picture.getpixel((2, 250))) > 230
    red, green, blue = picture.getpixel((128, 150))
    assert red > 180
    assert max(green, blue) < 120


def test_another_prompt_gives_another_picture_and_the_same_gives_the_same(pipeline: Any) -> None:
    first = _draw(pipeline, "a banana, 3d").tobytes()
    assert first == _draw(pipeline, "a banana, 3d").tobytes()
    assert first != _draw(pipeline, "a banana, noto").tobytes()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' schedulers
@pytest.mark.parametrize("scheduler", [DPMSolverMultistepScheduler, EulerDiscreteScheduler, DDIMScheduler])
def test_other_samplers_take_over_its_schedule_and_draw_much_the_same(pipeline: Any, scheduler: Any) -> None:
    own = pipeline.scheduler
    pipeline.scheduler = scheduler.from_config(own.config)
    try:
        red, green, blue = _draw(pipeline, "an apple, flat").getpixel((128, 150))
    finally:
        pipeline.scheduler = own
    assert red > 180
    assert max(green, blue) < 120


def test_takes_a_picture_to_start_from(pipeline: Any) -> None:
    apple = _draw(pipeline, "an apple, flat")
    again = StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)
    again.set_progress_bar_config(disable=True)
    assert _draw(again, "an orange, flat", image=apple, strength=0.8).size == (256, 256)
