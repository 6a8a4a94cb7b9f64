"""Errors in AUTOMATIC1111's form, and back.

Four keys, or FastAPI's list for what is wrong with a body. Our own record stands beside them under `sdenv`,
so that our client gets the very error; other clients ignore it.
"""

from collections.abc import Mapping
from typing import Any, Final

from sdenv.core.errors import (
    Busy,
    Denied,
    FailedError,
    InvalidRequest,
    OriginDenied,
    OutOfMemory,
    PeerBrokeProtocol,
    SdenvError,
    UnavailableError,
    UnknownSampler,
    UnsupportedError,
)
from sdenv.protocols.a1111.inputs import InitImageMissing
from sdenv.protocols.a1111.values import WrongFields
from sdenv.protocols.native import error_of, error_record

OURS: Final = "sdenv"

_CLASSES: Final[Mapping[str, str]] = {"out-of-memory": "OutOfMemoryError"}
"""Names of AUTOMATIC1111's exceptions that clients look for."""

_STATUSES: Final[Mapping[str, int]] = {"unknown-sampler": 400, "bad-image": 400}


def status_by_code(error: SdenvError) -> int | None:
    """The status of errors that AUTOMATIC1111 has one of its own for.

    It says 500 for a picture that is none; that would fail again, so it is 400 here.
    """
    return 404 if isinstance(error, InitImageMissing) else _STATUSES.get(error.code)


def error_body(error: SdenvError) -> dict[str, Any]:
    """The body that says an error."""
    ours = {OURS: error_record(error)}
    if isinstance(error, WrongFields):
        faults = [
            {"loc": ["body", *filter(None, name.split("."))], "msg": why, "type": error.code}
            for name, why in error.faults
        ]
        return {"detail": faults, **ours}
    if isinstance(error, InitImageMissing):
        return {"detail": error.what, **ours}
    if isinstance(error, Denied) and not isinstance(error, OriginDenied):
        return {"detail": "Incorrect username or password", **ours}
    name = _CLASSES.get(error.code, type(error).__name__)
    return {"error": name, "detail": _detail(error), "body": "", "errors": str(error), **ours}


def _detail(error: SdenvError) -> str:
    """A line that begins as AUTOMATIC1111's does and ends with our code word."""
    if isinstance(error, UnknownSampler):
        return f"Sampler not found ({error.code})"
    return f"{error.what.rstrip('.')} ({error.code})"


def error_in(status: int, record: Any, retry_after_s: float | None = None) -> SdenvError:
    """The error that an answer says.

    Args:
        status: Of the answer, 400 or more.
        record: Its body, taken apart; None = it was no JSON.
        retry_after_s: What the header Retry-After says.
    """
    fields = record if isinstance(record, Mapping) else {}
    if isinstance(fields.get(OURS), Mapping):
        try:
            return _with_time(error_of(fields[OURS]), retry_after_s)
        except PeerBrokeProtocol:
            pass
    why = _words(fields) or f"It answered with status {status}."
    if status == 401:
        return Denied(
            "The server wants a user and a password.", why=why, hint="a1111://USER:PASSWORD@host:7860"
        )
    if status == 429:
        return Busy("The server is busy.", why=why, retry_after_s=retry_after_s)
    if "OutOfMemory" in str(fields.get("error", "")):
        return OutOfMemory(
            "The server's device ran out of memory.", why=why, hint="Ask for a smaller picture."
        )
    if status in (404, 405, 501):
        return UnsupportedError("The server cannot do that.", why=why)
    if status == 503:
        return UnavailableError("The server is not ready.", why=why)
    if status < 500:
        return InvalidRequest("The server refuses the request.", why=why)
    return FailedError("The server failed.", why=why)


def _with_time(error: SdenvError, retry_after_s: float | None) -> SdenvError:
    if isinstance(error, Busy):
        error.retry_after_s = retry_after_s
    return error


def _words(fields: Mapping[str, Any]) -> str:
    """What a person can read of an error's body."""
    detail = fields.get("detail")
    if isinstance(detail, list):
        words = [
            f"{'.'.join(map(str, each.get('loc', ())))}: {each.get('msg', '')}"
            for each in detail
            if isinstance(each, Mapping)
        ]
        return f"{'; '.join(words)}."[:500] if words else ""
    parts = [str(part) for part in (fields.get("error"), detail, fields.get("errors")) if part]
    return f"{': '.join(parts)}."[:500] if parts else ""
