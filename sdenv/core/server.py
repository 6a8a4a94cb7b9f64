"""What can ask for pictures on behalf of others: a protocol in front of an engine."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from sdenv.core.events import Notice
    from sdenv.services.engine import Engine


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens. Loopback unless told otherwise; port 0 = any free port."""

    host: str = "127.0.0.1"
    port: int = 0


class ServerSettings(BaseModel):
    """Base of every server's own settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Server(ABC):
    """A front end that speaks one protocol."""

    Settings: ClassVar[type[ServerSettings]] = ServerSettings
    default_port: ClassVar[int] = 0
    """Where it listens when the user says nothing; 0 = any free port."""

    @abstractmethod
    def __init__(self, settings: ServerSettings) -> None:
        """Keeps the settings; binds nothing."""

    @abstractmethod
    def serve(self, engine: "Engine", address: Address, ready: Callable[[Address], None]) -> None:
        """Serves until `stop()` is called from another thread; binds, answers, and frees the port.

        Args:
            engine: Does the work; it is left open.
            address: Where to listen.
            ready: Called once with the address that was really bound, as soon as clients can connect.
        """

    def notices(self) -> "tuple[Notice, ...]":
        """What a person should know of a server that listens: a fingerprint, what it has to do without."""
        return ()

    @abstractmethod
    def stop(self) -> None:
        """Ends `serve` soon; may be called from any thread, and twice."""
