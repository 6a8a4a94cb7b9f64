"""Which HTTP status says which error, for each dialect.

Clients repeat what is answered with 5xx, 409 and 429. So what would fail again is never answered so, whatever
the dialect of the answer; tests walk over all pairs of kind and `repeats`.
"""

import math
from collections.abc import Mapping
from typing import Final

from sdenv.core.errors import Busy, Kind, SdenvError

Table = Mapping[tuple[Kind, bool], int]
"""Status by kind and by whether the same request would fail again."""

NATIVE: Final[Table] = {
    (Kind.BUG, True): 400,
    (Kind.BUG, False): 500,
    (Kind.USAGE, True): 422,
    (Kind.USAGE, False): 409,
    (Kind.UNSUPPORTED, True): 400,
    (Kind.UNSUPPORTED, False): 503,
    (Kind.UNAVAILABLE, True): 400,
    (Kind.UNAVAILABLE, False): 503,
    (Kind.BUSY, True): 400,
    (Kind.BUSY, False): 429,
    (Kind.FAILED, True): 400,
    (Kind.FAILED, False): 500,
    (Kind.TIMEOUT, True): 400,
    (Kind.TIMEOUT, False): 504,
    (Kind.DENIED, True): 401,
    (Kind.DENIED, False): 401,
    (Kind.CANCELLED, True): 499,  # what nginx calls a client that went away
    (Kind.CANCELLED, False): 499,
}
"""sdenv's own API; also the seed's dialect, which says nothing about errors but 422 and 429."""

A1111: Final[Table] = NATIVE
"""AUTOMATIC1111 says 500 for everything that goes wrong; here only for what may go well the next time."""

OPENAI: Final[Table] = {**NATIVE, (Kind.USAGE, True): 400, (Kind.USAGE, False): 400}
"""OpenAI's own server answers 400 to a wrong field; 409, which its clients repeat at once, is never said."""

SDCPP: Final[Table] = {**NATIVE, (Kind.USAGE, True): 400}
"""stable-diffusion.cpp's server: 400 for a wrong field, 409 for a cancel that comes too late."""

DRAW_THINGS: Final[Table] = {
    **NATIVE,
    **{(kind, True): 422 for kind in Kind if kind not in (Kind.DENIED, Kind.CANCELLED)},
}
"""The Draw Things app answers 422 to whatever it refuses; here to all that would fail again."""

_BY_CODE: Final[Mapping[str, int]] = {
    "job-not-found": 404,
    "request-too-large": 413,
    "origin-denied": 403,
}
"""Errors whose status every dialect agrees on."""


def status_of(error: SdenvError, table: Table = NATIVE, by_code: Mapping[str, int] | None = None) -> int:
    """The status of an answer that says this error.

    Args:
        error: What happened.
        table: That of the dialect.
        by_code: Codes for which the dialect has a status of its own.
    """
    return {**_BY_CODE, **(by_code or {})}.get(error.code) or table[error.kind, error.repeats]


def headers_of(error: SdenvError) -> dict[str, str]:
    """The headers that belong to an error: when to come back, how to identify oneself."""
    found: dict[str, str] = {}
    if isinstance(error, Busy):
        found["Retry-After"] = str(max(1, math.ceil(error.retry_after_s or 1.0)))
    elif error.code == "server-stopping":
        found["Retry-After"] = "10"
    elif error.code == "denied":
        found["WWW-Authenticate"] = 'Basic realm="sdenv", charset="UTF-8"'
    if not found and not error.repeats:
        return found
    if error.repeats:
        found["X-Should-Retry"] = "false"  # what OpenAI's clients obey
    return found
