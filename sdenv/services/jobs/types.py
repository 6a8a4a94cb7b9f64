"""What goes into and comes out of the job queue, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sdenv.core.image import ImageData
from sdenv.core.job_record import JobRecord, JobState

PAGE_JOBS: Final = 50
"""Jobs on one page of a search when nobody says how many."""

MAX_PAGE_JOBS: Final = 500
"""More are never on one page: an answer of bounded size."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long jobs that have ended are kept; the oldest go first, with their pictures. None = for ever.

    Attributes:
        max_age_s: Seconds since the end.
        max_jobs: How many.
        max_bytes: Size of their pictures and input pictures together.
    """

    max_age_s: float | None = None
    max_jobs: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which jobs to list.

    Attributes:
        states: Only these; empty = all.
        text: Words that all occur in the prompt or the negative prompt, in any case; "" = all.
        id_part: Only those whose id begins or ends so; "" = all.
        dialect: Only those asked for in this dialect; "" = all.
        model: Only those of this model; "" = all.
        owner: Only those of this token; None = all.
        before: Id of the last job of the page before; None = from the newest.
        limit: Most jobs on the page, 1 to 500.
    """

    states: frozenset[JobState] = frozenset()
    text: str = ""
    id_part: str = ""
    dialect: str = ""
    model: str = ""
    owner: str | None = None
    before: str | None = None
    limit: int = PAGE_JOBS


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, newest first.

    Attributes:
        jobs: Those of this page.
        next: `before` of the next page; None = this is the last.
    """

    jobs: tuple[JobRecord, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """Something that happened to a job, as it is kept and sent.

    Attributes:
        id: `{attempt}-{n}`: what a watcher gives as `after` to go on from here. Both numbers only rise.
        record: As `core.events.event_record` without pictures, or one of the job's own:
            `job-queued {position}`, `job-started {attempt}`, `job-requeued {error}`,
            `job-ended {state, error, result}`.
        picture: Of a `preview-ready`, while no newer one has replaced it.
    """

    id: str
    record: Mapping[str, Any]
    picture: ImageData | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a request that was accepted.

    Attributes:
        job: The job.
        is_new: False = the idempotency key was known, and this is the job of that time.
    """

    job: JobRecord
    is_new: bool


@dataclass(frozen=True, slots=True)
class JobCounts:
    """How many jobs there are, by state."""

    queued: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0


class JobObserver(Protocol):
    """Is told what happens, for metrics; called from the threads that run jobs, and must return at once."""

    def accepted(self, job: JobRecord) -> None:
        """A job is in the queue and on the disk."""

    def started(self, job: JobRecord, queue_wait_s: float) -> None:
        """A try begins, so many seconds after the job was accepted (or put back)."""

    def stepped(self, seconds: float) -> None:
        """One denoising step took so long."""

    def decoded(self, seconds: float) -> None:
        """From the last step of a picture to the picture took so long."""

    def picture(self, job: JobRecord) -> None:
        """A picture is finished and on the disk."""

    def ended(self, job: JobRecord) -> None:
        """A job has ended, one way or another."""
