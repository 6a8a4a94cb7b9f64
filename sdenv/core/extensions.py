"""How large the settings may be that only one backend knows: a request is kept, listed and sent on."""

import json
from typing import Any, Final

MAX_EXTENSIONS_BYTES: Final = 64 * 2**10
MAX_EXTENSIONS_DEPTH: Final = 8


def small_extensions(extensions: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The extensions of a request, as they are; for pydantic.

    Raises:
        ValueError: They lie deeper in each other, or are longer as JSON, than is allowed.
    """
    if _is_deeper(extensions, MAX_EXTENSIONS_DEPTH):
        raise ValueError(f"extensions: must be at most {MAX_EXTENSIONS_DEPTH} levels deep")
    size = len(json.dumps(extensions, default=str))
    if size > MAX_EXTENSIONS_BYTES:
        raise ValueError(f"extensions: must be at most {MAX_EXTENSIONS_BYTES} bytes as JSON (given: {size})")
    return extensions


def _is_deeper(value: object, levels: int) -> bool:
    """Whether objects and lists lie in each other in more levels than these."""
    if not isinstance(value, (dict, list, tuple)):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)
