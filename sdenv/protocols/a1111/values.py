"""Reading a body as its clients write it: null is absent, and a number may stand in a string (OURS-12)."""

import math
from collections.abc import Mapping
from typing import Any, Final, final

from sdenv.core.errors import InvalidRequest

Body = Mapping[str, Any]
"""A JSON object as it came."""

_YES: Final = frozenset({"true", "1", "yes", "on"})
_NO: Final = frozenset({"false", "0", "no", "off"})


@final
class WrongFields(InvalidRequest):
    """Fields of a body whose values cannot be used.

    Args:
        faults: Name of the field and what is wrong with it, for each.
    """

    def __init__(self, *faults: tuple[str, str]) -> None:
        super().__init__(
            "The request is not valid.",
            why="; ".join(f"{name}: {why}" if name else why for name, why in faults) + ".",
        )
        self.faults = faults


def text(body: Body, name: str, default: str = "") -> str:
    """A text; null and absent are the default."""
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, str):
        return value
    raise WrongFields((name, "must be a text"))


def number(body: Body, name: str, default: float) -> float:
    """A finite number, also in a string."""
    value: Any = body.get(name)
    if value is None:
        return default
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError as error:
            raise WrongFields((name, f"must be a number (given: {str(value)[:40]!r})")) from error
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WrongFields((name, "must be a number"))
    try:
        found = float(value)
    except OverflowError as error:
        raise WrongFields((name, "must be a finite number")) from error
    if not math.isfinite(found):
        raise WrongFields((name, "must be a finite number"))
    return found


def whole(body: Body, name: str, default: int) -> int:
    """A whole number, also as `20.0` or in a string."""
    value = body.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = number(body, name, default)
    if found != int(found):
        raise WrongFields((name, f"must be a whole number (given: {found!r})"))
    return int(found)


def truth(body: Body, name: str, default: bool) -> bool:
    """Yes or no, also as 0 and 1 or in a string."""
    value = body.get(name)
    if value is None:
        return default
    word = str(value).strip().casefold() if isinstance(value, (bool, int, str)) else ""
    if word in _YES or word in _NO:
        return word in _YES
    raise WrongFields((name, "must be true or false"))


def table(body: Body, name: str) -> Mapping[str, Any]:
    """An object; null and absent are empty."""
    value = body.get(name)
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return value
    raise WrongFields((name, "must be an object"))


def row(body: Body, name: str) -> tuple[Any, ...]:
    """A list; null and absent are empty."""
    value = body.get(name)
    if value is None:
        return ()
    if isinstance(value, (list, tuple)):
        return tuple(value)
    raise WrongFields((name, "must be a list"))
