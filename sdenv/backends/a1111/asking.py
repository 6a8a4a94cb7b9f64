"""A call that takes as long as the work, on a connection of its own, in a thread of its own."""

import json
import threading
from collections.abc import Mapping
from queue import Empty, SimpleQueue
from typing import Any, Final, final

from sdenv.core.errors import SdenvError
from sdenv.net.exchange import Answer, Call
from sdenv.net.interrupt import Interrupt
from sdenv.net.session import Session
from sdenv.protocols import a1111

_LONGEST_S: Final = 7 * 86_400.0
"""No limit of its own: whether the server lives is seen from the answers to polls."""
_OBEY_S: Final = 10.0


@final
class LongCall:
    """A POST that another thread waits for. Start it, look for the answer, end it.

    Args:
        session: Connections to the server.
        path: Where to.
        body: The JSON.
    """

    def __init__(self, session: Session, path: str, body: Mapping[str, Any]) -> None:
        self._interrupt = Interrupt()
        self._session = session.interruptible(self._interrupt)
        data = json.dumps(body, allow_nan=False).encode()
        headers = {"Content-Type": "application/json", a1111.EXACT_HEADER: "true"}
        self._call = Call(
            method="POST", path=path, body=data, headers=headers, answer_s=_LONGEST_S, repeatable=False
        )
        self._news: SimpleQueue[Answer | SdenvError | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="sdenv-a1111-call", daemon=True)

    def start(self) -> None:
        """Sends it."""
        self._thread.start()

    def wake(self) -> None:
        """Ends a wait for the answer, from any thread."""
        self._news.put(None)

    def answer(self, wait_s: float) -> Answer | None:
        """The answer; None = it is not there yet, or `wake` was called.

        Args:
            wait_s: Longest wait.

        Raises:
            SdenvError: There will be none.
        """
        try:
            found = self._news.get(timeout=wait_s)
        except Empty:
            return None
        if isinstance(found, SdenvError):
            raise found
        return found

    def end(self) -> None:
        """Hangs up, if it is not over, and ends the thread."""
        self._interrupt.ask()
        self._thread.join(_OBEY_S)

    def _run(self) -> None:
        try:
            self._news.put(self._session.exchange(self._call))
        except SdenvError as error:
            self._news.put(error)
