"""A client of sdenv's own API: every call of `/sdenv/v1`, errors as they were on the server."""

import json
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol, final, runtime_checkable
from urllib.parse import quote, urlencode

from ulid import ULID

from sdenv.core.errors import NoStepInTime, SdenvError
from sdenv.core.events import Notice
from sdenv.core.image import ImageData
from sdenv.core.job_record import JobRecord, JobState
from sdenv.core.request import GenerationRequest, parse_request_json
from sdenv.net.answers import checked, speaks_native
from sdenv.net.exchange import Answer, Call
from sdenv.net.interrupt import Interrupt, limited
from sdenv.net.job_events import JobEvent, followed
from sdenv.net.native_answers import JobsFound, jobs_found_of, picture_in
from sdenv.net.patience import FIRST_PAUSE_S, LONGEST_PAUSE_S, RECONNECT_S, OnLost, Patience
from sdenv.net.server_status import NotNative, QueueStatus, ServerStatus, not_native, server_status_of
from sdenv.net.session import Session
from sdenv.protocols.native import PREFIX, job_of, request_record

__all__ = [
    "JobEvent",
    "JobsFound",
    "NativeClient",
    "NotNative",
    "QueueStatus",
    "ServerStatus",
    "SpeaksNative",
]

_CANCEL_S: Final = 2.0
"""How long a cancel may take: nobody who has pressed Ctrl-C waits longer."""


@runtime_checkable
class SpeaksNative(Protocol):
    """A backend whose server speaks sdenv's own API."""

    def client(self) -> "NativeClient":
        """A client that shares its connections; asks nothing."""


