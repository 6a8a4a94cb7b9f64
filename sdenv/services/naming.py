"""File names for pictures: templates with fields, and slugs that are safe on every system."""

import re
import unicodedata
from collections.abc import Mapping
from string import Formatter
from typing import Final

from sdenv.core.errors import InvalidRequest, did_you_mean

FIELDS: Final = ("seed", "index", "model", "prompt", "date", "width", "height", "steps", "backend")
DEFAULT_TEMPLATE: Final = "{prompt}-{seed}-{index}.png"
UNTITLED: Final = "untitled"

_MAX_SLUG_CHARACTERS: Final = 60
_MAX_SLUG_BYTES: Final = 120  # names have at most 255 bytes on most systems, and a character up to 4
_ADAPTER_TAG: Final = re.compile(r"<\w+:[^<>]*>")
_NUMBER_FORMAT: Final = re.compile(r"0?\d{0,2}d?")
_RESERVED: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"{a}{i}" for a in ("com", "lpt") for i in range(10))}
)


def slug(text: str) -> str:
    """Text as part of a file name: letters and digits of any script in lower case, joined by hyphens.

    Never empty, never more than 60 characters, never a name that Windows keeps for itself; it holds no
    separator and no dot, so it cannot lead out of a folder. Tags such as `<lora:ink:0.6>` are left out.
    """
    composed = unicodedata.normalize("NFKC", _ADAPTER_TAG.sub(" ", text)).lower()
    kept = "".join(c if unicodedata.category(c)[0] in "LNM" else " " for c in composed)
    words = unicodedata.normalize("NFC", "-".join(kept.split()))
    shortened = _shortened(words) or UNTITLED
    return f"{shortened}-picture" if shortened in _RESERVED else shortened


def _shortened(words: str) -> str:
    """The longest start within both limits, cut between words unless the first word is too long itself."""
    cut = words[:_MAX_SLUG_CHARACTERS].encode()[:_MAX_SLUG_BYTES].decode(errors="ignore")
    if cut != words and "-" in cut and words[len(cut)] != "-":
        cut = cut.rpartition("-")[0]
    return cut.strip("-")


def check_template(template: str) -> frozenset[str]:
    """The fields of a template.

    Raises:
        InvalidRequest: A field that there is not (the nearest is named), or a format it cannot have.
    """
    used = set()
    if "\0" in template:
        raise _bad_template(template, "It holds a zero byte.")
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise _bad_template(template, f"{error}.") from error
    for _, name, format_text, conversion in parts:
        if name is None:
            continue
        if name not in FIELDS:
            raise _bad_template(template, f"There is no field {{{name}}}. {did_you_mean(name, FIELDS)}")
        numeric = name in ("seed", "index", "width", "height", "steps")
        if conversion or (format_text and not (numeric and _NUMBER_FORMAT.fullmatch(format_text))):
            raise _bad_template(template, f"The field {{{name}}} cannot be formatted like this.")
        used.add(name)
    return frozenset(used)


def _bad_template(template: str, why: str) -> InvalidRequest:
    known = " ".join(f"{{{name}}}" for name in FIELDS)
    return InvalidRequest(
        f"The output {template!r} cannot be used as a template.",
        why=why,
        hint=f"Possible: {known}; {{index:03d}} gives leading zeros, {{{{ and }}}} stand for braces.",
    )


def fill(template: str, values: Mapping[str, str | int]) -> str:
    """A checked template with its fields filled in; texts become slugs, so they never leave the folder."""
    safe = {name: value if isinstance(value, int) else slug(value) for name, value in values.items()}
    return template.format_map(safe)


def literal(text: str) -> str:
    """Text as a template that gives just this text."""
    return text.replace("{", "{{").replace("}", "}}")


def before_suffix(name: str, addition: str) -> str:
    """`out.png` with `-2` becomes `out-2.png`; works for paths and templates."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}{addition}{dot}{suffix}"
