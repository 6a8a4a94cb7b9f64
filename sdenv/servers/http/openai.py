"""OpenAI's images API: `/v1/images/...`, `/v1/models`, and the addresses of finished pictures."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, final

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive

from sdenv.core.backend import BackendStatus
from sdenv.core.errors import Cancelled, InvalidRequest, Kind, SdenvError, UnknownJob, UnknownModel
from sdenv.core.image import ImageData
from sdenv.core.job_record import JobRecord, JobState
from sdenv.protocols import openai
from sdenv.protocols.headers import header_fields
from sdenv.servers.http.answers import picture_response
from sdenv.servers.http.context import Service
from sdenv.servers.http.file_links import FileLinks
from sdenv.servers.http.kept_failures import KeptFailures
from sdenv.servers.http.limits import limited
from sdenv.servers.http.openai_pictures import Pictures, PictureStream, picture_at, preview_every
from sdenv.servers.http.principal import principal_of
from sdenv.servers.http.settings import MAX_BODY_BYTES
from sdenv.servers.http.statuses import OPENAI, headers_of, status_of
from sdenv.servers.http.waiting import run_to_end

DIALECT: Final = "openai"
METHODS: Final = ["GET", "POST", "PUT", "PATCH", "DELETE"]
"""All of which an address that is not there is answered in this API's form; the guards answer OPTIONS."""
_STATUSES: Final = {"model-not-found": 404}
_COSTS_NOTHING: Final = frozenset({Kind.BUSY, Kind.UNAVAILABLE})
"""What may be tried again at once; anything else would compute the same failure again."""

_IMAGE_FIELD: Final = re.compile(r"image(\[\d*\])?")
_MOST: Final = 100
"""Fields of a form, and files; no client sends a tenth of it."""
PIECE_BYTES: Final = 2**16
"""Of a form, parsed in one go: a millisecond or two."""
_SECRET: Final = re.compile(r"([\w-]{16,64})\.(?:png|jpeg|webp)", re.ASCII)

Read = Callable[[Service, Request], Awaitable[openai.Wanted]]


def error_response(error: SdenvError) -> Response:
    """An error as this API says it, so that clients try again only what can succeed (OURS-6)."""
    return _said(error, status_of(error, OPENAI, _STATUSES))


def _said(error: SdenvError, status: int) -> Response:
    headers = headers_of(error)
    if error.kind not in _COSTS_NOTHING:
        headers["X-Should-Retry"] = "false"
    return JSONResponse(openai.error_body(error, status), status, headers)


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter()
    links = FileLinks()
    desk = _Desk(service, links)
    began = int(time.time())

    @routes.post(openai.GENERATIONS)
    async def generate(request: Request) -> Response:
        return await desk.answer(request, _generation)

    @routes.post(openai.EDITS)
    async def edit(request: Request) -> Response:
        return await desk.answer(request, _edit)

    @routes.post(openai.VARIATIONS)
    async def vary(request: Request) -> Response:
        return await desk.answer(request, _variation)

    @routes.get(openai.MODELS)
    async def models() -> Response:
        return JSONResponse(openai.models_answer(await _status(service), began))

    @routes.get(f"{openai.MODELS}/{{name:path}}")
    async def model(name: str) -> Response:
        if name not in {each.name for each in (await _status(service)).models}:
            raise UnknownModel(f"There is no model {name[:100]!r}.", hint=f"GET {openai.MODELS}")
        return JSONResponse(openai.model_record(name, began))

    @routes.get(f"{openai.FILES}/{{name}}")
    async def file(name: str) -> Response:
        secret = _SECRET.fullmatch(name)
        link = links.find(secret[1]) if secret else None
        if link is None:
            raise UnknownJob("There is no picture at this address.", why="It was there for an hour, if ever.")
        picture = await asyncio.to_thread(picture_at, service, link)
        return picture_response(picture, f"{link.job_id}-{link.index}{name[name.rindex('.') :]}")

    @routes.api_route(openai.PREFIX, methods=METHODS)
    @routes.api_route(f"{openai.PREFIX}/{{path:path}}", methods=METHODS)
    async def unknown(request: Request, path: str = "") -> Response:
        return _no_route(request.method, path)

    return routes


_CALLS: Final = ("images/generations", "images/edits", "images/variations")


def _allowed(path: str) -> str:
    return "OPTIONS, POST" if path in _CALLS else "GET, HEAD, OPTIONS"


def _no_route(method: str, path: str) -> Response:
    """A path that is not ours, or a method that a path does not have."""
    shown = f"{method} {openai.PREFIX}/{path[:100]}"
    if path in _CALLS or path.partition("/")[0] == "models":
        response = _said(InvalidRequest(f"This is not possible: {shown}."), 405)
        response.headers["Allow"] = _allowed(path)
        return response
    what = f"There is nothing at this address: {shown}."
    return _said(InvalidRequest(what, hint=f"Pictures: POST {openai.GENERATIONS}."), 404)


async def _status(service: Service) -> BackendStatus:
    status = await asyncio.to_thread(service.engine.status)
    return limited(status, service.settings.limits)


