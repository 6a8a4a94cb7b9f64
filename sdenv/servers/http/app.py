"""All dialects as one ASGI application, behind the guards."""

import logging
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from sdenv import __version__
from sdenv.core.errors import InvalidRequest, SdenvError
from sdenv.servers.http import native
from sdenv.servers.http.context import Service
from sdenv.servers.http.dialect import Dialect, dialect_of

ROUTERS: Final[tuple[Dialect, ...]] = (
    Dialect("native", native.router, ("/sdenv/v1",), native.error_response),
)
"""Every dialect on the port; a new one is one module and one row."""

_logger = logging.getLogger(__name__)


def build_app(service: Service, dialects: tuple[Dialect, ...] = ROUTERS) -> FastAPI:
    """The application without its guards."""
    app = FastAPI(title="sdenv", version=__version__, docs_url=None, redoc_url=None)
    for dialect in dialects:
        app.include_router(dialect.router(service), include_in_schema=dialect.name == "native")

    async def on_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, SdenvError)
        return dialect_of(request.url.path, dialects).error_response(error)

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        dialect = dialect_of(request.url.path, dialects)
        if dialect.invalid_response is not None:
            return dialect.invalid_response(error)
        return dialect.error_response(invalid(error))

    app.add_exception_handler(SdenvError, on_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    return app


def invalid(error: RequestValidationError) -> InvalidRequest:
    """FastAPI's list of faults as one error, without the values: they may be long, or secret."""
    faults = (f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors())
    return InvalidRequest("The request is not valid.", why=f"{'; '.join(faults)}.")
