"""A request to a server and its answer, as values."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPResponse, IncompleteRead
from typing import Any, Final, final

from sdenv.core.errors import PeerBrokeProtocol

MAX_ANSWER_BYTES: Final = 512 * 2**20
"""More is never read into memory: 16 pictures of 16 MP in base64 are smaller."""

_PIECE_BYTES: Final = 64 * 2**10


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request.

    Attributes:
        method: GET, POST, ...
        path: With the query; the prefix of the URL is put before it.
        body: What is sent along.
        headers: Further headers.
        connect_s: Longest wait for a connection; None = as `Access` says.
        answer_s: Longest silence while the answer is awaited or read; None = as `Access` says.
        repeatable: Whether it does no harm twice. Only such a request goes over a connection that is kept,
            since the server may be closing it.
    """

    method: str = "GET"
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] | None = None
    connect_s: float | None = None
    answer_s: float | None = None
    repeatable: bool = True


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """What a server has answered, whole.

    Attributes:
        url: Of the server, for errors.
        status: For example 200.
        headers: By name in lower case.
        body: Its bytes.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def record(self) -> dict[str, Any]:
        """The JSON object in the body.

        Raises:
            PeerBrokeProtocol: There is none.
        """
        record = self.json()
        if not isinstance(record, dict):
            raise PeerBrokeProtocol(f"{self.url} sent JSON that is not an object.")
        return record

    def json(self) -> Any:
        """The JSON in the body.

        Raises:
            PeerBrokeProtocol: There is none.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise PeerBrokeProtocol(f"{self.url} sent what is not JSON.", why=f"{error}.") from error


def media_type_in(headers: Mapping[str, str]) -> str:
    """The media type that headers name, without its parameters, in lower case; "" = none."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


@final
class Stream:
    """An answer that is read as it arrives.

    Attributes:
        status: For example 200.
        headers: By name in lower case.
    """

    def __init__(
        self, url: str, response: HTTPResponse, reading: Callable[[Callable[[], bytes]], bytes]
    ) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self._url = url
        self._response = response
        self._reading = reading

    @property
    def media_type(self) -> str:
        """Without its parameters, in lower case."""
        return media_type_in(self.headers)

    def pieces(self) -> Iterator[bytes]:
        """Bytes as they arrive, to the end that the header has announced."""
        while piece := self._reading(self._next):
            yield piece

    def answer(self) -> Answer:
        """The whole of it.

        Raises:
            PeerBrokeProtocol: It is larger than MAX_ANSWER_BYTES.
        """
        body = bytearray()
        for piece in self.pieces():
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                raise PeerBrokeProtocol(f"{self._url} sent an answer of more than {MAX_ANSWER_BYTES} bytes.")
        return Answer(self._url, self.status, self.headers, bytes(body))

    def _next(self) -> bytes:
        """What has arrived; b"" at the end."""
        piece = self._response.read1(_PIECE_BYTES)
        if piece:
            return piece
        if self._response.length:  # `read1` takes a connection that breaks for the end
            raise IncompleteRead(b"", self._response.length)
        return self._response.read()  # nothing, but only `read` sees that the connection can be used again
