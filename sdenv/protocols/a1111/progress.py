"""The progress that clients poll on a second connection.

Source: AUTOMATIC1111/stable-diffusion-webui, `modules/api/api.py` (progressapi) and `modules/progress.py`.
Clients take a progress of 0 with job_count 0 as "ready", so that is answered exactly when nothing runs or
waits, and never else.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sdenv.core.errors import BadImage, PeerBrokeProtocol
from sdenv.core.events import Progress
from sdenv.core.image import ImageData
from sdenv.protocols.inline import as_base64, as_data_uri, inline_picture

FIRST: Final = 0.01
"""The progress of a job that has just begun, or that waits (OURS-1)."""


@dataclass(frozen=True, slots=True)
class Running:
    """The job that a poll tells of.

    Attributes:
        task: What its client calls it.
        progress: How far it is.
        batch_size: How many of its pictures are made at once.
        begun: Whether the work has begun; else it waits.
        began_at: When: UTC, seconds since 1970.
        cancelled: Whether it was asked to stop.
    """

    task: str
    progress: Progress
    batch_size: int = 1
    begun: bool = True
    began_at: float = 0.0
    cancelled: bool = False

    @property
    def batches(self) -> int:
        """How many times the work is done."""
        return max(1, math.ceil(self.progress.count / self.batch_size))

    @property
    def batch(self) -> int:
        """Which time it is, from 0."""
        return min(self.batches - 1, len(self.progress.finished) // self.batch_size)

    @property
    def step(self) -> tuple[int, int]:
        """Steps done of this batch, and steps in all; 0 and 0 before the first."""
        first = self.batch * self.batch_size
        within = [
            each
            for index, each in self.progress.steps.items()
            if first <= index < first + self.batch_size and index not in self.progress.finished
        ]
        resolved = self.progress.resolved
        return max(within, default=(0, 0 if resolved is None else resolved.steps_to_run))

    @property
    def fraction(self) -> float:
        """AUTOMATIC1111's number: 0.01 + share of the batches + share of the steps of this one, at most 1."""
        if not self.begun:
            return FIRST
        step, steps = self.step
        share = step / steps if steps else 0.0
        return min(1.0, FIRST + (self.batch + share) / self.batches)

    def eta_s(self, now: float) -> float:
        """Seconds that are likely left; `now` is UTC, seconds since 1970."""
        if not self.begun:
            return 0.0
        elapsed_s = max(0.0, now - self.began_at)
        return elapsed_s / self.fraction - elapsed_s


@dataclass(frozen=True, slots=True)
class Polled:
    """What a poll has told.

    Attributes:
        fraction: 0 = nothing is done.
        task: Id of the task that runs; "" = none, or it is not told.
        batch: Which time the work is done, from 0.
        batches: How many times.
        step: Steps done of this time.
        steps: Steps in all.
        picture: What it looks like so far.
    """

    fraction: float
    task: str = ""
    batch: int = 0
    batches: int = 0
    step: int = 0
    steps: int = 0
    picture: ImageData | None = None


def progress_record(running: Running | None, *, now: float, with_picture: bool = True) -> dict[str, Any]:
    """The answer to GET progress.

    Args:
        running: The job that runs, or that waits where none runs; None = nothing is to be done.
        now: UTC, seconds since 1970.
        with_picture: Whether the picture so far goes with it.
    """
    if running is None:
        return _record(0.0, 0.0, _state(None, now))
    preview = running.progress.preview if with_picture else None
    return _record(
        running.fraction,
        running.eta_s(now),
        _state(running, now),
        None if preview is None else as_base64(preview.picture),
        "" if running.begun else "Waiting...",
        running.task if running.begun else None,
    )


def _record(
    fraction: float,
    eta_s: float,
    state: Mapping[str, Any],
    picture: str | None = None,
    textinfo: str = "",
    task: str | None = None,
) -> dict[str, Any]:
    return {
        "progress": fraction,
        "eta_relative": eta_s,
        "state": dict(state),
        "current_image": picture,
        "textinfo": textinfo or None,
        "current_task": task,
    }


def _state(running: Running | None, now: float) -> dict[str, Any]:
    step, steps = (0, 0) if running is None else running.step
    began_at = now if running is None or not running.begun else running.began_at
    return {
        "skipped": False,
        "interrupted": running is not None and running.cancelled,
        "stopping_generation": False,
        "job": "" if running is None else f"Batch {running.batch + 1} out of {running.batches}",
        "job_count": 0 if running is None else running.batches,
        "job_timestamp": datetime.fromtimestamp(began_at, UTC).strftime("%Y%m%d%H%M%S"),
        "job_no": 0 if running is None else running.batch,
        "sampling_step": step,
        "sampling_steps": steps,
    }


def polled_of(record: Any) -> Polled:
    """What a poll has told; a picture that cannot be read is none.

    Raises:
        PeerBrokeProtocol: It is not the answer to a poll.
    """
    try:
        state = record.get("state") or {}
        return Polled(
            fraction=min(1.0, max(0.0, float(record["progress"]))),
            task=str(record.get("current_task") or ""),
            batch=int(state.get("job_no") or 0),
            batches=int(state.get("job_count") or 0),
            step=int(state.get("sampling_step") or 0),
            steps=int(state.get("sampling_steps") or 0),
            picture=_picture(record.get("current_image")),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise PeerBrokeProtocol("The server's progress cannot be read.", why=f"{error!r}."[:200]) from error


def _picture(value: Any) -> ImageData | None:
    try:
        return inline_picture(value, "the preview") if isinstance(value, str) and value else None
    except BadImage:
        return None


# /internal


def internal_record(
    running: Running | None, *, completed: bool, last_preview: int, with_picture: bool, now: float
) -> dict[str, Any]:
    """The answer to POST /internal/progress.

    Args:
        running: The job; None = it has ended or was never heard of.
        completed: Whether it has ended.
        last_preview: The step of the preview that the client has; -1 = none.
        with_picture: Whether it wants one.
        now: UTC, seconds since 1970.
    """
    active = running is not None and running.begun
    preview = running.progress.preview if running is not None and with_picture else None
    newer = preview is not None and preview.step != last_preview
    return {
        "active": active,
        "queued": running is not None and not active,
        "completed": completed,
        "progress": running.fraction if running is not None and active else None,
        "eta": running.eta_s(now) if running is not None and active else None,
        "live_preview": as_data_uri(preview.picture) if preview is not None and newer else None,
        "id_live_preview": preview.step if preview is not None else -1,
        "textinfo": "Waiting..." if running is not None and not active else None,
    }


def pending_record(tasks: Iterable[str]) -> dict[str, Any]:
    """The answer to GET /internal/pendingTasks. UNVERIFIED: that the keys are `size` and `tasks`."""
    found = list(tasks)
    return {"size": len(found), "tasks": found}
