"""Reading what a peer has sent: whatever is malformed is an error of its own, and nothing else."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from sdenv.core.errors import PeerBrokeProtocol

T = TypeVar("T")
Record = Mapping[str, Any]
"""One JSON object."""


def reading(what: str, read: Callable[[], T]) -> T:
    """What `read` returns.

    Args:
        what: What is read, for the error: "a status".
        read: Takes it apart; whatever it stumbles over was the peer's fault.

    Raises:
        PeerBrokeProtocol: It cannot be read.
    """
    try:
        return read()
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        why = f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}."
        raise PeerBrokeProtocol(f"The other side sent {what} that cannot be read.", why=why) from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}."
        raise PeerBrokeProtocol(f"The other side sent {what} that cannot be read.", why=why) from error


def optional(convert: Callable[[Any], T], value: Any) -> T | None:
    """The converted value; None stays None."""
    return None if value is None else convert(value)


def texts(value: Mapping[str, Any]) -> dict[str, str]:
    """A mapping of texts."""
    return {str(key): str(each) for key, each in value.items()}


def names(values: Any) -> tuple[str, ...] | None:
    """A list of names; None = any name."""
    return None if values is None else tuple(str(each) for each in values)
