"""Addresses of finished pictures that need no token: whoever knows one may fetch it, for an hour.

Clients of OpenAI's images API fetch `url`s with another HTTP client, which has no token to send (OURS-4).
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

VALID_S: Final = 3600.0  # as OpenAI's own addresses are
MOST_LINKS: Final = 10_000
"""More are not kept at once: the oldest goes. At an address or two a second all of an hour's are there."""
_SECRET_BYTES: Final = 24


@dataclass(frozen=True, slots=True)
class Link:
    """What lies at an address.

    Attributes:
        job_id: Of the job that made the picture.
        index: Which of its pictures.
        media_type: In which file type it is sent.
        quality: Of JPEG and WebP, 0 to 100.
    """

    job_id: str
    index: int
    media_type: str
    quality: int


@final
class FileLinks:
    """The addresses that are valid now. Used in the event loop only.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._links: OrderedDict[str, tuple[float, Link]] = OrderedDict()

    def add(self, link: Link) -> str:
        """The secret part of a new address."""
        self._forget_old()
        if len(self._links) >= MOST_LINKS:
            self._links.popitem(last=False)
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        self._links[secret] = (self._clock() + VALID_S, link)
        return secret

    def find(self, secret: str) -> Link | None:
        """What lies there; None = nothing, or nothing any more."""
        self._forget_old()
        found = self._links.get(secret)
        return None if found is None else found[1]

    def _forget_old(self) -> None:
        now = self._clock()
        while self._links:
            secret, (ends_at, _) = next(iter(self._links.items()))
            if ends_at > now:
                return
            del self._links[secret]
