"""A client of the server that a backend talks to."""

from sdenv.core.errors import UnsupportedError
from sdenv.net.native_client import NativeClient, SpeaksNative
from sdenv.services.choose import Chosen


def client_of(chosen: Chosen) -> NativeClient:
    """A client of the server that a backend talks to; it shares the backend's connections.

    Raises:
        UnsupportedError: The backend keeps no jobs: it is not a server, or not one of sdenv.
    """
    if not isinstance(chosen.backend, SpeaksNative):
        raise UnsupportedError(
            f"The backend {chosen.name!r} keeps no jobs.",
            why="Only a server of sdenv does.",
            hint="Name one: -b http://HOST:9090, or start one here: sdenv serve http",
        )
    return chosen.backend.client()