@final
class _Desk:
    """Takes requests for pictures and answers them."""

    def __init__(self, service: Service, links: FileLinks) -> None:
        self._service = service
        self._pictures = Pictures(service, links)
        self._failures = KeptFailures()

    async def answer(self, request: Request, read: Read) -> Response:
        """From the body to the pictures.

        Raises:
            SdenvError: It is refused, or has failed.
        """
        key = await self._key(request)
        if (failure := self._failures.find(key)) is not None:
            return error_response(failure)
        wanted = await read(self._service, request)
        status = await _status(self._service)
        exact = request.headers.get(openai.EXACT_HEADER, "").casefold() == "true"
        if exact or self._service.settings.strict_models:
            status.model(wanted.request.model)
        if wanted.stream:
            self._service.streams.check(principal_of(request))  # before there is a job that nobody watches
        accepted = await asyncio.to_thread(
            self._service.accept,
            wanted.request,
            principal_of(request),
            dialect=DIALECT,
            durable=False,
            allow_degraded=not exact,
            preview_every=preview_every(wanted, status),
        )
        if wanted.stream:
            headers = _headers(wanted, status, accepted.job)
            return PictureStream(self._service, request, wanted, accepted.job, self._pictures, headers)
        job = await run_to_end(self._service, request, accepted)
        if job.state is not JobState.DONE:
            error = job.error or Cancelled()
            self._failures.keep(key, error)
            raise error
        body = await self._pictures.answer(request, wanted, job)
        return Response(body, headers=_headers(wanted, status, job), media_type="application/json")

    async def _key(self, request: Request) -> str:
        host = request.client.host if request.client else ""
        peer = f"{principal_of(request).name}\0{host}"
        body = await request.body()
        # In a thread: the sum of a large form would keep everybody else waiting.
        return await asyncio.to_thread(KeptFailures.key, peer, request.url.path, body)


def _headers(wanted: openai.Wanted, status: BackendStatus, job: JobRecord) -> dict[str, str]:
    """What was changed, for those who look: the model, what had no effect, what else there is to know."""
    texts = {
        "X-Request-Id": (job.id,),  # what clients log
        openai.MODEL_HEADER: (_model_name(wanted, status, job),),
        openai.IGNORED_HEADER: wanted.ignored,
        openai.NOTICE_HEADER: [f"{each.code}: {each.message}" for each in job.notices],
    }
    return header_fields(texts, {openai.NOTICE_HEADER: "; "})


def _model_name(wanted: openai.Wanted, status: BackendStatus, job: JobRecord) -> str:
    if job.resolved is not None:
        return str(job.resolved["model"])
    try:
        model = status.model(wanted.request.model)
    except UnknownModel:
        model = status.model(None)
    return model.name if model else wanted.request.model or ""


# Bodies


async def _generation(_: Service, request: Request) -> openai.Wanted:
    return openai.wanted_generation(await _json(request))


async def _edit(service: Service, request: Request) -> openai.Wanted:
    if not _is_form(request):
        return await service.decoded(partial(openai.wanted_edit, await _json(request)))
    values, images, mask = await _form(request)
    return await service.decoded(partial(openai.wanted_edit, values, images, mask))


async def _variation(service: Service, request: Request) -> openai.Wanted:
    if not _is_form(request):
        raise InvalidRequest("This call wants a form.", why=f"It came as {_content_type(request)!r}.")
    values, images, mask = await _form(request)
    if mask is not None:
        values["mask"] = "(a file)"
    return await service.decoded(partial(openai.wanted_variation, values, images))


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().casefold()[:100]


def _is_form(request: Request) -> bool:
    return _content_type(request) in ("multipart/form-data", "application/x-www-form-urlencoded")


async def _json(request: Request) -> dict[str, Any]:
    """The JSON object of a body; no other type is taken for it, since web pages can send those unasked."""
    content_type = _content_type(request)
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise InvalidRequest(
            "The body must be JSON.",
            why=f"It came as {content_type!r}.",
            hint="Send the header Content-Type: application/json.",
        )
    return await asyncio.to_thread(openai.json_object, await request.body())


def _in_pieces(body: bytes) -> Receive:
    """A body that is there, a little at a time: between two pieces the loop answers others."""
    starts = iter(range(0, max(1, len(body)), PIECE_BYTES))

    async def receive() -> Message:
        await asyncio.sleep(0)
        start = next(starts)
        piece = body[start : start + PIECE_BYTES]
        return {"type": "http.request", "body": piece, "more_body": start + PIECE_BYTES < len(body)}

    return receive


async def _form(request: Request) -> tuple[dict[str, Any], list[ImageData], ImageData | None]:
    """The plain fields of a form, the pictures to edit, and the mask.

    Raises:
        InvalidRequest: The form cannot be read.
        BadImage: A file is not a picture.
    """
    values: dict[str, Any] = {}
    images: list[ImageData] = []
    mask: ImageData | None = None
    form_request = Request(request.scope, _in_pieces(await request.body()))
    try:
        async with form_request.form(max_files=_MOST, max_fields=_MOST, max_part_size=MAX_BODY_BYTES) as form:
            for name, value in form.multi_items():
                if not isinstance(value, UploadFile):
                    values[name] = value
                    continue
                data = await value.read()
                if not data and not value.filename:
                    continue  # how a browser sends a field in which no file was chosen
                if _IMAGE_FIELD.fullmatch(name):
                    images.append(ImageData.from_bytes(data, "image"))
                elif name == "mask":
                    mask = ImageData.from_bytes(data, "mask")
                else:
                    values[name] = "(a file)"
    except HTTPException as error:
        raise InvalidRequest("The form cannot be read.", why=f"{error.detail}.") from error
    return values, images, mask
