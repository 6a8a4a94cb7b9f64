"""What is read from files and from stdin, whole and within limits, with errors that name the flag."""

import json
from pathlib import Path
from typing import Any, BinaryIO, Final, final

from sdenv.core.errors import BadImage, InvalidRequest, UsageError
from sdenv.core.image import MAX_ENCODED_BYTES, ImageData, decode
from sdenv.core.request import MAX_PROMPT_CHARACTERS

STDIN: Final = "-"
MAX_TEXT_BYTES: Final = 64 * 2**20  # conventions, "Limits": body 64 MiB


@final
class StdinOnce:
    """stdin, which can be read only once.

    Args:
        stream: The process's stdin.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._used_for = ""

    def read(self, limit: int, what: str) -> bytes:
        """All of it, at most `limit` bytes and one more.

        Raises:
            UsageError: Something else has been read from it.
        """
        if self._used_for:
            raise UsageError(
                f"stdin cannot be both {self._used_for} and {what}.", hint="Give one of them as a file."
            )
        self._used_for = what
        return self._stream.read(limit + 1)


def read_bytes(name: str, flag: str, limit: int, stdin: StdinOnce) -> bytes:
    """The content of a file, or of stdin for `-`.

    Raises:
        UsageError: It cannot be read, or is larger than `limit`.
    """
    if name == STDIN:
        data = stdin.read(limit, flag)
    else:
        try:
            with Path(name).expanduser().open("rb") as file:
                data = file.read(limit + 1)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise UsageError(f"{flag} {name!r} cannot be read.", why=f"{reason}.") from error
    if len(data) > limit:
        raise UsageError(f"{flag} {name!r} is larger than {limit // 2**20} MiB.")
    return data


def read_picture(name: str, flag: str, stdin: StdinOnce) -> ImageData:
    """A picture that can be decoded completely.

    Raises:
        BadImage: It cannot be read, is not a picture, is truncated, or would decode to too many pixels.
    """
    try:
        data = read_bytes(name, flag, MAX_ENCODED_BYTES, stdin)
    except UsageError as error:
        raise BadImage(error.what, why=error.why, hint=error.hint) from error
    what = f"{flag} {name!r}"
    image = ImageData.from_bytes(data, what)
    decode(image, what)
    return image


def read_text(name: str, flag: str, stdin: StdinOnce) -> str:
    """Text in UTF-8, a byte order mark left out."""
    try:
        return read_bytes(name, flag, MAX_TEXT_BYTES, stdin).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{flag} {name!r} is not text in UTF-8.", why=f"{error}.") from error


def read_lines(name: str, flag: str, stdin: StdinOnce) -> list[str]:
    """Prompts, one a line; empty lines are left out.

    Raises:
        UsageError: There is none, or one is too long.
    """
    lines = [line.strip() for line in read_text(name, flag, stdin).splitlines()]
    prompts = [line for line in lines if line]
    if not prompts:
        place = "stdin" if name == STDIN else repr(name)
        raise UsageError(f"There is no prompt in {place}.", hint='For an empty prompt: sdenv generate ""')
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_PROMPT_CHARACTERS:
            raise InvalidRequest(
                f"Line {number} of {flag} has {len(line)} characters.",
                why=f"A prompt has at most {MAX_PROMPT_CHARACTERS}.",
            )
    return prompts


def read_requests(name: str, stdin: StdinOnce) -> list[tuple[str, dict[str, Any]]]:
    """Requests as JSON: one object, a list of objects, or one object a line.

    Returns:
        For each, where it stands, for errors, and its values.

    Raises:
        InvalidRequest: Not JSON, or not objects.
    """
    text = read_text(name, "--request", stdin)
    found = _whole(text, name)
    if found is None:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
        found = [(f"Line {number} of --request", _parsed(line, number, name)) for number, line in lines]
    if not found:
        raise InvalidRequest(f"There is no request in --request {name!r}.")
    for where, values in found:
        if not isinstance(values, dict):
            raise InvalidRequest(f"{where} is not a JSON object.", hint='For example: {"prompt": "a pizza"}')
    return found


def _whole(text: str, name: str) -> list[tuple[str, Any]] | None:
    """All of the text as one JSON value; None if it is not one."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if isinstance(value, list):
        return [(f"Item {number} of --request", each) for number, each in enumerate(value, start=1)]
    return [(f"--request {name!r}", value)]


def _parsed(line: str, number: int, name: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InvalidRequest(f"Line {number} of --request {name!r} is not JSON.", why=f"{error}.") from error
