"""What all calls to one server have in common: its address, its connections, what is known of it."""

import time
from collections.abc import Mapping
from threading import Lock
from typing import Final, final

from sdenv.net.address import Access, Place
from sdenv.net.dialling import Dialler
from sdenv.net.wire import Wire

_LONGEST_IDLE_S: Final = 4.0  # uvicorn closes a connection that is idle for 5 s


@final
class Shared:
    """Shared by all views of a session. May be used by several threads at once."""

    def __init__(self, access: Access, place: Place, headers: Mapping[str, str]) -> None:
        self.access = access
        self.place = place
        self.headers = headers
        self.url = place.url if access.socket_path is None else f"unix:{access.socket_path}"
        self.dialler = Dialler(access, place, self.url)
        self.met = False
        """Whether the server has ever answered."""
        self._lock = Lock()
        self._idle: list[Wire] = []
        self._closed = False

    def take(self) -> Wire | None:
        """A connection that was kept and that the server has not closed; None = there is none."""
        with self._lock:
            while self._idle:
                wire = self._idle.pop()
                if not wire.is_stale(_LONGEST_IDLE_S):
                    return wire
                wire.hang_up()
        return None

    def keep(self, wire: Wire) -> None:
        """Keeps a connection for the next request."""
        wire.used_s = time.monotonic()
        with self._lock:
            if not self._closed:
                self._idle.append(wire)
                return
        wire.hang_up()

    def close(self) -> None:
        """Closes those that wait, and from now on each after its use."""
        with self._lock:
            self._closed, idle, self._idle = True, self._idle, []
        for wire in idle:
            wire.hang_up()
