"""The trained parts as one diffusers pipeline, in memory and on disk."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from diffusers import (
    AutoencoderTiny,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel, CLIPTokenizer

from sdenv.training.checkpoint import swap_folder

# `linear` 1e-4..0.02 ends at a signal-to-noise ratio of 4e-5, so that every sampler may start from pure
# noise. The recipe trains on the same values.
TRAIN_TIMESTEPS: Final = 1000
BETA_START: Final = 1e-4
BETA_END: Final = 0.02

DEFAULT_STEPS: Final = 20
DEFAULT_GUIDANCE_SCALE: Final = 2.0  # measured on training prompts that no score uses: docs/lab-log.md
DEFAULT_SAMPLER: Final = "DDIM"  # AUTOMATIC1111's name of the scheduler below


def new_scheduler() -> DDIMScheduler:
    """The sampler that the model comes with; its configuration suits every other one of diffusers."""
    return DDIMScheduler(
        num_train_timesteps=TRAIN_TIMESTEPS,
        beta_start=BETA_START,
        beta_end=BETA_END,
        beta_schedule="linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,  # unused by trailing; StableDiffusionPipeline warns of any other value
        clip_sample=False,  # latents go beyond -1..1; samplers that clip read this from here
    )


def build_pipeline(
    unet: UNet2DConditionModel, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer, vae: AutoencoderTiny
) -> StableDiffusionPipeline:
    """A plain StableDiffusionPipeline of these parts."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=new_scheduler(),
        safety_checker=None,  # it draws emoji
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def tidy_autoencoder(folder: Path) -> None:
    """Takes `block_out_channels` out of a saved AutoencoderTiny's configuration.

    diffusers writes the key, and when it reads it again warns that it does not know it; it sets it by itself.
    """
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config.pop("block_out_channels", None)
    config.pop("_name_or_path", None)  # where it lay when it was loaded: nobody else's business
    path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def save_pipeline(
    pipeline: StableDiffusionPipeline, folder: Path, native_sizes: Sequence[tuple[int, int]] = ((256, 256),)
) -> None:
    """Writes the pipeline in half precision, with what sdenv has to know beside it; whole or not at all.

    Args:
        pipeline: What to write; its weights are turned into float16 in place.
        folder: Where to; replaced if it exists.
        native_sizes: Width and height in pixels of what the model was trained on.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(temporary, safe_serialization=True)
    tidy_autoencoder(temporary / "vae")
    about = {
        "family": "emoji",
        "native_sizes": [list(size) for size in native_sizes],
        "default_steps": DEFAULT_STEPS,
        "default_guidance_scale": DEFAULT_GUIDANCE_SCALE,
        "default_sampler": DEFAULT_SAMPLER,
    }
    (temporary / "sdenv.json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")
    for file in temporary.rglob("*.safetensors"):
        file.chmod(0o644)  # safetensors writes files that only the owner may read
    swap_folder(temporary, folder)
