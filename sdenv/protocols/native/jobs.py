"""Jobs as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from sdenv.core.events import Notice
from sdenv.core.job_record import JobRecord, JobState, PictureRecord
from sdenv.protocols.native.errors import error_of, error_record
from sdenv.protocols.native.reading import Record, optional, reading, texts
from sdenv.protocols.native.status import NATIVE_VERSION

_MAX_EXTENSIONS_BYTES: Final = 1024
"""Larger ones are left out of a job, so that a page of jobs stays small; `request_record` has them whole."""


def job_record(job: JobRecord) -> dict[str, Any]:
    """A job as JSON; without the `extensions` of its request where they are large."""
    return {
        "v": NATIVE_VERSION,
        "id": job.id,
        "state": job.state.value,
        "request": _brief(job.request),
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
        "resolved": None if job.resolved is None else _brief(job.resolved),
        "backend": job.backend,
        "model_hash": job.model_hash,
        "made_with": dict(job.made_with),
        "seconds": job.seconds,
        "pictures": [asdict(each) for each in job.pictures],
        "notices": [asdict(each) for each in job.notices],
        "error": None if job.error is None else error_record(job.error),
    }


def _brief(fields: Mapping[str, Any]) -> dict[str, Any]:
    extensions = fields.get("extensions")
    is_large = bool(extensions) and len(json.dumps(extensions)) > _MAX_EXTENSIONS_BYTES
    return {name: value for name, value in fields.items() if not (is_large and name == "extensions")}


def job_of(record: Record) -> JobRecord:
    """From JSON.

    Raises:
        PeerBrokeProtocol: It is not a job record.
    """
    return reading("a job", lambda: _job_of(record))


def _job_of(record: Record) -> JobRecord:
    return JobRecord(
        id=str(record["id"]),
        state=JobState(record["state"]),
        request=dict(record["request"]),
        created_at=float(record["created_at"]),
        started_at=optional(float, record["started_at"]),
        ended_at=optional(float, record["ended_at"]),
        attempt=int(record["attempt"]),
        priority=int(record["priority"]),
        owner=str(record["owner"]),
        dialect=str(record["dialect"]),
        durable=bool(record["durable"]),
        position=optional(int, record["position"]),
        fraction=float(record["fraction"]),
        phase=str(record["phase"]),
        resolved=optional(dict, record["resolved"]),
        backend=str(record["backend"]),
        model_hash=str(record["model_hash"]),
        made_with=texts(record["made_with"]),
        seconds=optional(float, record["seconds"]),
        pictures=tuple(_picture_of(each) for each in record["pictures"]),
        notices=tuple(Notice(str(each["code"]), str(each["message"])) for each in record["notices"]),
        error=optional(error_of, record["error"]),
    )


def _picture_of(record: Record) -> PictureRecord:
    return PictureRecord(
        index=int(record["index"]),
        seed=int(record["seed"]),
        width=int(record["width"]),
        height=int(record["height"]),
        media_type=str(record["media_type"]),
        size_bytes=int(record["size_bytes"]),
        sha256=str(record["sha256"]),
    )
