"""The HTTP API of the Draw Things app, on a port of its own.

It has AUTOMATIC1111's paths, and must refuse the unknown keys that those must ignore: so it is not on the
port of the others. Its jobs wait in the same queue, and are not kept over a restart, as their clients are
gone then. What is changed or left out is named in `X-Sdenv-Notice`.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from sdenv.core.backend import BackendStatus
from sdenv.core.errors import Denied, FailedError, InvalidRequest, SdenvError
from sdenv.core.job_record import JobRecord, JobState
from sdenv.protocols import drawthings_http as protocol
from sdenv.protocols.headers import header_fields
from sdenv.protocols.inline import as_base64
from sdenv.servers.http.a1111 import json_object
from sdenv.servers.http.context import Service
from sdenv.servers.http.limits import limited
from sdenv.servers.http.principal import principal_of
from sdenv.servers.http.safe_json import SafeJSON
from sdenv.servers.http.statuses import DRAW_THINGS, headers_of, status_of
from sdenv.servers.http.waiting import run_to_end

DIALECT: Final = "drawthings-http"
NOTICES: Final = "X-Sdenv-Notice"


def error_response(error: SdenvError) -> Response:
    """An error in the app's form."""
    return SafeJSON(protocol.error_body(error), status_of(error, DRAW_THINGS), headers_of(error))


def invalid_response(_: RequestValidationError) -> Response:
    """No route has parameters that FastAPI checks."""
    return error_response(InvalidRequest("The request is not valid."))


def no_route() -> Response:
    """What is not there. UNVERIFIED: what the app writes besides the status."""
    return SafeJSON({"error": "HTTPException", "detail": "Not Found", "body": "", "errors": ""}, 404)


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter()

    def status() -> BackendStatus:
        return limited(service.engine.status(), service.settings.limits)

    @routes.get("/")
    @routes.get("/sdapi/v1/options")
    def settings(request: Request) -> Response:
        if principal_of(request).is_stranger:  # `/` is open to everybody on the other port
            raise Denied("This server wants a token.")
        return SafeJSON(protocol.settings_record(status()))

    async def make(request: Request, *, img2img: bool) -> Response:
        body = await json_object(request)
        ask = await asyncio.to_thread(_asked, service, body, status, img2img)
        accepted = await asyncio.to_thread(
            service.accept,
            ask.request,
            principal_of(request),
            dialect=DIALECT,
            durable=False,
            allow_degraded=True,
        )
        job = await run_to_end(service, request, accepted)
        return await asyncio.to_thread(_answer, service, ask, job)

    @routes.post("/sdapi/v1/txt2img")
    async def txt2img(request: Request) -> Response:
        return await make(request, img2img=False)

    @routes.post("/sdapi/v1/img2img")
    async def img2img(request: Request) -> Response:
        return await make(request, img2img=True)

    return routes


def _asked(
    service: Service, body: Mapping[str, Any], status: Callable[[], BackendStatus], img2img: bool
) -> protocol.Ask:
    """What a body asks for; may block.

    Raises:
        SdenvError: It is refused.
    """
    found = status()
    ask = protocol.ask_of(body, found, img2img=img2img)
    if service.settings.strict_models:
        found.model(ask.request.model)
    return ask


def _answer(service: Service, ask: protocol.Ask, job: JobRecord) -> Response:
    """The pictures of a job that has ended; one that somebody has cancelled leaves those it had.

    Raises:
        SdenvError: It has failed.
    """
    if job.state is JobState.FAILED:
        raise job.error or FailedError("The job has failed.")
    pictures = [as_base64(service.jobs.picture(job.id, each.index)) for each in job.pictures]
    cancelled = ("The job was cancelled.",) if job.state is JobState.CANCELLED else ()
    notes = (*ask.notes, *(each.message for each in job.notices), *cancelled)
    return SafeJSON({"images": pictures}, headers=header_fields({NOTICES: notes}, {NOTICES: " "}))
