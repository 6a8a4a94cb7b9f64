"""Telling the metrics what happens, without letting them stop the work."""

from collections.abc import Callable
from contextlib import suppress
from typing import final

from sdenv.core.errors import SdenvError
from sdenv.core.job_record import JobRecord
from sdenv.services.jobs.rows import Ticket
from sdenv.services.jobs.store import now
from sdenv.services.jobs.types import JobObserver


@final
class Telling:
    """An observer, if there is one.

    Args:
        observer: Is told.
        record: A job as it is now.
    """

    def __init__(self, observer: JobObserver | None, record: Callable[[str], JobRecord]) -> None:
        self.observer = observer
        self._record = record

    def accepted(self, job: JobRecord) -> None:
        """See `JobObserver`, as all that follows."""
        if self.observer is not None:
            self.observer.accepted(job)

    def started(self, ticket: Ticket) -> None:
        """A try begins."""
        if (observer := self.observer) is not None:
            waited_s = max(0.0, now() - ticket.waits_since)
            self._tell(ticket.id, lambda job: observer.started(job, waited_s))

    def picture(self, job_id: str) -> None:
        """A picture is on the disk."""
        if self.observer is not None:
            self._tell(job_id, self.observer.picture)

    def ended(self, job_id: str) -> None:
        """A job has ended."""
        if self.observer is not None:
            self._tell(job_id, self.observer.ended)

    def _tell(self, job_id: str, tell: Callable[[JobRecord], None]) -> None:
        with suppress(SdenvError):  # it was removed in this very moment
            tell(self._record(job_id))
