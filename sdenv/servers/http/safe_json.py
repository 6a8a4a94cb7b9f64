"""JSON answers that hold what a client has sent: whatever it was, the answer can be written."""

import json
import math
from typing import Any, final

from starlette.responses import Response


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
