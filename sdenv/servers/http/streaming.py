"""A job's events as server-sent events: each with an id, from which a client that lost us goes on.

Source: HTML living standard, 9.2, Server-sent events.
"""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sdenv.core.errors import ServerStopping
from sdenv.servers.http.context import Service
from sdenv.servers.http.principal import Principal
from sdenv.servers.http.waiting import ended, first_of, hung_up

if TYPE_CHECKING:
    from sdenv.services.jobs import LoggedEvent

MEDIA_TYPE: Final = "text/event-stream"
RETRY_MS: Final = 1000
LAST_WORDS_S: Final = 0.25
"""How long the end of the server waits for one more event: what jobs have said is on its way by then."""
_KEEP_ALIVE: Final = b": keep-alive\n\n"


def encoded(event: "LoggedEvent", *, previews: bool) -> bytes:
    """One event.

    Args:
        event: As it is kept.
        previews: Whether the picture of a preview goes in, as base64.
    """
    record: Mapping[str, Any] = event.record
    if previews and event.picture is not None:
        record = {**record, "picture": base64.b64encode(event.picture.data).decode("ascii")}
    return f"id: {event.id}\nevent: {record['type']}\ndata: {json.dumps(record)}\n\n".encode()


@final
class EventStream(Response):
    """An answer that goes on until the job has ended, the client has hung up, or the server ends.

    Args:
        service: What the route works with.
        job_id: Whose events they are.
        asker: Who wants them.
        events: From where the client wants them on.
        previews: As in `encoded`.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        service: Service,
        job_id: str,
        asker: Principal,
        events: "AsyncIterator[LoggedEvent]",
        *,
        previews: bool,
    ) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._service = service
        self._job_id = job_id
        self._asker = asker
        self._events = events
        self._previews = previews

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Sends it.

        Raises:
            Busy: The token has too many streams; nothing is sent yet.
        """
        self._service.streams.check(self._asker)
        with self._service.streams.opened(self._asker), self._service.watchers.waiting(self._job_id):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await first_of(self._pump(send), hung_up(receive))

    async def _pump(self, send: Send) -> None:
        await _send(send, f"retry: {RETRY_MS}\n\n".encode())
        lifetime, pause_s = self._service.lifetime, self._service.settings.keep_alive_s
        async with aclosing(with_pauses(self._events, lifetime.closing, pause_s)) as events:
            async for event in events:
                await _send(send, _KEEP_ALIVE if event is None else encoded(event, previews=self._previews))
        await send({"type": "http.response.body", "body": b""})


async def _send(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def with_pauses(
    events: "AsyncIterator[LoggedEvent]", closing: asyncio.Event, pause_s: float
) -> "AsyncGenerator[LoggedEvent | None, None]":
    """The events, and None after each pause of so many seconds; ends when the server does.

    Args:
        events: What happens to a job.
        closing: Set when the server ends.
        pause_s: Longest silence in seconds.
    """
    ending = asyncio.create_task(closing.wait())
    coming = asyncio.create_task(_next(events))
    try:
        while True:
            await asyncio.wait((coming, ending), timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                event = coming.result()
                if event is None:
                    return
                yield event
                coming = asyncio.create_task(_next(events))
            elif not ending.done():
                yield None
            elif not (await asyncio.wait((coming,), timeout=LAST_WORDS_S))[0]:
                return
    finally:
        await ended(ending, coming)
        if isinstance(events, AsyncGenerator):
            await events.aclose()


async def _next(events: "AsyncIterator[LoggedEvent]") -> "LoggedEvent | None":
    try:
        return await anext(events, None)
    except ServerStopping:  # the client goes on where it was after the next start
        return None


async def replayed(events: "Sequence[LoggedEvent]") -> "AsyncGenerator[LoggedEvent, None]":
    """Events that are known already."""
    for event in events:
        yield event
