"""sdenv's own API: jobs that are never lost, their events as they happen, their pictures."""

import asyncio
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from sdenv.core.errors import JobNotFinished, SdenvError, UnknownJob
from sdenv.core.job_record import JobRecord, JobState
from sdenv.core.request import MAX_COUNT, MAX_SIDE_PX, invalid_request
from sdenv.protocols.native import NATIVE_VERSION, PREFIX, job_record, request_record
from sdenv.servers.http import schemas
from sdenv.servers.http.answers import FORMATS, WITH_BODY, converted, errors, is_a, picture_response
from sdenv.servers.http.context import Service
from sdenv.servers.http.principal import Principal, principal_of
from sdenv.servers.http.streaming import MEDIA_TYPE, EventStream, replayed
from sdenv.services.jobs import Accepted, JobQuery

MAX_KEY_CHARACTERS: Final = 255
MAX_PAGE: Final = 500

JobId = Annotated[str, Path(pattern=schemas.ULID_PATTERN, description="Id of the job, a ULID.")]
Index = Annotated[int, Path(ge=0, lt=MAX_COUNT, description="Which of the job's pictures, from 0.")]
EVENT_ID_PATTERN: Final = r"^(\d{1,9}-\d{1,9})?$"

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Submission"}}},
    }
}
_LOCATION: Final = {"Location": {"description": "Path of the job.", "schema": {"type": "string"}}}


def router(service: Service) -> APIRouter:
    """The routes below `/sdenv/v1/jobs`."""
    routes = APIRouter(prefix=f"{PREFIX}/jobs", tags=["jobs"])
    _add_asking(routes, service)
    _add_looking(routes, service)
    _add_results(routes, service)
    return routes


def _add_asking(routes: APIRouter, service: Service) -> None:
    @routes.post(
        "",
        status_code=202,
        openapi_extra=_BODY,
        responses={
            202: {"model": schemas.Job, "description": "Accepted: it is on the disk.", "headers": _LOCATION},
            200: {"model": schemas.Job, "description": "The key is known: this is its job."},
            **errors(400, *WITH_BODY, 500, 503),
        },
    )
    async def submit(
        request: Request,
        idempotency_key: Annotated[
            str | None,
            Header(min_length=1, max_length=MAX_KEY_CHARACTERS, description="The same key: the same job."),
        ] = None,
    ) -> Response:
        """Queue a request. It is never lost once this has answered."""
        body, asker = await request.body(), principal_of(request)
        accepted = await asyncio.to_thread(_accept, service, body, asker, idempotency_key)
        headers = {"Location": f"{PREFIX}/jobs/{accepted.job.id}"}
        return JSONResponse(job_record(accepted.job), 202 if accepted.is_new else 200, headers)

    @routes.post("/{job_id}/cancel", responses={**is_a(schemas.Job), **errors(404, 422)})
    def cancel(request: Request, job_id: JobId) -> Response:
        """Cancel a job: now if it waits, at its next step if it runs. One that has ended stays as it is."""
        return _job(service.jobs.cancel(job_id, principal_of(request).owner))

    @routes.delete("/{job_id}", status_code=204, response_class=Response, responses=errors(404, 409, 422))
    def remove(request: Request, job_id: JobId) -> Response:
        """Remove a job that has ended, with its pictures."""
        service.jobs.remove(job_id, principal_of(request).owner)
        return Response(status_code=204)


def _accept(service: Service, body: bytes, asker: Principal, key: str | None) -> Accepted:
    try:
        wanted = schemas.Submission.model_validate_json(body)
    except ValidationError as error:
        raise invalid_request(error) from error
    return service.accept(
        wanted.request,
        asker,
        dialect="native",
        priority=wanted.priority,
        durable=wanted.durable,
        key=key,
        allow_degraded=wanted.allow_degraded,
        preview_every=wanted.preview_every,
    )


