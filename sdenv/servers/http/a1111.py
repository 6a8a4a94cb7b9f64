"""AUTOMATIC1111's API: `/sdapi/v1`, so that the clients people already have find what they know.

The routes and their forms are in docs/reference/dialects.md. A call that makes pictures waits for its job,
one of all in the one queue; a client that hangs up cancels it.
"""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, final

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import Response

from sdenv.core.backend import BackendStatus
from sdenv.core.errors import SdenvError
from sdenv.core.image import ImageData
from sdenv.protocols import a1111
from sdenv.protocols.a1111 import lists
from sdenv.protocols.discretion import discreet
from sdenv.protocols.inline import inline_picture
from sdenv.servers.http.a1111_making import Making
from sdenv.servers.http.a1111_watching import Watching
from sdenv.servers.http.context import Service
from sdenv.servers.http.limits import limited
from sdenv.servers.http.memory import memory_record
from sdenv.servers.http.principal import Principal, principal_of
from sdenv.servers.http.safe_json import MAX_FAULTS, SafeJSON
from sdenv.servers.http.statuses import A1111, headers_of, status_of
from sdenv.services.metadata import infotext_of

DIALECT: Final = "a1111"
PREFIXES: Final = (a1111.PREFIX, "/internal")

_NOT_IMPLEMENTED: Final = ("extra-single-image", "extra-batch-images", "interrogate")
_DONE_ANYWAY: Final = ("refresh-checkpoints", "refresh-vae", "refresh-embeddings", "refresh-loras")


def error_response(error: SdenvError) -> Response:
    """An error in AUTOMATIC1111's form."""
    status = a1111.status_by_code(error) or status_of(error, A1111)
    return SafeJSON(a1111.error_body(error), status, headers_of(error))


def invalid_response(error: RequestValidationError) -> Response:
    """FastAPI's own form, as AUTOMATIC1111 answers."""
    faults = error.errors()[:MAX_FAULTS]
    return SafeJSON(
        {"detail": [{name: each.get(name) for name in ("loc", "msg", "type")} for each in faults]}, 422
    )


@final
class TimedRoute(APIRoute):
    """A route whose every answer says how long it took."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI asks for it."""
        handle = super().get_route_handler()

        async def timed(request: Request) -> Response:
            began_s = time.perf_counter()
            try:
                response = await handle(request)
            except SdenvError as error:
                response = error_response(discreet(error))
            response.headers["X-Process-Time"] = f"{time.perf_counter() - began_s:.4f}"
            return response

        return timed


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(route_class=TimedRoute)
    settings = Settings(service)
    _add_making(routes, service, settings)
    _add_settings(routes, settings)
    _add_lists(routes, settings)
    _add_pictures(routes)
    return routes


@final
class Settings:
    """What POST options changes: for all clients with the same token, until the server ends."""

    def __init__(self, service: Service) -> None:
        self._changed: dict[str, a1111.Options] = {}  # by the name of the token
        self._service = service

    def options(self, asker: Principal) -> a1111.Options:
        """Those in force for whoever asks: nobody changes the pictures of another token."""
        return self._changed.get(asker.name, a1111.Options())

    def status(self) -> BackendStatus:
        """What the backend says of itself, within the limits of this server; may block."""
        return limited(self._service.engine.status(), self._service.settings.limits)

    def change(self, body: dict[str, Any], asker: Principal) -> None:
        """Changes what is among the keys and means something here.

        Args:
            body: Of POST options.
            asker: Whose options they are.

        Raises:
            UnknownModel: There is no such model.
        """
        status = self.status()
        changed, _ = a1111.overridden(self.options(asker), body, lists.names_of(status))
        status.model(changed.model)
        self._changed[asker.name] = changed


