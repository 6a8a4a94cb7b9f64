"""What a backend can do, as plain data; and what of a request it cannot.

Three steps narrow it: what the backend's class declares (known without a connection), what `probe()` finds,
what the protocol's `CARRIES` can transport. A request is compared before any model loads and before any job
is queued.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from sdenv.core.errors import (
    DoesNotFit,
    SdenvError,
    SizeNotPossible,
    UnknownSampler,
    UnsupportedError,
    did_you_mean,
)
from sdenv.core.request import MAX_COUNT, MAX_SIDE_PX, GenerationRequest, Task

CancelDetail = Literal["at-once", "between-steps", "never"]
ProgressDetail = Literal["steps", "phases", "none"]

EVERYTHING: Final = frozenset(GenerationRequest.model_fields)


@dataclass(frozen=True, slots=True)
class SizeRule:
    """Which picture sizes a model makes.

    Attributes:
        multiple_px: Both sides are multiples of this.
        min_px: Smallest side.
        max_px: Largest side.
        native: When not empty, the only sizes there are, as (width, height).
        max_pixels: Largest area that arithmetic allows in the memory of the device; None = not limited.
    """

    multiple_px: int = 1
    min_px: int = 1
    max_px: int = MAX_SIDE_PX
    native: tuple[tuple[int, int], ...] = ()
    max_pixels: int | None = None

    def accepts(self, width_px: int, height_px: int) -> bool:
        """Whether the shape is possible; says nothing about memory."""
        if self.native:
            return (width_px, height_px) in self.native
        return all(
            self.min_px <= side <= self.max_px and side % self.multiple_px == 0
            for side in (width_px, height_px)
        )

    def fits(self, width_px: int, height_px: int) -> bool:
        """Whether arithmetic says that a picture of this size fits in memory."""
        return self.max_pixels is None or width_px * height_px <= self.max_pixels

    def nearest(self, width_px: int, height_px: int) -> tuple[int, int]:
        """The possible size nearest to the one asked for: same aspect first where sizes are a short list."""
        if self.native:
            return min(self.native, key=lambda size: _distance(size, (width_px, height_px)))
        return self._nearest_side(width_px), self._nearest_side(height_px)

    def _nearest_side(self, side_px: int) -> int:
        lowest = math.ceil(self.min_px / self.multiple_px)
        highest = self.max_px // self.multiple_px
        rounded = math.floor(side_px / self.multiple_px + 0.5)
        return min(max(rounded, lowest), highest) * self.multiple_px

    def narrowed(self, other: "SizeRule") -> "SizeRule":
        """The rule that only allows what both allow."""
        both_limits = [limit for limit in (self.max_pixels, other.max_pixels) if limit is not None]
        native = self.native or other.native
        common = tuple(size for size in native if self.accepts(*size) and other.accepts(*size))
        return SizeRule(
            multiple_px=math.lcm(self.multiple_px, other.multiple_px),
            min_px=max(self.min_px, other.min_px),
            max_px=0 if native and not common else min(self.max_px, other.max_px),  # 0 = no size at all
            native=common,
            max_pixels=min(both_limits) if both_limits else None,
        )


def _distance(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[float, float]:
    aspect = abs(math.log(size[0] / size[1]) - math.log(wanted[0] / wanted[1]))
    area = abs(math.log(size[0] * size[1]) - math.log(wanted[0] * wanted[1]))
    return round(aspect, 6), area


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend, or a backend behind a protocol, can do.

    Attributes:
        tasks: Kinds of work.
        carries: Request fields that reach the work; any other field that is set is refused.
        samplers: AUTOMATIC1111 names; None = any name is passed on.
        schedules: Names of noise schedules; None = any name is passed on.
        controls: Control types, when `controls` is carried.
        size: Which sizes are possible, for models that have no rule of their own.
        max_count: Pictures a request.
        max_batch: Pictures at once.
        progress: How finely progress is reported.
        previews: Whether previews can be made.
        cancel: When a cancel takes effect.
        concurrency: How many `generate` calls may run at once.
    """

    tasks: frozenset[Task] = frozenset(Task)
    carries: frozenset[str] = EVERYTHING
    samplers: tuple[str, ...] | None = None
    schedules: tuple[str, ...] | None = None
    controls: frozenset[str] = frozenset()
    size: SizeRule = field(default_factory=SizeRule)
    max_count: int = MAX_COUNT
    max_batch: int = MAX_COUNT
    progress: ProgressDetail = "steps"
    previews: bool = True
    cancel: CancelDetail = "between-steps"
    concurrency: int = 1

    def over(self, carries: frozenset[str]) -> "Capabilities":
        """The same behind a protocol that transports only these fields."""
        return replace(self, carries=self.carries & carries)

    def with_size(self, rule: SizeRule) -> "Capabilities":
        """The same for a model that has a size rule of its own."""
        return replace(self, size=self.size.narrowed(rule))


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One thing in a request that the backend cannot do.

    Attributes:
        field: Name of the request's field.
        wanted: What the request says, as text.
        offered: What would be possible, as text.
        error_type: The error that this alone would be.
    """

    field: str
    wanted: str
    offered: str
    error_type: type[SdenvError] = UnsupportedError

    def __str__(self) -> str:
        return f"{self.field} {self.wanted}: {self.offered}"


def mismatches(request: GenerationRequest, capabilities: Capabilities) -> tuple[Mismatch, ...]:
    """Everything in the request that the backend cannot do; empty = it can be done.

    Args:
        request: What was asked for.
        capabilities: What the backend offers for the model of the request.
    """
    return (
        *_uncarried(request, capabilities),
        *_task(request, capabilities),
        *_size(request, capabilities.size),
        *_names(request, capabilities),
        *_counts(request, capabilities),
    )


def _uncarried(request: GenerationRequest, capabilities: Capabilities) -> tuple[Mismatch, ...]:
    missing = sorted(request.said() - capabilities.carries)
    return tuple(Mismatch(name, _shown(request, name), "not supported by this backend") for name in missing)


def _shown(request: GenerationRequest, name: str) -> str:
    value = getattr(request, name)
    return repr(value) if isinstance(value, (str, int, float)) else "(set)"


def _task(request: GenerationRequest, capabilities: Capabilities) -> tuple[Mismatch, ...]:
    if request.task in capabilities.tasks:
        return ()
    offered = ", ".join(sorted(task.value for task in capabilities.tasks))
    field_name = "mask" if request.task is Task.INPAINT else "init_image"
    return (Mismatch(field_name, f"({request.task.value})", f"possible are {offered}"),)


def _size(request: GenerationRequest, rule: SizeRule) -> tuple[Mismatch, ...]:
    if request.width is None and request.height is None:
        return ()
    width_px = request.width or request.height or 0
    height_px = request.height or request.width or 0
    if not rule.accepts(width_px, height_px):
        nearest = "x".join(str(side) for side in rule.nearest(width_px, height_px))
        reason = (
            "its sizes are " + ", ".join(f"{w}x{h}" for w, h in rule.native) if rule.native else _range(rule)
        )
        wanted = f"{width_px}x{height_px}"
        return (Mismatch("size", wanted, f"{reason}; the nearest is {nearest}", SizeNotPossible),)
    if not rule.fits(width_px, height_px):
        assert rule.max_pixels is not None
        offered = f"this device has memory for about {rule.max_pixels / 1e6:.2f} megapixels"
        return (Mismatch("size", f"{width_px}x{height_px}", offered, DoesNotFit),)
    return ()


def _range(rule: SizeRule) -> str:
    return f"sides are multiples of {rule.multiple_px} from {rule.min_px} to {rule.max_px}"


def _names(request: GenerationRequest, capabilities: Capabilities) -> tuple[Mismatch, ...]:
    found: list[Mismatch] = []
    for name, known in (("sampler", capabilities.samplers), ("schedule", capabilities.schedules)):
        value = getattr(request, name)
        if value is None or known is None or name not in capabilities.carries:
            continue
        if value.casefold() not in {each.casefold() for each in known}:
            found.append(
                Mismatch(name, repr(value), "unknown here. " + did_you_mean(value, known), UnknownSampler)
            )
    if "controls" in capabilities.carries:
        for control in request.controls:
            if control.type not in capabilities.controls:
                offered = ", ".join(sorted(capabilities.controls)) or "none"
                found.append(Mismatch("controls", repr(control.type), f"possible controls: {offered}"))
    return tuple(found)


def _counts(request: GenerationRequest, capabilities: Capabilities) -> tuple[Mismatch, ...]:
    found: list[Mismatch] = []
    if request.count > capabilities.max_count:
        found.append(Mismatch("count", str(request.count), f"at most {capabilities.max_count} a request"))
    if (request.batch_size or 1) > capabilities.max_batch:
        found.append(
            Mismatch("batch_size", str(request.batch_size), f"at most {capabilities.max_batch} at once")
        )
    return tuple(found)


def refusal(found: tuple[Mismatch, ...], backend: str, alternatives: tuple[str, ...] = ()) -> SdenvError:
    """The error for a request that a backend cannot do.

    Args:
        found: What cannot be done; not empty.
        backend: Name of the backend that was asked.
        alternatives: Names of backends that could do it.
    """
    error_type = found[0].error_type if len({each.error_type for each in found}) == 1 else UnsupportedError
    hint = f"Possible with: {', '.join(f'-b {name}' for name in alternatives)}." if alternatives else ""
    what = f"The backend {backend!r} cannot make this picture."
    why = "; ".join(str(each).rstrip() for each in found)
    return error_type(what, why=why if why.endswith(("?", ".")) else f"{why}.", hint=hint)
