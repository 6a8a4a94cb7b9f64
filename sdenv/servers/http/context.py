"""What every route works with."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar, final

from sdenv import __version__
from sdenv.core.errors import Busy
from sdenv.core.request import GenerationRequest
from sdenv.servers.http.limits import allowed_priority, check_limits
from sdenv.servers.http.metrics import Metrics
from sdenv.servers.http.principal import Principal
from sdenv.servers.http.settings import HttpSettings
from sdenv.services.engine import Engine

if TYPE_CHECKING:
    from sdenv.services.jobs import Accepted, Jobs

T = TypeVar("T")

MAX_STREAMS: Final = 64
"""Event streams that one token may have open at once."""
_STREAM_RETRY_S: Final = 5.0
MAX_DECODING: Final = 2
"""Requests whose pictures are decoded at once: one of 64 megapixels takes 256 MB, however small its file."""


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
class Streams:
    """How many event streams each token has open. Used in the event loop only.

    Each step of a job is written to each of its streams, so that nobody may have any number of them.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def check(self, asker: Principal) -> None:
        """Refuses one more stream.

        Raises:
            Busy: There are as many as one token may have.
        """
        if self._counts[asker.name] >= MAX_STREAMS:
            raise Busy(
                "Too many event streams are open.",
                why=f"One token may have {MAX_STREAMS} at once.",
                hint="Close one, or ask for the job itself now and then.",
                retry_after_s=_STREAM_RETRY_S,
            )

    @contextmanager
    def opened(self, asker: Principal) -> Iterator[None]:
        """While the context is open, there is one more."""
        self._counts[asker.name] += 1
        try:
            yield
        finally:
            self._counts[asker.name] -= 1


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
        metrics: The numbers.
        queue_size: How many jobs may wait.
        version: Of sdenv.
        dialects: Names of the dialects on this port.
        watchers: Who waits for which job.
        streams: How many event streams are open.
        decoding: Held while pictures that a client has sent are decoded.
        lifetime: Whether the server is about to end.
    """

    engine: Engine
    jobs: "Jobs"
    settings: HttpSettings
    metrics: Metrics
    queue_size: int
    version: str = __version__
    dialects: tuple[str, ...] = ()
    watchers: Watchers = field(default_factory=Watchers)
    streams: Streams = field(default_factory=Streams)
    decoding: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_DECODING))
    lifetime: Lifetime = field(default_factory=Lifetime)

    async def decoded(self, work: Callable[[], T]) -> T:
        """Runs what decodes the pictures of a client, in a thread, a few at once.

        Args:
            work: Returns small things: what is decoded is gone when the next begins.
        """
        async with self.decoding:
            return await asyncio.to_thread(work)

    def accept(
        self,
        request: GenerationRequest,
        asker: Principal,
        *,
        dialect: str,
        priority: int = 0,
        durable: bool = True,
        key: str | None = None,
        allow_degraded: bool = False,
        preview_every: int = 0,
    ) -> "Accepted":
        """Accepts a job as `Jobs.accept` does, within the limits of this server; blocks for the disk.

        Args:
            request: What is wanted.
            asker: Who wants it.
            dialect: As in `Jobs.accept`, and all that follow.
            priority: Above 0 only for those who see all jobs.
            durable: Whether it runs again after a crash.
            key: Idempotency key.
            allow_degraded: Leave out what is optional and cannot be done.
            preview_every: A preview every so many steps; 0 = none.

        Raises:
            InvalidRequest: It asks for more than this server allows.
            BadImage: One of its pictures is not one, or would be too large.
            BadMask: The mask has another size than the picture that it belongs to.
            SdenvError: As `Jobs.accept`.
        """
        check_limits(request, self.settings.limits)
        return self.jobs.accept(
            request,
            dialect=dialect,
            owner=asker.name,
            priority=allowed_priority(priority, asker),
            durable=durable,
            key=key,
            allow_degraded=allow_degraded,
            preview_every=preview_every,
        )
