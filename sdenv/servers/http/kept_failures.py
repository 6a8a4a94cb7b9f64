"""Failures that are said again instead of being computed again.

Some clients repeat every 5xx at once, two more times, whatever the answer says about it. A picture that took
a minute to fail would take three (OURS-6).
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, final

from sdenv.core.errors import Kind, SdenvError

KEPT_S: Final = 30.0
"""Clients wait a few seconds at most between tries; people take longer, or change something."""
MOST_FAILURES: Final = 1000
_EXPENSIVE: Final = frozenset({Kind.FAILED, Kind.TIMEOUT, Kind.BUG})
"""Kinds that come after work. The others are found before, so saying them anew costs nothing."""


@final
class KeptFailures:
    """The failures of the last half minute. Used in the event loop only.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, SdenvError]] = OrderedDict()

    @staticmethod
    def key(peer: str, path: str, body: bytes) -> str:
        """What makes two requests the same.

        Args:
            peer: Who asks: name of the token and address.
            path: What is asked.
            body: With which words, byte for byte.
        """
        digest = hashlib.sha256(body)
        digest.update(f"\0{path}\0{peer}".encode())
        return digest.hexdigest()

    def keep(self, key: str, error: SdenvError) -> None:
        """Keeps what a failure says, if it came after work; not its traceback, which holds whole requests."""
        if error.kind in _EXPENSIVE:
            self._forget_old()
            if len(self._kept) >= MOST_FAILURES:
                self._kept.popitem(last=False)
            said = type(error)(error.what, error.why, error.hint)
            self._kept[key] = (self._clock() + KEPT_S, said)
            self._kept.move_to_end(key)

    def find(self, key: str) -> SdenvError | None:
        """How the same request failed a moment ago; None = it did not."""
        self._forget_old()
        found = self._kept.get(key)
        return None if found is None else found[1]

    def _forget_old(self) -> None:
        now = self._clock()
        while self._kept:
            key, (ends_at, _) = next(iter(self._kept.items()))
            if ends_at > now:
                return
            del self._kept[key]
