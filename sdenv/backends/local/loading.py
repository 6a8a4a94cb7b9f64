"""From a checked model folder to a pipeline on the device; offline, safetensors only, silent."""

import importlib
import warnings
from typing import Any

import diffusers
import torch

from sdenv.backends.local.device import Choice
from sdenv.checkpoints.folder import UNUSED, ModelFolder, read_index


def quieten() -> None:
    """Keeps bars and advice of the libraries off stderr, which belongs to the person at the prompt."""
    transformers_logging: Any = importlib.import_module("transformers.utils.logging")
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for library in ("diffusers", "transformers", "huggingface_hub"):
        warnings.filterwarnings("ignore", category=FutureWarning, module=library)


def load_pipeline(folder: ModelFolder, choice: Choice) -> Any:
    """Loads a model.

    Args:
        folder: A folder that `read_folder` found whole and safe.
        choice: Device and precision.

    Returns:
        A diffusers pipeline on the device, convolutions in channels-last order, progress bar off.
    """
    quieten()
    left_out = {name: None for name in read_index(folder.path) if name in UNUSED}
    pipeline = diffusers.DiffusionPipeline.from_pretrained(
        folder.path,
        torch_dtype=choice.dtype,
        variant=folder.variant,
        local_files_only=True,
        use_safetensors=True,
        **left_out,
    )
    pipeline.to(choice.device)
    for name in ("unet", "transformer", "vae"):
        module: Any = getattr(pipeline, name, None)
        if module is not None:
            module.to(memory_format=torch.channels_last)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def for_task(pipeline: Any, task: str) -> Any:
    """The pipeline for a task, sharing all components with the one given."""
    auto = {
        "text-to-image": diffusers.AutoPipelineForText2Image,
        "image-to-image": diffusers.AutoPipelineForImage2Image,
        "inpaint": diffusers.AutoPipelineForInpainting,
    }[task]
    made = auto.from_pipe(pipeline)
    made.set_progress_bar_config(disable=True)
    return made
