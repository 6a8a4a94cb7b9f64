"""What the tests of the worker share: a watched job, and what is left of processes."""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, final

from sdenv.core.errors import SdenvError
from sdenv.core.events import Event, Notice
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult
from sdenv.services.worker import SupervisedBackend
from sdenv.testing.fakes import PATIENCE_S, Recorder
from sdenv.testing.requests import Run, run

TICK_S: Final = 0.005


def asked(prompt: str = "a cat", **changes: object) -> GenerationRequest:
    wanted = {"width": 64, "height": 64, "steps": 3, "seed": 7, **changes}
    return GenerationRequest.model_validate({"prompt": prompt, **wanted})


def made(backend: SupervisedBackend, prompt: str = "a cat", **changes: object) -> Run:
    return run(backend, asked(prompt, **changes))


def notice(events: list[Event], code: str) -> str:
    return next(each.message for each in events if isinstance(each, Notice) and each.code == code)


def until(holds: Callable[[], bool]) -> bool:
    """Waits until something holds that no event tells of; False = it does not within the patience."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(TICK_S)
    return True


def is_gone(process_id: int) -> bool:
    """Whether a process is neither running nor waiting to be buried by one of us."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state[0] == "Z" and int(state[1]) != os.getpid()  # init has it


@final
class Watched:
    """A job in a thread of its own, so that the test can do things to it."""

    def __init__(self, backend: SupervisedBackend, request: GenerationRequest) -> None:
        self._backend = backend
        self._request = request
        self._news: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._recorder = Recorder(cancel_when=self._note)
        self._thread = threading.Thread(target=self._work)
        self.outcome: GenerationResult | SdenvError | None = None
        self._thread.start()

    def _note(self, event: Event) -> bool:
        self._news.put(event)
        return False

    def _work(self) -> None:
        try:
            self.outcome = self._backend.generate(self._request, self._recorder)
        except SdenvError as error:
            self.outcome = error
        self._news.put(None)

    def until(self, kind: type[Event]) -> Event:
        """Waits for the next event of a kind."""
        while not isinstance(event := self._news.get(timeout=PATIENCE_S), kind):
            assert event is not None, f"it ended before that: {self.outcome}"
        return event

    def cancel(self) -> None:
        self._recorder.cancel()

    def end(self) -> GenerationResult | SdenvError | None:
        """Waits for the end; what came of it."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "it does not end"
        return self.outcome


@contextmanager
def watched(backend: SupervisedBackend, request: GenerationRequest) -> Iterator[Watched]:
    job = Watched(backend, request)
    yield job
    job.end()
