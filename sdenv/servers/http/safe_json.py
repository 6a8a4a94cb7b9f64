"""JSON answers that hold what a client has sent: whatever it was, the answer can be written."""

import json
import math
from itertools import islice
from typing import Any, Final, final

from starlette.responses import Response

MAX_FAULTS: Final = 20
"""How many faults of one request are told."""
_MAX_CHARACTERS: Final = 200
_MAX_ITEMS: Final = 20
_MAX_DEPTH: Final = 3


@final
class SafeJSON(Response):
    """JSON in ASCII: lone surrogates become escapes, numbers that are none become texts."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes of the body."""
        return json.dumps(_sayable(content), ensure_ascii=True, allow_nan=False).encode("ascii")


def _sayable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _sayable(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_sayable(each) for each in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def shortened(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """A value that a client has sent, small enough to be shown to it: a picture is not sent back."""
    if isinstance(value, (str, bytes)):
        return value[:_MAX_CHARACTERS]
    if not isinstance(value, (dict, list, tuple)):
        return value
    if depth == 0:
        return "..."
    if isinstance(value, dict):
        first = islice(value.items(), _MAX_ITEMS)
        return {str(name)[:_MAX_CHARACTERS]: shortened(each, depth - 1) for name, each in first}
    return [shortened(each, depth - 1) for each in value[:_MAX_ITEMS]]
