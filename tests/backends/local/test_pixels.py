"""The local backend adds nothing to the pixels: they are those of a bare diffusers pipeline, bit for bit."""

from pathlib import Path
from typing import Any

import diffusers
import numpy
import pytest
import torch
from PIL import Image, ImageChops

from sdenv.backends.local import LocalBackend, LocalSettings
from sdenv.backends.local.quiet import quieten
from sdenv.core.image import ImageData, decode
from sdenv.core.request import GenerationRequest
from sdenv.testing.fakes import Recorder
from sdenv.testing.samples import mask, picture
from tests.support.bare import bare_pictures

MULTISTEP = diffusers.DPMSolverMultistepScheduler
SAMPLERS: dict[tuple[str, str], tuple[Any, dict[str, Any]]] = {
    ("DPM++ 2M", "Automatic"): (MULTISTEP, {}),
    ("DPM++ 2M", "Karras"): (MULTISTEP, {"use_karras_sigmas": True}),
    ("DPM++ 2M SDE", "Exponential"): (
        MULTISTEP,
        {"algorithm_type": "sde-dpmsolver++", "use_exponential_sigmas": True},
    ),
    ("DPM++ 3M SDE", "Automatic"): (MULTISTEP, {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}),
    ("DPM++ SDE", "Karras"): (
        diffusers.DPMSolverSinglestepScheduler,
        {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True},
    ),
    ("Euler", "SGM Uniform"): (diffusers.EulerDiscreteScheduler, {"timestep_spacing": "trailing"}),
    ("Euler a", "Automatic"): (diffusers.EulerAncestralDiscreteScheduler, {}),
    ("Heun", "Beta"): (diffusers.HeunDiscreteScheduler, {"use_beta_sigmas": True}),
    ("DPM2 a", "Automatic"): (diffusers.KDPM2AncestralDiscreteScheduler, {}),
    ("LMS", "Automatic"): (diffusers.LMSDiscreteScheduler, {}),
    ("DDIM", "Automatic"): (diffusers.DDIMScheduler, {}),
    ("PLMS", "Automatic"): (diffusers.PNDMScheduler, {"skip_prk_steps": True}),
    ("UniPC", "Automatic"): (diffusers.UniPCMultistepScheduler, {}),
}
EULER_A = SAMPLERS["Euler a", "Automatic"]


def made(backend: LocalBackend, **values: Any) -> list[Image.Image]:
    result = backend.generate(GenerationRequest(**values), Recorder())
    return [decode(each) for each in result.images]


