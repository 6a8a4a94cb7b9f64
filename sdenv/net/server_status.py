"""What a server says of itself, and what it is when it does not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from sdenv.core.backend import BackendStatus
from sdenv.core.errors import ConnectionFailed
from sdenv.net.answers import server_text, status_text
from sdenv.net.exchange import Answer
from sdenv.protocols.native import PREFIX, status_of
from sdenv.protocols.native.reading import reading


@final
@dataclass(frozen=True, slots=True)
class QueueStatus:
    """How full a server's queue is.

    Attributes:
        queued: Jobs that wait.
        running: Jobs that are worked on.
        size: How many may wait.
        draining: Whether the server is about to end and takes no more.
    """

    queued: int = 0
    running: int = 0
    size: int = 0
    draining: bool = False


@final
@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What a server says of itself.

    Attributes:
        backend: What is behind it, as a backend says it.
        version: Of the server.
        kind: Name of the backend in its table, such as `local`; "" = it does not say.
        dialects: What it speaks on this port.
        queue: How full its queue is.
    """

    backend: BackendStatus
    version: str = ""
    kind: str = ""
    dialects: tuple[str, ...] = ()
    queue: QueueStatus = field(default_factory=lambda: QueueStatus())


class NotNative(ConnectionFailed):
    """What answers does not speak sdenv's own API."""


def not_native(answer: Answer) -> NotNative:
    """The error for an answer to `GET /status` that is none of ours."""
    said = f"It answers GET {PREFIX}/status with {status_text(answer.status)}."
    return NotNative(
        f"{answer.url} is not a server of sdenv.",
        why=f"{said} {server_text(answer)}".strip(),
        hint="Check the port; `sdenv serve http` prints where it listens, by default port 9090.",
    )


def server_status_of(record: Mapping[str, Any]) -> ServerStatus:
    """What `GET /status` says.

    Raises:
        PeerBrokeProtocol: It is not a status.
    """
    backend = status_of(record)

    def read() -> ServerStatus:
        queue = record["queue"]
        return ServerStatus(
            backend=backend,
            version=str(record["server"]["version"]),
            kind=str(record["kind"]),
            dialects=tuple(str(each) for each in record["dialects"]),
            queue=QueueStatus(
                int(queue["queued"]), int(queue["running"]), int(queue["size"]), bool(queue["draining"])
            ),
        )

    return reading("a status", read)
