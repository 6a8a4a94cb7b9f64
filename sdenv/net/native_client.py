"""A client of sdenv's own API: every call of `/sdenv/v1`, errors as they were on the server."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar, final, runtime_checkable
from urllib.parse import quote, urlencode

from ulid import ULID

from sdenv.core.backend import BackendStatus
from sdenv.core.errors import ConnectionFailed, NoStepInTime, PeerBrokeProtocol
from sdenv.core.image import ImageData
from sdenv.core.job_record import JobRecord, JobState
from sdenv.core.request import GenerationRequest, parse_request_json
from sdenv.net.answers import checked
from sdenv.net.failures import ConnectionLost
from sdenv.net.interrupt import Interrupt
from sdenv.net.session import Answer, Call, Session
from sdenv.protocols.native import PREFIX, job_of, request_record, status_of
from sdenv.protocols.sse import EventReader, ServerSentEvent

T = TypeVar("T")

RECONNECT_S: Final = 60.0
"""How long a server that was there may be away: longer than a restart takes."""

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
_CANCEL_S: Final = 2.0
"""How long a cancel may take: nobody who has pressed Ctrl-C waits longer."""


@final
@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What a server says of itself.

    Attributes:
        backend: What is behind it, as a backend says it.
        version: Of the server.
        kind: Name of the backend in its table, such as `local`; "" = it does not say.
        dialects: What it speaks on this port.
        jobs: How many jobs there are, by state.
        options: How the backend was set up, as text by name.
    """

    backend: BackendStatus
    version: str = ""
    kind: str = ""
    dialects: tuple[str, ...] = ()
    jobs: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class JobsFound:
    """A page of jobs, newest first.

    Attributes:
        jobs: Those of this page.
        next: `before` of the next page; None = this is the last.
    """

    jobs: tuple[JobRecord, ...]
    next: str | None = None


