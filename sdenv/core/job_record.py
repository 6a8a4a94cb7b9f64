"""What is known of a job that a server has accepted, as plain data: for lists, the history and the wire."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from sdenv.core.errors import SdenvError
from sdenv.core.events import Notice


class JobState(Enum):
    """Where a job is; the value is the word in the database and on the wire."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in ENDED


ENDED: Final = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True)
class PictureRecord:
    """One finished picture of a job.

    Attributes:
        index: Which of the job's pictures, from 0.
        seed: Its seed.
        width: In pixels.
        height: In pixels.
        media_type: For example `image/png`.
        size_bytes: Of the file.
        sha256: Of the file, in hex.
    """

    index: int
    seed: int
    width: int
    height: int
    media_type: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as it is now.

    Attributes:
        id: A ULID, 26 characters.
        state: Where it is.
        request: What was asked for, as JSON values by field; of each picture only `{"sha256": ...}`.
        created_at: When it was accepted: UTC, seconds since 1970.
        started_at: When its newest try began; None = it has not.
        ended_at: When it ended; None = it has not.
        attempt: How often it was begun; 0 = never.
        priority: Higher comes first; 0 is ordinary.
        owner: Name of the token that asked; "" = none was needed, or the server's own.
        dialect: How it was asked for: `native`, `seed`, `a1111`, `openai`, `sdcpp`, `cli`.
        durable: Whether it runs again after a crash of the server.
        position: How many jobs will run before it; None unless it is queued.
        fraction: The finished share of its work, 0 to 1.
        phase: The last phase that began.
        resolved: What is being made, nothing left open, as `request`; None = not decided yet.
        backend: Kind of the backend that made it; "" = not known yet.
        model_hash: As in GenerationResult.
        made_with: As in GenerationResult.
        seconds: Wall time of the work; None = it is not done.
        pictures: Those that are finished, by index.
        notices: What a person should know, in order.
        error: Why it failed or was cancelled.
    """

    id: str
    state: JobState
    request: Mapping[str, Any]
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    attempt: int = 0
    priority: int = 0
    owner: str = ""
    dialect: str = "native"
    durable: bool = True
    position: int | None = None
    fraction: float = 0.0
    phase: str = ""
    resolved: Mapping[str, Any] | None = None
    backend: str = ""
    model_hash: str = ""
    made_with: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    seconds: float | None = None
    pictures: tuple[PictureRecord, ...] = ()
    notices: tuple[Notice, ...] = ()
    error: SdenvError | None = None
