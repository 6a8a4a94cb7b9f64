"""Clients that open a connection and do not say what they want: uvicorn would wait for ever."""

import asyncio
from typing import Any, final

from uvicorn.protocols.http.h11_impl import H11Protocol


def connection_type(header_s: float) -> type[asyncio.Protocol]:
    """The class of uvicorn's connections, with a time limit on the header of each request.

    Args:
        header_s: How long a client may take, in seconds.
    """

    @final
    class TimedConnection(asyncio.Protocol):
        """Passes everything on to uvicorn's own protocol, and closes the connection when the time is up."""

        def __init__(self, **keywords: Any) -> None:
            self._inner = H11Protocol(**keywords)
            self._transport: asyncio.Transport | None = None
            self._timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self._transport = transport
            self._inner.connection_made(transport)
            self._start()

        def data_received(self, data: bytes) -> None:
            self._inner.data_received(data)
            if self._is_answering():
                self._cancel()
            elif self._timer is None:
                self._start()

        def eof_received(self) -> None:
            self._inner.eof_received()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel()
            self._inner.connection_lost(exc)

        def pause_writing(self) -> None:
            self._inner.pause_writing()

        def resume_writing(self) -> None:
            self._inner.resume_writing()

        def _is_answering(self) -> bool:
            """Whether a whole header has come, and its request is not answered yet."""
            cycle = self._inner.cycle
            return cycle is not None and not cycle.response_complete

        def _start(self) -> None:
            self._timer = asyncio.get_running_loop().call_later(header_s, self._time_is_up)

        def _cancel(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _time_is_up(self) -> None:
            if not self._is_answering() and self._transport is not None:
                self._transport.abort()

    return TimedConnection
