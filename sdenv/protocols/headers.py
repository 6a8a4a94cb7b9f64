"""Texts from outside as values of HTTP headers: whatever they are, the header can be sent."""

from collections.abc import Mapping, Sequence
from typing import Final

LONGEST_CHARACTERS: Final = 2000
"""What servers on the way are known to let through, and enough to tell what was ignored."""


def header_text(texts: Sequence[str], between: str = ", ") -> str:
    """Texts as one value of a header: printable ASCII, with no blank at either end, as RFC 9110 5.5 wants.

    Args:
        texts: Names or sentences, of anybody.
        between: What separates them; a semicolon in a text becomes a comma where semicolons separate.

    Returns:
        The value, at most `LONGEST_CHARACTERS`; "" = there is nothing to say, so send no header.
    """
    apart = [text.replace(";", ",") for text in texts] if ";" in between else texts
    joined = between.join(apart)[:LONGEST_CHARACTERS]
    return "".join(letter if " " <= letter <= "~" else "?" for letter in joined).strip()


def header_fields(
    texts: Mapping[str, Sequence[str]], between: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Headers by name, without those that say nothing.

    Args:
        texts: The texts of each header.
        between: What separates the texts of a header, where it is not a comma.
    """
    separators = between or {}
    found = {name: header_text(each, separators.get(name, ", ")) for name, each in texts.items()}
    return {name: value for name, value in found.items() if value}
