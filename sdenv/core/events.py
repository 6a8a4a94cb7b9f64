"""What happens during a job, as values; and the one fold that says how far it is.

Terminal bars, JSON lines, A1111's polled progress and the history all read `Progress`; there is no other.
"""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Final

from sdenv.core.errors import SdenvError
from sdenv.core.image import ImageData
from sdenv.core.request import ResolvedRequest
from sdenv.core.result import GenerationResult

EVENT_VERSION: Final = 1  # raised when the meaning of a field changes, never when one is added


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """A named part of the work begins: `loading`, `encoding`, `denoising`, `decoding`, ..."""

    phase: str


@dataclass(frozen=True, slots=True)
class RequestResolved:
    """Every decision is made: what will be done. Once, before the first picture is ready.

    A picture that is ready can then be saved with how it was made, even when those after it never come.

    Attributes:
        resolved: The request with nothing left open.
        model_hash: As in GenerationResult.
        made_with: As in GenerationResult.
    """

    resolved: ResolvedRequest
    model_hash: str = ""
    made_with: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class StepDone:
    """`step` of `total` steps of picture `index` are finished; 1 <= step <= total, and it only rises."""

    step: int
    total: int
    index: int = 0


@dataclass(frozen=True, slots=True)
class PreviewReady:
    """What picture `index` looks like after `step` steps."""

    step: int
    index: int
    picture: ImageData


@dataclass(frozen=True, slots=True)
class BytesMoved:
    """`done` of `total` bytes of `what` are moved; total is None where it is unknown."""

    what: str
    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class PictureReady:
    """Picture `index` is finished; it survives a cancel or a failure of those after it."""

    index: int
    picture: ImageData
    seed: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Numbers taken at a step: loss, learning rate, pictures a second."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should know that is not an error; `code` is kebab-case and stable."""

    code: str
    message: str


Event = (
    PhaseStarted | RequestResolved | StepDone | PreviewReady | BytesMoved | PictureReady | Measured | Notice
)


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The job ended well."""

    result: GenerationResult


@dataclass(frozen=True, slots=True)
class Failed:
    """The job ended without a result; a cancelled job ends with a `Cancelled` error."""

    error: SdenvError


Outcome = Succeeded | Failed


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is, as the fold of its events.

    Attributes:
        count: Pictures asked for.
        phase: The last phase that started; empty before the first.
        steps: Per picture index, (steps done, steps in all).
        finished: Indexes of the finished pictures.
        preview: The newest preview.
        bytes_moved: The newest byte count.
        measured: The newest measurements.
        notices: All notices, in order.
        resolved: What is being made, once that is decided.
    """

    count: int = 1
    phase: str = ""
    steps: Mapping[int, tuple[int, int]] = field(default_factory=lambda: MappingProxyType({}))
    finished: frozenset[int] = frozenset()
    preview: PreviewReady | None = None
    bytes_moved: BytesMoved | None = None
    measured: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    notices: tuple[Notice, ...] = ()
    resolved: ResolvedRequest | None = None

    @property
    def fraction(self) -> float:
        """The finished share of all steps of all pictures, 0 to 1."""
        done = float(len(self.finished))
        for index, (step, total) in self.steps.items():
            if index not in self.finished:
                done += step / total
        return min(1.0, done / max(1, self.count))


def advance(progress: Progress, event: Event) -> Progress:
    """The progress after one more event. Pure; never goes backwards."""
    match event:
        case PhaseStarted(phase):
            return replace(progress, phase=phase)
        case RequestResolved(resolved):
            return replace(progress, resolved=resolved)
        case StepDone(step, total, index):
            if not _rises(step, total, *progress.steps.get(index, (0, 1))):
                return progress
            return replace(progress, steps=MappingProxyType({**progress.steps, index: (step, total)}))
        case PictureReady(index):
            return replace(progress, finished=progress.finished | {index})
        case PreviewReady():
            return replace(progress, preview=event)
        case BytesMoved():
            return replace(progress, bytes_moved=event)
        case Measured(_, values):
            return replace(progress, measured=MappingProxyType({**progress.measured, **values}))
    return replace(progress, notices=(*progress.notices, event))


def _rises(step: int, total: int, step_before: int, total_before: int) -> bool:
    """Whether both the step and the share of the whole go on; a server may change its mind on the total."""
    return step_before < step <= total and step * total_before >= step_before * total


_TYPE_NAMES: Final[dict[type, str]] = {
    PhaseStarted: "phase-started",
    RequestResolved: "request-resolved",
    StepDone: "step-done",
    PreviewReady: "preview-ready",
    BytesMoved: "bytes-moved",
    PictureReady: "picture-ready",
    Measured: "measured",
    Notice: "notice",
}

_PICTURE_FIELDS: Final = {"init_image", "mask", "references", "controls"}


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it; a loss may well be one
    return value


def event_record(event: Event, job_id: str, with_pictures: bool = False) -> dict[str, object]:
    """The event as one JSON object (conventions, "Events").

    Args:
        event: What happened.
        job_id: The job it belongs to.
        with_pictures: Whether encoded pictures go in as base64 text; else only their size in bytes does.
    """
    record: dict[str, object] = {"v": EVENT_VERSION, "type": _TYPE_NAMES[type(event)], "job": job_id}
    for each in fields(event):
        value = getattr(event, each.name)
        if isinstance(value, ResolvedRequest):
            value = value.model_dump(mode="json", exclude=None if with_pictures else _PICTURE_FIELDS)
        if not isinstance(value, ImageData):
            record[each.name] = _plain(value)
            continue
        record["media_type"] = value.media_type
        record["picture_bytes"] = len(value.data)
        if with_pictures:
            record[each.name] = base64.b64encode(value.data).decode("ascii")
    return record
