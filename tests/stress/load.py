"""The clients of the kill loop: what they ask for, and what they count."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, Final, final

from sdenv.core.errors import Busy, ConnectionFailed, ServerStopping
from sdenv.core.job_record import JobRecord
from sdenv.core.request import GenerationRequest, parse_request
from sdenv.net.address import Access
from sdenv.net.native_client import NativeClient
from sdenv.net.session import Session
from sdenv.testing.samples import mask, picture

SUBMITTERS: Final = 3
PAUSE_S: Final = 0.05
LONGEST_S: Final = 3600.0


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """What to do.

    Attributes:
        backend: `fake` or `local`.
        kills: How often the server is killed.
        longest_life_s: A life lasts a random time up to this.
        child_kills: How likely it is, from 0 to 1, that a child process is killed in a life.
        watched: One of so many jobs has a watcher of its events.
        seed: Of all that is random.
    """

    backend: str = "fake"
    kills: int = 50
    longest_life_s: float = 4.0
    child_kills: float = 0.5
    watched: int = 4
    seed: int = 1


@final
@dataclass(slots=True)
class Counts:
    """What was seen. All of `faults` must be empty."""

    server_kills: int = 0
    kills_before_it_listened: int = 0
    child_kills: int = 0
    accepted: int = 0
    answers_lost: int = 0
    refused_busy: int = 0
    pictures: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    tries: Counter[int] = field(default_factory=Counter)
    streams: int = 0
    streams_broken_and_resumed: int = 0
    faults: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """For people."""
        for each in fields(self):
            value = getattr(self, each.name)
            shown = dict(sorted(value.items())) if isinstance(value, Counter) else value
            yield f"{each.name.replace('_', ' ')}: {'none' if value == [] else shown}"


def request_number(number: int, backend: str) -> GenerationRequest:
    """A small request, like no other; every third starts from a picture, every fifth leaves the seed open."""
    values: dict[str, Any] = {"prompt": f"a pizza, flat, number {number}", "seed": 1000 + 7 * number}
    values |= {"steps": 4 + number % 5, "count": 1 + number % 2}
    if backend == "fake":
        values |= {"width": 64 + 64 * (number % 2), "height": 64, "count": 1 + number % 3}
    if number % 3 == 0:
        side = 64 if backend == "fake" else 256
        values |= {"init_image": picture(side, side, number), "mask": mask(side, side), "strength": 0.8}
        values |= {"width": side, "height": side}
    if number % 5 == 0:
        del values["seed"]
    return parse_request(values)


@final
class Load:
    """Clients that submit jobs until they are told to stop, and others that watch some of them.

    Attributes:
        accepted: Ids of jobs by the number of their request.
        sending: Set when a request is about to be sent.

    """

    def __init__(self, plan: Plan, counts: Counts, url: str) -> None:
        self._plan = plan
        self._counts = counts
        self._url = url
        self._stop = threading.Event()
        self._is_closed = threading.Event()
        self._numbers = itertools.count()
        self._submitting = [threading.Thread(target=self._submit_all) for _ in range(SUBMITTERS)]
        self._watching = ThreadPoolExecutor(4, thread_name_prefix="watch")
        self._watchers: list[Future[None]] = []
        self.accepted: dict[int, str] = {}
        self.sending = threading.Event()

    def start(self) -> None:
        """Begins."""
        for thread in self._submitting:
            thread.start()

    def stop(self) -> None:
        """Submits no more; the watchers go on until their jobs end."""
        self._stop.set()
        for thread in self._submitting:
            thread.join()

    def wait_for_watchers(self) -> None:
        """Waits for their ends."""
        for watcher in self._watchers:
            watcher.result(LONGEST_S)

    def close(self) -> None:
        """Ends its threads."""
        self.stop()
        self._is_closed.set()
        self._watching.shutdown(cancel_futures=True)

    def _submit_all(self) -> None:
        with client_of(self._url) as client:
            while not self._stop.is_set():
                number = next(self._numbers)
                if (job := self._submitted(client, number)) is None:
                    return
                self.accepted[number] = job.id
                if number % self._plan.watched == 0:
                    self._watchers.append(self._watching.submit(self._watch, job.id))

    def _submitted(self, client: NativeClient, number: int) -> JobRecord | None:
        """Asks with the same key until there is an answer; None = told to stop before."""
        request = request_number(number, self._plan.backend)

        def lost(error: ConnectionFailed) -> None:
            self._counts.answers_lost += 1

        while True:
            self.sending.set()
            try:
                preview_every = 2 if number % 4 == 0 else 0
                return client.submit(request, key=key(number), preview_every=preview_every, on_lost=lost)
            except Busy:
                self._counts.refused_busy += 1
            except (ConnectionFailed, ServerStopping):
                pass  # between two lives
            if self._stop.wait(PAUSE_S):
                return None

    def _watch(self, job_id: str) -> None:
        """Follows the events of a job through all its lives; none may be missing, doubled or out of order."""
        seen: list[tuple[int, int]] = []
        last, ended = None, ""
        self._counts.streams += 1

        def lost(error: ConnectionFailed) -> None:
            self._counts.streams_broken_and_resumed += 1

        with client_of(self._url) as client:
            while not ended and not self._is_closed.is_set():
                try:
                    for event in client.events(job_id, after=last, on_lost=lost):
                        attempt, _, position = event.id.partition("-")
                        seen.append((int(attempt), int(position)))
                        last = event.id
                        ended = event.type if event.type == "job-ended" else ""
                except ConnectionFailed:
                    time.sleep(PAUSE_S)
        if seen != sorted(set(seen)):
            self._counts.faults.append(f"{job_id}: events out of order or doubled: {seen}")


def key(number: int) -> str:
    """The idempotency key of a request."""
    return f"kill-loop-{number}"


@contextmanager
def client_of(url: str) -> Iterator[NativeClient]:
    """A client that waits long for a server that is away."""
    client = NativeClient(Session(Access(url=url)), reconnect_s=120.0)
    try:
        yield client
    finally:
        client.close()
