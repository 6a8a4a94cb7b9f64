"""What proves to a server who asks. Read late, sent in a header, never printed."""

import os
from typing import Final

from sdenv.core.errors import BadConfig
from sdenv.net.address import Access, Place

VARIABLE: Final = "SDENV_TOKEN"


def token_of(access: Access, place: Place) -> str:
    """The token to send; "" = none.

    Said with the backend first: `token`, the one in the URL, `token_file`; then the variable `SDENV_TOKEN`. A
    unix socket asks for none, so the variable is not sent there.

    Raises:
        BadConfig: The file cannot be read, or the token cannot be sent.
    """
    if access.token:
        return _sendable(access.token, "The token")
    if place.password or place.user:
        return _sendable(place.password or place.user, "The token in the URL")
    if access.token_file is not None:
        return _sendable(_read(access), f"The token in {str(access.token_file)!r}")
    if access.socket_path is not None:
        return ""
    return _sendable(os.environ.get(VARIABLE, ""), f"The token in {VARIABLE}")


def _read(access: Access) -> str:
    assert access.token_file is not None
    path = access.token_file.expanduser()
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(
            f"The token file {str(path)!r} cannot be read.",
            why=f"{error}.",
            hint="-O token_file=FILE names a file that holds nothing but the token.",
        ) from error
    if not text:
        raise BadConfig(f"The token file {str(path)!r} is empty.")
    return text


def _sendable(token: str, what: str) -> str:
    """The token without white space around it, if a header can hold it."""
    token = token.strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise BadConfig(
            f"{what} cannot be sent.", why="A token is one word of printable ASCII letters, digits and signs."
        )
    return token
