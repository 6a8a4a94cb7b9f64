"""The jobs that have not ended, in memory: who runs, who is watched, who was cancelled."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, final

from sdenv.core.events import Progress
from sdenv.services.engine import Job
from sdenv.services.jobs.channel import Channel, own_record
from sdenv.services.jobs.rows import Ticket
from sdenv.services.jobs.store import End
from sdenv.services.jobs.types import LoggedEvent

LAST_PREVIEWS: Final = 16
"""Of so many jobs that have just ended the newest preview is kept, for who began to watch too late."""


@final
class LiveJob:
    """A job that has not ended.

    Its channel is there while it runs or somebody watches it.
    """

    def __init__(self, ticket: Ticket) -> None:
        self.id: Final = ticket.id
        self.owner: Final = ticket.owner
        self.durable: Final = ticket.durable
        self.ticket = ticket
        self.channel: Channel | None = None
        self.running = False
        self.cancel_asked = False
        self.stopped = False
        """Whether its try was taken from it, because the server is about to end."""
        self.unwritten: tuple[int, End] | None = None
        """The try and the end that the disk had no room for; never unset."""
        self._lock = threading.RLock()
        self._users = 0
        self._over = False
        self._job: Job | None = None  # the engine's

    @contextmanager
    def held(self) -> Iterator[Channel | None]:
        """While the context is open, its channel stays; None = it has ended, and the database has its log."""
        with self._lock:
            if self._over:
                channel = None
            else:
                channel = self._open_channel()
                self._users += 1
        try:
            yield channel
        finally:
            if channel is not None:
                with self._lock:
                    self._users -= 1
                    if not self._users:
                        self.channel = None

    def _open_channel(self) -> Channel:
        if self.channel is None:
            first = first_record(self.ticket)
            self.channel = Channel(self.id, self.ticket.count, self.ticket.next_attempt, first)
        return self.channel

    def end(self, record: Mapping[str, Any], *, written: bool) -> None:
        """It has ended; who watches it is told.

        Args:
            record: The last of its log.
            written: Whether the log is in the database; else the channel stays, with the end in it.
        """
        with self._lock:
            self._over = written
            if not written:
                self._users += 1
                self._open_channel()
            if self.channel is not None:
                self.channel.append(record)

    def attach(self, job: Job | None) -> None:
        """Its try is this job of the engine; a cancel that came before is passed on to it."""
        with self._lock:
            self._job = job
            asked = self.cancel_asked or self.stopped
        if job is not None and asked:
            job.cancel()

    def cancel(self) -> None:
        """Asks it to end; it does at its next step."""
        with self._lock:
            self.cancel_asked = True
            job = self._job
        if job is not None:
            job.cancel()

    def stop(self) -> None:
        """Takes its try from it."""
        with self._lock:
            self.stopped = True
            job = self._job
        if job is not None:
            job.cancel()

    def close(self) -> None:
        """Tells who watches it that the server ends."""
        channel = self.channel
        if channel is not None:
            channel.close()

    @property
    def progress(self) -> Progress:
        """How far it is."""
        channel = self.channel
        return Progress(count=self.ticket.count) if channel is None else channel.progress


def first_record(ticket: Ticket) -> dict[str, object]:
    """With what the events of a job's next try begin."""
    if ticket.requeued is not None:
        return own_record("job-requeued", ticket.id, error=dict(ticket.requeued))
    return own_record("job-queued", ticket.id, position=ticket.place)


@final
class LiveJobs:
    """All of them by id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, LiveJob] = {}
        self._last_previews: dict[str, LoggedEvent] = {}
        self._none_runs = threading.Condition(self._lock)

    def add(self, ticket: Ticket) -> LiveJob:
        """A job has been accepted."""
        with self._lock:
            self._jobs[ticket.id] = live = LiveJob(ticket)
            return live

    def get(self, job_id: str) -> LiveJob | None:
        """A job; None = it has ended, or never was."""
        with self._lock:
            return self._jobs.get(job_id)

    def end(self, live: LiveJob, record: Mapping[str, Any]) -> None:
        """A job has ended; it is dropped, unless its end could not be written down yet."""
        preview = None if live.channel is None else live.channel.newest_preview
        with self._lock:
            if preview is not None:  # before its channel goes: at no moment is it nowhere
                self._last_previews[live.id] = preview
            while len(self._last_previews) > LAST_PREVIEWS:
                del self._last_previews[next(iter(self._last_previews))]
        live.end(record, written=live.unwritten is None)
        if live.unwritten is None:
            self.drop(live)

    def drop(self, live: LiveJob) -> None:
        """A job has ended, and its end is in the database."""
        with self._lock:
            self._jobs.pop(live.id, None)
            self._none_runs.notify_all()

    def last_preview(self, job_id: str) -> LoggedEvent | None:
        """The newest preview of a job that has just ended."""
        with self._lock:
            return self._last_previews.get(job_id)

    def all(self) -> tuple[LiveJob, ...]:
        """All at this moment."""
        with self._lock:
            return tuple(self._jobs.values())

    def running(self) -> tuple[LiveJob, ...]:
        """Those that run."""
        return tuple(live for live in self.all() if live.running)

    def set_running(self, live: LiveJob, running: bool) -> None:
        """Whether a job runs."""
        with self._lock:
            live.running = running
            self._none_runs.notify_all()

    def wait_until_none_runs(self, timeout_s: float) -> bool:
        """Whether none runs any more, after so many seconds at most."""
        with self._lock:
            return self._none_runs.wait_for(
                lambda: not any(live.running for live in self._jobs.values()), timeout_s
            )
