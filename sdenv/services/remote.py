"""A client of a server's jobs, for the commands that list, watch and cancel them."""

from collections.abc import Mapping

from sdenv.core.errors import UnsupportedError
from sdenv.net.native_client import NativeClient, SpeaksNative
from sdenv.services.choose import Chosen, choose_backend
from sdenv.services.settings import Settings


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


def connect(name_or_url: str, options: Mapping[str, str], settings: Settings) -> NativeClient:
    """A client of the server that a backend's name or URL means; nothing is opened yet.

    Args:
        name_or_url: As after `-b`.
        options: As after `-O`.
        settings: What the user configured.

    Raises:
        UnsupportedError: It is no server of sdenv.
        SdenvError: As `choose_backend`.
    """
    return client_of(choose_backend(name_or_url, options, settings))
