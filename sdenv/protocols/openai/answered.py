"""What a server of the images API answers: pictures, stream events, models."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sdenv.core.backend import BackendStatus
from sdenv.core.errors import SdenvError
from sdenv.core.image import ImageData
from sdenv.core.job_record import JobRecord
from sdenv.protocols.inline import as_base64
from sdenv.protocols.native import status_record
from sdenv.protocols.openai.asked import Wanted
from sdenv.protocols.openai.faults import error_body
from sdenv.protocols.openai.words import EXTENSION

OWNER: Final = "sdenv"
KEEP_ALIVE: Final = b": keep-alive\n\n"
"""A comment, which every client skips (OURS-5)."""

_NO_USAGE: Final[Mapping[str, Any]] = {
    "total_tokens": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
}
"""Nothing is counted here, but events without it are not valid."""


@dataclass(frozen=True, slots=True)
class Finished:
    """One finished picture as it is answered.

    Attributes:
        picture: The file, in the type that was asked for.
        seed: Its seed.
        size: Width and height in pixels.
        index: Which of the pictures it is, from 0.
        url: Where it can be fetched; "" = nowhere.
    """

    picture: ImageData
    seed: int
    size: tuple[int, int]
    index: int = 0
    url: str = ""


def size_text(size: tuple[int, int]) -> str:
    """A size in the words of this API."""
    return f"{size[0]}x{size[1]}"


def facts_of(job: JobRecord) -> dict[str, Any]:
    """What sdenv says more than this API has words for: how it was really made."""
    return {
        "job": job.id,
        "backend": job.backend,
        "model_hash": job.model_hash,
        "made_with": dict(job.made_with),
        "resolved": None if job.resolved is None else dict(job.resolved),
        "notices": [asdict(notice) for notice in job.notices],
        "seconds": job.seconds,
    }


def images_answer(
    wanted: Wanted, pictures: Sequence[Finished], created: int, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The body of an answer that is no stream.

    Args:
        wanted: What the client wants.
        pictures: All of them, in order.
        created: When: seconds since 1970.
        facts: From `facts_of`.
    """
    return {
        "created": created,
        "background": "opaque",
        "output_format": wanted.output_format,
        "size": size_text(pictures[0].size) if pictures else "auto",
        "data": [_datum(wanted, each) for each in pictures],
        EXTENSION: dict(facts),
    }


def images_body(
    wanted: Wanted, pictures: Sequence[Finished], created: int, facts: Mapping[str, Any]
) -> bytes:
    """As `images_answer`, as JSON: megabytes, so best not written in an event loop."""
    return json.dumps(images_answer(wanted, pictures, created, facts), allow_nan=False).encode()


def _datum(wanted: Wanted, finished: Finished) -> dict[str, Any]:
    """One picture: both forms if the client did not say which it reads (OURS-4); its seed (OURS-17)."""
    found: dict[str, Any] = {}
    if wanted.with_base64:
        found["b64_json"] = as_base64(finished.picture)
    if wanted.with_url:
        found["url"] = finished.url
    return {**found, "seed": finished.seed}


def partial_event(
    wanted: Wanted,
    picture: ImageData,
    *,
    size: tuple[int, int],
    number: int,
    created: int,
    index: int,
    step: int,
) -> bytes:
    """A picture on the way.

    Args:
        wanted: What the client wants.
        picture: In the type that was asked for.
        size: Of the finished picture.
        number: How many of this picture were sent before.
        created: When: seconds since 1970.
        index: Of the picture; `partial_image_index` counts what was sent of each.
        step: After how many steps; sdenv's own word.
    """
    name = f"{wanted.call.value}.partial_image"
    own = {"partial_image_index": number, EXTENSION: {"index": index, "step": step}}
    return event(name, {**_event_fields(wanted, picture, size, created), **own})


def completed_event(wanted: Wanted, finished: Finished, created: int, facts: Mapping[str, Any]) -> bytes:
    """A finished picture; one event for each, also for n > 1 (what OpenAI sends then is UNVERIFIED).

    Args:
        wanted: What the client wants.
        finished: The picture.
        created: When: seconds since 1970.
        facts: From `facts_of`.
    """
    name = f"{wanted.call.value}.completed"
    own = {
        "usage": dict(_NO_USAGE),
        "seed": finished.seed,
        EXTENSION: {**facts, "index": finished.index},
    }
    return event(name, {**_event_fields(wanted, finished.picture, finished.size, created), **own})


def error_event(error: SdenvError) -> bytes:
    """An error after a stream has begun, which clients raise and do not repeat."""
    return _event("error", error_body(error, status=0))


def event(name: str, fields: Mapping[str, Any]) -> bytes:
    """An event, whose `type` repeats its name."""
    return _event(name, {"type": name, **fields})


def _event(name: str, values: Mapping[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(values, allow_nan=False)}\n\n".encode()


def _event_fields(wanted: Wanted, picture: ImageData, size: tuple[int, int], created: int) -> dict[str, Any]:
    return {
        "b64_json": as_base64(picture),
        "created_at": created,
        "size": size_text(size),
        "quality": "auto",
        "background": "opaque",
        "output_format": wanted.output_format,
    }


def model_record(name: str, created: int) -> dict[str, Any]:
    """A model.

    Args:
        name: What clients send as `model`.
        created: When: seconds since 1970; clients only sort by it.
    """
    return {"id": name, "object": "model", "created": created, "owned_by": OWNER}


def models_answer(status: BackendStatus, created: int) -> dict[str, Any]:
    """The body of `GET /v1/models`; what the backend says of itself goes with it, for sdenv's own client."""
    models = [model_record(model.name, created) for model in status.models]
    return {"object": "list", "data": models, EXTENSION: status_record(status)}
