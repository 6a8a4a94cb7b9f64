"""One request, made by a server that speaks sdenv's own API."""

import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any, Final, final

from ulid import ULID

from sdenv.core.backend import JobContext
from sdenv.core.errors import Busy, Cancelled, ConnectionFailed, PeerBrokeProtocol, SdenvError
from sdenv.core.events import Event, Notice, PhaseStarted, PictureReady, RequestResolved, StepDone
from sdenv.core.image import ImageData
from sdenv.core.job_record import JobState
from sdenv.core.request import GenerationRequest, ResolvedRequest
from sdenv.core.result import GenerationResult
from sdenv.net.interrupt import Interrupt
from sdenv.net.job_events import LAST_EVENT, JobEvent
from sdenv.net.native_client import NativeClient
from sdenv.protocols.native import error_of, event_of, result_of
from sdenv.protocols.native.reading import Record, reading

PICTURE_FIELDS: Final = ("init_image", "mask", "references", "controls")
"""What the server does not send back: we have it."""

_USUAL_WAIT_S: Final = 2.0


@final
class NativeJob:
    """Follows one job from its submission to its end.

    Args:
        client: Calls the server.
        request: What is wanted.
        context: Where to report, and when to stop.
        shown_as: Name of the backend in the result.
        busy_s: How long to wait for a place in a full queue, in seconds.
        forget: Whether to remove the job from the server when it has ended.
    """

    def __init__(
        self,
        client: NativeClient,
        request: GenerationRequest,
        context: JobContext,
        *,
        shown_as: str,
        busy_s: float = 0.0,
        forget: bool = False,
    ) -> None:
        self._interrupt = Interrupt()
        self._client = client.interruptible(self._interrupt)
        self._request = request
        self._context = context
        self._shown_as = shown_as
        self._busy_s = busy_s
        self._forget = forget
        self._key = str(ULID())
        self._resolved: RequestResolved | None = None
        self._steps: dict[int, int] = {}
        self._pictures: dict[int, ImageData] = {}

    def result(self) -> GenerationResult:
        """Has the job done.

        Raises:
            Cancelled: It was cancelled; the server was told.
            SdenvError: What it ended with.
        """
        with self._context.on_cancel(self._interrupt.ask):
            self._context.check()
            job_id = self._submitted()
            try:
                end = self._followed(job_id)
            except BaseException:
                self._client.cancel_soon(job_id)
                raise
            try:
                return self._made(job_id, end)
            finally:
                if self._forget:
                    with suppress(SdenvError):
                        self._client.remove(job_id)

    def _followed(self, job_id: str) -> Record:
        """Reports what happens to the job; returns its last event."""
        wants_previews = self._context.preview_every > 0
        events = self._client.events(job_id, previews=wants_previews, on_lost=self._tell_lost)
        with closing(events):
            for event in events:
                if event.type == LAST_EVENT:
                    return event.record
                self._handle(job_id, event)
        raise PeerBrokeProtocol(f"The server has ended the events of the job {job_id} before the job.")

    def _submitted(self) -> str:
        """Id of the job that the server has accepted."""
        deadline_s = time.monotonic() + self._busy_s
        while True:
            try:
                return self._submit(self._client)
            except Busy as error:
                wait_s = error.retry_after_s or _USUAL_WAIT_S
                if time.monotonic() + wait_s > deadline_s:
                    raise
                self._context.emit(PhaseStarted("waiting for a place in the queue"))
                self._interrupt.wait(wait_s)
            except (Cancelled, KeyboardInterrupt):
                self._withdraw()
                raise

    def _submit(self, client: NativeClient) -> str:
        return client.submit(
            self._request,
            preview_every=self._context.preview_every,
            key=self._key,
            on_lost=self._tell_lost,
        ).id

    def _withdraw(self) -> None:
        """Cancels a job whose id never arrived: the same key gives it again."""
        with suppress(SdenvError), self._client.shortly() as client:
            client.cancel(self._submit(client))

    def _handle(self, job_id: str, event: JobEvent) -> None:
        """Reports an event of the server as ours. After a new try of the job, what is known comes again."""
        record = event.record
        match event.type:
            case "job-queued":
                if record.get("position"):
                    self._context.emit(PhaseStarted("queued"))
            case "job-started":
                self._context.check()
            case "job-requeued":
                why = f": {error_of(record['error']).what}" if record.get("error") else "."
                self._context.emit(Notice("job-requeued", f"The server does the job again{why}"))
            case "request-resolved":
                self._resolve(record)
            case "picture-ready":
                index, seed = reading("an event", lambda: (int(record["index"]), int(record["seed"])))
                self._hand_over(job_id, index, seed)
            case "preview-ready" if "picture" not in record:
                self._context.check()  # a newer one has replaced it
            case _:
                self._pass_on(event_of(record))

    def _pass_on(self, event: Event) -> None:
        if isinstance(event, StepDone):
            if event.step <= self._steps.get(event.index, 0):
                return
            self._steps[event.index] = event.step
        self._context.emit(event)

    def _resolve(self, record: Record) -> None:
        if self._resolved is not None:
            return
        said = {**record, "resolved": _without_pictures(record.get("resolved"))}
        event = event_of(said)
        assert isinstance(event, RequestResolved)
        self._resolved = replace(event, resolved=self._with_pictures(event.resolved))
        self._context.emit(self._resolved)

    def _hand_over(self, job_id: str, index: int, seed: int) -> None:
        if index not in self._pictures:
            self._pictures[index] = self._fetched(job_id, index)
            self._context.emit(PictureReady(index, self._pictures[index], seed))

    def _fetched(self, job_id: str, index: int) -> ImageData:
        return self._client.picture(job_id, index, metadata=False, on_lost=self._tell_lost)

    def _made(self, job_id: str, end: Record) -> GenerationResult:
        """The result, or the error that the job ended with."""
        if end.get("error"):
            raise error_of(end["error"])
        if end.get("state") != JobState.DONE.value or not isinstance(end.get("result"), Mapping):
            raise PeerBrokeProtocol(f"The server ended the job {job_id} with neither a result nor an error.")
        said = {**end["result"], "backend": self._shown_as}
        result = result_of({**said, "resolved": _without_pictures(said.get("resolved"))}, ())
        resolved = self._with_pictures(result.resolved)
        for index in range(resolved.count):
            self._hand_over(job_id, index, resolved.seed_of(index))
        images = tuple(self._pictures[index] for index in range(resolved.count))
        return result.model_copy(update={"images": images, "resolved": resolved})

    def _with_pictures(self, resolved: ResolvedRequest) -> ResolvedRequest:
        return resolved.model_copy(update={name: getattr(self._request, name) for name in PICTURE_FIELDS})

    def _tell_lost(self, error: ConnectionFailed) -> None:
        self._context.emit(Notice("connection-lost", f"{error.what} Trying again; the job goes on."))


def _without_pictures(resolved: object) -> dict[str, Any]:
    if not isinstance(resolved, Mapping):
        raise PeerBrokeProtocol("The server sent no resolved request where one belongs.")
    return {name: value for name, value in resolved.items() if name not in PICTURE_FIELDS}
