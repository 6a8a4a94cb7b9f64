"""Whether one more job is taken, and writing it down before its sender hears of it."""

from typing import Final, final

from ulid import ULID

from sdenv.core.errors import KeyReused
from sdenv.core.job_record import JobRecord, JobState
from sdenv.core.request import GenerationRequest
from sdenv.services.engine import Engine
from sdenv.services.jobs.requests import StoredRequest
from sdenv.services.jobs.rows import Ticket
from sdenv.services.jobs.store import Known, NewJob, Store, now
from sdenv.services.jobs.waiting import Waiting


@final
class Accepting:
    """The door of the queue.

    Args:
        engine: Says what can be done.
        queue_size: How many jobs may wait.
        store: Where they are written down.
        waiting: Who waits.
    """

    def __init__(self, engine: Engine, queue_size: int, store: Store, waiting: Waiting) -> None:
        self._engine: Final = engine
        self._queue_size: Final = queue_size
        self._store: Final = store
        self._waiting: Final = waiting

    def known(self, stored: StoredRequest, key: str | None, owner: str) -> str | None:
        """The job that this key has begun within 24 hours; None = none has.

        Raises:
            KeyReused: It was for another request.
        """
        known = None if key is None else self._store.known_key(owner, key)
        return None if known is None else _same(known, stored)

    def add(
        self,
        request: GenerationRequest,
        stored: StoredRequest,
        *,
        dialect: str,
        owner: str,
        priority: int,
        durable: bool,
        key: str | None,
        allow_degraded: bool,
        preview_every: int,
        retry_after_s: int,
    ) -> tuple[JobRecord, Ticket] | str:
        """See `Jobs.accept`; the job, which has its place and waits not yet, or the id of the key's job."""
        self._engine.admit(request, allow_degraded=allow_degraded)
        concurrency = self._engine.status().capabilities.concurrency
        self._waiting.reserve(owner, self._queue_size + concurrency, retry_after_s)
        try:
            job = NewJob(
                id=str(ULID()),
                request=request,
                stored=stored,
                dialect=dialect,
                owner=owner,
                priority=priority,
                durable=durable,
                key=key,
                allow_degraded=allow_degraded,
                preview_every=preview_every,
                place=self._waiting.place_of_new(owner, priority),
                created_at=now(),
            )
            added = self._store.add(job)
            if isinstance(added, Ticket):
                return _record(job), added
            same = _same(added, stored)  # somebody else was quicker with the same key
        except BaseException:
            self._waiting.leave(owner)
            raise
        self._waiting.leave(owner)
        return same


def _same(known: Known, stored: StoredRequest) -> str:
    if known.fingerprint != stored.fingerprint:
        raise KeyReused(
            "This idempotency key was used for another request.",
            why=f"It belongs to the job {known.job_id}.",
            hint="Give each new request a key of its own.",
        )
    return known.job_id


def _record(job: NewJob) -> JobRecord:
    return JobRecord(
        id=job.id,
        state=JobState.QUEUED,
        request=job.stored.values,
        created_at=job.created_at,
        priority=job.priority,
        owner=job.owner,
        dialect=job.dialect,
        durable=job.durable,
        position=job.place,
    )
