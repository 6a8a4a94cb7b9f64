"""What happens to one job now, for any number of watchers in threads and event loops."""

import threading
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, final

from sdenv.core.errors import ServerStopping
from sdenv.core.events import EVENT_VERSION, Event, PreviewReady, Progress, advance, event_record
from sdenv.core.image import ImageData
from sdenv.services.jobs.types import LoggedEvent

if TYPE_CHECKING:
    import asyncio

JOB_ENDED: Final = "job-ended"
_START: Final = (0, 0)


def position_of(event_id: str | None) -> tuple[int, int]:
    """(attempt, number) of an event's id; the very start for what is none: better twice than never."""
    attempt, _, number = (event_id or "").partition("-")
    if len(attempt) + len(number) > 20 or not (_digits(attempt) and _digits(number)):
        return _START
    return int(attempt), int(number)


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def own_record(kind: str, job_id: str, **values: object) -> dict[str, Any]:
    """A record of what happens to a job itself; the events of its work have their own."""
    return {"v": EVENT_VERSION, "type": kind, "job": job_id, **values}


@final
class Channel:
    """The events of one job, from the try on that was next when it was opened.

    Of the previews only the newest keeps its picture. Whoever listens is woken after each event, an event
    loop once however many listen in it.

    Args:
        job_id: Whose events.
        count: Pictures asked for.
        attempt: The try that its first events belong to.
        first: The first record of that try.
    """

    def __init__(self, job_id: str, count: int, attempt: int, first: Mapping[str, Any]) -> None:
        self.job_id: Final = job_id
        self.first_attempt: Final = attempt
        self._count = count
        # Held for moments only, and never while somebody else's code runs but `call_soon_threadsafe`.
        self._lock = threading.RLock()
        self._entries: list[LoggedEvent] = []
        self._places: list[tuple[int, int]] = []
        self._preview_at: int | None = None
        self._wakes: list[Callable[[], None]] = []
        self._loops: dict[asyncio.AbstractEventLoop, _LoopBell] = {}
        self._attempt = attempt
        self._number = 0
        self._progress = Progress(count=count)
        self._closed = False
        self.append(first)

    def begin(self, attempt: int, first: Mapping[str, Any]) -> None:
        """The events of the next try follow."""
        with self._lock:
            self._attempt, self._number = attempt, 0
            self._preview_at = None
            self._progress = Progress(count=self._count)
            self.append(first)

    def happened(self, event: Event) -> None:
        """Adds an event of the work."""
        with self._lock:
            self._progress = advance(self._progress, event)
            picture = event.picture if isinstance(event, PreviewReady) else None
            if picture is not None:
                self._forget_preview()
                self._preview_at = len(self._entries)
            self.append(event_record(event, self.job_id), picture)

    def append(self, record: Mapping[str, Any], picture: ImageData | None = None) -> None:
        """Adds a record."""
        with self._lock:
            self._number += 1
            entry = LoggedEvent(f"{self._attempt}-{self._number}", record, picture)
            self._entries.append(entry)
            self._places.append((self._attempt, self._number))
            self._wake()

    def close(self) -> None:
        """Nothing more comes, and the job has not ended: the server is about to."""
        with self._lock:
            self._closed = True
            self._wake()

    def _forget_preview(self) -> None:
        if self._preview_at is not None:
            old = self._entries[self._preview_at]
            self._entries[self._preview_at] = LoggedEvent(old.id, old.record)

    # Reading

    @property
    def progress(self) -> Progress:
        """How far the newest try is."""
        return self._progress

    @property
    def ended(self) -> bool:
        """Whether the job has ended, and its end is the last entry."""
        return bool(self._entries[-1].record["type"] == JOB_ENDED)

    @property
    def newest_preview(self) -> LoggedEvent | None:
        """The preview that still has its picture."""
        with self._lock:
            return None if self._preview_at is None else self._entries[self._preview_at]

    def records(self, attempt: int) -> list[Mapping[str, Any]]:
        """All records of one try, in order."""
        with self._lock:
            return [
                entry.record
                for entry, place in zip(self._entries, self._places, strict=True)
                if place[0] == attempt
            ]

    def after(self, place: tuple[int, int]) -> int:
        """How many entries come up to and with the event at a place."""
        with self._lock:
            return bisect_right(self._places, place)

    def since(self, position: int) -> list[LoggedEvent]:
        """The entries from a position on.

        Raises:
            ServerStopping: There are none, and none will come.
        """
        with self._lock:
            news = self._entries[position:]
            if not news:
                self.check()
            return news

    def check(self) -> None:
        """Raises ServerStopping when nothing more will come."""
        if self._closed and not self.ended:
            raise ServerStopping(
                "The server is about to end before the job has.",
                why="A durable job goes on when it is back.",
                hint=f"sdenv jobs watch {self.job_id}",
            )

    # Waking

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """While the context is open, `wake` is called after each event, from the thread that adds it."""
        with self._lock:
            self._wakes.append(wake)
        try:
            yield
        finally:
            with self._lock:
                self._wakes.remove(wake)

    @contextmanager
    def ringing(self, bell: "asyncio.Event") -> Iterator[None]:
        """While the context is open, the bell is set after each event, in the loop that runs now."""
        import asyncio  # 30 ms that a command line need not wait for

        loop = asyncio.get_running_loop()
        with self._lock:
            mine = self._loops.setdefault(loop, _LoopBell(loop, self._lock))
            mine.bells.add(bell)
        try:
            yield
        finally:
            with self._lock:
                mine.bells.discard(bell)
                if not mine.bells:
                    self._loops.pop(loop, None)

    def _wake(self) -> None:
        for wake in self._wakes:
            wake()
        for loop in self._loops.values():
            loop.ring()

    async def events(self, place: tuple[int, int]) -> AsyncGenerator[LoggedEvent]:
        """The events after a place, those to come too, up to the end of the job."""
        import asyncio

        bell = asyncio.Event()
        position = self.after(place)
        with self.ringing(bell):
            while True:
                bell.clear()  # before looking: what comes after the look rings again
                news = self.since(position)
                position += len(news)
                for entry in news:
                    yield entry
                if news and news[-1].record["type"] == JOB_ENDED:
                    return
                if not news:
                    await bell.wait()


@final
class _LoopBell:
    """Wakes all that listen in one event loop with one call into it, however many events come meanwhile."""

    def __init__(self, loop: "asyncio.AbstractEventLoop", lock: AbstractContextManager[bool]) -> None:
        self.bells: set[asyncio.Event] = set()
        self._loop = loop
        self._lock = lock
        self._on_its_way = False

    def ring(self) -> None:
        """Called under the lock, from any thread."""
        if not self._on_its_way:
            with suppress(RuntimeError):  # the loop was closed under its readers: nobody is left to wake
                self._loop.call_soon_threadsafe(self._rung)
                self._on_its_way = True

    def _rung(self) -> None:
        with self._lock:
            self._on_its_way = False
            bells = tuple(self.bells)
        for bell in bells:
            bell.set()
