"""All dialects as one ASGI application, behind the guards."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sdenv.core.errors import InternalError, InvalidRequest, SdenvError, UnknownName
from sdenv.protocols.native import PREFIX
from sdenv.servers.http import a1111, about, drawthings_http, native, openai, page, recovery, sdcpp, seed
from sdenv.servers.http.access import COOKIE, OPEN_PATHS, Access
from sdenv.servers.http.answers import error_response
from sdenv.servers.http.bodies import BodyReader
from sdenv.servers.http.context import Service
from sdenv.servers.http.dialect import Dialect, dialect_of
from sdenv.servers.http.guards import Guards
from sdenv.servers.http.schemas import ErrorBody, Submission

ROUTERS: Final[tuple[Dialect, ...]] = (
    Dialect("native", native.router, (PREFIX,), error_response),
    Dialect("seed", seed.router, seed.PREFIXES, seed.error_response, seed.invalid_response),
    Dialect("a1111", a1111.router, a1111.PREFIXES, a1111.error_response, a1111.invalid_response),
    Dialect("openai", openai.router, ("/v1", "/files"), openai.error_response),
    Dialect("sdcpp", sdcpp.router, sdcpp.PREFIXES, sdcpp.error_response),
)
"""Every dialect on the port; a new one is one module and one row. The first answers for paths of nobody."""

DRAW_THINGS: Final[tuple[Dialect, ...]] = (
    Dialect(
        drawthings_http.DIALECT,
        drawthings_http.router,
        (),
        drawthings_http.error_response,
        drawthings_http.invalid_response,
    ),
)
"""The only dialect of the second port: its paths are also A1111's, and mean another thing."""

_SUMMARY: Final = "Makes pictures: jobs that are never lost, their events as they happen, their results."


def build_app(service: Service, dialects: tuple[Dialect, ...] = ROUTERS) -> FastAPI:
    """The application without its guards."""
    app = FastAPI(
        title="sdenv",
        version=service.version,
        description=_SUMMARY,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    shared = [about.router(service), page.router(service), recovery.router()]
    routers = [(True, router) for router in shared]
    routers += [(each.name == "native", each.router(service)) for each in dialects]
    for is_own, router in routers:
        app.include_router(router, include_in_schema=is_own)
    app.state.own_routes = [route for _, router in routers for route in router.routes]
    _add_errors(app, dialects)
    _describe(app, needs_token=service.settings.has_tokens)
    return app


def build_draw_things_app(service: Service) -> FastAPI:
    """The application of the second port, without its guards: one dialect, and nothing else."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    routes = drawthings_http.router(service)
    app.include_router(routes)
    app.state.own_routes = list(routes.routes)
    _add_errors(app, DRAW_THINGS)

    async def on_http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return drawthings_http.no_route()

    app.add_exception_handler(HTTPException, on_http)
    return app


def guarded(
    app: FastAPI,
    service: Service,
    access: Access | None,
    bodies: BodyReader,
    dialects: tuple[Dialect, ...] = ROUTERS,
) -> Guards:
    """The application behind its guards.

    Args:
        app: All routes.
        service: What they work with.
        access: Who may ask; None = everybody who can connect.
        bodies: Reads the bodies of all listeners.
        dialects: As in `build_app`.
    """

    def answer(path: str, error: SdenvError) -> Response:
        return dialect_of(path, dialects).answer(error)

    def observe(path: str, status: int) -> None:
        service.metrics.answered(dialect_of(path, dialects).name, status)

    return Guards(app, access, bodies, methods_of(app), answer, observe)


def routes_of(app: FastAPI) -> list[Route]:
    """Every route of an application that `build_app` has made."""
    own: list[BaseRoute] = app.state.own_routes
    return [route for route in (*app.routes, *own) if isinstance(route, Route)]


def methods_of(app: FastAPI) -> Callable[[str], frozenset[str]]:
    """A function that says which methods a path has: HEAD with every GET, and OPTIONS with every other."""
    routes = routes_of(app)

    def methods(path: str) -> frozenset[str]:
        found = {method for route in routes if route.path_regex.match(path) for method in route.methods or ()}
        return frozenset(found | ({"HEAD"} if "GET" in found else set()) | ({"OPTIONS"} if found else set()))

    return methods


def _add_errors(app: FastAPI, dialects: tuple[Dialect, ...]) -> None:
    async def on_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, SdenvError)
        return dialect_of(request.url.path, dialects).answer(error)

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        dialect = dialect_of(request.url.path, dialects)
        if dialect.invalid_response is not None:
            return dialect.invalid_response(error)
        return dialect.error_response(invalid(error))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if request.url.path.startswith(PREFIX):
            return _no_route(request, error)
        return JSONResponse({"detail": error.detail}, error.status_code, error.headers)

    async def on_crash(request: Request, _: Exception) -> Response:
        crash = InternalError("The server has made a mistake; its log says more.")
        response = dialect_of(request.url.path, dialects).error_response(crash)
        response.status_code = HTTPStatus.INTERNAL_SERVER_ERROR
        return response

    app.add_exception_handler(SdenvError, on_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_crash)  # starlette raises it again, and the guards log it


def _no_route(request: Request, error: HTTPException) -> Response:
    """A path or method that is not there, as sdenv's own API says it."""
    what = f"There is no {request.method} {request.url.path[:200]}."
    response = error_response(UnknownName(what, hint="GET /docs lists the routes."))
    response.status_code = error.status_code
    response.headers.update(error.headers or {})
    return response


def invalid(error: RequestValidationError) -> InvalidRequest:
    """FastAPI's list of faults as one error, without the values: they may be long, or secret."""
    faults = (f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors())
    return InvalidRequest("The request is not valid.", why=f"{'; '.join(faults)}.")


def _describe(app: FastAPI, *, needs_token: bool) -> None:
    """Makes the OpenAPI document complete; it is built when somebody asks for it."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            complete_document(FastAPI.openapi(app), needs_token=needs_token)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # how FastAPI's documentation extends OpenAPI


def complete_document(document: dict[str, Any], *, needs_token: bool) -> None:
    """Adds what FastAPI does not see: errors, the body that we parse ourselves, the tokens.

    Args:
        document: What FastAPI has made of the routes.
        needs_token: Whether clients need a token.
    """
    components: dict[str, Any] = document["components"]
    for model in (Submission, ErrorBody):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        components["schemas"].update(schema.pop("$defs", {}))
        components["schemas"][model.__name__] = schema
    if not needs_token:
        return
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "basic": {"type": "http", "scheme": "basic", "description": "The token is the password."},
        "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
    }
    for path, methods in document["paths"].items():
        for route in methods.values():
            route["security"] = (
                [] if path in OPEN_PATHS else [{name: []} for name in components["securitySchemes"]]
            )
