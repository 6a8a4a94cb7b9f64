"""A server of OpenAI's images API as a backend: an sdenv elsewhere, another local server, OpenAI's own.

What an sdenv server says more than the API has words for (what was really made, with which seed) is used. Of
another server only the standard fields are believed to have an effect, and those that the option `fields`
names; what it does not tell is filled with stand-ins, and a notice says which.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final, final

from sdenv.backends.openai.making import NAME, Making
from sdenv.backends.openai.settings import OpenAISettings, names_in
from sdenv.core.backend import Backend, BackendSettings, BackendStatus, JobContext
from sdenv.core.capabilities import Capabilities
from sdenv.core.errors import Denied, PeerBrokeProtocol, SdenvError
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult
from sdenv.net.answers import TOKEN_HINT, retry_after_s
from sdenv.net.exchange import Answer, Call, Stream
from sdenv.net.interrupt import Interrupt
from sdenv.net.session import Session
from sdenv.protocols import native, openai
from sdenv.protocols.sse import EventReader

_MAX_COUNT: Final = 10  # of one request, where the server does not say
_PROBE_S: Final = 10.0
_NO_RESPONSE_FORMAT: Final = ("gpt-image", "chatgpt-image")
"""Models that answer base64 only, and refuse the field that asks for it."""


@final
class OpenAIBackend(Backend):
    """Makes pictures through OpenAI's images API."""

    Settings: ClassVar[type[BackendSettings]] = OpenAISettings
    declared: ClassVar[Capabilities] = Capabilities(
        carries=openai.CARRIES, progress="none", cancel="at-once", concurrency=8
    )

    def __init__(self, settings: OpenAISettings) -> None:
        self._settings = settings
        self._session = Session(settings.access())
        self._met: BackendStatus | None = None
        self._is_sdenv = False

    def probe(self) -> BackendStatus:
        """Asks for the models."""
        answer = self._session.get(openai.MODELS, answer_s=_PROBE_S)
        record = answer.record() if answer.status == 200 else {}
        if answer.status not in (200, 404):  # some servers have no list of models
            raise _error(answer)
        own = record.get(openai.EXTENSION)
        self._is_sdenv = isinstance(own, dict)
        self._met = self._of_sdenv(own) if isinstance(own, dict) else self._of_another()
        return self._met

    def _of_sdenv(self, record: Mapping[str, Any]) -> BackendStatus:
        behind = native.status_of(record)
        narrowed = replace(
            behind.capabilities.over(openai.CARRIES),
            controls=frozenset(),
            max_batch=min(behind.capabilities.max_batch, self.declared.max_batch),
            progress="none",
            cancel="at-once",
        )
        return replace(behind, name=NAME, capabilities=narrowed)

    def _of_another(self) -> BackendStatus:
        carries = openai.STANDARD | names_in(self._settings.fields)
        offered = replace(
            self.declared, carries=carries, max_count=_MAX_COUNT, previews=self._settings.stream
        )
        return BackendStatus(NAME, "", (), offered)

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        """Has the server make the pictures; a cancel hangs up, and an sdenv server then stops the work."""
        context.check()
        if self._met is None:
            self.probe()
        interrupt = Interrupt()
        with context.on_cancel(interrupt.ask):
            session = self._session.interruptible(interrupt)
            making = Making(request, context, self._is_sdenv)
            for notice in session.notices():
                context.emit(notice)
            try:
                self._make(session, making)
            except SdenvError as error:
                if not _is_about_response_format(error):
                    raise
                self._make(session, making, response_format=None)
            return making.result(session.url)

    def _make(self, session: Session, making: Making, response_format: str | None = "b64_json") -> None:
        request, context = making.request, making.context
        if (request.model or "").startswith(_NO_RESPONSE_FORMAT):
            response_format = None
        partial_images: int | None = None
        if self._is_sdenv or self._settings.stream:
            partial_images = openai.MAX_PARTIAL_IMAGES if context.preview_every else 0
        asked = openai.asked_of(request, response_format=response_format, partial_images=partial_images)
        content_type, body = asked.body()
        headers = {"Content-Type": content_type}
        if self._is_sdenv:
            headers[openai.EXACT_HEADER] = "true"
        call = Call(method="POST", path=asked.path, body=body, headers=headers, repeatable=False)
        with session.streaming(call) as stream:
            if stream.status != 200:
                raise _error(stream.answer())
            if stream.headers.get("content-type", "").startswith("text/event-stream"):
                for name, event in _events(stream):
                    making.take_event(name, event)
                return
            answer = stream.answer()
        for each in openai.pictures_of(answer.record()):
            making.take(each, _data(each, session))

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()


def _events(stream: Stream) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and values of each event; the `[DONE]` that some servers end with is left out."""
    reader = EventReader()
    for piece in stream.pieces():
        for event in reader.feed(piece):
            if event.data.strip() == "[DONE]":
                continue
            try:
                values = json.loads(event.data)
            except (ValueError, RecursionError) as error:
                raise PeerBrokeProtocol(
                    "The server sent an event that is not JSON.", why=f"{error}."
                ) from error
            if not isinstance(values, dict):
                raise PeerBrokeProtocol("The server sent an event that is not a JSON object.")
            is_error = event.type == "error" or isinstance(values.get("error"), dict)
            yield ("error" if is_error else str(values.get("type", event.type))), values


def _data(received: openai.Received, session: Session) -> bytes:
    """The file of a picture; one that lies at an address is fetched, if that is the same server."""
    if received.data is not None:
        return received.data
    if not received.url.startswith(f"{session.place.url}/"):
        raise PeerBrokeProtocol(
            "The server says that the picture lies on another machine.",
            why="sdenv fetches from the server that it was told to use, and from no other.",
        )
    answer = session.get(received.url.removeprefix(session.place.url))
    if answer.status != 200:
        raise _error(answer)
    return answer.body


def _error(answer: Answer) -> SdenvError:
    """The error that an answer stands for."""
    try:
        body = answer.json()
    except PeerBrokeProtocol:
        body = None
    error = openai.error_of(answer.status, body, retry_after_s(answer))
    if isinstance(error, Denied):
        return type(error)(f"{answer.url}: {error.what}", error.why, TOKEN_HINT)
    return error


def _is_about_response_format(error: SdenvError) -> bool:
    """Whether a server refuses to be told how to send pictures, as newer ones of OpenAI do."""
    return "response_format" in f"{error.what} {error.why}"
