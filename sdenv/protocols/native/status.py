"""What a backend can do, as JSON."""

from dataclasses import asdict
from typing import Any, Final

from sdenv.core.backend import BackendStatus, ModelInfo
from sdenv.core.capabilities import EVERYTHING, Capabilities, SizeRule
from sdenv.core.request import Task
from sdenv.protocols.native.reading import Record, names, optional, reading, texts

NATIVE_VERSION: Final = 1  # raised when the meaning of a field changes, never when one is added


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
        max_pixels=optional(int, record["max_pixels"]),
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
        samplers=names(record["samplers"]),
        schedules=names(record["schedules"]),
        controls=frozenset(str(each) for each in record["controls"]),
        size=size_rule_of(record["size"]),
        max_count=int(record["max_count"]),
        max_batch=int(record["max_batch"]),
        progress=record["progress"],
        previews=bool(record["previews"]),
        cancel=record["cancel"],
        concurrency=max(1, int(record["concurrency"])),
    )


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
        detail=texts(record["detail"]),
        steps=optional(int, record["steps"]),
        guidance_scale=optional(float, record["guidance_scale"]),
        sampler=optional(str, record["sampler"]),
        tasks=None if tasks is None else frozenset(Task(task) for task in tasks if task in known_tasks),
        samplers=names(record["samplers"]),
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

    return reading("a status", read)
