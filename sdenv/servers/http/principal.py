"""Who asks: the name of the token, as the guards have found it."""

from dataclasses import dataclass
from typing import Any, Final, final

from fastapi import Request

STATE_KEY: Final = "sdenv_principal"


@final
@dataclass(frozen=True, slots=True)
class Principal:
    """Whose request it is.

    Attributes:
        name: Name of the token; "" = the server's own user, or nobody needs a token.
        sees_all: Whether it may see and cancel everybody's jobs.
    """

    name: str = ""
    sees_all: bool = True

    @property
    def is_stranger(self) -> bool:
        """Whether nothing is known of it but that it may ask for what is open to everybody."""
        return not self.name and not self.sees_all

    @property
    def owner(self) -> str | None:
        """What calls of `Jobs` take as `owner`: None = everybody's jobs."""
        return None if self.sees_all else self.name


def principal_of(request: Request) -> Principal:
    """Who asks. A request that has passed no guard is a mistake of ours, and nobody's."""
    found: Any = request.scope["state"][STATE_KEY]
    assert isinstance(found, Principal)
    return found
