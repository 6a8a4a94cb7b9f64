"""sdenv's own wire format: requests, events, jobs, errors and capabilities as JSON, in both directions.

Spoken over HTTP (`/sdenv/v1`), over the unix socket of a warm server, and over the pipe between a server and
the child process that holds the model. An event is written by `core.events.event_record`.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError

from sdenv.core.backend import BackendStatus, ModelInfo
from sdenv.core.capabilities import EVERYTHING, Capabilities, SizeRule
from sdenv.core.errors import InternalError, Kind, PeerBrokeProtocol, SdenvError, all_error_types
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
from sdenv.core.job_record import JobRecord, JobState, PictureRecord
from sdenv.core.request import GenerationRequest, ResolvedRequest, Task
from sdenv.core.result import GenerationResult

NATIVE_VERSION: Final = 1
PREFIX: Final = "/sdenv/v1"
CARRIES: Final = EVERYTHING
"""Every field of the request."""

Record = Mapping[str, Any]


def _reading(what: str, read: Callable[[], Any]) -> Any:
    """The value, or an error that names what was malformed."""
    try:
        return read()
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        why = f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}."
        raise PeerBrokeProtocol(f"The other side sent {what} that cannot be read.", why=why) from error
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        why = f"{type(error).__name__}: {error}."
        raise PeerBrokeProtocol(f"The other side sent {what} that cannot be read.", why=why) from error


# Requests


def request_record(request: GenerationRequest) -> dict[str, Any]:
    """The fields that were said, pictures as base64; read back by `core.request.parse_request_json`."""
    return request.model_dump(mode="json", include=set(request.said()))


# Errors


def error_record(error: SdenvError) -> dict[str, Any]:
    """The error as JSON; never a traceback."""
    return {
        "code": error.code,
        "kind": error.kind.value,
        "repeats": error.repeats,
        "what": error.what,
        "why": error.why,
        "hint": error.hint,
    }


_BY_CODE: Final = {error_type.code: error_type for error_type in all_error_types()}


def _plainest(kind: Kind) -> type[SdenvError]:
    """The most general error of a kind, for a code that a newer peer has and we do not."""
    return next((each for each in all_error_types() if each.kind is kind), InternalError)


def error_of(record: Record) -> SdenvError:
    """The error that a peer has sent; an unknown code becomes the plainest error of its kind.

    Raises:
        PeerBrokeProtocol: It is not an error record.
    """

    def read() -> SdenvError:
        code, kind = str(record["code"]), Kind(record.get("kind", Kind.BUG.value))
        error_type = _BY_CODE.get(code) or _plainest(kind)
        return error_type(str(record["what"]), str(record.get("why", "")), str(record.get("hint", "")))

    error: SdenvError = _reading("an error", read)
    return error


# Capabilities


def size_rule_record(rule: SizeRule) -> dict[str, Any]:
    """As JSON."""
    return asdict(rule)


def size_rule_of(record: Record) -> SizeRule:
    """From JSON."""
    native = tuple((int(width), int(height)) for width, height in record["native"])
    return SizeRule(
        multiple_px=int(record["multiple_px"]),
        min_px=int(record["min_px"]),
        max_px=int(record["max_px"]),
        native=native,
        max_pixels=None if record["max_pixels"] is None else int(record["max_pixels"]),
    )


def capabilities_record(offered: Capabilities) -> dict[str, Any]:
    """As JSON; sets sorted, None = any name."""
    return {
        "tasks": sorted(task.value for task in offered.tasks),
        "carries": sorted(offered.carries),
        "samplers": None if offered.samplers is None else list(offered.samplers),
        "schedules": None if offered.schedules is None else list(offered.schedules),
        "controls": sorted(offered.controls),
        "size": size_rule_record(offered.size),
        "max_count": offered.max_count,
        "max_batch": offered.max_batch,
        "progress": offered.progress,
        "previews": offered.previews,
        "cancel": offered.cancel,
        "concurrency": offered.concurrency,
    }


def capabilities_of(record: Record) -> Capabilities:
    """From JSON; fields and tasks that a newer peer has and we do not are left out."""
    known_tasks = {task.value for task in Task}
    if record["progress"] not in ("steps", "phases", "none"):
        raise ValueError(f"progress {record['progress']!r}")
    if record["cancel"] not in ("at-once", "between-steps", "never"):
        raise ValueError(f"cancel {record['cancel']!r}")
    return Capabilities(
        tasks=frozenset(Task(task) for task in record["tasks"] if task in known_tasks),
        carries=frozenset(record["carries"]) & EVERYTHING,
        samplers=_names(record["samplers"]),
        schedules=_names(record["schedules"]),
        controls=frozenset(str(each) for each in record["controls"]),
        size=size_rule_of(record["size"]),
        max_count=int(record["max_count"]),
        max_batch=int(record["max_batch"]),
        progress=record["progress"],
        previews=bool(record["previews"]),
        cancel=record["cancel"],
        concurrency=max(1, int(record["concurrency"])),
    )


def _names(values: Any) -> tuple[str, ...] | None:
    return None if values is None else tuple(str(each) for each in values)


def model_record(model: ModelInfo) -> dict[str, Any]:
    """As JSON."""
    return {
        "name": model.name,
        "family": model.family,
        "size": size_rule_record(model.size),
        "default_size": list(model.default_size),
        "summary": model.summary,
        "detail": dict(model.detail),
        "steps": model.steps,
        "guidance_scale": model.guidance_scale,
        "sampler": model.sampler,
        "tasks": None if model.tasks is None else sorted(task.value for task in model.tasks),
        "samplers": None if model.samplers is None else list(model.samplers),
    }


def model_of(record: Record) -> ModelInfo:
    """From JSON."""
    width, height = record["default_size"]
    tasks = record["tasks"]
    known_tasks = {task.value for task in Task}
    return ModelInfo(
        name=str(record["name"]),
        family=str(record["family"]),
        size=size_rule_of(record["size"]),
        default_size=(int(width), int(height)),
        summary=str(record["summary"]),
        detail={str(key): str(value) for key, value in record["detail"].items()},
        steps=record["steps"],
        guidance_scale=record["guidance_scale"],
        sampler=record["sampler"],
        tasks=None if tasks is None else frozenset(Task(task) for task in tasks if task in known_tasks),
        samplers=_names(record["samplers"]),
    )


def status_record(status: BackendStatus) -> dict[str, Any]:
    """What a backend says of itself, as JSON."""
    return {
        "v": NATIVE_VERSION,
        "name": status.name,
        "version": status.version,
        "models": [model_record(model) for model in status.models],
        "capabilities": capabilities_record(status.capabilities),
    }


def status_of(record: Record) -> BackendStatus:
    """From JSON.

    Raises:
        PeerBrokeProtocol: It is not a status record.
    """

    def read() -> BackendStatus:
        return BackendStatus(
            name=str(record["name"]),
            version=str(record["version"]),
            models=tuple(model_of(each) for each in record["models"]),
            capabilities=capabilities_of(record["capabilities"]),
        )

    status: BackendStatus = _reading("a status", read)
    return status


# Events


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
    event: Event = _reading("an event", lambda: _event_of(record))
    return event


def _event_of(record: Record) -> Event:
    match record["type"]:
        case "phase-started":
            return PhaseStarted(str(record["phase"]))
        case "request-resolved":
            resolved = ResolvedRequest.model_validate_json(json.dumps(record["resolved"]))
            made_with = {str(key): str(value) for key, value in record["made_with"].items()}
            return RequestResolved(resolved, str(record["model_hash"]), MappingProxyType(made_with))
        case "step-done":
            return StepDone(int(record["step"]), int(record["total"]), int(record["index"]))
        case "preview-ready":
            return PreviewReady(int(record["step"]), int(record["index"]), picture_of(record))
        case "bytes-moved":
            total = record["total"]
            return BytesMoved(str(record["what"]), int(record["done"]), None if total is None else int(total))
        case "picture-ready":
            return PictureReady(int(record["index"]), picture_of(record), int(record["seed"]))
        case "measured":
            return Measured(int(record["step"]), {str(k): float(v) for k, v in record["values"].items()})
        case "notice":
            return Notice(str(record["code"]), str(record["message"]))
    return Notice("unknown-event", f"The other side reported {str(record['type'])[:60]!r}.")


# Results


def result_record(result: GenerationResult) -> dict[str, Any]:
    """The result without its pictures, which were sent when each was ready."""
    return result.model_dump(mode="json", exclude={"images"})


def result_of(record: Record, images: tuple[ImageData, ...]) -> GenerationResult:
    """From JSON, with the pictures that were sent before.

    Raises:
        PeerBrokeProtocol: It is not a result record.
    """
    result: GenerationResult = _reading(
        "a result", lambda: GenerationResult.model_validate_json(json.dumps({**record, "images": []}))
    )
    return result.model_copy(update={"images": images})


# Jobs


def job_record(job: JobRecord) -> dict[str, Any]:
    """A job as JSON."""
    return {
        "v": NATIVE_VERSION,
        "id": job.id,
        "state": job.state.value,
        "request": dict(job.request),
        "created_at": job.created_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
        "attempt": job.attempt,
        "priority": job.priority,
        "owner": job.owner,
        "dialect": job.dialect,
        "durable": job.durable,
        "position": job.position,
        "fraction": job.fraction,
        "phase": job.phase,
        "resolved": None if job.resolved is None else dict(job.resolved),
        "backend": job.backend,
        "model_hash": job.model_hash,
        "made_with": dict(job.made_with),
        "seconds": job.seconds,
        "pictures": [asdict(each) for each in job.pictures],
        "notices": [asdict(each) for each in job.notices],
        "error": None if job.error is None else error_record(job.error),
    }


def job_of(record: Record) -> JobRecord:
    """From JSON.

    Raises:
        PeerBrokeProtocol: It is not a job record.
    """

    def read() -> JobRecord:
        values = {name: record[name] for name in JobRecord.__dataclass_fields__}
        values["state"] = JobState(record["state"])
        values["pictures"] = tuple(
            PictureRecord(**{name: each[name] for name in PictureRecord.__dataclass_fields__})
            for each in record["pictures"]
        )
        values["notices"] = tuple(
            Notice(str(each["code"]), str(each["message"])) for each in record["notices"]
        )
        values["error"] = None if record["error"] is None else error_of(record["error"])
        return JobRecord(**values)

    job: JobRecord = _reading("a job", read)
    return job
