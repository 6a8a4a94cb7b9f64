"""Errors as JSON: the code and kind survive, a traceback never leaves the process."""

from typing import Any, Final

from sdenv.core.errors import InternalError, Kind, SdenvError, all_error_types
from sdenv.protocols.native.reading import Record, reading


def error_record(error: SdenvError) -> dict[str, Any]:
    """The error as JSON; never a traceback."""
    return {
        "code": error.code,
        "kind": error.kind.value,
        "repeats": error.repeats,
        "what": error.what,
        "why": error.why,
        "hint": error.hint,
    }


_BY_CODE: Final = {error_type.code: error_type for error_type in all_error_types()}


def _plainest(kind: Kind) -> type[SdenvError]:
    """The most general error of a kind, for a code that a newer peer has and we do not."""
    return next((each for each in all_error_types() if each.kind is kind), InternalError)


def error_of(record: Record) -> SdenvError:
    """The error that a peer has sent; an unknown code becomes the plainest error of its kind.

    Raises:
        PeerBrokeProtocol: It is not an error record.
    """

    def read() -> SdenvError:
        code, kind = str(record["code"]), Kind(record.get("kind", Kind.BUG.value))
        error_type = _BY_CODE.get(code) or _plainest(kind)
        return error_type(str(record["what"]), str(record.get("why", "")), str(record.get("hint", "")))

    return reading("an error", read)
