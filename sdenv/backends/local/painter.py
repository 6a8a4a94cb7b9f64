"""What runs in the device's thread: keeps a model warm and makes the pictures of plan after plan."""

import time
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, final

import diffusers
import PIL.Image
import torch

from sdenv.backends.local.calls import (
    call_arguments,
    make_scheduler,
    shown_as_plain,
    steps_finished,
    with_embeddings,
)
from sdenv.backends.local.device import Choice, DeviceName, Precision, choose
from sdenv.backends.local.failures import failures_of, numbers_checked
from sdenv.backends.local.hashes import model_hash
from sdenv.backends.local.loading import check_task, for_task, load_pipeline
from sdenv.backends.local.plan import Plan
from sdenv.backends.local.previews import Previewer
from sdenv.backends.local.prompts import long_prompt_arguments
from sdenv.backends.local.relay import Finished, Glimpse, Relay
from sdenv.core.errors import OutOfMemory
from sdenv.core.events import PhaseStarted, RequestResolved, StepDone

if TYPE_CHECKING:
    from PIL.Image import Image

REPAINT: int = 128
"""Masks are white from here on: diffusers' mask processor sets pixels of at least a half to 1."""


@dataclass(frozen=True, slots=True)
class Painted:
    """What a plan came to, beside the pictures.

    Attributes:
        seconds: Wall time of the work, loading not counted.
        model_hash: As in GenerationResult.
        made_with: As in GenerationResult.
    """

    seconds: float
    model_hash: str
    made_with: dict[str, str]


@dataclass(slots=True)
class _Warm:
    """A loaded model: where it came from, its pipeline, and one that shares its parts for each task."""

    path: str
    pipeline: Any
    model_hash: str
    by_task: dict[str, Any] = field(default_factory=dict)


@final
class Painter:
    """Owns the device from loading to closing. Only ever used from one thread.

    Args:
        device: Which device, or `auto`.
        precision: Which precision, or `auto`.
        noise_on_device: Whether noise is drawn on the device instead of the CPU.
    """

    def __init__(self, device: DeviceName, precision: Precision, noise_on_device: bool = False) -> None:
        self._choice = choose(device, precision)
        self._noise_device = self._choice.device if noise_on_device else "cpu"
        self._warm: _Warm | None = None

    def is_warm(self, plan: Plan) -> bool:
        """Whether the plan's model is loaded."""
        return self._warm is not None and self._warm.path == str(plan.folder.path)

    def paint(self, plan: Plan, relay: Relay) -> Painted:
        """Makes all pictures of a plan, reporting each as it is decoded."""
        check_task(plan.folder, plan.resolved.task)
        warm = self._loaded(plan)
        relay.check()
        made_with = _made_with(self._choice, self._noise_device)
        relay.put(RequestResolved(plan.resolved, warm.model_hash, made_with))
        started = time.monotonic()
        count, batch = plan.resolved.count, plan.resolved.batch_size
        try:
            for first in range(0, count, batch):
                relay.check()
                together = range(first, min(first + batch, count))
                _Batch(self._for_task(warm, plan), plan, together, self._noise_device, relay).paint()
        except OutOfMemory:
            free_caches()
            raise
        return Painted(time.monotonic() - started, warm.model_hash, made_with)

    def release(self) -> None:
        """Forgets the model and gives its memory back."""
        self._warm = None
        free_caches()

    def _loaded(self, plan: Plan) -> _Warm:
        if self._warm is None or not self.is_warm(plan):
            self.release()
            with failures_of(f"The model {plan.resolved.model!r}", loading=True):
                pipeline = load_pipeline(plan.folder, self._choice)
            self._warm = _Warm(str(plan.folder.path), pipeline, model_hash(plan.folder))
        return self._warm

    def _for_task(self, warm: _Warm, plan: Plan) -> Any:
        task = plan.resolved.task
        if task.value not in warm.by_task:
            with failures_of(f"The model {plan.resolved.model!r}", loading=True):
                warm.by_task[task.value] = for_task(warm.pipeline, task)
        return warm.by_task[task.value]