@final
class NativeClient:
    """Calls a server. May be used by several threads at once.

    Every call raises `ConnectionFailed` when the server cannot be reached, `Denied` for a missing or wrong
    token, and whatever error the server answers with.

    Args:
        session: Connections to the server.
        reconnect_s: How long to wait for a server that was there and is away.
    """

    def __init__(self, session: Session, *, reconnect_s: float = RECONNECT_S) -> None:
        self._session = session
        self._reconnect_s = reconnect_s

    @property
    def url(self) -> str:
        """The server's address without user and password."""
        return self._session.url

    def interruptible(self, interrupt: Interrupt) -> "NativeClient":
        """The same, over the same connections; `interrupt.ask()` ends its calls with `Cancelled`."""
        return NativeClient(self._session.interruptible(interrupt), reconnect_s=self._reconnect_s)

    def status(self, timeout_s: float | None = None) -> ServerStatus:
        """What the server and the backend behind it are.

        Args:
            timeout_s: Longest wait for the answer; None = as the session has it.

        Raises:
            NotNative: What answers is no sdenv server, or one of the seed dialect only.
        """
        answer = self._session.get(f"{PREFIX}/status", answer_s=timeout_s)
        if not speaks_native(answer):
            raise not_native(answer)
        return server_status_of(checked(answer).record())

    def ping(self, timeout_s: float | None = None) -> float:
        """Seconds from a request that costs the server nothing to its answer.

        Args:
            timeout_s: Longest wait for the answer; None = as the session has it.
        """
        began_s = time.monotonic()
        self._session.get("/health", answer_s=timeout_s)
        return time.monotonic() - began_s

    def notices(self) -> tuple[Notice, ...]:
        """What a person should know of how the server was reached; each is handed out once."""
        return self._session.notices()

    def submit(
        self,
        request: GenerationRequest,
        *,
        priority: int = 0,
        preview_every: int = 0,
        allow_degraded: bool = False,
        durable: bool = True,
        key: str | None = None,
        on_lost: OnLost | None = None,
    ) -> JobRecord:
        """Hands a request over; when this returns, the server will not lose it.

        An answer that is lost is asked for again: the key keeps the job from being made twice.

        Args:
            request: What is wanted.
            priority: Higher comes first.
            preview_every: Make a preview every so many steps; 0 = none.
            allow_degraded: Leave out what the server's backend cannot do, with a notice.
            durable: Whether it runs again after a crash of the server.
            key: The idempotency key; None = a new one.
            on_lost: Called once when the answer was lost and is asked for again.

        Raises:
            Busy: The server's queue is full.
            ServerStopping: It takes no more jobs.
            SdenvError: It refuses the request.
        """
        record = {
            "request": request_record(request),
            "priority": priority,
            "preview_every": preview_every,
            "allow_degraded": allow_degraded,
            "durable": durable,
        }
        headers = {"Idempotency-Key": key or str(ULID())}

        def post() -> JobRecord:
            return job_of(checked(self._session.post(f"{PREFIX}/jobs", record, headers=headers)).record())

        return self._patience(on_lost).call(post)

    def get(self, job_id: str) -> JobRecord:
        """A job as it is now.

        Raises:
            UnknownJob: There is none.
        """
        return job_of(self._get(f"{_job(job_id)}").record())

    def find(
        self,
        *,
        states: Iterable[JobState] = (),
        text: str = "",
        id_part: str = "",
        dialect: str = "",
        model: str = "",
        before: str | None = None,
        limit: int = 50,
    ) -> JobsFound:
        """Jobs, newest first.

        Args:
            states: Only these; none = all.
            text: Words that all occur in the prompt.
            id_part: Only those whose id begins or ends so.
            dialect: Only those asked for in this dialect.
            model: Only those of this model.
            before: `next` of the page before.
            limit: Most jobs on the page, 1 to 500.
        """
        wanted = [("state", state.value) for state in states]
        filters = {"text": text, "id_part": id_part, "dialect": dialect, "model": model, "before": before}
        wanted += [(name, value) for name, value in filters.items() if value]
        path = f"{PREFIX}/jobs?{urlencode([*wanted, ('limit', str(limit))])}"
        return jobs_found_of(self._get(path).record())

    def cancel(self, job_id: str) -> JobRecord:
        """Asks a job to stop: one that waits ends now, one that runs at its next step. Ended ones stay."""
        answer = self._session.exchange(Call(method="POST", path=f"{_job(job_id)}/cancel", body=b""))
        return job_of(checked(answer).record())

    def cancel_soon(self, job_id: str) -> None:
        """As `cancel`, for somebody who does not wait: it takes two seconds at most, and never fails."""
        with suppress(SdenvError), self.shortly() as client:
            client.cancel(job_id)

    @contextmanager
    def shortly(self) -> "Iterator[NativeClient]":
        """The same, over the same connections, with calls that end within two seconds in all."""
        with limited(_CANCEL_S) as interrupt:
            yield self.interruptible(interrupt)

    def remove(self, job_id: str) -> None:
        """Removes a job that has ended, with its pictures.

        Raises:
            JobNotFinished: It has not ended.
        """
        checked(self._session.exchange(Call(method="DELETE", path=_job(job_id))))

    def events(
        self,
        job_id: str,
        *,
        after: str | None = None,
        previews: bool = False,
        on_lost: OnLost | None = None,
    ) -> Generator[JobEvent]:
        """Everything that happens to a job, from its start; `job-ended` comes last.

        A connection that breaks is made again, and the events go on where they were; also when the server
        was started anew in between.

        Args:
            job_id: The job.
            after: Id of the last event that is known; None = from the start.
            previews: With previews in `picture`, as base64.
            on_lost: Called when a connection is lost, before it is made again.

        Raises:
            UnknownJob: There is no such job.
            ConnectionFailed: The server is away for longer than `reconnect_s`.
        """
        return followed(self._session, f"{_job(job_id)}/events", self._patience(on_lost), after, previews)

    def picture(
        self,
        job_id: str,
        index: int,
        *,
        form: str = "",
        metadata: bool = True,
        on_lost: OnLost | None = None,
    ) -> ImageData:
        """A finished picture.

        Args:
            job_id: The job.
            index: Which of its pictures, from 0.
            form: `png`, `jpeg` or `webp`; "" = as it is stored.
            metadata: With how it was made inside; False = the very bytes of the backend.
            on_lost: Called once when the connection was lost and is made again.

        Raises:
            UnknownJob: There is no such job or picture.
            JobNotFinished: It is not finished.
        """
        wanted = {**({"format": form} if form else {}), **({} if metadata else {"metadata": "false"})}
        path = f"{_job(job_id)}/pictures/{index}" + (f"?{urlencode(wanted)}" if wanted else "")
        return self._patience(on_lost).call(lambda: picture_in(self._get(path)))

    def preview(self, job_id: str) -> ImageData | None:
        """The newest preview; None = there is none."""
        answer = self._session.get(f"{_job(job_id)}/preview")
        return None if answer.status in (404, 409) else picture_in(checked(answer))

    def request_of(self, job_id: str) -> GenerationRequest:
        """What was asked for, pictures included."""
        record = self._get(f"{_job(job_id)}/request").record()
        return parse_request_json(json.dumps(record.get("request", record)))

    def wait(self, job_id: str, timeout_s: float | None = None) -> JobRecord:
        """Waits for the end of a job, however it ends.

        Raises:
            NoStepInTime: It has not ended in that time; it goes on.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = FIRST_PAUSE_S
        while True:
            job = self._patience(None).call(lambda: self.get(job_id))
            if job.state.ended:
                return job
            if deadline is not None and time.monotonic() >= deadline:
                raise NoStepInTime(f"The job {job_id} has not ended within {timeout_s:g} s.")
            left_s = pause_s if deadline is None else max(0.0, deadline - time.monotonic())
            self._session.wait(min(pause_s, left_s))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def close(self) -> None:
        """Closes its connections. May be called twice."""
        self._session.close()

    def _get(self, path: str) -> Answer:
        return checked(self._session.get(path))

    def _patience(self, on_lost: OnLost | None) -> Patience:
        return Patience(self._session, self._reconnect_s, on_lost)


def _job(job_id: str) -> str:
    return f"{PREFIX}/jobs/{quote(job_id, safe='')}"
