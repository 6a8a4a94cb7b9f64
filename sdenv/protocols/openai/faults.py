"""Errors as OpenAI says them, and what a client makes of them.

    {"error": {"message": "...", "type": "invalid_request_error", "param": "size", "code": "invalid-request"}}

Clients repeat 408, 409, 429 and 5xx unless `x-should-retry: false` forbids it (OURS-5 to 7); which status an
error gets is the server's table.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from sdenv.core.errors import (
    BadImage,
    BadMask,
    Busy,
    Denied,
    FailedError,
    InvalidRequest,
    Kind,
    NoStepInTime,
    SdenvError,
    SizeNotPossible,
    UnavailableError,
    UnknownModel,
    all_error_types,
)
from sdenv.core.request import GenerationRequest
from sdenv.protocols.openai.words import EXTENSIONS

MODEL_NOT_FOUND: Final = "model_not_found"
_THEIR_CODES: Final = {"denied": "invalid_api_key", "model-not-found": MODEL_NOT_FOUND}
"""The two codes that clients look for; every other error keeps its own."""

_OURS: Final = {_THEIR_CODES.get(each.code, each.code): each for each in all_error_types()}

_THEIR_FIELDS: Final = {"count": "n", "width": "size", "height": "size", "init_image": "image"}
_KNOWN_FIELDS: Final = frozenset(
    {*GenerationRequest.model_fields, "size", "n", "image", "response_format", "output_format"}
    | {"output_compression", "partial_images", "stream", "background", "markup"}
    | {name for names in EXTENSIONS.values() for name in names}
)
_BY_TYPE: Final[Mapping[type[SdenvError], str]] = {
    SizeNotPossible: "size",
    UnknownModel: "model",
    BadMask: "mask",
    BadImage: "image",
}
_FIRST_WORD: Final = re.compile(r"(\w+)[ .:]")
_LONGEST_MESSAGE_CHARACTERS: Final = 2000


def error_body(error: SdenvError, status: int) -> dict[str, Any]:
    """The body that says an error.

    Args:
        error: What happened.
        status: The HTTP status that goes with it.
    """
    return {
        "error": {
            "message": str(error)[:_LONGEST_MESSAGE_CHARACTERS],
            "type": _type(error, status),
            "param": param_of(error),
            "code": _THEIR_CODES.get(error.code, error.code),
        }
    }


def _type(error: SdenvError, status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 or error.kind is Kind.BUG else "invalid_request_error"


def param_of(error: SdenvError) -> str | None:
    """The field that an error is about, under the name that clients use; None = no single field."""
    if error.kind not in (Kind.USAGE, Kind.UNSUPPORTED):
        return None
    first = _FIRST_WORD.match(error.why)
    if first is not None and first[1] in _KNOWN_FIELDS:
        return _THEIR_FIELDS.get(first[1], first[1])
    return next((field for kind, field in _BY_TYPE.items() if isinstance(error, kind)), None)


def error_of(status: int, body: Any, retry_after_s: float | None = None) -> SdenvError:
    """The error that an answer means, also one of another maker's server.

    Args:
        status: The HTTP status, 400 or more; 0 = the error came in a stream.
        body: The body as JSON values; None = it was none.
        retry_after_s: The header of this name.
    """
    inner = body.get("error") if isinstance(body, dict) else None
    if not isinstance(inner, dict):
        inner = {"message": inner if isinstance(inner, str) else f"It answered {status} without saying why."}
    message = str(inner.get("message") or f"It answered {status}.")[:_LONGEST_MESSAGE_CHARACTERS]
    known = _OURS.get(str(inner.get("code")))
    error_type = known or _by_status(status)
    param = inner.get("param")
    why = "" if known or not isinstance(param, str) or param in message else f"It is about {param[:60]!r}."
    if issubclass(error_type, Busy):
        return error_type(message, why=why, retry_after_s=retry_after_s)
    return error_type(message, why=why)


def _by_status(status: int) -> type[SdenvError]:
    match status:
        case 400 | 404 | 405 | 409 | 413 | 415 | 422:
            return InvalidRequest
        case 401 | 403:
            return Denied
        case 408 | 504:
            return NoStepInTime
        case 429:
            return Busy
        case 502 | 503:
            return UnavailableError
    return FailedError
