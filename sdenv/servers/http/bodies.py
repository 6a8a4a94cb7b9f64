"""Bodies of requests: read whole before a route runs, within a size, a time, and a share of the memory."""

import asyncio
from typing import Final, final

from starlette.types import Receive

from sdenv.core.errors import Busy, Cancelled, NoStepInTime, RequestTooLarge

BODIES_IN_MEMORY: Final = 8
"""How many bodies of the largest size may be in memory at once."""
DISCARDED_BODIES: Final = 2
"""How much of a body that is too large is read and thrown away, in largest bodies: a client that still sends
does not read that it should not."""


@final
class BodyReader:
    """Reads bodies for one server. Used in the event loop only.

    Args:
        limit_bytes: The largest body.
        limit_s: How long the client may take.
    """

    def __init__(self, limit_bytes: int, limit_s: float) -> None:
        self._limit_bytes = limit_bytes
        self._limit_s = limit_s
        self._left_bytes = limit_bytes * BODIES_IN_MEMORY

    async def read(self, receive: Receive, announced: int | None) -> bytes:
        """The whole body. Call `forget` with its length when it is no longer needed.

        Args:
            receive: As ASGI gives it.
            announced: The Content-Length, where there is one.

        Raises:
            RequestTooLarge: It is larger than the limit.
            NoStepInTime: It did not come in time.
            Busy: Other bodies fill the memory that is there for them.
            Cancelled: The client has hung up.
        """
        expected = self._limit_bytes if announced is None else announced
        if expected > self._limit_bytes:
            await self._discard(receive, expected)
            raise self._too_large()
        if expected > self._left_bytes:
            raise Busy("Too many large requests at once.", hint="Try again in a moment.", retry_after_s=1.0)
        self._left_bytes -= expected
        length = 0
        try:
            async with asyncio.timeout(self._limit_s):
                body = await self._whole(receive)
            length = len(body)
            return body
        except TimeoutError as error:
            raise NoStepInTime(f"The body of the request did not come within {self._limit_s:g} s.") from error
        finally:
            self._left_bytes += expected - length

    def forget(self, length: int) -> None:
        """Says that a body of so many bytes is no longer in memory."""
        self._left_bytes += length

    async def _whole(self, receive: Receive) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Cancelled("The client has hung up.")
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._limit_bytes:
                if more:
                    await self._discard(receive, self._limit_bytes)
                raise self._too_large()
            if not more:
                return bytes(body)

    async def _discard(self, receive: Receive, expected: int) -> None:
        """Reads on for a while, so that the client comes to read the answer."""
        left = DISCARDED_BODIES * self._limit_bytes
        if expected > left:
            return
        try:
            async with asyncio.timeout(self._limit_s):
                while left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        return
        except TimeoutError:
            return

    def _too_large(self) -> RequestTooLarge:
        return RequestTooLarge(
            f"The body of the request is larger than {self._limit_bytes} bytes.",
            hint="Send smaller pictures, or start the server with a larger --max-body.",
        )
