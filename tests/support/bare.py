"""Bare diffusers, as its documentation shows it: the oracle for the local backend's pixels."""

import json
from collections.abc import Sequence
from functools import cache
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
    pipeline = _loaded(folder, CLASSES[folder.name].format(task), dtype)
    kind, options = scheduler
    pipeline.scheduler = kind.from_config(_configuration(folder), **options)
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    pictures: list[Image.Image] = pipeline(generator=generators, **settings).images
    return pictures


@cache
def _loaded(folder: Path, name: str, dtype: torch.dtype) -> Any:
    """A pipeline as it comes from its folder, but for the memory order that sdenv chooses."""
    pipeline = getattr(diffusers, name).from_pretrained(folder, torch_dtype=dtype, local_files_only=True)
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.vae.to(memory_format=torch.channels_last)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _configuration(folder: Path) -> dict[str, Any]:
    configuration: dict[str, Any] = json.loads(
        (folder / "scheduler" / "scheduler_config.json").read_text("utf-8")
    )
    return configuration
