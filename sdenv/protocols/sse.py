"""Server-sent events (WHATWG HTML, section 9.2), the reading side: from bytes as they arrive to events."""

import re
from dataclasses import dataclass
from typing import Final, final

from sdenv.core.errors import PeerBrokeProtocol
from sdenv.core.image import MAX_ENCODED_BYTES

MAX_EVENT_BYTES: Final = 2 * MAX_ENCODED_BYTES
"""The largest event that is read: a picture of the largest body, which base64 makes a third longer."""

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


@final
@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event.

    Attributes:
        data: Its text; lines joined by newlines.
        type: What the sender calls it.
        id: Id of the newest event that had one: where a reconnect goes on.
    """

    data: str
    type: str = "message"
    id: str = ""


@final
class EventReader:
    """Takes bytes in pieces of any size and gives the events that they complete."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 0
        self._begun = False
        self._size = 0
        self._data: list[str] = []
        self._type = ""
        self._id = ""

    def feed(self, received: bytes) -> list[ServerSentEvent]:
        """The events that are complete now; what is left waits for more.

        Raises:
            PeerBrokeProtocol: An event is larger than MAX_EVENT_BYTES, or is not UTF-8.
        """
        self._rest += received
        found: list[ServerSentEvent] = []
        position = 0
        while (line := _LINE_END.search(self._rest, max(position, self._searched))) is not None:
            if line.end() == len(self._rest) and line[0] == b"\r":
                break  # its \n may be on the way
            event = self._take(bytes(self._rest[position : line.start()]))
            position = self._searched = line.end()
            if event is not None:
                found.append(event)
        del self._rest[:position]
        self._searched = max(0, len(self._rest) - 1)
        if self._size + len(self._rest) > MAX_EVENT_BYTES:
            raise PeerBrokeProtocol(f"The other side sent an event of more than {MAX_EVENT_BYTES} bytes.")
        return found

    def _take(self, line: bytes) -> ServerSentEvent | None:
        self._size += len(line)
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise PeerBrokeProtocol("The other side sent an event that is not UTF-8.") from error
        if not self._begun:
            self._begun, text = True, text.removeprefix("\ufeff")
        if not text:
            return self._event()
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _event(self) -> ServerSentEvent | None:
        """An empty line ends an event; one without data is none (the rule of the standard)."""
        data, kind = self._data, self._type
        self._data, self._type, self._size = [], "", 0
        return ServerSentEvent("\n".join(data), kind or "message", self._id) if data else None
