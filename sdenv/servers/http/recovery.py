"""How a picture was made, read out of it: for a page or script that has the file and no reader of its own."""

import asyncio
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from sdenv.protocols.native import NATIVE_VERSION, PREFIX
from sdenv.servers.http import schemas
from sdenv.servers.http.answers import FORMATS, WITH_BODY, errors, is_a

_FILE: Final = {"schema": {"type": "string", "format": "binary"}}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The file; its type is told from its first bytes.",
        "content": dict.fromkeys(FORMATS.values(), _FILE),
    }
}


def router() -> APIRouter:
    """The route `POST /sdenv/v1/metadata`."""
    routes = APIRouter(prefix=PREFIX, tags=["pictures"])

    @routes.post(
        "/metadata",
        openapi_extra=_BODY,
        responses={**is_a(schemas.Recovered), **errors(*WITH_BODY, 503)},
    )
    async def metadata(request: Request) -> Response:
        """How a picture was made: by sdenv, AUTOMATIC1111, ComfyUI and others. Nothing is kept."""
        return JSONResponse(await asyncio.to_thread(_recovered, await request.body()))

    return routes


def _recovered(data: bytes) -> dict[str, Any]:
    from sdenv.services.metadata import read_metadata

    found = read_metadata(data)
    return {
        "v": NATIVE_VERSION,
        "request": found.request.model_dump(mode="json", include=set(found.request.said())),
        "source": found.source,
        "index": found.index,
        "seed": found.seed,
        "missing": [{"field": each.field, "sha256": each.sha256} for each in found.missing],
        "backend": found.backend,
        "version": found.version,
    }
