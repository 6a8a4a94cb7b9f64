"""Secrets from files: what `--token-file` and `--tokens` name."""

import string
import tomllib
from pathlib import Path
from typing import Any, Final

from sdenv.core.errors import BadConfig

SHORTEST_TOKEN: Final = 8
"""Shorter ones are guessed: a server on a fast network answers thousands of guesses a second."""

_ALLOWED: Final = frozenset(string.ascii_letters + string.digits + string.punctuation)
_MAKE_ONE: Final = "openssl rand -hex 32 > {file} && chmod 600 {file}"


def read_token(path: Path) -> str:
    """The token in a file: its first line.

    Raises:
        BadConfig: The file cannot be read, or what it holds is not a token.
    """
    lines = _text(path).splitlines()
    return checked_token(lines[0].strip() if lines else "", str(path))


def read_tokens(path: Path) -> dict[str, dict[str, Any]]:
    """Tokens by name: `alice = "..."`, or a table `[alice]` with `token`, `share` and `sees_all`.

    Returns:
        Values for the settings of a server, by name.

    Raises:
        BadConfig: The file cannot be read, or is not of this form.
    """
    try:
        raw = tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"{str(path)!r} is not TOML.", why=f"{error}.") from error
    found: dict[str, dict[str, Any]] = {}
    for name, value in raw.items():
        table = dict(value) if isinstance(value, dict) else {"token": value}
        token = table.pop("token", None)
        if not isinstance(token, str):
            raise BadConfig(f"{name!r} in {str(path)!r} has no token.", hint=f'For example: {name} = "..."')
        found[name] = {"secret": checked_token(token, f"{path}, {name}"), **table}
    if not found:
        raise BadConfig(f"{str(path)!r} holds no tokens.", hint='For example: alice = "..."')
    if len({each["secret"] for each in found.values()}) < len(found):
        raise BadConfig(f"Two names in {str(path)!r} have the same token.")
    return found


def checked_token(token: str, place: str) -> str:
    """The token, if it is one; errors never show it.

    Raises:
        BadConfig: It is too short, or has characters that a header cannot carry.
    """
    if len(token) < SHORTEST_TOKEN or not set(token) <= _ALLOWED:
        raise BadConfig(
            f"{place!r} holds no token.",
            why=f"A token has at least {SHORTEST_TOKEN} characters of ASCII, and no spaces.",
            hint=_MAKE_ONE.format(file="token.txt"),
        )
    return token


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(
            f"Cannot read {str(path)!r}.", why=f"{error}.", hint=_MAKE_ONE.format(file=path)
        ) from error
