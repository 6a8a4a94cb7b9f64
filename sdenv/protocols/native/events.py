"""Requests, events and results as JSON; an event is written by `core.events.event_record`."""

import base64
import json
import math
from types import MappingProxyType
from typing import Any

from sdenv.core.events import (
    BytesMoved,
    Event,
    Measured,
    Notice,
    PhaseStarted,
    PictureReady,
    PreviewReady,
    RequestResolved,
    StepDone,
)
from sdenv.core.image import ImageData
from sdenv.core.request import GenerationRequest, ResolvedRequest
from sdenv.core.result import GenerationResult
from sdenv.protocols.native.reading import Record, optional, reading, texts


def request_record(request: GenerationRequest) -> dict[str, Any]:
    """The fields that were said, pictures as base64; read back by `core.request.parse_request_json`."""
    return request.model_dump(mode="json", include=set(request.said()))


def picture_of(record: Record) -> ImageData:
    """The picture inside an event record that was written with pictures."""
    data = base64.b64decode(record["picture"], validate=True)
    return ImageData(data=data, media_type=str(record["media_type"]))


def event_of(record: Record) -> Event:
    """The event that `core.events.event_record` has written, pictures included.

    Raises:
        PeerBrokeProtocol: It is not such a record. An unknown type becomes a Notice: a newer peer may say
            more than we know of.
    """
    return reading("an event", lambda: _event_of(record))


def _event_of(record: Record) -> Event:
    match record["type"]:
        case "phase-started":
            return PhaseStarted(str(record["phase"]))
        case "request-resolved":
            resolved = ResolvedRequest.model_validate_json(json.dumps(record["resolved"]))
            made_with = MappingProxyType(texts(record["made_with"]))
            return RequestResolved(resolved, str(record["model_hash"]), made_with)
        case "step-done":
            return StepDone(int(record["step"]), int(record["total"]), int(record["index"]))
        case "preview-ready":
            return PreviewReady(int(record["step"]), int(record["index"]), picture_of(record))
        case "bytes-moved":
            return BytesMoved(str(record["what"]), int(record["done"]), optional(int, record["total"]))
        case "picture-ready":
            return PictureReady(int(record["index"]), picture_of(record), int(record["seed"]))
        case "measured":
            return Measured(int(record["step"]), {str(k): _number(v) for k, v in record["values"].items()})
        case "notice":
            return Notice(str(record["code"]), str(record["message"]))
    return Notice("unknown-event", f"The other side reported {str(record['type'])[:60]!r}.")


def _number(value: Any) -> float:
    """A measured number; null stands for those that JSON has no word for."""
    return math.nan if value is None else float(value)


def result_record(result: GenerationResult) -> dict[str, Any]:
    """The result without its pictures, which were sent when each was ready."""
    return result.model_dump(mode="json", exclude={"images"})


def result_of(record: Record, images: tuple[ImageData, ...]) -> GenerationResult:
    """From JSON, with the pictures that were sent before.

    Raises:
        PeerBrokeProtocol: It is not a result record.
    """
    result: GenerationResult = reading(
        "a result", lambda: GenerationResult.model_validate_json(json.dumps({**record, "images": []}))
    )
    return result.model_copy(update={"images": images})
