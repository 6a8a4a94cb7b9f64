"""Values as clients of foreign dialects send them: numbers in strings, null for "default", synonyms of names.

Source: the project's protocol notes, OURS-12 (null = absent = default; numbers in strings are accepted where
they are unambiguous; unknown keys are ignored, and named).
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Final, final

from sdenv.core.errors import InvalidRequest

_INTEGER: Final = re.compile(r"[+-]?\d{1,20}(?:\.0*)?")
_BOOLEANS: Final = {"true": True, "false": False, "1": True, "0": False}
_SHOWN_CHARACTERS: Final = 40


@final
class LooseFields:
    """The fields of one message, each of which is taken once; what nobody takes is left over.

    Args:
        values: By name. None and, unless it is text, "" count as absent.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._left = {str(name): value for name, value in values.items() if value is not None}

    def left(self) -> Mapping[str, Any]:
        """What was not taken."""
        return dict(self._left)

    def take(self, *names: str) -> tuple[str, Any]:
        """The first of these synonyms that is there, and its value; the first name and None if none is."""
        for name in names:
            if name in self._left:
                return name, self._left.pop(name)
        return names[0], None

    def text(self, *names: str) -> str | None:
        """A text.

        Raises:
            InvalidRequest: It is something else; so in every method here. `why` begins with the name.
        """
        name, value = self.take(*names)
        if value is not None and not isinstance(value, str):
            raise fault(name, "must be a text", value)
        return value

    def name(self, *names: str) -> str | None:
        """A text in which blanks around it, and an empty one, say nothing."""
        value = self.text(*names)
        return (value or "").strip() or None

    def integer(self, *names: str) -> int | None:
        """A whole number: 20, 20.0, "20"."""
        name, value = self.take(*names)
        if value is None or value == "":
            return None
        if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
            return int(value.strip().partition(".")[0])
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
        raise fault(name, "must be a whole number", value)

    def number(self, *names: str) -> float | None:
        """A number: 7, 7.5, "7.5"; not infinite."""
        name, value = self.take(*names)
        if value is None or value == "":
            return None
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            try:
                found = float(value)
            except (ValueError, OverflowError):
                found = math.nan
            if math.isfinite(found):
                return found
        raise fault(name, "must be a number", value)

    def boolean(self, *names: str) -> bool | None:
        """True or false: also as "true", "0" and the like, since forms have only texts."""
        name, value = self.take(*names)
        if value is None or value == "":
            return None
        found = value if isinstance(value, bool) else _BOOLEANS.get(str(value).strip().casefold())
        if found is None:
            raise fault(name, "must be true or false", value)
        return found

    def choice(self, name: str, known: Mapping[str, str]) -> str | None:
        """One of the known words, whatever its case.

        Args:
            name: Of the field.
            known: What each word means, by the word in small letters.
        """
        value = self.name(name)
        if value is None:
            return None
        found = known.get(value.casefold())
        if found is None:
            raise fault(name, f"must be one of {', '.join(known)}", value)
        return found


def fault(name: str, what: str, given: object = None) -> InvalidRequest:
    """What is wrong with one field; `why` begins with its name.

    Args:
        name: Of the field, as the client wrote it.
        what: What it would have to be.
        given: What it is; long and structured values are not repeated.
    """
    shown = ""
    if isinstance(given, str | int | float):
        shown = f" (given: {str(given)[:_SHOWN_CHARACTERS]!r})"
    return InvalidRequest("The request is not valid.", why=f"{name}: {what}{shown}.")
