"""What the server is: its status, models and capabilities, whether it lives, its numbers, its routes."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from sdenv.core.backend import BackendStatus
from sdenv.core.errors import SdenvError, ServerStopping, UnavailableError
from sdenv.protocols.native import (
    NATIVE_VERSION,
    PREFIX,
    capabilities_record,
    model_record,
    status_record,
)
from sdenv.servers.http import schemas
from sdenv.servers.http.answers import errors, is_a
from sdenv.servers.http.context import Service
from sdenv.servers.http.limits import limited
from sdenv.servers.http.pages import HTML_HEADERS, routes_page

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter()
    _add_facts(routes, service)
    _add_health(routes, service)
    _add_docs(routes)
    return routes


def status_of(service: Service) -> BackendStatus:
    """What the backend says of itself, within the limits of this server."""
    return limited(service.engine.status(), service.settings.limits)


def _add_facts(routes: APIRouter, service: Service) -> None:
    @routes.get(f"{PREFIX}/status", tags=["server"], responses={**is_a(schemas.Status), **errors(503)})
    def status() -> Response:
        """What the server and its backend are, and how full the queue is."""
        found, counts = status_of(service), service.jobs.counts()
        queue = {
            "queued": counts.queued,
            "running": counts.running,
            "size": service.queue_size,
            "draining": service.lifetime.draining,
        }
        return JSONResponse(
            {
                **status_record(found),
                "kind": found.name,
                "server": {"name": "sdenv", "version": service.version},
                "dialects": list(service.dialects),
                "queue": queue,
                "needs_token": service.settings.has_tokens,
                "limits": service.settings.limits.model_dump(),
            }
        )

    @routes.get(f"{PREFIX}/models", tags=["server"], responses={**is_a(schemas.ModelList), **errors(503)})
    def models() -> Response:
        """The models; the first is the default."""
        found = [model_record(model) for model in status_of(service).models]
        return JSONResponse({"v": NATIVE_VERSION, "models": found})

    @routes.get(
        f"{PREFIX}/capabilities",
        tags=["server"],
        responses={**is_a(schemas.CapabilitiesBody), **errors(422, 503)},
    )
    def capabilities(
        model: Annotated[
            str | None, Query(min_length=1, max_length=1024, description="Default: the default model.")
        ] = None,
    ) -> Response:
        """What can be done with a model."""
        found = capabilities_record(status_of(service).capabilities_for(model))
        return JSONResponse({"v": NATIVE_VERSION, "model": model, "capabilities": found})

    @routes.get(f"{PREFIX}/backends", tags=["server"], responses={**is_a(schemas.BackendList), **errors(503)})
    def backends() -> Response:
        """What makes the pictures."""
        found = service.engine.status()
        row = {
            "name": service.engine.name,
            "kind": found.name,
            "version": found.version,
            "models": [model.name for model in found.models],
        }
        return JSONResponse({"v": NATIVE_VERSION, "backends": [row]})


def _add_health(routes: APIRouter, service: Service) -> None:
    @routes.get("/health", tags=["health"], responses={**is_a(schemas.Health), **errors()})
    async def health() -> Response:
        """Whether the server answers. Needs no token."""
        return JSONResponse({"status": "OK"})

    @routes.get("/ready", tags=["health"], responses={**is_a(schemas.Readiness), **errors(503)})
    def ready() -> Response:
        """Whether the server takes jobs, can write them down, and its backend is there. Needs no token."""
        if service.lifetime.draining:
            raise ServerStopping("The server is about to end.")
        try:
            service.jobs.check_writable()
        except SdenvError as error:
            raise UnavailableError("The server cannot write jobs down.", why=error.what) from error
        service.engine.status()
        return JSONResponse({"ready": True})

    @routes.get(
        "/metrics",
        tags=["health"],
        response_class=Response,
        responses={200: {"description": "For Prometheus.", "content": {"text/plain": {}}}, **errors()},
    )
    def metrics() -> Response:
        """Numbers for Prometheus."""
        numbers = service.metrics.text(service.jobs.counts(), service.engine.memory_bytes())
        return Response(numbers, media_type=METRICS_TYPE)


def _add_docs(routes: APIRouter) -> None:
    @routes.get("/docs", include_in_schema=False)
    def docs(request: Request) -> Response:
        """The routes as a page."""
        document: dict[str, Any] = request.app.openapi()
        return HTMLResponse(routes_page(document), headers=HTML_HEADERS)


def default_model(service: Service) -> str | None:
    """Name of the model that is used when none is named; None = the backend does not tell."""
    try:
        models = service.engine.status().models
    except SdenvError:
        return None
    return models[0].name if models else None
