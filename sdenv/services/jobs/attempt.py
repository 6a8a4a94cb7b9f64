"""One try of a job: its events into the log, its pictures into files, and what came of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

from sdenv.core.errors import Cancelled, InternalError, SdenvError
from sdenv.core.events import (
    Event,
    Failed,
    Outcome,
    PhaseStarted,
    PictureReady,
    RequestResolved,
    StepDone,
    Succeeded,
)
from sdenv.core.job_record import JobState
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult
from sdenv.protocols.discretion import discreet
from sdenv.protocols.native import error_record, result_record
from sdenv.services.engine import Job
from sdenv.services.jobs.channel import JOB_ENDED, Channel, own_record
from sdenv.services.jobs.results import Results, facts_of
from sdenv.services.jobs.rows import Ticket
from sdenv.services.jobs.store import End, Store, now
from sdenv.services.jobs.types import JobObserver
from sdenv.services.metadata import FITTED_TO

_INPUTS: Final = ("init_image", "mask", "controls", "references")


@final
class Clock:
    """How long steps and decodings take, as the events tell it."""

    def __init__(self, observer: JobObserver | None) -> None:
        self._observer = observer
        self._last_s = time.monotonic()
        self._step: tuple[int, int] | None = None
        self._began = False

    def saw(self, event: Event) -> None:
        """Takes the time of an event."""
        if self._observer is None:
            return
        at_s = time.monotonic()
        match event:
            case PhaseStarted():
                self._last_s, self._began = at_s, True
            case StepDone(step, total) if (step, total) != self._step:
                if self._began:  # the first step after nothing would count the loading
                    self._observer.stepped(at_s - self._last_s)
                self._last_s, self._step, self._began = at_s, (step, total), True
            case PictureReady() if self._step is not None:
                self._observer.decoded(at_s - self._last_s)
                self._last_s = at_s


@dataclass
class Attempt:
    """One try of a job.

    Attributes:
        ticket: The job.
        channel: Its log.
        backend: Name of the kind of backend.
        failure: What went wrong on our side, and ends the job.
    """

    ticket: Ticket
    channel: Channel
    backend: str
    store: Store
    results: Results
    clock: Clock
    failure: SdenvError | None = None
    _made: RequestResolved | None = None
    _written: set[int] = field(default_factory=set)
    _asked: GenerationRequest = field(default_factory=GenerationRequest)

    @property
    def number(self) -> int:
        """The fencing token of this try."""
        return self.ticket.next_attempt

    def run(self, job: Job, asked: GenerationRequest, pictured: Callable[[], None]) -> Outcome:
        """Takes in all that happens, up to the outcome.

        Args:
            job: The engine's.
            asked: What the sender asked for.
            pictured: Called after each picture that is in its file.
        """
        self._asked = asked
        try:
            return self._through(job, pictured)
        except BaseException:
            job.cancel()  # a mistake of ours: the engine must not work on for nobody
            raise

    def _through(self, job: Job, pictured: Callable[[], None]) -> Outcome:
        for event in job.events():
            if isinstance(event, Succeeded | Failed):
                return self._with_all_pictures(event, pictured)
            if self.failure is None:
                try:
                    self._take(event, pictured)
                except SdenvError as error:  # a full disk; what else comes of the work is of no use
                    self.failure = error
                    job.cancel()
        raise AssertionError("a job of the engine has no outcome")

    def _take(self, event: Event, pictured: Callable[[], None]) -> None:
        self.clock.saw(event)
        if isinstance(event, RequestResolved):
            self._made = event
            self.store.resolved(
                self.ticket.id, self.number, event.resolved, event.model_hash, event.made_with
            )
        if isinstance(event, PictureReady):
            self._write(event)
            pictured()
        self.channel.happened(event)

    def _write(self, ready: PictureReady) -> None:
        made = self._made
        facts = None
        if made is not None:
            facts = facts_of(made.resolved, ready.index, self.backend, made.model_hash, self._made_with(made))
        record, path = self.results.write(
            self.ticket.id, self.ticket.created_at, ready.index, ready.picture, facts, ready.seed
        )
        last = len(self._written) + 1 == self.ticket.count  # the commit of the end follows, and is synced
        self.store.picture(self.ticket.id, self.number, record, path, synced=not last)
        self._written.add(ready.index)

    def _made_with(self, made: RequestResolved) -> Mapping[str, str]:
        if "size-fitted" not in {notice.code for notice in self.channel.progress.notices}:
            return made.made_with
        width = self._asked.width or self._asked.height
        return {**made.made_with, FITTED_TO: f"{width}x{self._asked.height or width}"}

    def _with_all_pictures(self, outcome: Outcome, pictured: Callable[[], None]) -> Outcome:
        """The outcome; a backend that only returns its pictures has them written now."""
        if self.failure is not None:
            return Failed(self.failure)
        if isinstance(outcome, Succeeded):
            result = outcome.result
            for index, picture in enumerate(result.images):
                if index not in self._written:
                    try:
                        self._take(PictureReady(index, picture, result.resolved.seed_of(index)), pictured)
                    except SdenvError as error:
                        return Failed(error)
        return outcome

    def end(self, outcome: Outcome, state: JobState) -> End:
        """The outcome, for the database; its last record is not in the channel yet."""
        error = discreet(outcome.error) if isinstance(outcome, Failed) else None
        result = outcome.result if isinstance(outcome, Succeeded) else None
        ended = ended_record(self.ticket.id, state, error, result)
        progress = self.channel.progress
        return End(
            state=state,
            ended_at=now(),
            records=(*self.channel.records(self.number), ended),
            error=error,
            backend=self.backend if result is None else result.backend,
            model_hash="" if result is None else result.model_hash,
            made_with={} if result is None else result.made_with,
            seconds=None if result is None else result.seconds,
            fraction=1.0 if state is JobState.DONE else progress.fraction,
            phase=progress.phase,
            notices=progress.notices,
        )


def ended_record(
    job_id: str, state: JobState, error: SdenvError | None, result: GenerationResult | None = None
) -> dict[str, Any]:
    """The last record of a job."""
    outcome = None
    if result is not None:
        outcome = result_record(result)
        outcome["resolved"] = {
            name: value for name, value in outcome["resolved"].items() if name not in _INPUTS
        }
    shown = None if error is None else error_record(discreet(error))
    return own_record(JOB_ENDED, job_id, state=state.value, error=shown, result=outcome)


def cancelled_end(job_id: str, records: Sequence[Mapping[str, Any]], error: Cancelled) -> End:
    """The end of a job that was cancelled.

    Args:
        job_id: The job.
        records: What its last try has reported before.
        error: Why.
    """
    record = ended_record(job_id, JobState.CANCELLED, error)
    return End(JobState.CANCELLED, now(), (*records, record), error)


def as_bug(error: Exception) -> SdenvError:
    """A mistake of the queue itself, as the error of the job that met it."""
    why = f"{type(error).__name__}: {error}."
    bug = discreet(InternalError("The job queue has made a mistake.", why=why))
    bug.__cause__ = error
    return bug
