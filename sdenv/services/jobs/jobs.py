"""The job queue as its users see it."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final, final

from sdenv.core.events import PreviewReady, Progress
from sdenv.core.image import ImageData
from sdenv.core.job_record import JobRecord
from sdenv.core.request import GenerationRequest
from sdenv.services.engine import Engine
from sdenv.services.jobs.types import (
    Accepted,
    JobCounts,
    JobObserver,
    JobPage,
    JobQuery,
    LoggedEvent,
    Retention,
)

MAX_TRIES: Final = 3  # a job that has ended three workers is likely to be the cause (AI-Horde's rule)


@final
class Jobs:
    """Durable jobs in front of an engine. Every method may be called from any thread; close it at the end.

    Args:
        engine: Does the work; it is left open.
        folder: Where `jobs.sqlite3` and `results/` lie; made when it is not there.
        queue_size: How many jobs may wait; None = as many as the engine's own queue.
        retention: How long ended jobs are kept.
        shares: Per owner the share of the queue, above 0 to 1, that may be filled, which is also the weight
            with which the owners take turns; an owner who is not named has 1.
        max_tries: How many workers a job may lose before it fails.
        observer: Is told what happens.

    Raises:
        FolderInUse: Another server has this folder, or it lies on a network disk.
    """

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        *,
        queue_size: int | None = None,
        retention: Retention = Retention(),  # noqa: B008 - frozen
        shares: Mapping[str, float] | None = None,
        max_tries: int = MAX_TRIES,
        observer: JobObserver | None = None,
    ) -> None:
        raise NotImplementedError

    def accept(
        self,
        request: GenerationRequest,
        *,
        dialect: str = "native",
        owner: str = "",
        priority: int = 0,
        durable: bool = True,
        key: str | None = None,
        allow_degraded: bool = False,
        preview_every: int = 0,
    ) -> Accepted:
        """Accepts a request, or refuses it; when this returns, the job is on the disk.

        Args:
            request: What is wanted.
            dialect: How it was asked for.
            owner: Name of the token that asks; "" = none was needed.
            priority: Higher comes first.
            durable: Whether it runs again after a crash; else it ends as cancelled then.
            key: Idempotency key: for 24 hours the same key of the same owner is the same job.
            allow_degraded: As in `Engine.submit`.
            preview_every: As in `Engine.submit`.

        Raises:
            UnsupportedError: The backend cannot do it; other errors as in `Engine.submit`.
            Busy: The queue, or the owner's share of it, is full.
            ServerStopping: The server is about to end.
            KeyReused: The key was used for another request.
            DiskFull: It could not be written down.
        """
        raise NotImplementedError

    def get(self, job_id: str, owner: str | None = None) -> JobRecord:
        """A job as it is now.

        Args:
            job_id: Its id.
            owner: Only if it belongs to this token; None = whoever it belongs to.

        Raises:
            UnknownJob: There is none, or it belongs to another.
        """
        raise NotImplementedError

    def find(self, query: JobQuery) -> JobPage:
        """Jobs, newest first."""
        raise NotImplementedError

    def cancel(self, job_id: str, owner: str | None = None) -> JobRecord:
        """Cancels a job: one that waits has ended when this returns, one that runs ends at its next step.

        One that has ended stays as it is.

        Raises:
            UnknownJob: As in `get`.
        """
        raise NotImplementedError

    def watch(
        self, job_id: str, after: str | None = None, owner: str | None = None
    ) -> AsyncIterator[LoggedEvent]:
        """Everything that happened to a job and will, in order; the last is its `job-ended`.

        Args:
            job_id: Its id.
            after: Only what comes after the event of this id; None, or what is no such id = all.
            owner: As in `get`.

        Raises:
            UnknownJob: As in `get`; when the first event is asked for.
        """
        raise NotImplementedError

    def wait(self, job_id: str, timeout_s: float | None = None, owner: str | None = None) -> JobRecord:
        """Blocks until the job has ended.

        Args:
            job_id: Its id.
            timeout_s: Longest wait in seconds; None = as long as it takes.
            owner: As in `get`.

        Raises:
            UnknownJob: As in `get`.
            NoStepInTime: It has not ended by then; it goes on.
        """
        raise NotImplementedError

    def request_of(self, job_id: str, owner: str | None = None) -> GenerationRequest:
        """What was asked for, input pictures included; raises as `get`."""
        raise NotImplementedError

    def picture(self, job_id: str, index: int, owner: str | None = None) -> ImageData:
        """The file of a finished picture, with how it was made inside.

        Raises:
            UnknownJob: There is no such job or picture, or its file is gone.
            JobNotFinished: The picture is not there yet.
        """
        raise NotImplementedError

    def preview(self, job_id: str) -> PreviewReady | None:
        """The newest preview of a job that runs."""
        raise NotImplementedError

    def progress(self, job_id: str) -> Progress:
        """How far a job is; raises as `get`."""
        raise NotImplementedError

    def remove(self, job_id: str, owner: str | None = None) -> None:
        """Removes a job that has ended, with its files.

        Raises:
            UnknownJob: As in `get`.
            JobNotFinished: It has not ended.
        """
        raise NotImplementedError

    def counts(self) -> JobCounts:
        """How many jobs there are, by state."""
        raise NotImplementedError

    def retry_after_s(self) -> int:
        """Whole seconds, at least 1, after which a place in the queue is likely."""
        raise NotImplementedError

    def drain(self, timeout_s: float) -> None:
        """Takes no more jobs, starts none, and lets those that run finish.

        Args:
            timeout_s: After so many seconds those that have not finished are stopped; the durable ones run
                again at the next start, and that costs them no try.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Stops what runs as `drain(0)` does, ends the threads, closes the files. May be called twice."""
        raise NotImplementedError

    def __enter__(self) -> "Jobs":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
