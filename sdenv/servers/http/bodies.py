"""Bodies of requests: read whole before a route runs, within a size, a time, and a share of the memory."""

import asyncio
from typing import Final, final

from starlette.types import Receive

from sdenv.core.errors import Busy, Cancelled, NoStepInTime, RequestTooLarge, SdenvError

BODIES_IN_MEMORY: Final = 8
"""How many bodies of the largest size may be in memory at once."""
FREE_BYTES: Final = 1 << 20
"""So much of every body is not counted: a small request is let in however many large ones are coming."""
DISCARDED_BODIES: Final = 2
"""How much of a body that is too large is read and thrown away, in largest bodies: a client that still sends
does not read that it should not."""


@final
class BodyReader:
    """Reads bodies for one server. Used in the event loop only.

    Memory is taken as bytes come, not as they are announced: who announces much and sends nothing takes none.

    Args:
        limit_bytes: The largest body.
        limit_s: How long the client may take.
        free_bytes: What every body may have beside what all have together.
    """

    def __init__(self, limit_bytes: int, limit_s: float, free_bytes: int = FREE_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._limit_s = limit_s
        self._free_bytes = free_bytes
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
        if announced is not None and (refusal := self._refusal(0, announced)) is not None:
            await self._discard(receive, announced)
            raise refusal
        body = bytearray()
        is_whole = False
        try:
            async with asyncio.timeout(self._limit_s):
                await self._fill(body, receive)
            is_whole = True
            return bytes(body)
        except TimeoutError as error:
            raise NoStepInTime(f"The body of the request did not come within {self._limit_s:g} s.") from error
        finally:
            if not is_whole:
                self.forget(len(body))

    def forget(self, length: int) -> None:
        """Says that a body of so many bytes is no longer in memory."""
        self._left_bytes += self._counted(length)

    def _counted(self, length: int) -> int:
        return max(0, length - self._free_bytes)

    async def _fill(self, body: bytearray, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Cancelled("The client has hung up.")
            part, more = message.get("body", b""), message.get("more_body", False)
            if (refusal := self._refusal(len(body), len(part))) is not None:
                self.forget(len(body))
                body.clear()
                if more:
                    await self._discard(receive, self._limit_bytes)
                raise refusal
            self._left_bytes -= self._counted(len(body) + len(part)) - self._counted(len(body))
            body += part
            if not more:
                return

    def _refusal(self, length: int, more: int) -> SdenvError | None:
        """Why a body of some length may not get longer by so many bytes; None = it may."""
        if length + more > self._limit_bytes:
            return self._too_large()
        if self._counted(length + more) - self._counted(length) > self._left_bytes:
            return Busy("Too many large requests at once.", hint="Try again in a moment.", retry_after_s=1.0)
        return None

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
