"""stable-diffusion.cpp's own API: `/sdcpp/v1`. A request becomes a job, and the client asks how it is.

The jobs are ordinary ones, durable, in the one queue. A job that was removed leaves no trace, so that an
expired one is as unknown (404) as one that never was: 410 is never said.
"""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Header, Request
from starlette.responses import Response

from sdenv.core.backend import BackendStatus
from sdenv.core.errors import JobNotFinished, SdenvError, UnsupportedError
from sdenv.core.image import ImageData
from sdenv.core.job_record import JobRecord, JobState
from sdenv.protocols import sdcpp
from sdenv.protocols.containers import anonymous
from sdenv.protocols.headers import header_fields
from sdenv.protocols.openai import encoded_as
from sdenv.servers.http.a1111 import json_object
from sdenv.servers.http.context import Service
from sdenv.servers.http.limits import limited
from sdenv.servers.http.principal import Principal, principal_of
from sdenv.servers.http.safe_json import SafeJSON
from sdenv.servers.http.statuses import SDCPP, headers_of, status_of
from sdenv.services.metadata import with_metadata_of

DIALECT: Final = "sdcpp"
PREFIXES: Final = (sdcpp.PREFIX,)
IGNORED: Final = "X-Sdenv-Ignored"
NOTICES: Final = "X-Sdenv-Notice"


def error_response(error: SdenvError) -> Response:
    """An error as this dialect says it."""
    return SafeJSON(sdcpp.error_body(error), status_of(error, SDCPP), headers_of(error))


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix=sdcpp.PREFIX)

    @routes.get("/capabilities")
    def capabilities() -> Response:
        return SafeJSON(sdcpp.capabilities_record(_status(service), service.queue_size))

    @routes.post("/img_gen")
    async def generate(
        request: Request, idempotency_key: Annotated[str | None, Header(max_length=255)] = None
    ) -> Response:
        ask = await asyncio.to_thread(sdcpp.ask_of, await json_object(request))
        return await asyncio.to_thread(_accepted, service, ask, principal_of(request), idempotency_key)

    @routes.post("/vid_gen")
    def generate_video() -> Response:
        raise UnsupportedError("This server makes no videos.", hint=f"POST {sdcpp.PREFIX}/img_gen")

    @routes.get("/jobs/{job_id}")
    def job(request: Request, job_id: str) -> Response:
        known, output = sdcpp.output_of(job_id)
        return _said(service, service.jobs.get(known, principal_of(request).owner), output)

    @routes.post("/jobs/{job_id}/cancel")
    def cancel(request: Request, job_id: str) -> Response:
        known, output = sdcpp.output_of(job_id)
        return _said(service, _cancelled(service, known, principal_of(request).owner), output)

    return routes


def _status(service: Service) -> BackendStatus:
    return limited(service.engine.status(), service.settings.limits)


def _accepted(service: Service, ask: sdcpp.Ask, asker: Principal, key: str | None) -> Response:
    """Accepts a job; blocks for the disk.

    Raises:
        SdenvError: It is refused.
    """
    if service.settings.strict_models:
        _status(service).model(ask.request.model)
    plan = service.engine.admit(ask.request, allow_degraded=True)
    notices = [each.message for each in plan.notices]
    accepted = service.accept(ask.request, asker, dialect=DIALECT, key=key, allow_degraded=True)
    record = sdcpp.accepted_record(accepted.job, ask.output, sdcpp.PREFIX, ask.ignored, notices)
    headers = {"Location": str(record["poll_url"]), "X-Request-Id": accepted.job.id}
    return SafeJSON(record, 202, headers | header_fields({IGNORED: ask.ignored, NOTICES: notices}))


def _cancelled(service: Service, job_id: str, owner: str | None) -> JobRecord:
    """Cancels a job that waits or runs.

    Raises:
        UnknownJob: There is none.
        JobNotFinished: It has ended.
    """
    before = service.jobs.get(job_id, owner)
    after = before if before.state.ended else service.jobs.cancel(job_id, owner)
    if before.state.ended or after.state in (JobState.DONE, JobState.FAILED):
        raise JobNotFinished(
            f"The job {job_id} has ended.", why="Only a job that waits or runs is cancelled."
        )
    return after


def _said(service: Service, job: JobRecord, output: sdcpp.Output) -> Response:
    files: list[ImageData] = []
    if job.state is JobState.DONE:
        files = [_file(service.jobs.picture(job.id, each.index), output) for each in job.pictures]
    return SafeJSON(sdcpp.job_record(job, output, files))


def _file(original: ImageData, output: sdcpp.Output) -> ImageData:
    """A finished picture in the file type that was asked for."""
    if original.media_type == output.media_type:
        return original if output.metadata else anonymous(original)
    encoded = encoded_as(original, output.media_type, output.quality)
    return with_metadata_of(encoded, original) if output.metadata else encoded
