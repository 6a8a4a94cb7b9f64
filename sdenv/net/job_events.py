"""Events of a job as they come from a server, over as many connections as it takes."""

import json
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from sdenv.core.errors import ConnectionFailed, PeerBrokeProtocol
from sdenv.net.answers import checked
from sdenv.net.exchange import Call
from sdenv.net.failures import ConnectionLost
from sdenv.net.patience import Patience
from sdenv.net.session import Session
from sdenv.protocols.sse import EventReader, ServerSentEvent

EVENTS_TYPE: Final = "text/event-stream"
LAST_EVENT: Final = "job-ended"

_NOTHING_MORE: Final = 204
_STEADY_S: Final = 2.0
"""A stream that has lasted so long is no sign of a server that is away."""


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


class _NothingMore(Exception):
    """The job has ended, and its last event is known."""


def followed(
    session: Session, path: str, patience: Patience, after: str | None, previews: bool
) -> Generator[JobEvent]:
    """See `NativeClient.events`.

    Args:
        session: Connections to the server.
        path: Of the events.
        patience: How long to wait for a server that is away.
        after: Id of the last event that is known; None = from the start.
        previews: With previews inside.
    """
    path += "?previews=true" if previews else ""
    while True:
        try:
            for event in _one_connection(session, path, patience, after):
                after = event.id or after
                patience.renew()
                yield job_event(event)
                if event.type == LAST_EVENT:
                    return
            patience.use(ConnectionLost(f"{session.url} has ended the events of a job that goes on."))
        except _NothingMore:
            return
        except ConnectionFailed as error:
            patience.use(error)


def _one_connection(
    session: Session, path: str, patience: Patience, after: str | None
) -> Iterator[ServerSentEvent]:
    """The events until the connection ends."""
    headers = {"Accept": EVENTS_TYPE, **({} if after is None else {"Last-Event-ID": after})}
    reader, opened_s = EventReader(), time.monotonic()
    with session.streaming(Call(path=path, headers=headers)) as stream:
        if stream.status == _NOTHING_MORE:
            raise _NothingMore
        if stream.status != 200 or stream.media_type != EVENTS_TYPE:
            checked(stream.answer())
            raise PeerBrokeProtocol(f"{session.url} answered with something else than events.")
        for piece in stream.pieces():
            if time.monotonic() - opened_s > _STEADY_S:
                patience.renew()
            yield from reader.feed(piece)


def job_event(event: ServerSentEvent) -> JobEvent:
    """Reads one.

    Raises:
        PeerBrokeProtocol: It is not a JSON object.
    """
    try:
        record = json.loads(event.data)
    except (ValueError, RecursionError) as error:
        raise PeerBrokeProtocol("The other side sent an event that is not JSON.", why=f"{error}.") from error
    if not isinstance(record, dict):
        raise PeerBrokeProtocol("The other side sent an event that is not a JSON object.")
    return JobEvent(event.id, event.type, record)
