"""What every route works with."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from sdenv.servers.http.settings import HttpSettings
from sdenv.services.engine import Engine

if TYPE_CHECKING:
    from sdenv.services.jobs import Jobs


@final
class Watchers:
    """Who waits for which job at this moment. Used in the event loop only."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    @contextmanager
    def waiting(self, job_id: str) -> Iterator[None]:
        """While the context is open, one more waits."""
        self._counts[job_id] += 1
        try:
            yield
        finally:
            self._counts[job_id] -= 1
            if not self._counts[job_id]:
                del self._counts[job_id]

    def count(self, job_id: str) -> int:
        """How many wait for it."""
        return self._counts[job_id]


@final
class Lifetime:
    """Where the server is between its start and its end. Used in the event loop only.

    Attributes:
        draining: No more jobs are taken.
        closing: Set when whatever waits must end: streams stop, and are resumed at the next start.
    """

    def __init__(self) -> None:
        self.draining = False
        self.closing = asyncio.Event()


@final
@dataclass(frozen=True, slots=True)
class Service:
    """The one thing that is handed to every router.

    Attributes:
        engine: The backend, for what it can do; jobs go through `jobs`.
        jobs: The queue.
        settings: What was set.
        version: Of sdenv.
        kind: Name of the backend in the table of backends, as far as it is known.
        dialects: Names of the dialects on this port.
        watchers: Who waits for which job.
        lifetime: Whether the server is about to end.
    """

    engine: Engine
    jobs: "Jobs"
    settings: HttpSettings
    version: str
    kind: str = ""
    dialects: tuple[str, ...] = ()
    watchers: Watchers = field(default_factory=Watchers)
    lifetime: Lifetime = field(default_factory=Lifetime)
