"""The threads that take one job after another out of the queue and see it through."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, final

from sdenv.core.errors import (
    Busy,
    Cancelled,
    SdenvError,
    ServerStopping,
    UnavailableError,
    WorkerLost,
)
from sdenv.core.events import Failed, Outcome
from sdenv.core.job_record import JobState
from sdenv.core.request import GenerationRequest
from sdenv.protocols.discretion import discreet
from sdenv.protocols.native import error_record
from sdenv.services.engine import Engine, Job
from sdenv.services.jobs.attempt import Attempt, Clock, as_bug, cancelled_end, ended_record
from sdenv.services.jobs.channel import Channel, own_record
from sdenv.services.jobs.live import LiveJob, LiveJobs, first_record
from sdenv.services.jobs.reading import Reading, Work
from sdenv.services.jobs.recovery import NOBODY_WAITS, tries_used_up, waiting_again
from sdenv.services.jobs.requests import again
from sdenv.services.jobs.results import Results
from sdenv.services.jobs.rows import Ticket
from sdenv.services.jobs.store import End, Store, now
from sdenv.services.jobs.telling import Telling
from sdenv.services.jobs.waiting import Waiting

_logger = logging.getLogger(__name__)

PAUSE_S: Final = 1.0
"""How long to wait before asking again: a full disk, a backend that is not there."""

IDLE_S: Final = 60.0
"""How often an idle thread looks whether something has grown too old."""

_STOPPED: Final = ServerStopping("The server was stopped while the job ran.")
_NEWEST: Final = 0.3  # weight of the newest job in the mean duration


@final
class Runner:
    """Sees jobs through; its threads start when there is work.

    Args:
        engine: Does the work.
        store: Where it is written down.
        reading: Where it is read.
        results: The files.
        waiting: The queue.
        live: Those that have not ended.
        max_tries: How many workers a job may lose.
        telling: Whom to tell.
        tidy: Called when a job has ended, and now and then; raises nothing.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        reading: Reading,
        results: Results,
        waiting: Waiting,
        live: LiveJobs,
        max_tries: int,
        telling: Telling,
        tidy: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._store = store
        self._reading = reading
        self._results = results
        self._waiting = waiting
        self._live = live
        self._max_tries = max_tries
        self._telling = telling
        self._tidy = tidy
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.mean_s = 0.0
        """Mean duration of the last jobs; 0 = none has ended yet."""

    def start(self, threads: int) -> None:
        """Sees to it that so many threads work."""
        with self._lock:
            while len(self._threads) < threads and not self._waiting.stopping:
                name = f"sdenv-jobs-{len(self._threads)}"
                # A daemon: a backend that does not answer must not keep the interpreter from exiting.
                self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
                self._threads[-1].start()

    def join(self, timeout_s: float) -> None:
        """Waits for the threads to end, after `Waiting.stop`."""
        deadline_s = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def _work(self) -> None:
        while not self._waiting.stopping:
            if not (self._disk_has_room() and self._backend_is_there()):
                self._waiting.rest(PAUSE_S)
            elif (ticket := self._waiting.take(IDLE_S)) is not None:
                self._see_through_safely(ticket)
            self._tidy()

    def _see_through_safely(self, ticket: Ticket) -> None:
        try:
            self._see_through(ticket)
        except Exception as error:
            _logger.exception("The job queue has made a mistake with the job %s.", ticket.id)
            if (live := self._live.get(ticket.id)) is not None:
                bug = as_bug(error)
                record = ended_record(ticket.id, JobState.FAILED, bug)
                self._end(live, ticket.next_attempt, End(JobState.FAILED, now(), (record,), bug))

    def _backend_is_there(self) -> bool:
        """Whether the backend answers: jobs that a server before has left wait for it."""
        if not len(self._waiting):
            return True  # nobody waits: it is not asked for nothing
        try:
            concurrency = self._engine.status().capabilities.concurrency
        except Exception as error:  # noqa: BLE001 - a backend with a bug in its probe must not end this thread
            _logger.warning("The backend does not answer: %s", error)
            return False
        self.start(min(concurrency, self._waiting.unfinished))
        return True

    def _disk_has_room(self) -> bool:
        """Whether all ends are written down; those that the disk had no room for are tried again."""
        try:
            for live in self._live.all():
                if (
                    unwritten := live.unwritten
                ) is not None:  # two threads may do it: the second does nothing
                    self._store.end(live.id, *unwritten)
                    self._live.drop(live)
        except SdenvError:
            return False
        return True

    def _see_through(self, ticket: Ticket) -> None:
        """Runs a job, whatever it does; it waits again or has ended when this returns."""
        live = self._live.get(ticket.id)
        if live is None:
            return
        waits_again: Ticket | None = None
        live.ticket = ticket
        with live.held() as channel:
            self._live.set_running(live, True)
            try:
                if channel is not None:
                    waits_again = self._begin(live, channel)
            finally:
                live.attach(None)
                self._live.set_running(live, False)
        if waits_again is not None:  # last of all: another thread may take it up at once
            self._waiting.add(waits_again, reserved=True)

    def _begin(self, live: LiveJob, channel: Channel) -> Ticket | None:
        """One try; what waits again after it, if it does."""
        ticket, began_s = live.ticket, time.monotonic()
        try:
            begun = self._store.begin(ticket, now())
        except SdenvError:  # the disk is full: it stays where it was
            self._waiting.rest(PAUSE_S)
            return ticket
        if not begun:
            raise AssertionError("it waits and cannot begin")
        channel.append(own_record("job-started", ticket.id, attempt=ticket.next_attempt))
        self._telling.started(ticket)
        attempt = Attempt(ticket, channel, "", self._store, self._results, Clock(self._telling.observer))
        outcome = self._outcome(live, attempt)
        if outcome is None:
            self.hand_back(live)
        if outcome is None or live.stopped:
            return None
        took_s = time.monotonic() - began_s
        self.mean_s = took_s if not self.mean_s else self.mean_s + _NEWEST * (took_s - self.mean_s)
        return self._settle(live, attempt, outcome)

    def _outcome(self, live: LiveJob, attempt: Attempt) -> Outcome | None:
        """What the try ends with; None = the server is about to end, and the try comes to nothing."""
        try:
            attempt.backend = self._engine.status().name
            work = self._reading.work(live.id)
            job = self._submitted(work)
            if job is None:
                return None
            live.attach(job)
            return attempt.run(job, work.request, lambda: self._telling.picture(live.id))
        except SdenvError as error:
            return Failed(error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours costs one job, not the queue
            return Failed(as_bug(error))

    def _submitted(self, work: Work) -> Job | None:
        """The engine's job; None = the server is about to end."""
        request = work.request
        if work.resolved is not None:
            request = self._decided(work)
        while True:  # at least once: a job that has begun belongs to those that may finish
            try:
                return self._engine.submit(
                    request, preview_every=work.preview_every, allow_degraded=work.allow_degraded
                )
            except Busy:  # another front end of the same engine fills its queue
                if self._waiting.stopping:
                    return None
                self._waiting.rest(PAUSE_S)
            except UnavailableError:
                if not self._engine.closed:
                    raise
                return None

    def _decided(self, work: Work) -> GenerationRequest:
        """What a second try asks for: all that the first has decided, or at least its seed."""
        status = self._engine.status()
        resolved = work.resolved or {}
        for carried in (status.capabilities.carries, {"seed"} & status.capabilities.carries):
            request = again(work.request, resolved, carried)
            try:
                self._engine.admit(request, allow_degraded=work.allow_degraded)
            except SdenvError:
                continue
            return request
        return work.request

    def _settle(self, live: LiveJob, attempt: Attempt, outcome: Outcome) -> Ticket | None:
        """Writes down what came of a try, and tells it; what waits again, if it does."""
        error = outcome.error if isinstance(outcome, Failed) else None
        state = JobState.DONE if error is None else JobState.FAILED
        if isinstance(error, WorkerLost) and not live.cancel_asked:
            tries = attempt.ticket.losses + 1
            if tries < self._max_tries:
                return self._put_back(live, attempt, error)
            outcome = Failed(tries_used_up(error, tries))
        if isinstance(error, Cancelled) and not live.cancel_asked and self._engine.closed:
            self.hand_back(live)  # the engine was closed under it
            return None
        if isinstance(error, Cancelled):
            state = JobState.CANCELLED
        self._end(live, attempt.number, attempt.end(outcome, state))
        return None

    def hand_back(self, live: LiveJob) -> None:
        """Takes the try from a job because the server is about to end.

        A durable one waits for the next start, and that costs it no try.
        """
        channel, number = live.channel, live.ticket.next_attempt
        live.stopped = True
        records = [] if channel is None else channel.records(number)
        try:
            if live.durable:
                self._store.put_back(live.id, number, error_record(_STOPPED), lost=False, records=records)
            elif self._store.end(live.id, number, end := cancelled_end(live.id, records, NOBODY_WAITS)):
                self.tell_end(live, end)
        except SdenvError:  # the disk is full: the next start finds it as a killed server leaves it
            pass
        live.stop()

    def _put_back(self, live: LiveJob, attempt: Attempt, cause: WorkerLost) -> Ticket | None:
        records, shown = attempt.channel.records(attempt.number), error_record(discreet(cause))
        try:
            ticket = self._store.put_back(live.id, attempt.number, shown, lost=True, records=records)
        except SdenvError as error:
            self._end(live, attempt.number, attempt.end(Failed(error), JobState.FAILED))
            return None
        if ticket is None:
            return None
        live.ticket = waiting_again(ticket)
        attempt.channel.begin(live.ticket.next_attempt, first_record(live.ticket))
        return live.ticket

    def _end(self, live: LiveJob, attempt: int, end: End) -> None:
        try:
            if not self._store.end(live.id, attempt, end):
                if live.stopped:  # it was taken from us in this very moment
                    return
                self._waiting.leave(live.owner)  # its row is not what we made of it: somebody was at the file
                self._live.drop(live)
                live.close()
                return
        except SdenvError as error:
            told, records = discreet(error), end.records[:-1]
            records = (*records, ended_record(live.id, JobState.FAILED, told))
            end = replace(end, state=JobState.FAILED, error=told, records=records)
            live.unwritten = (attempt, end)
        self.tell_end(live, end)

    def tell_end(self, live: LiveJob, end: End) -> None:
        """Tells all who want to know that a job has ended; its end is written down, or is `unwritten`."""
        self._waiting.leave(live.owner)
        self._telling.ended(live.id)
        self._live.end(live, end.records[-1])
