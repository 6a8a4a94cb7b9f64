"""The protocol of the server that sdenv comes from: two paths, one job at a time, no progress.

Source: the documented server (FastAPI, port 9090) and its published code; `docs/reference/dialects.md` has
the table. Times are naive local times there; sdenv writes them with an offset, which the same parsers read.
Fields that the original does not have (`seed`, `owner` in backups, `generation_uuids`) are ignored by it.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from ulid import ULID

from sdenv.core.errors import PeerBrokeProtocol
from sdenv.core.image import ImageData
from sdenv.core.job_record import JobRecord, JobState
from sdenv.core.request import MAX_COUNT, GenerationRequest, parse_request

DEFAULT_PORT: Final = 9090
MODEL: Final = "stabilityai/stable-diffusion-2-1"
"""The only model of the original."""

CARRIES: Final = frozenset({"prompt"})
"""What the original carries: everything else it ignores without a word, so the client refuses it."""

EXTRAS: Final = frozenset(
    {"negative_prompt", "model", "width", "height", "steps", "guidance_scale", "seed", "sampler", "schedule"}
    | {"count"}
)
"""Optional further fields of a request to sdenv, under the names of GenerationRequest (OURS)."""

BUSY: Final = "The service is busy. Go away."
DRY_RUN_DATA: Final = base64.b64encode(b"deadbeef").decode("ascii")
"""What the original answers to a dry run, byte for byte: not a picture."""

_INDEX_SHIFT: Final = 124
"""Bits below the index of a picture in its UUID. A job's id begins with its time in milliseconds, 48 bits of
which the first four are 0 until the year 2527."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for a picture.

    Attributes:
        request: What is wanted.
        dry_run: Only the eight letters `deadbeef` are wanted.
        ignored: Names of fields that mean nothing here.
    """

    request: GenerationRequest
    dry_run: bool = False
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What has become of one picture.

    Attributes:
        uuid: Its id.
        prompt: As it was asked for.
        data: The picture, or what a dry run answers; None = it failed.
        created_time: When the computation began, with its zone.
        errors: Why it failed; empty = it did not.
        seed: Its seed; None = not told, as the original never does.
    """

    uuid: UUID
    prompt: str
    data: bytes | None
    created_time: datetime
    errors: tuple[str, ...] = ()
    seed: int | None = None


# Requests


def ask_of(body: Mapping[str, Any]) -> Ask:
    """What a body asks for; `prompt` has been checked to be a text.

    Raises:
        InvalidRequest: A further field has a value that it cannot have.
    """
    known = EXTRAS | {"prompt", "dry_run"}
    said = {name: body[name] for name in sorted(EXTRAS & body.keys()) if body[name] is not None}
    request = parse_request({**said, "prompt": body["prompt"]})
    return Ask(request, bool(body.get("dry_run")), tuple(sorted(str(each) for each in body.keys() - known)))


def ask_record(ask: Ask) -> dict[str, Any]:
    """The body that asks for it; of a request to the original only the prompt matters."""
    said = {name: getattr(ask.request, name) for name in sorted(ask.request.said() & EXTRAS)}
    return {"prompt": ask.request.prompt, **said, **({"dry_run": True} if ask.dry_run else {})}


def accepted_record(uuids: Iterable[UUID]) -> dict[str, Any]:
    """The answer to an accepted request: the id of its first picture, and of all where there are several."""
    first, *others = (str(each) for each in uuids)
    return {"generation_uuid": first, **({"generation_uuids": [first, *others]} if others else {})}


