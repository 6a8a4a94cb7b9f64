"""Jobs as they are now: what the database knows of them, and what only the memory does."""

from collections.abc import Mapping
from dataclasses import replace
from typing import final

from sdenv.core.errors import FailedError, JobNotFinished
from sdenv.core.events import PreviewReady, Progress
from sdenv.core.image import ImageData
from sdenv.core.job_record import JobRecord, JobState
from sdenv.services.jobs.live import LiveJobs
from sdenv.services.jobs.reading import PlacedPicture, Reading, unknown_job
from sdenv.services.jobs.results import Results
from sdenv.services.jobs.types import JobPage, JobQuery
from sdenv.services.jobs.waiting import Waiting


@final
class View:
    """The questions of `Jobs`, answered.

    Args:
        reading: The database.
        results: The pictures.
        waiting: Who waits.
        live: Who has not ended.
    """

    def __init__(self, reading: Reading, results: Results, waiting: Waiting, live: LiveJobs) -> None:
        self._reading = reading
        self._results = results
        self._waiting = waiting
        self._live = live

    def get(self, job_id: str, owner: str | None = None) -> JobRecord:
        """See `Jobs.get`, as all that follows."""
        return self._with_live(self._reading.job(job_id, owner))

    def find(self, query: JobQuery) -> JobPage:
        """A page of jobs."""
        page = self._reading.find(query)
        positions = self._waiting.positions() if any(not job.state.ended for job in page.jobs) else {}
        return JobPage(tuple(self._with_live(job, positions) for job in page.jobs), page.next)

    def picture(self, job_id: str, index: int, owner: str | None) -> ImageData:
        """A finished picture."""
        found = self._reading.picture(job_id, index, owner)
        if isinstance(found, PlacedPicture):
            try:
                return self._results.read(found.path, found.media_type)
            except FailedError:
                self._reading.picture(job_id, index, owner)  # it may have been removed just now
                raise
        if found.ended:
            raise unknown_job(job_id, index)
        raise JobNotFinished(
            f"Picture {index} of the job {job_id} is not there yet.",
            why=f"The job is {found.value}.",
            hint=f"sdenv jobs wait {job_id}",
        )

    def preview(self, job_id: str) -> PreviewReady | None:
        """The newest preview."""
        live = self._live.get(job_id)
        return None if live is None else live.progress.preview

    def progress(self, job_id: str) -> Progress:
        """How far a job is."""
        if (live := self._live.get(job_id)) is not None:
            return live.progress
        job = self._reading.job(job_id)
        finished = frozenset(picture.index for picture in job.pictures)
        count = int(job.request.get("count", 1))
        return Progress(count=count, phase=job.phase, finished=finished, notices=job.notices)

    def _with_live(self, job: JobRecord, positions: Mapping[str, int] | None = None) -> JobRecord:
        """A job of the database with what only the memory knows.

        Args:
            job: As the database has it.
            positions: Of all that wait, for a list of jobs; None = it is asked for.
        """
        live = self._live.get(job.id)
        if live is None or job.state.ended:
            return job
        if live.unwritten is not None:
            end = live.unwritten[1]
            return replace(job, state=end.state, ended_at=end.ended_at, error=end.error)
        if job.state is JobState.QUEUED:
            position = self._waiting.position(job.id) if positions is None else positions.get(job.id)
            return replace(job, position=position or 0)
        progress = live.progress
        return replace(job, fraction=progress.fraction, phase=progress.phase, notices=progress.notices)
