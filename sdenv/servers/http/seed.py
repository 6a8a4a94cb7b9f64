"""The seed dialect: `/server/status` and `/image/generate`, as the server that sdenv comes from has them.

Its clients find what they know; what they do not know is added beside it: fields of the request, the seed of
a picture, paging, removal, the true state of a job. The jobs are ordinary ones, durable, in the one queue.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any, Final, final
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse, Response, StreamingResponse
from ulid import ULID

from sdenv.core.errors import Busy, SdenvError, UnknownJob
from sdenv.core.job_record import JobRecord
from sdenv.core.request import GenerationRequest
from sdenv.protocols import seed
from sdenv.protocols.headers import header_fields
from sdenv.servers.http.context import Service
from sdenv.servers.http.principal import Principal, principal_of
from sdenv.servers.http.safe_json import MAX_FAULTS, SafeJSON, shortened
from sdenv.servers.http.seed_results import SeedResults
from sdenv.servers.http.statuses import NATIVE, headers_of, status_of

DIALECT: Final = "seed"
PREFIXES: Final = ("/server", "/image")
IGNORED: Final = "X-Sdenv-Ignored"
NOTICES: Final = "X-Sdenv-Notice"


class GenerateBody(BaseModel):
    """The body of a request; further fields are read by `protocols.seed`."""

    model_config = ConfigDict(extra="allow")

    prompt: str
    dry_run: bool = False


def error_response(error: SdenvError) -> Response:
    """An error as this dialect says it: `detail` is a text, or a list where the status is 422."""
    status = status_of(error, NATIVE)
    detail: Any = seed.BUSY if isinstance(error, Busy) else f"{error} ({error.code})"
    if status == 422:
        detail = [{"type": error.code, "loc": ["body"], "msg": str(error)}]
    return SafeJSON({"detail": detail}, status, headers_of(error))


def invalid_response(error: RequestValidationError) -> Response:
    """FastAPI's own form, as the original answers; what came is shown in it, cut short."""
    return SafeJSON({"detail": [_plain(each) for each in error.errors()[:MAX_FAULTS]]}, 422)


