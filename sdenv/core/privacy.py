"""What must not be printed or written into a picture: secrets, users in URLs, places on a machine."""

import re
from typing import Final

_SECRET: Final = re.compile(r"token|secret|password|passphrase|api_?key|credential", re.IGNORECASE)
_USER_IN_URL: Final = re.compile(r"(?<=://)[^/@\s]*@")
_PATH: Final = re.compile(
    r"""(?P<quote>['"])(?P<quoted>/(?:(?!(?P=quote)).)+)(?P=quote)"""
    r"""|(?:(?<![\w/:.~\-])|(?<=file://))(?:/[^\s/'"`:;,()<>]+)+/[^\s/'"`:;,()<>]*""",
    re.DOTALL,
)
"""An absolute path within a text: in quotes, where it may hold blanks, or bare, in two parts or more."""

_PLACE: Final = re.compile(r"^(?:[/~\\]|\.{1,2}[/\\]|[A-Za-z]:[/\\]|[\w+.\-]+://)")


def is_secret(name: str) -> bool:
    """Whether a value of this name is never printed; `token_file` only says where a secret lies."""
    last = name.rpartition(".")[2]
    return bool(_SECRET.search(last)) and not last.endswith(("_file", "_path"))


def without_user(text: str) -> str:
    """Text in which no URL names a user or a password."""
    return _USER_IN_URL.sub("", text)


def without_folders(text: str) -> str:
    """Text in which of every absolute path only the last part is left."""

    def shortened(found: re.Match[str]) -> str:
        path = found["quoted"]
        return name_only(found[0]) if path is None else found["quote"] + name_only(path) + found["quote"]

    return _PATH.sub(shortened, text)


def is_place(text: str) -> bool:
    """Whether a text looks like a path or a URL; names such as `owner/model` do not."""
    return bool(_PLACE.match(text))


def name_only(text: str) -> str:
    """The last part of a path; a name stays as it is."""
    return re.split(r"[/\\]", text.rstrip("/\\"))[-1] if is_place(text) else text