def accepted_of(record: Any) -> UUID:
    """The id in the answer to a request.

    Raises:
        PeerBrokeProtocol: There is none.
    """
    try:
        return UUID(record["generation_uuid"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _broken("an answer without a generation_uuid", error) from error


def status_record(is_available: bool) -> dict[str, bool]:
    """Whether another request would be accepted."""
    return {"is_available": is_available}


def is_available_of(record: Any) -> bool:
    """Whether another request would be accepted.

    Raises:
        PeerBrokeProtocol: It does not say so.
    """
    available = record.get("is_available") if isinstance(record, dict) else None
    if not isinstance(available, bool):
        raise _broken("a status that says nothing of is_available")
    return available


# Ids


def uuid_of(job_id: str, index: int = 0) -> UUID:
    """The UUID of a job's picture: the 128 bits of the job's id, the index in the four that are always 0."""
    return UUID(int=int(ULID.from_str(job_id)) | index << _INDEX_SHIFT)


def picture_of(uuid: UUID) -> tuple[str, int]:
    """Id of the job, and which of its pictures: `uuid_of` backwards. For any UUID, also a stranger's."""
    index = uuid.int >> _INDEX_SHIFT
    return str(ULID.from_int(uuid.int & ((1 << _INDEX_SHIFT) - 1))), index


# Results


def result_record(result: Result, *, with_data: bool = True) -> dict[str, Any]:
    """A result as it goes over the wire, its keys in the order of the original.

    Args:
        result: What has become of a picture.
        with_data: Whether the picture goes with it.
    """
    data = None if result.data is None or not with_data else base64.b64encode(result.data).decode("ascii")
    record: dict[str, Any] = {
        "uuid": str(result.uuid),
        "prompt": result.prompt,
        "data": data,
        "created_time": result.created_time.isoformat(),
        "errors": list(result.errors),
    }
    return record if result.seed is None else {**record, "seed": result.seed}


def result_of(record: Any) -> Result:
    """A result from the wire or from a backup.

    Raises:
        PeerBrokeProtocol: It is not a result.
    """
    try:
        if not isinstance(record["prompt"], str) or not isinstance(record["errors"], list):
            raise TypeError("prompt or errors")
        seed = record.get("seed")
        return Result(
            uuid=UUID(record["uuid"]),
            prompt=record["prompt"],
            data=None if record["data"] is None else base64.b64decode(record["data"], validate=True),
            created_time=_with_zone(datetime.fromisoformat(record["created_time"])),
            errors=tuple(str(each) for each in record["errors"]),
            seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError, binascii.Error) as error:
        raise _broken("a result that cannot be read", error) from error


def results_of(record: Any) -> tuple[Result, ...]:
    """The results in an answer.

    Raises:
        PeerBrokeProtocol: It is not a list of results.
    """
    if not isinstance(record, list):
        raise _broken("results that are no list")
    return tuple(result_of(each) for each in record)


def results_of_job(job: JobRecord, pictures: Mapping[int, bytes]) -> tuple[Result, ...]:
    """What a job that has ended says in this dialect: one result a picture, also of those never made.

    Args:
        job: The job.
        pictures: The files of those that were made, by index.
    """
    began = job.created_at if job.started_at is None else job.started_at
    seeds = {each.index: each.seed for each in job.pictures}
    return tuple(
        Result(
            uuid=uuid_of(job.id, index),
            prompt=str(job.request.get("prompt", "")),
            data=pictures.get(index),
            created_time=datetime.fromtimestamp(began, UTC),
            errors=() if index in pictures else (_reason(job),),
            seed=seeds.get(index),
        )
        for index in range(count_of(job))
    )


def count_of(job: JobRecord) -> int:
    """How many pictures a job was asked for."""
    count = job.request.get("count", 1)
    return count if isinstance(count, int) and 1 <= count <= MAX_COUNT else 1


def _reason(job: JobRecord) -> str:
    if job.error is not None:
        return str(job.error)
    return "Cancelled." if job.state is JobState.CANCELLED else "The picture is no longer there."


def _with_zone(when: datetime) -> datetime:
    """The original writes local time without a zone."""
    return when if when.tzinfo is not None else when.astimezone()


# Backups: one result a line


def backup_line(result: Result, owner: str = "") -> bytes:
    """A line of a backup file, its end included.

    Args:
        result: What to keep.
        owner: Name of the token whose it is; "" = nobody's in particular.
    """
    record = result_record(result) | ({"owner": owner} if owner else {})
    return json.dumps(record, ensure_ascii=True).encode("ascii") + b"\n"


def of_backup_line(line: bytes) -> tuple[Result, str] | None:
    """Result and owner; None for a line that is no JSON object, which the original skips as well.

    Raises:
        PeerBrokeProtocol: It is an object, and not a result.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    return result_of(record), str(record.get("owner", ""))


def picture_in(result: Result) -> ImageData:
    """The picture of a result.

    Raises:
        BadImage: It has none, or what it has is not a picture: `deadbeef` is the answer to a dry run.
    """
    return ImageData.from_bytes(result.data or b"", "the server's picture")


def _broken(what: str, error: Exception | None = None) -> PeerBrokeProtocol:
    why = f"{type(error).__name__}: {error}."[:200] if error is not None else ""
    return PeerBrokeProtocol(f"The server sent {what}.", why=why, hint="Is it another kind of server?")
