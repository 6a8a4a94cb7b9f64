"""sdenv's own API: jobs that are never lost, their events as they happen, what can be made here."""

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from sdenv.core.errors import SdenvError
from sdenv.protocols.native import error_record
from sdenv.servers.http.context import Service
from sdenv.servers.http.statuses import NATIVE, headers_of, status_of


def error_response(error: SdenvError) -> Response:
    """An error as this API says it."""
    return JSONResponse({"error": error_record(error)}, status_of(error, NATIVE), headers_of(error))


def router(service: Service) -> APIRouter:  # noqa: ARG001 - TEMPORARY
    """The routes."""
    routes = APIRouter()

    @routes.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server answers."""
        return {"status": "OK"}

    return routes
