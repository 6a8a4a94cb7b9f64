"""A dialect: routes, the paths that are its own, and how it says an error."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from sdenv.core.errors import SdenvError
from sdenv.protocols.discretion import discreet
from sdenv.servers.http.context import Service


@final
@dataclass(frozen=True, slots=True)
class Dialect:
    """One way of asking, as `app.ROUTERS` lists it.

    Every `SdenvError` that leaves a route of it, or that a guard raises before a route is found, is answered
    by `error_response` of the dialect whose prefix is the longest that the path begins with.

    Attributes:
        name: `native`, `seed`, `a1111`, `openai`, `sdcpp`: what jobs say of where they came from.
        router: Builds the routes.
        prefixes: Paths that are its own: "/sdapi/v1" is also "/sdapi/v1/txt2img".
        error_response: Says an error in its form.
        invalid_response: Says that FastAPI has refused a body or a parameter; None = as an InvalidRequest.
    """

    name: str
    router: Callable[[Service], APIRouter]
    prefixes: tuple[str, ...]
    error_response: Callable[[SdenvError], Response]
    invalid_response: Callable[[RequestValidationError], Response] | None = None

    def answer(self, error: SdenvError) -> Response:
        """The answer that says an error, without where things lie on this machine."""
        return self.error_response(discreet(error))


def dialect_of(path: str, dialects: tuple[Dialect, ...]) -> Dialect:
    """The dialect of a path; the first one where none claims it."""

    def length(dialect: Dialect) -> int:
        own = (each for each in dialect.prefixes if path == each or path.startswith(f"{each}/"))
        return max((len(each) for each in own), default=-1)

    return max(dialects, key=length)
