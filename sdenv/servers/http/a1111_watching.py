"""What AUTOMATIC1111's clients poll: one global progress, and the tasks by the names that they gave them."""

import threading
import time
from collections import OrderedDict
from contextlib import suppress
from typing import Any, Final, final

from sdenv.core.errors import UnknownJob
from sdenv.core.job_record import JobRecord, JobState
from sdenv.protocols import a1111
from sdenv.servers.http.context import Service
from sdenv.servers.http.principal import Principal
from sdenv.services.jobs import JobQuery

DIALECT: Final = "a1111"
_UNFINISHED: Final = frozenset({JobState.QUEUED, JobState.RUNNING})
_MOST_TASKS: Final = 4096
_PAGE: Final = 500


@final
class Watching:
    """Looks for jobs on behalf of those who poll. May be used by several threads at once."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._jobs: OrderedDict[tuple[str, str], str] = OrderedDict()  # by name of the token, and task
        self._tasks: OrderedDict[str, str] = OrderedDict()  # by job

    def name(self, job_id: str, task: str, asker: Principal) -> None:
        """Keeps what a client calls its job; "" = it has no name for it.

        Two tokens may use the same name for different jobs.
        """
        with self._lock:
            task = task or f"task({job_id})"
            self._jobs[asker.name, task], self._tasks[job_id] = job_id, task
            for kept in (self._jobs, self._tasks):
                while len(kept) > _MOST_TASKS:
                    kept.popitem(last=False)

    def task(self, job_id: str) -> str:
        """What its client calls a job."""
        with self._lock:
            return self._tasks.get(job_id, f"task({job_id})")

    def current(self, owner: str | None) -> a1111.Running | None:
        """The job that a poll tells of: one of this dialect that runs, one of another, or one that waits.

        Never None while anything runs or waits: clients take that as "ready".

        Args:
            owner: Only the jobs of this token; None = everybody's.
        """
        running = self._find({JobState.RUNNING}, owner)
        ours = [job for job in running if job.dialect == DIALECT]
        waiting = [] if running else self._find({JobState.QUEUED}, owner, limit=1)
        for job in (*ours[-1:], *running[-1:], *waiting):
            with suppress(UnknownJob):
                return self._running(job)
        return None

    def running(self, owner: str | None) -> list[JobRecord]:
        """The jobs of this dialect that run."""
        return [job for job in self._find({JobState.RUNNING}, owner) if job.dialect == DIALECT]

    def interrupt(self, owner: str | None) -> None:
        """Cancels the jobs of this dialect that run; those that wait stay (OURS-18)."""
        for job in self.running(owner):
            with suppress(UnknownJob):
                self._service.jobs.cancel(job.id, owner)

    def pending(self, owner: str | None) -> list[str]:
        """Names of the tasks that run or wait, in the order in which they came."""
        jobs = self._find(_UNFINISHED, owner, dialect=DIALECT)
        return [self.task(job.id) for job in reversed(jobs)]

    def of_task(self, body: dict[str, Any], asker: Principal) -> dict[str, Any]:
        """The answer to POST /internal/progress."""
        task = a1111.text(body, "id_task")
        with self._lock:
            job_id = self._jobs.get((asker.name, task), task.removeprefix("task(").removesuffix(")"))
        running, completed = None, False
        with suppress(UnknownJob):
            job = self._service.jobs.get(job_id, asker.owner)
            completed = job.state.ended
            running = None if completed else self._running(job)
        return a1111.internal_record(
            running,
            completed=completed,
            last_preview=a1111.whole(body, "id_live_preview", -1),
            with_picture=a1111.truth(body, "live_preview", True),
            now=time.time(),
        )

    def _running(self, job: JobRecord) -> a1111.Running:
        batch = (job.resolved or job.request).get("batch_size") or 1
        return a1111.Running(
            task=self.task(job.id),
            progress=self._service.jobs.progress(job.id),
            batch_size=int(batch),
            begun=job.state is JobState.RUNNING,
            began_at=job.started_at or job.created_at,
        )

    def _find(
        self,
        states: "frozenset[JobState] | set[JobState]",
        owner: str | None,
        limit: int = _PAGE,
        dialect: str = "",
    ) -> tuple[JobRecord, ...]:
        query = JobQuery(states=frozenset(states), owner=owner, limit=limit, dialect=dialect)
        return self._service.jobs.find(query).jobs
