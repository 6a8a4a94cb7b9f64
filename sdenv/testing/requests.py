"""The requests that the contract suite makes: small ones, of what the backend carries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, TypeVar

from sdenv.core.backend import Backend
from sdenv.core.capabilities import Capabilities, SizeRule
from sdenv.core.events import Event
from sdenv.core.image import ImageData
from sdenv.core.request import Control, GenerationRequest, Hires, LoRA
from sdenv.core.result import GenerationResult
from sdenv.testing.fakes import Recorder
from sdenv.testing.samples import largest_difference, mask, picture

STEPS: Final = 3

E = TypeVar("E", bound=Event)


@dataclass(frozen=True)
class Run:
    """What came of one call of `generate`."""

    events: list[Event]
    result: GenerationResult

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]


def run(backend: Backend, request: GenerationRequest, preview_every: int = 0) -> Run:
    """Calls `generate` without an engine, so that nothing hides what the backend itself does."""
    recorder = Recorder(preview_every)
    result = backend.generate(request, recorder)
    return Run(recorder.events, result)


def smallest_size(rule: SizeRule) -> tuple[int, int]:
    """A size that is cheap to make: the smallest native one, or the nearest to 64x64."""
    return min(rule.native, key=lambda size: size[0] * size[1]) if rule.native else rule.nearest(64, 64)


class RequestMaker:
    """The part of the contract suite that knows how to ask; override `values` and `pixel_tolerance`.

    Attributes:
        pixel_tolerance: Largest difference of a channel, 0 to 255, between two pictures that count as equal.
            0 unless the device itself does not repeat its sums bit for bit; say why where you raise it.
        batch_tolerance: The same between a picture made alone and in a batch. 2, because matrices of another
            shape are multiplied in another order; a wrong seed differs by a hundred.
    """

    pixel_tolerance: ClassVar[int] = 0
    batch_tolerance: ClassVar[int] = 2

    def values(self, capabilities: Capabilities, size: tuple[int, int]) -> Mapping[str, object]:
        """One value for each field that says something, as the backend takes it.

        Override it, extending this one, where the guesses here are nothing that the backend has (the names of
        its LoRAs).

        Args:
            capabilities: What the backend can do with its default model.
            size: Width and height in pixels of the pictures in these values.
        """
        samplers, schedules = capabilities.samplers or ("Euler",), capabilities.schedules or ("Karras",)
        control_type = next(iter(sorted(capabilities.controls)), "sketch")
        return {
            "prompt": "a blue square",
            "negative_prompt": "red",
            "width": size[0],
            "height": size[1],
            "steps": STEPS + 1,
            "guidance_scale": 2.5,
            "seed": 77,
            "sampler": "Euler" if "Euler" in samplers else samplers[0],
            "schedule": schedules[-1],
            "count": min(2, capabilities.max_count),
            "batch_size": min(2, capabilities.max_batch),
            "init_image": picture(*size),
            "mask": mask(*size),
            "strength": 0.5,
            "controls": (Control(type=control_type, image=picture(*size)),),
            "references": (picture(*size, shade=3),),
            "loras": (LoRA(name="none such"),),
            "clip_skip": 2,
            "hires": Hires(scale=2.0),
            "upscale": 2.0,
            "vae": "none such",
            "extensions": {"none such": {}},
        }

    def value(self, backend: Backend, name: str) -> object:
        """The value of one field; for `model`, the last that the backend has."""
        status = backend.probe()
        if name == "model":
            return status.models[-1].name if status.models else "none such"
        capabilities = status.capabilities_for(None)
        return self.values(capabilities, smallest_size(capabilities.size))[name]

    def small(self, backend: Backend, **changes: object) -> GenerationRequest:
        """A request that is quick to make, of carried fields only, plus the changes."""
        capabilities = backend.probe().capabilities_for(None)
        width, height = smallest_size(capabilities.size)
        wanted = {"prompt": "a red square", "width": width, "height": height, "steps": STEPS, "seed": 7}
        carried = {name: value for name, value in wanted.items() if name in capabilities.carries}
        return GenerationRequest.model_validate({**carried, **changes})

    def with_value(self, backend: Backend, name: str) -> GenerationRequest:
        """A quick request that says one field, and those without which it makes no sense."""
        changes = {name: self.value(backend, name)}
        if name in {"mask", "strength"}:
            changes["init_image"] = self.value(backend, "init_image")
        if name == "model":
            changes |= {"width": None, "height": None}  # another model has other sizes
        if name == "batch_size":
            changes["count"] = self.value(backend, "count")
        return self.small(backend, **changes)

    def assert_same(self, one: ImageData, other: ImageData) -> None:
        """Fails unless two pictures are equal within `pixel_tolerance`."""
        assert largest_difference(one, other) <= self.pixel_tolerance

    def many(self, backend: Backend, count: int, **changes: object) -> GenerationRequest:
        """A quick request for so many pictures, or for as many as the backend makes."""
        capabilities = backend.probe().capabilities
        if "count" not in capabilities.carries:
            return self.small(backend, **changes)
        return self.small(backend, count=min(count, capabilities.max_count), **changes)
