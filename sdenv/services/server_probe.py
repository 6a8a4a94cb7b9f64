"""What a server is and can do, seen from here: for `sdenv probe http`."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sdenv.core.backend import BackendStatus
from sdenv.core.capabilities import Capabilities
from sdenv.core.events import Notice
from sdenv.core.image import size_of
from sdenv.core.request import GenerationRequest
from sdenv.net.native_client import NativeClient, NotNative, ServerStatus
from sdenv.protocols.native import capabilities_record, model_record
from sdenv.services.choose import choose_backend
from sdenv.services.engine import Engine
from sdenv.services.remote import client_of
from sdenv.services.settings import Settings

PINGS: Final = 5
SEED: Final = "seed"
_TEST: Final[Mapping[str, object]] = {"prompt": "a red circle", "steps": 4, "seed": 1}
"""The test picture, as far as the server can be told."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The picture that was made for the test; it is not kept.

    Attributes:
        width: In pixels.
        height: In pixels.
        size_bytes: Of its file.
        seconds: From the request to the picture.
    """

    width: int
    height: int
    size_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ServerReport:
    """What was found.

    Attributes:
        url: Where the server is.
        status: What can be made there.
        latency_s: Median time from a request to its answer over a connection that is open, without any work.
        server: What it says of itself; None = it speaks the seed dialect only.
        picture: The test picture, if one was wanted.
        notices: What a person should know.
    """

    url: str
    status: BackendStatus
    latency_s: float
    server: ServerStatus | None = None
    picture: Trial | None = None
    notices: tuple[Notice, ...] = field(default=())

    @property
    def dialects(self) -> tuple[str, ...]:
        """What it speaks."""
        return (SEED,) if self.server is None else self.server.dialects

    def as_record(self) -> dict[str, Any]:
        """As JSON values."""
        server = self.server
        return {
            "url": self.url,
            "version": self.status.version,
            "server_version": None if server is None else server.version,
            "backend": None if server is None else server.kind,
            "dialects": list(self.dialects),
            "latency_ms": round(self.latency_s * 1000, 3),
            "queue": None if server is None else _fields(server.queue),
            "models": [model_record(model) for model in self.status.models],
            "capabilities": capabilities_record(self.status.capabilities),
            "picture": None if self.picture is None else _fields(self.picture),
            "notices": [_fields(notice) for notice in self.notices],
        }


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def probe_server(
    url: str, options: Mapping[str, str], settings: Settings, *, with_picture: bool = False
) -> ServerReport:
    """Looks what a server is; with a picture, makes one there and leaves nothing behind.

    Args:
        url: Its address, or the name of a backend that the user has configured.
        options: Of the backend `http`, as typed.
        settings: What the user has configured.
        with_picture: Whether to make a test picture.

    Raises:
        ConnectionFailed: Nothing answers, or no server of sdenv or its seed.
        Denied: The token is missing or wrong, or the certificate has changed.
        SdenvError: The test picture could not be made.
    """
    chosen = choose_backend(url, {"forget": "true", **options}, settings)
    client = client_of(chosen)
    with Engine(chosen.backend, name=chosen.name) as engine:
        status = engine.status()
        server = _server_status(client)
        latency_s = statistics.median(client.ping() for _ in range(PINGS))
        notices = client.notices()
        picture = _tried(engine, status) if with_picture else None
    return ServerReport(client.url, status, latency_s, server, picture, notices)


def _server_status(client: NativeClient) -> ServerStatus | None:
    try:
        return client.status()
    except NotNative:
        return None


def _tried(engine: Engine, status: BackendStatus) -> Trial:
    request = GenerationRequest.model_validate(_carried(status.capabilities_for(None)))
    began_s = time.monotonic()
    image = engine.submit(request).result().images[0]
    seconds = time.monotonic() - began_s
    width, height = size_of(image)
    return Trial(width, height, len(image.data), seconds)


def _carried(can: Capabilities) -> dict[str, object]:
    return {name: value for name, value in _TEST.items() if name in can.carries}
