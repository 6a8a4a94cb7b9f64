"""Rows of the job database and the values they stand for."""

import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from sdenv.core.errors import SdenvError
from sdenv.core.events import Notice
from sdenv.core.job_record import JobRecord, JobState, PictureRecord
from sdenv.core.request import GenerationRequest
from sdenv.protocols.native import error_of, error_record
from sdenv.services.jobs.types import LoggedEvent

_LOG_LEVEL: Final = 6  # zlib's own default: a log of 1,000 steps becomes 10 kB in 2 ms


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the queue knows of a job that waits; its request stays in the database.

    Attributes:
        number: Order of acceptance.
        id: The job.
        owner: Whose it is.
        priority: Higher comes first.
        count: Pictures asked for: what a turn costs its owner.
        attempt: How often it was begun before.
        losses: How many of those lost their worker.
        durable: Whether it may stay for the next start.
        place: Jobs before it when it was accepted.
        created_at: When it was accepted: UTC, seconds since 1970.
        waits_since: When it came into the queue; differs after a lost try.
        requeued: Why it came back, as an error record; None = it is new.
    """

    number: int
    id: str
    owner: str
    priority: int
    count: int
    attempt: int
    losses: int
    durable: bool
    place: int
    created_at: float
    waits_since: float
    requeued: Mapping[str, Any] | None = None

    @property
    def next_attempt(self) -> int:
        """The try that it waits for; the first number of its events' ids."""
        return self.attempt + 1


TICKET_COLUMNS: Final = (
    "number, id, owner, priority, count, attempt, losses, durable, place, created_at, requeued"
)


def ticket_of(row: sqlite3.Row) -> Ticket:
    """What waits, from its row."""
    return Ticket(
        number=row["number"],
        id=row["id"],
        owner=row["owner"],
        priority=row["priority"],
        count=row["count"],
        attempt=row["attempt"],
        losses=row["losses"],
        durable=bool(row["durable"]),
        place=row["place"],
        created_at=row["created_at"],
        waits_since=row["created_at"],
        requeued=None if row["requeued"] is None else json.loads(row["requeued"]),
    )


def job_of(row: sqlite3.Row, pictures: Iterable[sqlite3.Row]) -> JobRecord:
    """The job as the database has it; what is live of it is added by who knows."""
    return JobRecord(
        id=row["id"],
        state=JobState(row["state"]),
        request=json.loads(row["request"]),
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        attempt=row["attempt"],
        priority=row["priority"],
        owner=row["owner"],
        dialect=row["dialect"],
        durable=bool(row["durable"]),
        fraction=row["fraction"],
        phase=row["phase"],
        resolved=None if row["resolved"] is None else json.loads(row["resolved"]),
        backend=row["backend"],
        model_hash=row["model_hash"],
        made_with=json.loads(row["made_with"]),
        seconds=row["seconds"],
        pictures=tuple(picture_of(each) for each in pictures),
        notices=tuple(Notice(each["code"], each["message"]) for each in json.loads(row["notices"])),
        error=None if row["error"] is None else error_of(json.loads(row["error"])),
    )


def picture_of(row: sqlite3.Row) -> PictureRecord:
    """A picture, from its row."""
    return PictureRecord(
        index=row["place"],
        seed=row["seed"],
        width=row["width"],
        height=row["height"],
        media_type=row["media_type"],
        size_bytes=row["size_bytes"],
        sha256=row["sha256"],
    )


def words_of(request: GenerationRequest) -> str:
    """What a search looks in: the prompts, in small letters."""
    return f"{request.prompt}\n{request.negative_prompt or ''}".casefold()


def storable(text: str) -> str:
    """Text without halves of characters, which SQLite cannot keep."""
    return text.encode("utf-8", "replace").decode("utf-8")


def storable_path(path: str) -> str | bytes:
    """A path as text, or as the bytes that it is where those are no text; read back by `os.fsdecode`."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def as_json(value: object) -> str:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"))


def error_json(error: SdenvError | None) -> str | None:
    """An error for its column."""
    return None if error is None else as_json(error_record(error))


def notices_json(notices: Iterable[Notice]) -> str:
    """Notices for their column."""
    return as_json([asdict(each) for each in notices])


def packed(records: Iterable[Mapping[str, Any]]) -> bytes:
    """The log of one try, compressed."""
    return zlib.compress("\n".join(as_json(dict(each)) for each in records).encode(), _LOG_LEVEL)


def unpacked(attempt: int, entries: bytes) -> tuple[LoggedEvent, ...]:
    """The log of one try, from its row."""
    lines = zlib.decompress(entries).decode().split("\n")
    return tuple(
        LoggedEvent(f"{attempt}-{number}", json.loads(line)) for number, line in enumerate(lines, start=1)
    )
