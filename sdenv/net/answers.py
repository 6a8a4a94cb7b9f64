"""What an answer of an sdenv server says: its JSON, or the error that it stands for."""

from http import HTTPStatus
from typing import Any, Final

from sdenv.core.errors import Busy, ConnectionFailed, Denied, OriginDenied, PeerBrokeProtocol, SdenvError
from sdenv.net.exchange import Answer
from sdenv.protocols.native import error_of

TOKEN_HINT: Final = "Give its token: -O token_file=FILE, or in the variable SDENV_TOKEN."

_GATEWAY: Final = frozenset({502, 503, 504})
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_HIDING: Final = _GATEWAY | _MOVED | {401, 403, 407, 429}


def checked(answer: Answer) -> Answer:
    """The answer, if it is a good one.

    Raises:
        SdenvError: The error that it carries.
        PeerBrokeProtocol: No error of ours, and no good answer.
    """
    if 200 <= answer.status < 300:
        return answer
    raise error_in(answer)


def error_in(answer: Answer) -> SdenvError:
    """The error that an answer stands for."""
    record = _error_record(answer)
    if record is None:
        return _foreign(answer)
    error = error_of(record)
    if isinstance(error, Busy):
        error.retry_after_s = retry_after_s(answer)
    if isinstance(error, Denied) and not isinstance(error, OriginDenied):
        return type(error)(f"{answer.url}: {error.what}", error.why, TOKEN_HINT)
    return error


def speaks_native(answer: Answer) -> bool:
    """Whether an answer to `GET /status` shows that the server speaks our API, or that one may be behind.

    A proxy that asks for a password, or does not reach its server, hides what is behind.
    """
    if answer.status in _HIDING or _error_record(answer) is not None:
        return True
    try:
        record = answer.record()
    except PeerBrokeProtocol:
        return False
    return answer.status == 200 and "v" in record and "capabilities" in record


def retry_after_s(answer: Answer) -> float | None:
    """When to come back, in seconds; None = it does not say, or says a date."""
    try:
        return max(0.0, float(answer.headers.get("retry-after", "")))
    except ValueError:
        return None


def _error_record(answer: Answer) -> dict[str, Any] | None:
    try:
        record = answer.record()
    except PeerBrokeProtocol:
        return None
    error = record.get("error")
    return error if isinstance(error, dict) and "code" in error and "what" in error else None


def _foreign(answer: Answer) -> SdenvError:
    """The error for an answer that no sdenv gave: a proxy, or another program."""
    said = f"{answer.url} answered with {status_text(answer.status)}"
    if answer.status in (401, 403, 407):
        return Denied(f"{said}.", hint=TOKEN_HINT)
    if answer.status in _GATEWAY:
        return ConnectionFailed(f"{said}.", why="A proxy before the server does not reach it.")
    if answer.status in _MOVED:
        where = answer.headers.get("location", "")
        return ConnectionFailed(f"{said}.", why="sdenv follows no redirects.", hint=f"It points to {where}")
    return PeerBrokeProtocol(f"{said}, which is no answer of an sdenv server.", why=server_text(answer))


def server_text(answer: Answer) -> str:
    """What program says that it has answered, as a sentence; "" = it does not say."""
    name = answer.headers.get("server", "")
    return f"It calls itself {name[:60]!r}." if name else ""


def status_text(status: int) -> str:
    """`404 Not Found`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
