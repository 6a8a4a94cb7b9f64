"""The job queue as its users see it."""

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, final

from sdenv.core.errors import SdenvError
from sdenv.core.events import PreviewReady, Progress
from sdenv.core.image import ImageData
from sdenv.core.job_record import JobRecord
from sdenv.core.request import GenerationRequest
from sdenv.services.engine import Engine
from sdenv.services.jobs.accepting import Accepting
from sdenv.services.jobs.channel import position_of
from sdenv.services.jobs.database import Database
from sdenv.services.jobs.ending import Ending
from sdenv.services.jobs.folder import held
from sdenv.services.jobs.live import LiveJobs
from sdenv.services.jobs.reading import CLI, Reading
from sdenv.services.jobs.recovery import recover
from sdenv.services.jobs.requests import taken_apart
from sdenv.services.jobs.results import Results
from sdenv.services.jobs.retention import finish_removals, prune, remove, unfinished
from sdenv.services.jobs.runner import Runner
from sdenv.services.jobs.store import Store, now
from sdenv.services.jobs.telling import Telling
from sdenv.services.jobs.types import (
    Accepted,
    JobCounts,
    JobObserver,
    JobPage,
    JobQuery,
    LoggedEvent,
    Retention,
)
from sdenv.services.jobs.view import View
from sdenv.services.jobs.waiting import Waiting
from sdenv.services.jobs.watching import Watching
from sdenv.services.whole_files import make_private_folder

MAX_TRIES: Final = 3  # a job that has ended three workers is likely to be the cause (AI-Horde's rule)

_OBEY_S: Final = 10.0  # how long `close` waits for a backend to obey a cancel
_LONGEST_RETRY_S: Final = 600


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
        self._engine = engine
        self._retention = retention
        self._telling = Telling(observer, self.get)
        self._waiting = Waiting(shares or {})
        self._live = LiveJobs()
        self._results = Results(folder)
        with ExitStack() as opened:
            make_private_folder(folder)
            opened.enter_context(held(folder))
            self._database = Database(folder)
            opened.callback(self._database.close)
            self._store = Store(self._database)
            self._reading = Reading(self._database, without_dialect=CLI)
            self._view = View(self._reading, self._results, self._waiting, self._live)
            size = engine.queue_size if queue_size is None else queue_size
            self._accepting = Accepting(engine, size, self._store, self._waiting)
            self._watching = Watching(self._live, self._reading)
            self._runner = Runner(
                engine, self._store, self._reading, self._results, self._waiting, self._live,
                max_tries, self._telling, self._tidy,
            )  # fmt: skip
            self._ending = Ending(self._store, self._waiting, self._live, self._runner, self._watching)
            self._recover(max_tries)
            self._opened = opened.pop_all()

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
            KeyReused: The key was used for another request. DiskFull: It could not be written down.
        """
        stored = taken_apart(request)
        known = self._accepting.known(stored, key, owner)
        if known is not None:
            return Accepted(self.get(known, owner), is_new=False)
        added = self._accepting.add(
            request,
            stored,
            dialect=dialect,
            owner=owner,
            priority=priority,
            durable=durable,
            key=key,
            allow_degraded=allow_degraded,
            preview_every=preview_every,
            retry_after_s=self.retry_after_s(),
        )
        if isinstance(added, str):
            return Accepted(self.get(added, owner), is_new=False)
        job, ticket = added
        self._live.add(ticket)
        self._telling.accepted(job)
        self._waiting.add(ticket, reserved=True)
        concurrency = self._engine.status().capabilities.concurrency
        self._runner.start(min(concurrency, self._waiting.unfinished))
        return Accepted(job, is_new=True)

    def knows_key(self, owner: str, key: str) -> bool:
        """Whether `accept` with this idempotency key would find the job of an earlier time."""
        return self._store.known_key(owner, key) is not None

    def get(self, job_id: str, owner: str | None = None) -> JobRecord:
        """A job as it is now.

        Args:
            job_id: Its id.
            owner: Only if it belongs to this token; None = whoever it belongs to.

        Raises:
            UnknownJob: There is none, or it belongs to another.
        """
        return self._view.get(job_id, owner)

    def find(self, query: JobQuery) -> JobPage:
        """Jobs, newest first."""
        return self._view.find(query)

    def cancel(self, job_id: str, owner: str | None = None) -> JobRecord:
        """Cancels a job: one that waits has ended when this returns, one that runs ends at its next step.

        One that has ended stays as it is.

        Raises:
            UnknownJob: As in `get`.
        """
        self._watching.check(job_id, owner)
        self._ending.cancel(job_id)
        return self.get(job_id, owner)

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
        return self._watching.watch(job_id, position_of(after), owner)

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
        self._watching.wait(job_id, timeout_s, owner)
        return self.get(job_id, owner)

    def request_of(self, job_id: str, owner: str | None = None) -> GenerationRequest:
        """What was asked for, input pictures included; raises as `get`."""
        return self._reading.work(job_id, owner).request

    def picture(self, job_id: str, index: int, owner: str | None = None) -> ImageData:
        """The file of a finished picture, with how it was made inside.

        Raises:
            UnknownJob: There is no such job or picture.
            JobNotFinished: The picture is not there yet.
            FailedError: Its file is lost or damaged.
        """
        return self._view.picture(job_id, index, owner)

    def preview(self, job_id: str) -> PreviewReady | None:
        """The newest preview of a job that runs."""
        return self._view.preview(job_id)

    def progress(self, job_id: str) -> Progress:
        """How far a job is; raises as `get`."""
        return self._view.progress(job_id)

    def remove(self, job_id: str, owner: str | None = None) -> None:
        """Removes a job that has ended, with its files.

        Raises:
            UnknownJob: As in `get`.
            JobNotFinished: It has not ended.
        """
        if not self.get(job_id, owner).state.ended:
            raise unfinished(job_id)
        remove(self._database, self._results, [job_id])

    def counts(self) -> JobCounts:
        """How many jobs there are, by state."""
        return self._reading.counts()

    def check_writable(self) -> None:
        """Raises what `accept` would if it could not write a job down now."""
        self._database.check_writable()

    def retry_after_s(self) -> int:
        """Whole seconds, at least 1, after which a place in the queue is likely."""
        each_s = self._runner.mean_s / max(1, len(self._live.running()))
        return min(_LONGEST_RETRY_S, max(1, math.ceil(each_s)))

    def drain(self, timeout_s: float) -> None:
        """Takes no more jobs, starts none, and lets those that run finish.

        Args:
            timeout_s: After so many seconds those that have not finished are stopped; the durable ones run
                again at the next start, and that costs them no try.
        """
        self._ending.drain(timeout_s)

    def close(self) -> None:
        """Stops what runs as `drain(0)` does, ends the threads, closes the files. May be called twice."""
        self.drain(0.0)
        self._runner.join(_OBEY_S)
        self._opened.close()

    def _recover(self, max_tries: int) -> None:
        finish_removals(self._database, self._results)
        for ticket in recover(self._store, self._results, max_tries):
            self._live.add(ticket)
            self._waiting.add(ticket, reserved=False)
        self._tidy()
        self._runner.start(min(1, len(self._waiting)))  # it finds out how many more are of use

    def _tidy(self) -> None:
        """Removes what is too old or too much; what cannot be done now is done after the next job."""
        with suppress(SdenvError):
            prune(self._database, self._results, self._retention, now(), without_dialect=CLI)

    def __enter__(self) -> "Jobs":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
