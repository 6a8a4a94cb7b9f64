"""Bare diffusers, as its documentation shows it: the oracle for the local backend's pixels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from PIL import Image

from sdenv.backends.local.quiet import quieten

CLASSES = {
    "sd1": "StableDiffusion{}Pipeline",
    "sd2": "StableDiffusion{}Pipeline",
    "sdxl": "StableDiffusionXL{}Pipeline",
    "inpainting": "StableDiffusion{}Pipeline",
}


def bare_pictures(
    folder: Path,
    task: str,
    scheduler: Any,
    seeds: Sequence[int],
    dtype: torch.dtype = torch.float32,
    **settings: Any,
) -> list[Image.Image]:
    """Pictures by a pipeline that nothing of sdenv has touched.

    Args:
        folder: A model folder.
        task: "" for text-to-image, "Img2Img" or "Inpaint".
        scheduler: A scheduler, or a class whose `from_config` is given the model's configuration.
        seeds: One for each picture; all are made at once.
        dtype: Of weights and activations.
        settings: Keyword arguments of the call, prompts as lists.
    """
    quieten()
    pipeline = getattr(diffusers, CLASSES[folder.name].format(task)).from_pretrained(
        folder, torch_dtype=dtype, local_files_only=True
    )
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.vae.to(memory_format=torch.channels_last)
    pipeline.set_progress_bar_config(disable=True)
    kind, options = scheduler
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **options)
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    pictures: list[Image.Image] = pipeline(generator=generators, **settings).images
    return pictures