def _add_making(routes: APIRouter, service: Service, settings: Settings) -> None:
    watching = Watching(service)
    making = Making(service, settings, watching)

    @routes.post(f"{a1111.PREFIX}/txt2img")
    async def txt2img(request: Request) -> Response:
        return await making.answer(request, await json_object(request), img2img=False)

    @routes.post(f"{a1111.PREFIX}/img2img")
    async def img2img(request: Request) -> Response:
        return await making.answer(request, await json_object(request), img2img=True)

    @routes.get(f"{a1111.PREFIX}/progress")
    def progress(request: Request, skip_current_image: str = "false") -> Response:
        running = watching.current(principal_of(request).owner)
        with_picture = skip_current_image.casefold() not in ("true", "1")
        return SafeJSON(a1111.progress_record(running, now=time.time(), with_picture=with_picture))

    @routes.post(f"{a1111.PREFIX}/interrupt")
    def interrupt(request: Request) -> Response:
        watching.interrupt(principal_of(request).owner)
        return SafeJSON({})

    @routes.post(f"{a1111.PREFIX}/skip")
    def skip(request: Request) -> Response:
        making.skip(principal_of(request).owner)
        return SafeJSON(None)

    @routes.post("/internal/progress")
    async def internal(request: Request) -> Response:
        body = await json_object(request)
        return SafeJSON(await asyncio.to_thread(watching.of_task, body, principal_of(request)))

    @routes.get("/internal/pendingTasks")
    def pending(request: Request) -> Response:
        return SafeJSON(a1111.pending_record(watching.pending(principal_of(request).owner)))


def _add_settings(routes: APIRouter, settings: Settings) -> None:
    @routes.get(f"{a1111.PREFIX}/options")
    def options(request: Request) -> Response:
        return SafeJSON(lists.options_record(settings.options(principal_of(request)), settings.status()))

    @routes.post(f"{a1111.PREFIX}/options")
    async def set_options(request: Request) -> Response:
        body = await json_object(request)
        await asyncio.to_thread(settings.change, body, principal_of(request))
        return SafeJSON(None)

    for path in _DONE_ANYWAY:
        routes.post(f"{a1111.PREFIX}/{path}")(_nothing)
    for path in ("unload-checkpoint", "reload-checkpoint"):
        routes.post(f"{a1111.PREFIX}/{path}")(_empty_object)


def _nothing() -> Response:
    return SafeJSON(None)


def _empty_object() -> Response:
    return SafeJSON({})


def _empty_list() -> Response:
    return SafeJSON([])


def _add_lists(routes: APIRouter, settings: Settings) -> None:
    of_backend: dict[str, Callable[[BackendStatus], Any]] = {
        "sd-models": lists.models_record,
        "samplers": lists.samplers_record,
        "schedulers": lists.schedulers_record,
        "cmd-flags": lists.flags_record,
    }
    fixed: dict[str, Callable[[], Any]] = {
        "upscalers": lists.upscalers_record,
        "latent-upscale-modes": lists.latent_modes_record,
        "embeddings": lists.embeddings_record,
        "scripts": lists.scripts_record,
        "memory": memory_record,
    }

    def add(path: str, answer: Callable[[], Any]) -> None:
        @routes.get(f"{a1111.PREFIX}/{path}")
        def listed() -> Response:
            return SafeJSON(answer())

    def add_of_backend(path: str, record: Callable[[BackendStatus], Any]) -> None:
        add(path, lambda: record(settings.status()))

    for path, record in of_backend.items():
        add_of_backend(path, record)
    for path, made in fixed.items():
        add(path, made)
    for path in lists.EMPTY_LISTS:
        routes.get(f"{a1111.PREFIX}/{path}")(_empty_list)


def _add_pictures(routes: APIRouter) -> None:
    @routes.post(f"{a1111.PREFIX}/png-info")
    async def png_info(request: Request) -> Response:
        body = await json_object(request)
        return SafeJSON(await asyncio.to_thread(_info_of, body))

    for path in _NOT_IMPLEMENTED:
        routes.post(f"{a1111.PREFIX}/{path}")(_not_implemented)


def _info_of(body: dict[str, Any]) -> dict[str, Any]:
    picture: ImageData = inline_picture(a1111.text(body, "image"), "image")
    infotext, items = infotext_of(picture)
    return {"info": infotext, "items": items, "parameters": a1111.infotext_record(infotext)}


def _not_implemented(request: Request) -> Response:
    detail = f"{request.url.path} is not implemented by this server"
    return SafeJSON({"error": "NotImplementedError", "detail": detail, "body": "", "errors": ""}, 501)


async def json_object(request: Request) -> dict[str, Any]:
    """The JSON object of a body.

    No other content type is taken for it: web pages of anybody can send those without being asked.

    Raises:
        WrongFields: It is none.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().casefold()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise a1111.WrongFields(
            ("", "Input should be a valid dictionary: Content-Type must be application/json")
        )
    try:
        body = await asyncio.to_thread(json.loads, await request.body())
    except (ValueError, RecursionError) as error:
        raise a1111.WrongFields(("", f"JSON decode error: {error}"[:200])) from error
    if not isinstance(body, dict):
        raise a1111.WrongFields(("", "Input should be a valid dictionary"))
    return body
