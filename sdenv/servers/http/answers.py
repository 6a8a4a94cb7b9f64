"""Answers of sdenv's own API: JSON, errors, pictures; and what its OpenAPI document says of them."""

import io
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from sdenv.core.errors import BadImage, FailedError, SdenvError
from sdenv.core.image import JPEG, PNG, WEBP, ImageData, decode, size_of
from sdenv.protocols.containers import anonymous
from sdenv.protocols.native import error_record
from sdenv.servers.http.statuses import NATIVE, headers_of, status_of

FORMATS: Final[Mapping[str, str]] = {"png": PNG, "jpeg": JPEG, "webp": WEBP}
"""The media type of each picture format that can be asked for."""

_QUALITY: Final = 92  # JPEG and WebP: no difference that one sees, at a tenth of the size

_MEANINGS: Final[Mapping[int, str]] = {
    400: "The backend cannot do it, or it failed and would fail again.",
    401: "The token is missing or wrong.",
    403: "A web page of another origin, or a name that is not this server's.",
    404: "There is no such job or picture, or it belongs to another token.",
    408: "The body did not come in time.",
    409: "Not yet: the job has not come so far.",
    413: "The body is too large.",
    422: "The request is not valid.",
    429: "The queue is full, or the token has too many streams; Retry-After says when to come back.",
    500: "It failed, and may go well the next time.",
    503: "The server is about to end, or its backend is not there.",
}
_ERROR_CONTENT: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
ALWAYS: Final = (401, 403)
"""What the guards answer on any route."""
WITH_BODY: Final = (408, 413, 422, 429)
"""What the guards answer where there is a body."""


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: these statuses and those of the guards, all with an error as body."""
    return {
        status: {"description": _MEANINGS[status], "content": _ERROR_CONTENT}
        for status in sorted({*ALWAYS, *statuses})
    }


def is_a(model: type[BaseModel], *other_types: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that answers 200 with such an object, or in one of other media types."""
    described: dict[str, Any] = {"model": model, "description": (model.__doc__ or "").partition("\n")[0]}
    if other_types:
        described["content"] = {media_type: {} for media_type in other_types}
    return {200: described}


def error_response(error: SdenvError) -> Response:
    """An error as this API says it."""
    return JSONResponse({"error": error_record(error)}, status_of(error, NATIVE), headers_of(error))


def picture_response(picture: ImageData, file_name: str) -> Response:
    """An encoded picture, which a browser shows and never runs.

    Args:
        picture: What is sent.
        file_name: What it is called when it is saved: ASCII, no quotes.
    """
    headers = {
        "Content-Disposition": f'inline; filename="{file_name}"',
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    return Response(picture.data, media_type=picture.media_type, headers=headers)


def converted(
    picture: ImageData, media_type: str | None, *, metadata: bool, max_side_px: int | None = None
) -> ImageData:
    """The picture in another format or smaller, with or without how it was made inside.

    Args:
        picture: The file as it is kept, metadata inside.
        media_type: The format; None = as it is.
        max_side_px: Shrunk to this longer side; None = as it is.
        metadata: Whether how it was made stays inside. A picture in another format has it as far as that
            format can carry it.
    """
    from sdenv.services.metadata import with_metadata_of

    shrinks = max_side_px is not None and max(size_of(picture)) > max_side_px
    if shrinks or media_type not in (None, picture.media_type):
        encoded = encoded_as(picture, media_type or picture.media_type, max_side_px)
        return with_metadata_of(encoded, picture) if metadata else encoded
    return picture if metadata else anonymous(picture)


def encoded_as(picture: ImageData, media_type: str, max_side_px: int | None = None) -> ImageData:
    """The pixels in another format, shrunk to a longer side where one is given.

    Raises:
        FailedError: The file is damaged; it is ours, and no fault of who asks for it.
    """
    try:
        opened = decode(picture)
    except BadImage as error:
        raise FailedError("The file of the picture is damaged.") from error
    if max_side_px is not None:
        opened.thumbnail((max_side_px, max_side_px))  # the quick filters of Pillow; never enlarges
    buffer = io.BytesIO()
    if media_type == PNG:
        opened.save(buffer, format="PNG", compress_level=1)
    elif media_type == JPEG:
        opened.convert("RGB").save(buffer, format="JPEG", quality=_QUALITY)
    else:
        opened.save(buffer, format="WEBP", quality=_QUALITY)
    return ImageData(data=buffer.getvalue(), media_type=media_type)