def assert_same(ours: list[Image.Image], theirs: list[Image.Image]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.size == other.size
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(("sampler", "schedule"), SAMPLERS)
def test_text_to_image_equals_bare_diffusers_with_every_kind_of_sampler(
    backend: LocalBackend, models: dict[str, Path], sampler: str, schedule: str
) -> None:
    ours = made(
        backend, prompt="a pizza", model="sd1", seed=11, steps=5, sampler=sampler, schedule=schedule, width=72
    )
    bare = bare_pictures(
        models["sd1"],
        "",
        SAMPLERS[sampler, schedule],
        [11],
        prompt=["a pizza"],
        num_inference_steps=5,
        guidance_scale=7.0,
        width=72,
        height=72,
    )
    assert_same(ours, bare)


@pytest.mark.parametrize("model", ["sd1", "sd2", "sdxl"])
def test_every_family_equals_bare_diffusers_in_text_to_image(
    backend: LocalBackend, models: dict[str, Path], model: str
) -> None:
    ours = made(
        backend,
        prompt="a fox",
        negative_prompt="snow",
        model=model,
        seed=5,
        steps=4,
        sampler="Euler a",
        width=64,
        height=96,
        guidance_scale=3.5,
    )
    bare = bare_pictures(
        models[model],
        "",
        EULER_A,
        [5],
        prompt=["a fox"],
        negative_prompt=["snow"],
        num_inference_steps=4,
        guidance_scale=3.5,
        width=64,
        height=96,
    )
    assert_same(ours, bare)


@pytest.mark.parametrize("model", ["sd1", "sd2", "sdxl"])
def test_every_family_equals_bare_diffusers_in_image_to_image(
    backend: LocalBackend, models: dict[str, Path], model: str
) -> None:
    start = picture(64, 64)
    ours = made(
        backend,
        prompt="a fox",
        model=model,
        seed=5,
        steps=6,
        sampler="Euler a",
        init_image=start,
        strength=0.5,
        guidance_scale=3.5,
    )
    bare = bare_pictures(
        models[model],
        "Img2Img",
        EULER_A,
        [5],
        prompt=["a fox"],
        image=decode(start),
        strength=0.5,
        num_inference_steps=6,
        guidance_scale=3.5,
    )
    assert_same(ours, bare)


def repainted(pictures: list[Image.Image], start: ImageData, where: ImageData) -> list[Image.Image]:
    """Pictures with everything but the white of the mask taken from the start."""
    return [Image.composite(each, decode(start), decode(where)) for each in pictures]


@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("model", ["sd1", "sd2", "sdxl", "inpainting"])
def test_every_family_equals_bare_diffusers_inside_the_mask(
    backend: LocalBackend, models: dict[str, Path], model: str, strength: float
) -> None:
    start, where = picture(64, 64), mask(64, 64)
    ours = made(
        backend,
        prompt="a fox",
        model=model,
        seed=5,
        steps=5,
        sampler="Euler a",
        init_image=start,
        mask=where,
        strength=strength,
        guidance_scale=3.5,
    )
    bare = bare_pictures(
        models[model],
        "Inpaint",
        EULER_A,
        [5],
        prompt=["a fox"],
        image=decode(start),
        mask_image=decode(where),
        strength=strength,
        num_inference_steps=5,
        guidance_scale=3.5,
        width=64,
        height=64,
    )
    assert_same(ours, repainted(bare, start, where))


def test_inpainting_keeps_what_is_black_in_the_mask_bit_for_bit(backend: LocalBackend) -> None:
    start, where = picture(64, 64), mask(64, 64)
    ours = made(backend, prompt="a fox", model="sd1", steps=2, seed=1, init_image=start, mask=where)[0]
    left = (0, 0, 32, 64)
    assert ours.crop(left).tobytes() == decode(start).crop(left).tobytes()
    assert ImageChops.difference(ours, decode(start)).getbbox() is not None


@pytest.mark.parametrize(("model", "precision"), [("sd1", "bfloat16"), ("sdxl", "float16")])
def test_half_precision_equals_bare_diffusers_in_the_same_precision(
    models: dict[str, Path], model: str, precision: Any
) -> None:
    settings = LocalSettings(models={model: str(models[model])}, device="cpu", precision=precision)
    backend = LocalBackend(settings)
    ours = made(backend, prompt="a fox", seed=5, steps=4, sampler="Euler a", guidance_scale=7)
    backend.close()
    bare = bare_pictures(
        models[model],
        "",
        EULER_A,
        [5],
        getattr(torch, precision),
        prompt=["a fox"],
        num_inference_steps=4,
        guidance_scale=7.0,
    )
    assert_same(ours, bare)


def test_a_batch_equals_a_bare_batch(backend: LocalBackend, models: dict[str, Path]) -> None:
    ours = made(
        backend, prompt="a fox", model="sd1", seed=5, steps=4, sampler="Euler a", count=3, batch_size=3
    )
    bare = bare_pictures(
        models["sd1"],
        "",
        EULER_A,
        [5, 6, 7],
        prompt=["a fox"] * 3,
        num_inference_steps=4,
        guidance_scale=7.0,
    )
    assert_same(ours, bare)


@pytest.mark.parametrize("guidance", [1.0, 0.0])
def test_a_guidance_of_one_or_less_is_off_as_in_bare_diffusers(
    backend: LocalBackend, models: dict[str, Path], guidance: float
) -> None:
    ours = made(
        backend, prompt="a fox", model="sdxl", seed=5, steps=3, sampler="Euler a", guidance_scale=guidance
    )
    bare = bare_pictures(
        models["sdxl"], "", EULER_A, [5], prompt=["a fox"], num_inference_steps=3, guidance_scale=1.0
    )
    assert_same(ours, bare)


def test_an_empty_prompt_is_unconditional_and_equals_bare_diffusers(
    backend: LocalBackend, models: dict[str, Path]
) -> None:
    ours = made(backend, model="sdxl", seed=5, steps=3, sampler="Euler a", guidance_scale=2)
    bare = bare_pictures(
        models["sdxl"], "", EULER_A, [5], prompt=[""], num_inference_steps=3, guidance_scale=2.0
    )
    assert_same(ours, bare)


def blended_by_hand(folder: Path, steps: int, start: Image.Image, where: Image.Image) -> Image.Image:
    """Inpainting from pure noise, written out: after each step the kept part is the start, noised as then."""
    quieten()
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.vae.to(memory_format=torch.channels_last)
    scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(5)
    with torch.inference_mode():
        text, without = pipeline.encode_prompt("a fox", "cpu", 1, True)
        pixels = pipeline.image_processor.preprocess(start)
        kept = pipeline.vae.encode(pixels).latent_dist.sample(generator) * pipeline.vae.config.scaling_factor
        noise = torch.randn(kept.shape, generator=generator)
        cells = torch.from_numpy(numpy.asarray(where)[None, None].astype("float32") / 255)
        repaint = torch.nn.functional.interpolate(cells, size=kept.shape[2:])
        latents = noise * scheduler.init_noise_sigma
        for number, timestep in enumerate(scheduler.timesteps):
            both = torch.cat([latents] * 2)
            guess = pipeline.unet(both, timestep, encoder_hidden_states=torch.cat([without, text])).sample
            plain, prompted = guess.chunk(2)
            latents = scheduler.step(plain + 3.5 * (prompted - plain), timestep, latents).prev_sample
            behind = kept
            if number < steps - 1:
                behind = scheduler.add_noise(kept, noise, scheduler.timesteps[number + 1 : number + 2])
            latents = (1 - repaint) * behind + repaint * latents
        decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    picture: Image.Image = pipeline.image_processor.postprocess(decoded)[0]
    return picture


def test_latents_of_other_than_four_channels_are_inpainted_as_by_hand(
    backend: LocalBackend, models: dict[str, Path]
) -> None:
    start, where = picture(64, 64), mask(64, 64)
    ours = made(
        backend,
        prompt="a fox",
        model="wide",
        seed=5,
        steps=4,
        sampler="DDIM",
        init_image=start,
        mask=where,
        guidance_scale=3.5,
    )
    by_hand = blended_by_hand(models["wide"], 4, decode(start), decode(where))
    assert_same(ours, repainted([by_hand], start, where))
