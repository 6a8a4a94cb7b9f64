"""The parent's side of one call: what the child answers, in order, until the end."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final, final

from sdenv.core.errors import WorkerLost

ENDS: Final = frozenset({"result", "error", "status"})
"""Types of messages after which nothing more comes."""

CANCELLED: Final = "cancelled"
"""Type of the message that a cancel leaves for the one who waits."""

_numbers: Final = itertools.count(
    1
)  # never given twice, so that no answer can reach the call of another child


@final
@dataclass(frozen=True, slots=True)
class Lost:
    """The child was lost before it answered.

    Attributes:
        cause: Why, for a person.
    """

    cause: str


@final
class Call:
    """One request to a child.

    Args:
        cancel: Asks the child to stop it; returns at once, may be called many times and from any thread.
        is_job: Whether it makes pictures; a probe does not keep an idle child from being ended.

    Attributes:
        number: Names it on the pipe.
    """

    def __init__(self, cancel: "Callable[[Call], None]", *, is_job: bool) -> None:
        self.number: Final = next(_numbers)
        self.is_job: Final = is_job
        self._cancel = cancel
        self._inbox: SimpleQueue[dict[str, Any] | Lost] = SimpleQueue()
        self._ended = False

    def put(self, message: dict[str, Any] | Lost) -> None:
        """Child's thread: something has come."""
        self._inbox.put(message)

    def next(self, timeout_s: float | None = None) -> dict[str, Any]:
        """What comes next. Waits without a time limit: a child answers or is lost.

        Raises:
            WorkerLost: The child is gone.
            TimeoutError: Nothing came in the time that was given.
        """
        try:
            message = self._inbox.get(timeout=timeout_s)
        except Empty:
            raise TimeoutError from None
        if isinstance(message, Lost):
            self._ended = True
            raise WorkerLost("The process that makes the pictures was lost.", why=message.cause)
        self._ended = message["type"] in ENDS
        return message

    def cancel(self) -> None:
        """Asks the child to stop, and lets the one who waits for it know."""
        self._cancel(self)
        self._inbox.put({"type": CANCELLED})

    def leave(self, patience_s: float) -> bool:
        """Stops what still runs, and waits until the child has let go of it.

        Args:
            patience_s: Longest wait for a sign that it goes on.

        Returns:
            False = the child does not obey.
        """
        try:
            if not self._ended:
                self.cancel()
            while not self._ended:
                self.next(patience_s)
        except WorkerLost:
            pass
        except TimeoutError:
            return False
        return True
