"""Messages on a pipe: four bytes of length, big end first, then one JSON object.

The objects are those of `protocols.native` in an envelope that names the type of the message and the call
that it belongs to:

    to the child:    begin (kind, settings, heartbeat_s), generate, probe, cancel, close
    from the child:  ready, beat (memory), event, status, result, error
"""

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final, final

from sdenv.core.errors import PeerBrokeProtocol, RequestTooLarge

MAX_FRAME_BYTES: Final = 2**30
"""Far above any picture: a request holds a few input pictures of at most 64 MiB. What is larger is noise."""

READ_BYTES: Final = 2**20

Record = Mapping[str, Any]
_LENGTH: Final = struct.Struct(">I")


def encoded(record: Record) -> bytes:
    """The bytes of one message.

    Raises:
        RequestTooLarge: It is longer than the other side would take.
    """
    body = json.dumps(record, separators=(",", ":")).encode("ascii")
    if len(body) > MAX_FRAME_BYTES:
        raise RequestTooLarge(
            f"The request has {len(body)} bytes with its pictures; the limit is {MAX_FRAME_BYTES}.",
            hint="Give smaller pictures.",
        )
    return _LENGTH.pack(len(body)) + body


@final
class FrameReader:
    """Turns what is read from a pipe, in pieces of any size, into messages."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The messages that are whole now.

        Raises:
            PeerBrokeProtocol: The bytes are not what `encoded` writes; nothing after them can be read.
        """
        self._kept += data
        while len(self._kept) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._kept)
            if length > MAX_FRAME_BYTES:
                raise PeerBrokeProtocol(f"A message claims to have {length} bytes.")
            end = _LENGTH.size + length
            if len(self._kept) < end:
                return
            body = bytes(self._kept[_LENGTH.size : end])
            del self._kept[:end]
            yield _object_in(body)


def _object_in(body: bytes) -> dict[str, Any]:
    try:
        record = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PeerBrokeProtocol("A message is not JSON.", why=f"{error}.") from error
    if not isinstance(record, dict) or not isinstance(record.get("type"), str):
        raise PeerBrokeProtocol("A message is not an object that names its type.")
    return record
