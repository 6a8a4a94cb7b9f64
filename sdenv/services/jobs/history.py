"""What was made, on this machine: the same database as the job queue, read and written without a server."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

from sdenv.core.errors import SdenvError
from sdenv.core.job_record import JobRecord
from sdenv.core.request import GenerationRequest, ResolvedRequest
from sdenv.services.jobs.types import JobPage, JobQuery, Retention


@final
class History:
    """The jobs and pictures of a data folder; a server may run on the same folder at the same time.

    Args:
        folder: Where `jobs.sqlite3` and `results/` lie; nothing is made there before something is recorded.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, query: JobQuery) -> JobPage:
        """Jobs, newest first."""
        raise NotImplementedError

    def get(self, job_id: str) -> JobRecord:
        """One job.

        Raises:
            UnknownJob: There is none.
        """
        raise NotImplementedError

    def request_of(self, job_id: str) -> GenerationRequest:
        """What was asked for, input pictures included.

        Raises:
            UnknownJob: There is none.
        """
        raise NotImplementedError

    def picture_path(self, job_id: str, index: int) -> Path:
        """Where a picture lies; the user may have moved or removed it since.

        Raises:
            UnknownJob: There is no such job or picture.
        """
        raise NotImplementedError

    def record(
        self,
        request: GenerationRequest,
        *,
        resolved: ResolvedRequest | None = None,
        backend: str = "",
        model_hash: str = "",
        made_with: Mapping[str, str] | None = None,
        seconds: float | None = None,
        paths: Mapping[int, Path] | None = None,
        error: SdenvError | None = None,
        created_at: float | None = None,
    ) -> JobRecord:
        """Keeps what `sdenv generate` has made (dialect `cli`); the files stay where the user put them.

        Args:
            request: What was asked for.
            resolved: What was made, nothing left open; None = it never came so far.
            backend: Kind of the backend.
            model_hash: As in GenerationResult.
            made_with: As in GenerationResult.
            seconds: Wall time of the work.
            paths: Where each picture lies, by index.
            error: Why it failed or was cancelled; None = it is done.
            created_at: When it began: UTC, seconds since 1970; None = now.
        """
        raise NotImplementedError

    def prune(self, retention: Retention) -> Sequence[str]:
        """Removes what is older or more than that; returns the ids. Files that the user named are kept."""
        raise NotImplementedError

    def remove(self, job_id: str) -> None:
        """Removes one job that has ended, and its files in `results/`; those the user named are kept.

        Raises:
            UnknownJob: There is none.
            JobNotFinished: It has not ended.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Closes the database. May be called twice."""
        raise NotImplementedError

    def __enter__(self) -> "History":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