def free_caches() -> None:
    """Gives memory that torch keeps for later back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _made_with(choice: Choice, noise_device: str) -> dict[str, str]:
    return {
        "device": choice.device,
        "precision": choice.precision,
        "noise": noise_device,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }


@final
class _Batch:
    """Makes the pictures of one batch.

    Args:
        pipeline: The pipeline for the task.
        plan: What to make.
        indexes: Which pictures of the request.
        noise_device: Where noise is drawn.
        relay: Where to report.
    """

    def __init__(self, pipeline: Any, plan: Plan, indexes: range, noise_device: str, relay: Relay) -> None:
        self._pipeline = pipeline
        self._plan = plan
        self._indexes = indexes
        self._noise_device = noise_device
        self._relay = relay
        self._total = plan.resolved.steps_to_run
        self._done = 0
        self._previewer: Previewer | None = None

    def paint(self) -> None:
        """Runs the pipeline and hands over the pictures."""
        plan, pipeline = self._plan, self._pipeline
        pipeline.scheduler = make_scheduler(plan)
        if plan.preview_every:
            self._previewer = Previewer(pipeline, pipeline.scheduler, plan.facts.family.name)
        self._announce_denoising(pipeline.scheduler)
        self._relay.put(PhaseStarted("encoding"))
        what = f"The pipeline {type(pipeline).__name__}"
        precision = str(pipeline.dtype).removeprefix("torch.")
        with (
            failures_of(what),
            torch.inference_mode(),
            shown_as_plain(pipeline, plan.resolved.task),
            numbers_checked(pipeline.vae, precision),
        ):
            pictures = pipeline(
                **self._arguments(),
                callback_on_step_end=self._after_call,
                callback_on_step_end_tensor_inputs=[],
            ).images
        for index, picture in zip(self._indexes, pictures, strict=True):
            self._relay.put(Finished(index, plan.resolved.seed_of(index), self._pasted(picture)))

    def _arguments(self) -> dict[str, Any]:
        resolved = self._plan.resolved
        arguments = call_arguments(self._plan, self._indexes, self._noise_device)
        embeddings = long_prompt_arguments(
            self._pipeline,
            self._plan.folder.pipeline,
            resolved.prompt,
            resolved.negative_prompt,
            resolved.guidance_scale > 1,
            self._tell_once,
        )
        return arguments if embeddings is None else with_embeddings(arguments, embeddings, len(self._indexes))

    def _tell_once(self, notice: Any) -> None:
        if self._indexes.start == 0:
            self._relay.put(notice)

    def _announce_denoising(self, scheduler: Any) -> None:
        """Reports the phase when the pipeline, done with the prompt, sets its timesteps."""
        original = scheduler.set_timesteps

        @wraps(original)
        def announced(*args: Any, **kwargs: Any) -> Any:
            self._relay.put(PhaseStarted("denoising"))
            return original(*args, **kwargs)

        scheduler.set_timesteps = announced

    def _after_call(self, pipeline: Any, number: int, _timestep: Any, _tensors: Any) -> dict[str, Any]:
        """Called by the pipeline after every call of its model."""
        calls = pipeline.num_timesteps
        done = steps_finished(number, calls, self._total, pipeline.scheduler.order)
        if done > self._done:
            self._done = done
            for index in self._indexes:
                self._relay.put(StepDone(done, self._total, index))
            self._relay.check()
            self._preview()
        if number == calls - 1:
            self._relay.put(PhaseStarted("decoding"))
        self._relay.check()
        return {}

    def _preview(self) -> None:
        """Shows the pictures after every so many steps, but not after the last: they follow at once."""
        if self._previewer is None or self._done % self._plan.preview_every or self._done == self._total:
            return
        for index, picture in zip(self._indexes, self._previewer.pictures(), strict=False):
            self._relay.put(Glimpse(self._done, index, picture))

    def _pasted(self, picture: "Image") -> "Image":
        """With the init image's own pixels outside of the mask, which stay as they are bit for bit."""
        plan = self._plan
        if plan.mask is None or plan.init_image is None:
            return picture
        repaint = plan.mask.point([255 if level >= REPAINT else 0 for level in range(256)])
        return PIL.Image.composite(picture, plan.init_image, repaint)
