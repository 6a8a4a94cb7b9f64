"""How long to go on asking for a server that was there and is away."""

import time
from collections.abc import Callable
from typing import Final, TypeVar, final

from sdenv.core.errors import ConnectionFailed
from sdenv.net.failures import ConnectionLost
from sdenv.net.session import Session

RECONNECT_S: Final = 60.0
"""How long a server that was there may be away: longer than a restart takes."""

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 2.0

OnLost = Callable[[ConnectionFailed], None]
"""Is told, once each time, that the server is away and will be asked again."""

T = TypeVar("T")


@final
class Patience:
    """Waits between two attempts, longer every time, until it is at its end.

    Only a server that was there is waited for: the first failure must have broken a connection.

    Args:
        session: Connections to the server; its interrupt ends the waiting.
        reconnect_s: How long in all.
        on_lost: Is told when the waiting begins.
    """

    def __init__(self, session: Session, reconnect_s: float, on_lost: OnLost | None = None) -> None:
        self._session = session
        self._reconnect_s = reconnect_s
        self._on_lost = on_lost
        self._deadline_s: float | None = None
        self._pause_s = FIRST_PAUSE_S

    def renew(self) -> None:
        """The server works again; the next failure begins anew."""
        self._deadline_s = None
        self._pause_s = FIRST_PAUSE_S

    def use(self, error: ConnectionFailed) -> None:
        """Waits before the next attempt.

        Raises:
            ConnectionFailed: The server was never there, or the patience is at its end.
        """
        if self._deadline_s is None:
            if not isinstance(error, ConnectionLost):
                raise error
            self._deadline_s = time.monotonic() + self._reconnect_s
            if self._on_lost is not None:
                self._on_lost(error)
        if time.monotonic() >= self._deadline_s:
            raise self._given_up(error) from error
        self._session.wait(self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def call(self, call: Callable[[], T]) -> T:
        """What `call` returns, tried again as long as the patience lasts."""
        while True:
            try:
                return call()
            except ConnectionFailed as error:
                self.use(error)

    def _given_up(self, error: ConnectionFailed) -> ConnectionFailed:
        url = self._session.url
        named = "" if url.startswith("unix:") else f" -b {url}"
        return ConnectionFailed(
            f"The connection to {url} was lost, and the server has not come back within "
            f"{self._reconnect_s:g} s.",
            why=error.what,
            hint=f"What it has accepted is not lost. When it is back: sdenv jobs list{named}",
        )