@final
@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that happened to a job on a server.

    Attributes:
        id: Where to go on from: `after` of a later call.
        type: `step-done`, `preview-ready`, ..., or `job-queued`, `job-started`, `job-requeued`, `job-ended`.
        record: The whole event; `protocols.native.event_of` reads it, but for `request-resolved` and
            `picture-ready`, whose pictures are fetched apart.
    """

    id: str
    type: str
    record: Mapping[str, Any]


@runtime_checkable
class SpeaksNative(Protocol):
    """A backend whose server speaks sdenv's own API."""

    def client(self) -> "NativeClient":
        """A client that shares its connections.

        Raises:
            UnsupportedError: The server speaks the seed dialect only.
        """


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
        """
        record = checked(self._session.get(f"{PREFIX}/status", answer_s=timeout_s)).record()
        return server_status_of(record)

    def submit(
        self,
        request: GenerationRequest,
        *,
        priority: int = 0,
        preview_every: int = 0,
        allow_degraded: bool = False,
        durable: bool = True,
        key: str | None = None,
        on_lost: Callable[[ConnectionFailed], None] | None = None,
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

        return self._patiently(post, on_lost)

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
        dialect: str = "",
        model: str = "",
        before: str | None = None,
        limit: int = 50,
    ) -> JobsFound:
        """Jobs, newest first.

        Args:
            states: Only these; none = all.
            text: Words that all occur in the prompt.
            dialect: Only those asked for in this dialect.
            model: Only those of this model.
            before: `next` of the page before.
            limit: Most jobs on the page, 1 to 500.
        """
        wanted = [("state", state.value) for state in states]
        wanted += [
            (name, value)
            for name, value in (("text", text), ("dialect", dialect), ("model", model), ("before", before))
            if value
        ]
        record = self._get(f"{PREFIX}/jobs?{urlencode([*wanted, ('limit', str(limit))])}").record()
        jobs, following = record.get("jobs"), record.get("next")
        if not isinstance(jobs, list) or not (following is None or isinstance(following, str)):
            raise PeerBrokeProtocol("The other side sent a list of jobs that cannot be read.")
        return JobsFound(tuple(job_of(each) for each in jobs), following)

    def cancel(self, job_id: str) -> JobRecord:
        """Asks a job to stop: one that waits ends now, one that runs at its next step. Ended ones stay."""
        answer = self._session.exchange(Call(method="POST", path=f"{_job(job_id)}/cancel", body=b""))
        return job_of(checked(answer).record())

    def cancel_soon(self, job_id: str) -> None:
        """As `cancel`, for somebody who does not wait: within two seconds, also if an interrupt was asked."""
        call = Call(
            method="POST",
            path=f"{_job(job_id)}/cancel",
            body=b"",
            connect_s=_CANCEL_S / 2,
            answer_s=_CANCEL_S,
        )
        self._session.interruptible(None).exchange(call)

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
        on_lost: Callable[[ConnectionFailed], None] | None = None,
    ) -> Iterator[JobEvent]:
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
        path = f"{_job(job_id)}/events" + ("?previews=true" if previews else "")
        patience = _Patience(self._reconnect_s, self._session)
        while True:
            try:
                for event in self._stream(path, after):
                    after = event.id or after
                    patience.renew()
                    yield _job_event(event)
                    if event.type == "job-ended":
                        return
                lost = ConnectionLost(f"{self.url} ended the events of the job before the job had ended.")
                patience.use(lost, on_lost)
            except ConnectionFailed as error:
                if patience.is_new and not isinstance(error, ConnectionLost):
                    raise
                patience.use(error, on_lost)

    def _stream(self, path: str, after: str | None) -> Iterator[ServerSentEvent]:
        headers = {"Accept": "text/event-stream", **({} if after is None else {"Last-Event-ID": after})}
        reader = EventReader()
        with self._session.streaming(Call(path=path, headers=headers)) as stream:
            if stream.status != 200:
                checked(stream.answer())
                raise PeerBrokeProtocol(f"{self.url} answered with status {stream.status}, not with events.")
            for piece in stream.pieces():
                yield from reader.feed(piece)

    def picture(
        self,
        job_id: str,
        index: int,
        *,
        form: str = "",
        metadata: bool = True,
        on_lost: Callable[[ConnectionFailed], None] | None = None,
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
        return self._patiently(lambda: _picture_in(self._get(path)), on_lost)

    def preview(self, job_id: str) -> ImageData | None:
        """The newest preview; None = there is none."""
        answer = self._session.get(f"{_job(job_id)}/preview")
        return None if answer.status in (204, 404) else _picture_in(checked(answer))

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
        pause_s = _FIRST_PAUSE_S
        while True:
            job = self._patiently(lambda: self.get(job_id), None)
            if job.state.ended:
                return job
            if deadline is not None and time.monotonic() >= deadline:
                raise NoStepInTime(f"The job {job_id} has not ended within {timeout_s:g} s.")
            left_s = pause_s if deadline is None else deadline - time.monotonic()
            self._session.wait(max(0.0, min(pause_s, left_s)))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def close(self) -> None:
        """Closes its connections. May be called twice."""
        self._session.close()

    def _get(self, path: str) -> Answer:
        return checked(self._session.get(path))

    def _patiently(self, call: Callable[[], T], on_lost: Callable[[ConnectionFailed], None] | None) -> T:
        """What `call` returns, tried again while a server that was there is away."""
        patience = _Patience(self._reconnect_s, self._session)
        while True:
            try:
                return call()
            except ConnectionFailed as error:
                if patience.is_new and not isinstance(error, ConnectionLost):
                    raise
                patience.use(error, on_lost)


@final
class _Patience:
    """How long to go on asking for a server that was there."""

    def __init__(self, reconnect_s: float, session: Session) -> None:
        self._reconnect_s = reconnect_s
        self._session = session
        self.renew()

    def renew(self) -> None:
        """The server has answered."""
        self.is_new = True
        self._deadline_s = 0.0
        self._pause_s = _FIRST_PAUSE_S

    def use(self, error: ConnectionFailed, on_lost: Callable[[ConnectionFailed], None] | None) -> None:
        """Waits a little, longer every time.

        Raises:
            ConnectionFailed: The patience is at its end.
        """
        now_s = time.monotonic()
        if self.is_new:
            self.is_new = False
            self._deadline_s = now_s + self._reconnect_s
            if on_lost is not None:
                on_lost(error)
        if now_s >= self._deadline_s:
            raise ConnectionFailed(
                f"The connection to {self._session.url} was lost, and the server has not come back within "
                f"{self._reconnect_s:g} s.",
                why=error.why or error.what,
                hint=f"The job is not lost: sdenv jobs list -b {self._session.url}",
            ) from error
        self._session.wait(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)


def server_status_of(record: Mapping[str, Any]) -> ServerStatus:
    """What `GET /status` says.

    Raises:
        PeerBrokeProtocol: It is not a status.
    """
    server = record.get("server")
    server = server if isinstance(server, Mapping) else {}
    return ServerStatus(
        backend=status_of(record),
        version=str(server.get("version", "")),
        kind=str(record.get("kind", "")),
        dialects=tuple(str(each) for each in record.get("dialects", ())),
        jobs={str(name): int(count) for name, count in record.get("jobs", {}).items()},
        options={str(name): str(value) for name, value in record.get("options", {}).items()},
    )


def _job(job_id: str) -> str:
    return f"{PREFIX}/jobs/{quote(job_id, safe='')}"


def _job_event(event: ServerSentEvent) -> JobEvent:
    try:
        record = json.loads(event.data)
    except ValueError as error:
        raise PeerBrokeProtocol("The other side sent an event that is not JSON.", why=f"{error}.") from error
    if not isinstance(record, dict):
        raise PeerBrokeProtocol("The other side sent an event that is not a JSON object.")
    return JobEvent(event.id, event.type, record)


def _picture_in(answer: Answer) -> ImageData:
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
    if not media_type.startswith("image/"):
        raise PeerBrokeProtocol(f"The other side sent {media_type or 'something'!r} where a picture belongs.")
    return ImageData(data=answer.body, media_type=media_type)
