"""What the seed dialect tells of: the jobs that were asked for in it, and the results in its backups."""

import asyncio
import logging
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, final
from uuid import UUID

from sdenv.core.errors import FailedError, JobNotFinished, SdenvError, ServerStopping, UnknownJob
from sdenv.core.job_record import ENDED, JobRecord, JobState
from sdenv.protocols import seed
from sdenv.servers.http.context import Service
from sdenv.servers.http.waiting import until_ended
from sdenv.services.jobs import JobQuery, Retention
from sdenv.services.jobs.backups import FOLDER, Backups

PAGE: Final = 500

_logger = logging.getLogger(__name__)


@final
class SeedResults:
    """The results, wherever they lie.

    Attributes:
        backups: The results on disk, in the seed's own files.
    """

    def __init__(self, service: Service) -> None:
        settings = service.settings
        folder = None if settings.data_dir is None else settings.data_dir / FOLDER
        retention = Retention(settings.max_age_s, settings.max_jobs, settings.max_bytes)
        self.backups = Backups(folder, retention)
        self._service = service
        self._changing = threading.Lock()  # a result that was removed must not come back from a late backup
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun = False

    def find(self, uuid: UUID, owner: str | None) -> tuple[seed.Result, ...]:
        """The result of this id; empty = there is none, or not yet."""
        job_id, index = seed.picture_of(uuid)
        with suppress(UnknownJob):
            job = self._service.jobs.get(job_id, owner)
            if not job.state.ended or index >= seed.count_of(job):
                return ()
            return (seed.results_of_job(job, self._pictures(job, index))[index],)
        kept = self.backups.find(uuid, owner)
        return () if kept is None else (kept,)

    def uuids(self, owner: str | None) -> tuple[UUID, ...]:
        """Ids of all results, oldest first: those that only the backups have, then those of the jobs."""
        ended = self._jobs(ENDED, owner)
        jobs = [seed.uuid_of(job.id, index) for job in ended for index in range(seed.count_of(job))]
        known = set(jobs)
        return (*(uuid for uuid in self.backups.uuids(owner) if uuid not in known), *jobs)

    def _jobs(self, states: frozenset[JobState], owner: str | None = None) -> list[JobRecord]:
        """All jobs of this dialect in these states, oldest first."""
        found: list[JobRecord] = []
        before: str | None = None
        while True:
            query = JobQuery(states=states, dialect="seed", owner=owner, before=before, limit=PAGE)
            page = self._service.jobs.find(query)
            found += page.jobs
            before = page.next
            if before is None:
                return found[::-1]

    def remove(self, uuid: UUID, owner: str | None) -> int:
        """Removes a result, and with it all others of its job; returns how many were removed.

        Raises:
            JobNotFinished: The job has not ended.
        """
        job_id, index = seed.picture_of(uuid)
        with self._changing:
            return self._remove(uuid, job_id, index, owner)

    def _remove(self, uuid: UUID, job_id: str, index: int, owner: str | None) -> int:
        with suppress(UnknownJob):
            job = self._service.jobs.get(job_id, owner)
            if index < seed.count_of(job):
                if not job.state.ended:
                    raise JobNotFinished("The picture is not finished.", hint="Cancel its job first.")
                for other in range(seed.count_of(job)):
                    self.backups.remove(seed.uuid_of(job_id, other), owner)
                self._service.jobs.remove(job_id, owner)
                return seed.count_of(job)
        return int(self.backups.remove(uuid, owner))

    def begin(self) -> None:
        """Brings the backups up to date with the jobs, once, beside the requests; in the event loop."""
        if not self._begun:
            self._begun = True
            self._start(self._catch_up())

    async def _catch_up(self) -> None:
        # Those that have not ended first: one that ends in between is then in both lists, and not in none.
        for job in await asyncio.to_thread(self._jobs, frozenset(JobState) - ENDED):
            self.keep_when_ended(job.id)
        jobs = await asyncio.to_thread(self._jobs, ENDED)
        kept = set(await asyncio.to_thread(self.backups.uuids))
        for job in jobs:
            if seed.uuid_of(job.id) not in kept:
                await self._add_quietly(job)

    def keep_when_ended(self, job_id: str) -> None:
        """Writes the results of a job into the backups once it has ended; in the event loop."""
        self._start(self._keep(job_id))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, job_id: str) -> None:
        with suppress(UnknownJob, ServerStopping):  # it was removed; or the next start catches up with it
            await until_ended(self._service, job_id)
            await self._add_quietly(await asyncio.to_thread(self._service.jobs.get, job_id))

    async def _add_quietly(self, job: JobRecord) -> None:
        try:
            await asyncio.to_thread(self._add, job)
        except SdenvError as error:  # a full disk: the job itself is not lost by that
            _logger.warning("The results of %s are not in %s: %s", job.id, FOLDER, error)

    def _add(self, job: JobRecord) -> None:
        with self._changing, suppress(UnknownJob):  # it has been removed already
            job = self._service.jobs.get(job.id)
            self.backups.add(seed.results_of_job(job, self._pictures(job)), job.owner)

    def _pictures(self, job: JobRecord, only: int | None = None) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for each in job.pictures:
            if only in (None, each.index):
                with suppress(UnknownJob, FailedError):  # it was removed, or its file is lost
                    found[each.index] = self._service.jobs.picture(job.id, each.index).data
        return found