def _plain(fault: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {name: fault[name] for name in ("type", "loc", "msg", "input") if name in fault}
    if context := fault.get("ctx"):
        shown["ctx"] = {name: str(value) for name, value in context.items()}
    return {name: shortened(value) for name, value in shown.items()}


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter()
    desk = _Desk(service)

    @routes.get("/server/status")
    def status() -> Response:
        return JSONResponse(seed.status_record(desk.is_available()))

    @routes.post("/image/generate")
    async def generate(
        request: Request,
        body: GenerateBody,
        idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
    ) -> Response:
        return await desk.accept(body, principal_of(request), idempotency_key)

    @routes.get("/image/generate")
    async def results(
        request: Request,
        generation_uuid: UUID | None = None,
        limit: Annotated[int | None, Query(ge=0)] = None,
        offset: Annotated[int, Query(ge=0)] = 0,
        data: bool = True,
    ) -> Response:
        desk.results.begin()
        owner = principal_of(request).owner
        if generation_uuid is not None:
            found = await asyncio.to_thread(desk.results.find, generation_uuid, owner)
            return JSONResponse([seed.result_record(each, with_data=data) for each in found])
        uuids = await asyncio.to_thread(desk.results.uuids, owner)
        page = uuids[offset:] if limit is None else uuids[offset : offset + limit]
        return StreamingResponse(_array(desk.results, page, owner, data), media_type="application/json")

    @routes.delete("/image/generate")
    async def remove(request: Request, generation_uuid: UUID) -> Response:
        removed = await asyncio.to_thread(desk.results.remove, generation_uuid, principal_of(request).owner)
        return JSONResponse({"deleted": removed})

    @routes.get("/image/state")
    async def state(request: Request, generation_uuid: UUID) -> Response:
        owner = principal_of(request).owner
        return JSONResponse(await asyncio.to_thread(desk.state, generation_uuid, owner))

    return routes


async def _array(
    results: SeedResults, uuids: tuple[UUID, ...], owner: str | None, with_data: bool
) -> AsyncIterator[bytes]:
    """A JSON array, one picture in memory at a time."""
    separator = b"["
    for uuid in uuids:
        for each in await asyncio.to_thread(results.find, uuid, owner):
            yield separator + json.dumps(seed.result_record(each, with_data=with_data)).encode()
            separator = b","
    yield b"[]" if separator == b"[" else b"]"


@final
class _Desk:
    """Takes requests and tells what has become of them."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.results = SeedResults(service)
        self._accepting = threading.Lock()  # so that of two at once only one finds the server free

    def is_available(self) -> bool:
        """Whether a request would be accepted now.

        Without a queue that was asked for, one job at a time for each that the backend can do: its clients
        have no other way to see how long they would wait.
        """
        if self._service.lifetime.draining:
            return False
        counts = self._service.jobs.counts()
        concurrency = self._service.engine.status().capabilities.concurrency
        return counts.queued + counts.running < (self._service.settings.queue_size or 0) + concurrency

    async def accept(self, body: GenerateBody, asker: Principal, key: str | None) -> Response:
        """Accepts a request, or answers that it is busy."""
        self.results.begin()
        ask = await asyncio.to_thread(seed.ask_of, body.model_dump())
        headers = header_fields({IGNORED: ask.ignored})
        if ask.dry_run:
            uuid = await asyncio.to_thread(self._dry_run, ask.request.prompt, asker)
            return JSONResponse(seed.accepted_record([uuid]), headers=headers)
        job, notices = await asyncio.to_thread(self._accepted, ask.request, asker, key)
        self.results.keep_when_ended(job.id)
        headers |= header_fields({NOTICES: notices})
        uuids = [seed.uuid_of(job.id, index) for index in range(seed.count_of(job))]
        return JSONResponse(seed.accepted_record(uuids), headers=headers)

    def _accepted(
        self, request: GenerationRequest, asker: Principal, key: str | None
    ) -> tuple[JobRecord, tuple[str, ...]]:
        """The job, and what is changed in it."""
        sized = self._sized(request)
        plan = self._service.engine.admit(sized, allow_degraded=True)
        with self._accepting:
            if key is None or not self._service.jobs.knows_key(asker.name, key):
                self._check_available()
            accepted = self._service.accept(
                sized, asker, dialect=DIALECT, durable=True, key=key, allow_degraded=True
            )
        return accepted.job, tuple(each.message for each in plan.notices)

    def _check_available(self) -> None:
        if not self.is_available():
            raise Busy(seed.BUSY, retry_after_s=float(self._service.jobs.retry_after_s()))

    def _sized(self, request: GenerationRequest) -> GenerationRequest:
        """With the size that this machine is set to, where neither the request nor the model says one."""
        side_px = self._service.settings.seed_side_px
        if side_px is None or request.width is not None or request.height is not None:
            return request
        models = self._service.engine.status().models
        model = next((each for each in models if request.model in (None, each.name)), None)
        if model is not None and model.size.native:
            return request
        width, height = (side_px, side_px) if model is None else model.size.nearest(side_px, side_px)
        return request.model_copy(update={"width": width, "height": height})

    def _dry_run(self, prompt: str, asker: Principal) -> UUID:
        """A result that is there at once, whose data is no picture.

        UNVERIFIED: that the original answers 429 to a dry run while it is busy, as it does to any other.
        """
        self._check_available()
        uuid = seed.uuid_of(str(ULID()))
        result = seed.Result(uuid, prompt, b"deadbeef", datetime.now(UTC))
        self.results.backups.add([result], asker.name if asker.owner is not None else "")
        return uuid

    def state(self, uuid: UUID, owner: str | None) -> dict[str, Any]:
        """What the array of results cannot say: whether a job waits, runs, or was never heard of.

        Raises:
            UnknownJob: It was never heard of, or is no longer known.
        """
        job_id, index = seed.picture_of(uuid)
        try:
            job = self._service.jobs.get(job_id, owner)
        except UnknownJob:
            if self.results.backups.find(uuid, owner) is None:
                raise
            return {"generation_uuid": str(uuid), "state": "done", "job": None, "index": 0}
        if index >= seed.count_of(job):
            raise UnknownJob(f"The job {job_id} has no picture {index}.")
        return {
            "generation_uuid": str(uuid),
            "state": job.state.value,
            "job": job.id,
            "index": index,
            "position": job.position,
            "fraction": job.fraction,
        }
