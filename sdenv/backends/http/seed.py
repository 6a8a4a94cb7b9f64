"""The client of the seed dialect: what the http backend speaks with a server that has nothing better.

The dialect has no queue, no progress and no cancel, and a result that never comes looks like one that is not
ready yet. The rules that make a dependable client out of that are in docs/reference/dialects.md.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, final
from uuid import UUID

from sdenv.backends.http import seed_questions as ask
from sdenv.backends.http.seed_pictures import resolved_from
from sdenv.core.backend import BackendStatus, JobContext
from sdenv.core.capabilities import Capabilities
from sdenv.core.errors import (
    Busy,
    FailedError,
    PeerBrokeProtocol,
    SdenvError,
    WorkerLost,
)
from sdenv.core.events import Notice, PhaseStarted, PictureReady, RequestResolved
from sdenv.core.request import GenerationRequest, Task
from sdenv.core.result import GenerationResult
from sdenv.net.answers import retry_after_s
from sdenv.net.failures import ConnectionLost
from sdenv.net.interrupt import Interrupt
from sdenv.net.session import Session
from sdenv.protocols import seed

CAPABILITIES: Final = Capabilities(
    tasks=frozenset({Task.TEXT_TO_IMAGE}),
    carries=seed.CARRIES,
    max_count=1,
    max_batch=1,
    progress="none",
    previews=False,
    cancel="never",
    concurrency=1,
)

_SLACK: Final = timedelta(seconds=2)
"""The server's clock is known from its `Date`, which says whole seconds."""
_JITTER: Final = 0.25


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to ask, in seconds.

    Attributes:
        poll_s: Between the first polls of a job.
        slowest_poll_s: Between polls of one that takes long.
        growth: By how much each pause is longer than the one before.
        lost_s: How far apart two polls are, at least, that together show that a job is lost.
        busy_s: The first pause before a busy server, where it names none; doubled each time.
        longest_busy_s: The longest of them.
    """

    poll_s: float = 1.0
    slowest_poll_s: float = 3.0
    growth: float = 1.2
    lost_s: float = 2.0
    busy_s: float = 1.0
    longest_busy_s: float = 15.0

    def polls(self) -> Iterator[float]:
        """The pauses between polls."""
        pause_s = self.poll_s
        while True:
            yield pause_s
            pause_s = min(self.slowest_poll_s, pause_s * self.growth)

    def retries(self) -> Iterator[float]:
        """The pauses before a busy server, spread so that clients do not come all at once."""
        pause_s = self.busy_s
        while True:
            yield pause_s * random.uniform(1.0 - _JITTER, 1.0)
            pause_s = min(self.longest_busy_s, pause_s * 2)


@final
class SeedClient:
    """Asks a server of the seed dialect. May be used by several threads at once.

    Args:
        session: Connections to the server.
        shown_as: The name of the backend in pictures and errors.
        busy_s: How long to wait while the server is busy, in seconds; None = as long as it takes.
        pace: How often to ask.
    """

    def __init__(
        self, session: Session, shown_as: str, busy_s: float | None = None, pace: Pace | None = None
    ) -> None:
        self._session = session
        self._shown_as = shown_as
        self._busy_s = busy_s
        self._pace = pace or Pace()

    def status(self, otherwise: SdenvError) -> BackendStatus:
        """What the server is; it tells neither models nor versions.

        Args:
            otherwise: Raised where it does not speak this dialect: what came of asking in a better one.

        Raises:
            Denied: It wants a token.
            ConnectionFailed: It cannot be reached.
        """
        try:
            ask.is_available(self._session)
        except (PeerBrokeProtocol, FailedError) as error:
            raise otherwise from error
        return BackendStatus(self._shown_as, "seed", (), CAPABILITIES)

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        """Has the server make the picture, and waits for it as long as it takes.

        A cancel ends the waiting; the server, which knows no cancel, goes on.

        Raises:
            Cancelled: It was cancelled here.
            Busy: The server was busy for longer than `busy_s`.
            WorkerLost: The server is free, and the picture never came.
            FailedError: The server has failed to make it.
        """
        context.check()
        context.emit(PhaseStarted("waiting"))
        interrupt = Interrupt()
        with context.on_cancel(interrupt.ask):
            session = self._session.interruptible(interrupt)
            uuid = self._accepted(session, request)
            context.emit(PhaseStarted("denoising"))
            began_s = time.monotonic()
            result = self._awaited(session, uuid)
        return _handed_over(request, result, context, self._shown_as, time.monotonic() - began_s)

    def _accepted(self, session: Session, request: GenerationRequest) -> UUID:
        """The id of the job, once the server is free for it."""
        body = {"prompt": request.prompt}
        deadline_s = None if self._busy_s is None else time.monotonic() + self._busy_s
        for pause_s in self._pace.retries():
            sent_at = datetime.now(UTC)
            try:
                answer = session.post(ask.GENERATE, body)
            except ConnectionLost as error:
                return self._found_again(session, request.prompt, sent_at, error)
            if answer.status != 429:
                return seed.accepted_of(ask.checked(answer).json())
            told_s = retry_after_s(answer)
            wait_s = pause_s if told_s is None else max(told_s, 0.05)
            if deadline_s is not None and time.monotonic() + wait_s > deadline_s:
                raise Busy(f"{session.url} is busy.", why=ask.detail(answer), retry_after_s=told_s)
            session.wait(wait_s)
        raise AssertionError("the pauses never end")

    def _found_again(self, session: Session, prompt: str, sent_at: datetime, lost: ConnectionLost) -> UUID:
        """The job of a POST whose answer was lost: it may run, so it is looked for, not asked for again.

        It is the result that was not there at first, or else one that began between the POST and now.
        """
        known: frozenset[UUID] | None = None
        for round_number, pause_s in enumerate(self._pace.polls()):
            available = ask.is_available(session)
            found, server_now = ask.results(session, prompt)
            if known is None:
                since = sent_at + (server_now - datetime.now(UTC)) - _SLACK
                begun = {each.uuid for each in found if since <= each.created_time <= server_now + _SLACK}
                known = frozenset(each.uuid for each in found) - begun
            if new := [each.uuid for each in found if each.uuid not in known]:
                return new[-1]
            if available and round_number > 1:
                raise lost
            session.wait(pause_s)
        raise AssertionError("the pauses never end")

    def _awaited(self, session: Session, uuid: UUID) -> seed.Result:
        """The result, once it is there."""
        free_since_s: float | None = None
        for pause_s in self._pace.polls():
            if result := ask.result(session, uuid):
                return result
            if not ask.is_available(session):
                free_since_s = None
            elif free_since_s is None:
                free_since_s = time.monotonic()
            elif time.monotonic() - free_since_s >= self._pace.lost_s:
                raise _lost(session.url)
            session.wait(pause_s)
        raise AssertionError("the pauses never end")


def _handed_over(
    request: GenerationRequest, result: seed.Result, context: JobContext, shown_as: str, seconds: float
) -> GenerationResult:
    """What came, as events and as a result."""
    if result.data is None or result.errors:
        why = " ".join(result.errors) or "It does not say why."
        raise FailedError("The server has failed to make the picture.", why=why[:2000])
    if result.data == b"deadbeef":
        raise FailedError("The server has made no picture.", why="It has answered to a dry run.")
    made = resolved_from(request, result)
    if not made.is_told:
        message = "The server tells neither seed nor settings: the picture cannot be made again."
        context.emit(Notice("seed-unknown", message))
    context.emit(RequestResolved(made.resolved, made.model_hash, made.made_with))
    context.emit(PictureReady(0, made.picture, made.resolved.seed))
    return GenerationResult(
        images=(made.picture,),
        resolved=made.resolved,
        backend=shown_as,
        model_hash=made.model_hash,
        made_with=dict(made.made_with),
        seconds=seconds,
    )


def _lost(url: str) -> WorkerLost:
    return WorkerLost(
        "The server has lost the job.",
        why=f"{url} is free, and the picture is not there.",
        hint="Look into the log of the server; a model that cannot be loaded ends so.",
    )