def _add_looking(routes: APIRouter, service: Service) -> None:
    @routes.get("", responses={**is_a(schemas.JobList), **errors(404, 422)})
    def find(
        request: Request,
        state: Annotated[
            list[JobState] | None, Query(description="Only these; several are possible.")
        ] = None,
        text: Annotated[str, Query(max_length=1000, description="Words of the prompts.")] = "",
        id_part: Annotated[str, Query(max_length=26, description="How its id begins or ends.")] = "",
        dialect: Annotated[str, Query(max_length=100, description="How it was asked for.")] = "",
        model: Annotated[str, Query(max_length=1024, description="Only of this model.")] = "",
        before: Annotated[
            str | None, Query(pattern=schemas.ULID_PATTERN, description="`next` of the page before.")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Most jobs on the page.")] = 50,
    ) -> Response:
        """List and search jobs, newest first."""
        page = service.jobs.find(
            JobQuery(
                states=frozenset(state or ()),
                text=text,
                id_part=id_part,
                dialect=dialect,
                model=model,
                owner=principal_of(request).owner,
                before=before,
                limit=limit,
            )
        )
        jobs = [job_record(job) for job in page.jobs]
        return JSONResponse({"v": NATIVE_VERSION, "jobs": jobs, "next": page.next})

    @routes.get("/{job_id}", responses={**is_a(schemas.Job), **errors(404, 422)})
    def get(request: Request, job_id: JobId) -> Response:
        """A job as it is now."""
        return _job(service.jobs.get(job_id, principal_of(request).owner))

    @routes.get(
        "/{job_id}/request",
        responses={200: {"model": dict[str, Any], "description": "The request."}, **errors(404, 422)},
    )
    def request_of(request: Request, job_id: JobId) -> Response:
        """What was asked for, complete, pictures as base64."""
        return JSONResponse(request_record(service.jobs.request_of(job_id, principal_of(request).owner)))

    _add_events(routes, service)


def _add_events(routes: APIRouter, service: Service) -> None:
    stream_schema = {MEDIA_TYPE: {"schema": schemas.SentEvent.model_json_schema()}}

    @routes.get(
        "/{job_id}/events",
        response_class=Response,
        responses={
            200: {"description": "Server-sent events.", "content": stream_schema},
            204: {"description": "Nothing comes after that event: the job has ended."},
            **errors(404, 422, 429),
        },
    )
    async def events(
        request: Request,
        job_id: JobId,
        after: Annotated[
            str, Query(pattern=EVENT_ID_PATTERN, description="Only what comes after this event.")
        ] = "",
        previews: Annotated[bool, Query(description="Previews inside, as base64.")] = False,
        last_event_id: Annotated[
            str, Header(pattern=EVENT_ID_PATTERN, description="As `after`; browsers send it.")
        ] = "",
    ) -> Response:
        """What happens to a job, from its start or from an event on, until it has ended."""
        asker = principal_of(request)
        owner = asker.owner
        job = await asyncio.to_thread(service.jobs.get, job_id, owner)
        resumed = last_event_id or after or None
        found = service.jobs.watch(job_id, resumed, owner)
        if job.state.ended and resumed is not None:
            if not (rest := [event async for event in found]):
                return Response(status_code=204)  # what tells an EventSource not to come back
            found = replayed(rest)
        return EventStream(service, job_id, asker, found, previews=previews)


def _add_results(routes: APIRouter, service: Service) -> None:
    picture_content: dict[str, Any] = {media_type: {} for media_type in FORMATS.values()}
    is_picture: dict[int | str, dict[str, Any]] = {
        200: {"description": "The picture.", "content": picture_content}
    }

    @routes.get(
        "/{job_id}/pictures/{index}",
        response_class=Response,
        responses={**is_picture, **errors(404, 409, 422, 500)},
    )
    def picture(
        request: Request,
        job_id: JobId,
        index: Index,
        format: Annotated[
            Literal["png", "jpeg", "webp"] | None, Query(description="Default: as it was made.")
        ] = None,
        metadata: Annotated[bool, Query(description="How it was made inside the file.")] = True,
        max_side_px: Annotated[
            int | None,
            Query(ge=16, le=MAX_SIDE_PX, description="Shrunk to this longer side."),
        ] = None,
    ) -> Response:
        """A finished picture; there is one as soon as it is finished, also while those after it are made."""
        kept = service.jobs.picture(job_id, index, principal_of(request).owner)
        wanted = converted(
            kept, None if format is None else FORMATS[format], metadata=metadata, max_side_px=max_side_px
        )
        return picture_response(wanted, f"{job_id}-{index}.{wanted.media_type.partition('/')[2]}")

    @routes.get(
        "/{job_id}/preview", response_class=Response, responses={**is_picture, **errors(404, 409, 422)}
    )
    def preview(request: Request, job_id: JobId) -> Response:
        """The newest preview of a job that runs, where it was queued with `preview_every`."""
        job = service.jobs.get(job_id, principal_of(request).owner)
        newest = service.jobs.preview(job_id)
        if newest is None:
            raise _no_preview(job)
        return Response(newest.picture.data, media_type=newest.picture.media_type)


def _no_preview(job: JobRecord) -> SdenvError:
    what = f"The job {job.id} has no preview."
    if job.state.ended:
        return UnknownJob(what, why="It has ended; previews are not kept.")
    return JobNotFinished(
        f"{what[:-1]} yet.", hint="Previews are made when a job is queued with preview_every."
    )


def _job(job: JobRecord) -> Response:
    return JSONResponse(job_record(job))
