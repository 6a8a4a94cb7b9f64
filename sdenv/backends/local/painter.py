"""What runs in the device's thread: keeps a model warm and makes the pictures of plan after plan."""

import time
from dataclasses import dataclass
from functools import wraps
from typing import Any, final

import diffusers
import torch

from sdenv.backends.local.device import Choice, DeviceName, Precision, choose
from sdenv.backends.local.loading import for_task, load_pipeline, quieten
from sdenv.backends.local.plan import Plan
from sdenv.backends.local.relay import Finished, Relay
from sdenv.core.events import PhaseStarted, StepDone
from sdenv.core.request import Task
from sdenv.core.samplers import is_flow, scheduler_options


@dataclass(frozen=True, slots=True)
class Painted:
    """What a plan came to, beside the pictures: wall time in seconds without loading, and what made them."""

    seconds: float
    made_with: dict[str, str]


@final
class Painter:
    """Owns the device from loading to closing. Only ever used from one thread.

    Args:
        device: Which device, or `auto`.
        precision: Which precision, or `auto`.
    """

    def __init__(self, device: DeviceName, precision: Precision) -> None:
        self._wanted = (device, precision)
        self._choice: Choice | None = None
        self._loaded: tuple[str, Any] | None = None
        self._by_task: dict[str, Any] = {}

    def paint(self, plan: Plan, relay: Relay) -> Painted:
        """Makes all pictures of a plan, reporting each as it is decoded."""
        pipeline = self._warm(plan, relay)
        started = time.monotonic()
        count, batch = plan.resolved.count, plan.resolved.batch_size
        for first in range(0, count, batch):
            relay.check()
            _paint_together(pipeline, plan, range(first, min(first + batch, count)), relay)
        assert self._choice is not None
        return Painted(time.monotonic() - started, _made_with(self._choice))

    def release(self) -> None:
        """Forgets the model and gives its memory back."""
        self._loaded = None
        self._by_task = {}
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _warm(self, plan: Plan, relay: Relay) -> Any:
        """The pipeline for the plan's model and task, loaded if another model is."""
        key = str(plan.folder.path)
        if self._loaded is None or self._loaded[0] != key:
            relay.put(PhaseStarted("loading"))
            self.release()
            self._choice = self._choice or choose(*self._wanted)
            self._loaded = (key, load_pipeline(plan.folder, self._choice))
        else:
            quieten()
        task = plan.resolved.task.value
        if task not in self._by_task:
            self._by_task[task] = for_task(self._loaded[1], task)
        return self._by_task[task]


def _made_with(choice: Choice) -> dict[str, str]:
    return {
        "device": choice.device,
        "precision": choice.precision,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }


def make_scheduler(plan: Plan) -> Any:
    """A fresh scheduler: the model's own configuration, sampler's and schedule's options on top."""
    config = dict(plan.folder.config("scheduler"))
    name = config["_class_name"] if is_flow(config) else plan.sampler.scheduler
    return getattr(diffusers, str(name)).from_config(config, **scheduler_options(plan.sampler, plan.schedule))


def noise_of(plan: Plan, indexes: range) -> list[torch.Generator]:
    """One generator a picture, always on the CPU: a seed means the same noise on every device.

    torch rounds its CPU noise from float32, so the noise of a lower precision is that of a higher one,
    rounded.
    """
    return [torch.Generator("cpu").manual_seed(plan.resolved.seed_of(index)) for index in indexes]


def pipeline_strength(steps: int, strength: float, steps_to_run: int) -> float:
    """The strength that makes diffusers run exactly `steps_to_run` steps.

    diffusers runs int(steps * strength) steps, which is 0 for small strengths and loses one to rounding for
    some products (50 * 0.58 = 28.999...); the user's own number is kept wherever it gives the right count.
    """
    if int(steps * strength) == steps_to_run:
        return strength
    return min(1.0, (steps_to_run + 0.5) / steps)


def call_arguments(plan: Plan, indexes: range) -> dict[str, Any]:
    """The keyword arguments of the pipeline's call, as anyone would write them."""
    resolved = plan.resolved
    arguments: dict[str, Any] = {
        "prompt": [resolved.prompt] * len(indexes),
        "negative_prompt": [resolved.negative_prompt] * len(indexes) if resolved.negative_prompt else None,
        "num_inference_steps": resolved.steps,
        "guidance_scale": resolved.guidance_scale,
        "generator": noise_of(plan, indexes),
    }
    if resolved.task is not Task.IMAGE_TO_IMAGE:
        arguments |= {"width": resolved.width, "height": resolved.height}
    if resolved.strength is not None:
        strength = pipeline_strength(resolved.steps, resolved.strength, resolved.steps_to_run)
        arguments |= {"image": plan.init_image, "strength": strength}
    if plan.mask is not None:
        arguments["mask_image"] = plan.mask
    return arguments


def _paint_together(pipeline: Any, plan: Plan, indexes: range, relay: Relay) -> None:
    """Makes the pictures of one batch."""
    scheduler = make_scheduler(plan)
    pipeline.scheduler = scheduler
    total = plan.resolved.steps_to_run
    done = 0

    def after_step(_pipeline: Any, number: int, _timestep: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
        nonlocal done
        finished = _steps_finished(number, pipeline.num_timesteps, total, scheduler.order)
        if finished > done:
            done = finished
            for index in indexes:
                relay.put(StepDone(done, total, index))
        relay.check()
        if number == pipeline.num_timesteps - 1:
            relay.put(PhaseStarted("decoding"))
        return {}

    _announce(scheduler, relay)
    relay.put(PhaseStarted("encoding"))
    with torch.inference_mode():
        pictures = pipeline(
            **call_arguments(plan, indexes),
            callback_on_step_end=after_step,
            callback_on_step_end_tensor_inputs=[],
        ).images
    for index, picture in zip(indexes, pictures, strict=True):
        relay.put(Finished(index, plan.resolved.seed_of(index), picture))


def _announce(scheduler: Any, relay: Relay) -> None:
    """Reports the phase `denoising` when the pipeline, done with the prompt, sets its timesteps."""
    original = scheduler.set_timesteps

    @wraps(original)
    def announced(*args: Any, **kwargs: Any) -> Any:
        relay.put(PhaseStarted("denoising"))
        return original(*args, **kwargs)

    scheduler.set_timesteps = announced


def _steps_finished(number: int, calls: int, total: int, order: int) -> int:
    """Steps finished after call `number` (from 0) of `calls` calls of the model.

    Second-order samplers call the model twice a step and once in the last, PLMS once more at the start; the
    count is that of diffusers' own progress bar.
    """
    if number == calls - 1:
        return total
    warmup = max(0, calls - total * order)
    return max(0, (number + 1 - warmup) // order)
