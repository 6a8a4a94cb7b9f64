"""What was made, on this machine: the same database as the job queue, read and written without a server."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self, final

from ulid import ULID

from sdenv.core.errors import Cancelled, SdenvError
from sdenv.core.image import ImageData
from sdenv.core.job_record import JobRecord, JobState, PictureRecord
from sdenv.core.request import GenerationRequest, ResolvedRequest
from sdenv.services.jobs.database import Database
from sdenv.services.jobs.folder import refuse_network_disk
from sdenv.services.jobs.reading import CLI, PlacedPicture, Reading, unknown_job
from sdenv.services.jobs.requests import taken_apart
from sdenv.services.jobs.results import Results, picture_record
from sdenv.services.jobs.retention import prune, remove, unfinished
from sdenv.services.jobs.schema import DATABASE
from sdenv.services.jobs.store import End, NewJob, Store, now
from sdenv.services.jobs.types import JobPage, JobQuery, Retention
from sdenv.services.whole_files import make_private_folder

_NOTHING: Final = JobPage(())


@final
class History:
    """The jobs and pictures of a data folder; a server may run on the same folder at the same time.

    Args:
        folder: Where `jobs.sqlite3` and `results/` lie; nothing is made there before something is recorded.

    Every method raises FolderInUse where the folder lies on a network disk, and other errors where the
    database cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._results = Results(folder)
        self._opened: Database | None = None

    def find(self, query: JobQuery) -> JobPage:
        """Jobs, newest first.

        Raises:
            UnknownJob: There is no job `before`.
        """
        return _NOTHING if (database := self._database()) is None else Reading(database).find(query)

    def get(self, job_id: str) -> JobRecord:
        """One job.

        Raises:
            UnknownJob: There is none.
        """
        return self._reading(job_id).job(job_id)

    def request_of(self, job_id: str) -> GenerationRequest:
        """What was asked for, input pictures included.

        Raises:
            UnknownJob: There is none.
        """
        return self._reading(job_id).work(job_id).request

    def picture_path(self, job_id: str, index: int) -> Path:
        """Where a picture lies; the user may have moved or removed it since.

        Raises:
            UnknownJob: There is no such job or picture.
        """
        found = self._reading(job_id).picture(job_id, index)
        if isinstance(found, PlacedPicture):
            return self._results.path(found.path)
        raise unknown_job(job_id, index)

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
            paths: Where each picture lies, by index; one that cannot be read is left out.
            error: Why it failed or was cancelled; None = it is done.
            created_at: When it began: UTC, seconds since 1970; None = now.
        """
        make_private_folder(self._folder)
        database = self._database() or self._open()
        began = now() if created_at is None else created_at
        job = NewJob(
            id=str(ULID()),
            request=request,
            stored=taken_apart(request),
            dialect=CLI,
            owner="",
            priority=0,
            durable=False,
            key=None,
            allow_degraded=False,
            preview_every=0,
            place=0,
            created_at=began,
        )
        end = End(_state(error), now(), (), error, backend, model_hash, made_with or {}, seconds)
        Store(database).add_ended(job, end, resolved, _pictures(resolved, paths or {}))
        return self.get(job.id)

    def prune(self, retention: Retention) -> Sequence[str]:
        """Removes what is older or more than that; returns the ids. Files that the user named are kept."""
        database = self._database()
        return [] if database is None else prune(database, self._results, retention, now())

    def remove(self, job_id: str) -> None:
        """Removes one job that has ended, and its files in `results/`; those the user named are kept.

        Raises:
            UnknownJob: There is none.
            JobNotFinished: It has not ended.
        """
        if not self.get(job_id).state.ended:
            raise unfinished(job_id)
        remove(self._database() or self._open(), self._results, [job_id])

    def close(self) -> None:
        """Closes the database. May be called twice."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _database(self) -> Database | None:
        """The database; None = nothing was ever recorded."""
        if self._opened is None and not (self._folder / DATABASE).exists():
            return None
        return self._opened or self._open()

    def _open(self) -> Database:
        refuse_network_disk(self._folder)
        self._opened = Database(self._folder)
        return self._opened

    def _reading(self, job_id: str) -> Reading:
        database = self._database()
        if database is None:
            raise unknown_job(job_id)
        return Reading(database)


def _state(error: SdenvError | None) -> JobState:
    if error is None:
        return JobState.DONE
    return JobState.CANCELLED if isinstance(error, Cancelled) else JobState.FAILED


def _pictures(resolved: ResolvedRequest | None, paths: Mapping[int, Path]) -> list[tuple[PictureRecord, str]]:
    found: list[tuple[PictureRecord, str]] = []
    for index, path in paths.items():
        try:
            picture = ImageData.from_bytes(path.read_bytes(), str(path))
            seed = 0 if resolved is None else resolved.seed_of(index)
            found.append((picture_record(picture, index, seed), str(path.absolute())))
        except (
            OSError,
            SdenvError,
        ):  # the user was quicker in moving it: what is left is still worth keeping
            continue
    return found
