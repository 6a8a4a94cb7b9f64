"""From a checked model folder to a pipeline on the device; offline, safetensors only, silent."""

import importlib
from typing import Any, Final

import diffusers
import torch

from sdenv.backends.local.device import Choice
from sdenv.checkpoints.folder import ModelFolder, read_index, unused
from sdenv.core.errors import UnsupportedError
from sdenv.core.request import Task


def load_pipeline(folder: ModelFolder, choice: Choice) -> Any:
    """Loads a model.

    Args:
        folder: A folder that `read_folder` found whole and safe.
        choice: Device and precision.

    Returns:
        A diffusers pipeline on the device, convolutions in channels-last order, progress bar off.
    """
    left_out = dict.fromkeys(unused(read_index(folder.path)))
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


_AUTO: Final = {
    Task.TEXT_TO_IMAGE: ("AutoPipelineForText2Image", "AUTO_TEXT2IMAGE_PIPELINES_MAPPING"),
    Task.IMAGE_TO_IMAGE: ("AutoPipelineForImage2Image", "AUTO_IMAGE2IMAGE_PIPELINES_MAPPING"),
    Task.INPAINT: ("AutoPipelineForInpainting", "AUTO_INPAINT_PIPELINES_MAPPING"),
}
"""The auto pipeline of a task, and the name of the table of classes behind it."""

_OWN_TASK: Final = frozenset({"StableDiffusionPipeline", "StableDiffusionXLPipeline"})
"""Pipelines that make pictures from text as they are: no need to import every pipeline that diffusers has."""


def check_task(folder: ModelFolder, task: Task) -> None:
    """Refuses a task that diffusers has no pipeline for, before the model is loaded.

    Raises:
        UnsupportedError: This kind of model cannot do it.
    """
    if task is Task.TEXT_TO_IMAGE and folder.pipeline in _OWN_TASK:
        return
    auto_pipeline: Any = importlib.import_module("diffusers.pipelines.auto_pipeline")
    table = getattr(auto_pipeline, _AUTO[task][1])
    if auto_pipeline._get_task_class(table, folder.pipeline, throw_error_if_not_exist=False) is None:
        raise UnsupportedError(
            f"This model cannot do {task.value}.",
            why=f"diffusers has no such pipeline for a {folder.pipeline}.",
        )


def for_task(pipeline: Any, task: Task) -> Any:
    """The pipeline for a task, sharing all components with the one given."""
    if task is Task.TEXT_TO_IMAGE and type(pipeline).__name__ in _OWN_TASK:
        return pipeline
    made = getattr(diffusers, _AUTO[task][0]).from_pipe(pipeline)
    made.set_progress_bar_config(disable=True)
    return made
