"""The statements that the store is made of; each is a part of somebody's transaction."""

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sdenv.core.errors import SdenvError
from sdenv.core.events import Notice
from sdenv.core.image import ImageData
from sdenv.core.job_record import JobState, PictureRecord
from sdenv.core.request import GenerationRequest, ResolvedRequest
from sdenv.services.jobs.requests import StoredRequest, taken_apart
from sdenv.services.jobs.rows import (
    TICKET_COLUMNS,
    Ticket,
    as_json,
    error_json,
    notices_json,
    packed,
    storable_path,
    ticket_of,
    words_of,
)

ROW_BYTES: Final = 1024
"""What a job without pictures takes on the disk, roughly: its row and its log."""

KEY_AGE_S: Final = 24 * 3600.0
"""How long an idempotency key is known."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job that is about to be written down."""

    id: str
    request: GenerationRequest
    stored: StoredRequest
    dialect: str
    owner: str
    priority: int
    durable: bool
    key: str | None
    allow_degraded: bool
    preview_every: int
    place: int
    created_at: float


@dataclass(frozen=True, slots=True)
class Known:
    """An idempotency key that was used.

    Attributes:
        job_id: For this job.
        fingerprint: Of its request.
    """

    job_id: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended, for its row.

    Attributes:
        state: One of those that end it.
        ended_at: UTC, seconds since 1970.
        records: The log of its last try.
        error: As in JobRecord, as all that follows.
    """

    state: JobState
    ended_at: float
    records: Sequence[Mapping[str, Any]]
    error: SdenvError | None = None
    backend: str = ""
    model_hash: str = ""
    made_with: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    fraction: float = 0.0
    phase: str = ""
    notices: tuple[Notice, ...] = ()


def now() -> float:
    """UTC, seconds since 1970."""
    return time.time()


def insert_job(connection: sqlite3.Connection, job: NewJob, state: JobState) -> None:
    """Writes the row of a job and its input pictures."""
    for digest, picture in job.stored.inputs.items():
        values = (digest, picture.media_type, picture.data)
        connection.execute("INSERT OR IGNORE INTO inputs VALUES (?, ?, ?)", values)
    connection.execute(
        "INSERT INTO jobs (id, state, owner, dialect, durable, priority, request, words, model, count,"
        " input_bytes, allow_degraded, preview_every, place, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            job.id,
            state.value,
            job.owner,
            job.dialect,
            job.durable,
            job.priority,
            job.stored.text,
            words_of(job.request),
            job.request.model or "",
            job.request.count,
            job.stored.input_bytes,
            job.allow_degraded,
            job.preview_every,
            job.place,
            job.created_at,
        ),
    )
    for digest in job.stored.inputs:
        connection.execute("INSERT INTO job_inputs VALUES (?, ?)", (job.id, digest))


def insert_picture(connection: sqlite3.Connection, job_id: str, picture: PictureRecord, path: str) -> None:
    """Writes the row of a picture; a second try replaces that of the first."""
    connection.execute(
        "INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            job_id,
            picture.index,
            picture.seed,
            picture.width,
            picture.height,
            picture.media_type,
            picture.size_bytes,
            picture.sha256,
            storable_path(path),
        ),
    )


def read_inputs(connection: sqlite3.Connection, job_id: str) -> dict[str, ImageData]:
    """The input pictures of a job by SHA-256."""
    rows = connection.execute(
        "SELECT inputs.* FROM inputs JOIN job_inputs USING (sha256) WHERE job = ?", (job_id,)
    )
    return {row["sha256"]: ImageData(data=row["data"], media_type=row["media_type"]) for row in rows}


def resolve(connection: sqlite3.Connection, job_id: str, made: ResolvedRequest) -> None:
    """Writes down what will be made."""
    values = (taken_apart(made).text, made.model, job_id)
    connection.execute("UPDATE jobs SET resolved = ?, model = ? WHERE id = ?", values)


def end_row(connection: sqlite3.Connection, job_id: str, attempt: int, end: End) -> None:
    """Writes down how a job ended, its pictures being written down, and the log of its last try."""
    connection.execute(
        "UPDATE jobs SET state = ?, ended_at = ?, error = ?, backend = ?, seconds = ?, fraction = ?,"
        " phase = ?, notices = ?, requeued = NULL WHERE id = ?",
        (
            end.state.value,
            end.ended_at,
            error_json(end.error),
            end.backend,
            end.seconds,
            end.fraction,
            end.phase,
            notices_json(end.notices),
            job_id,
        ),
    )
    if end.records:
        keep_log(connection, job_id, attempt, end.records)
    connection.execute(
        "UPDATE jobs SET kept_bytes = input_bytes + ? +"
        " (SELECT coalesce(sum(size_bytes), 0) FROM pictures WHERE job = jobs.id) WHERE id = ?",
        (ROW_BYTES, job_id),
    )
    if end.state is JobState.DONE:
        connection.execute(
            "UPDATE jobs SET model_hash = ?, made_with = ? WHERE id = ?",
            (end.model_hash, as_json(dict(end.made_with)), job_id),
        )


def known_key(connection: sqlite3.Connection, owner: str, key: str) -> Known | None:
    """Whose key this was within 24 hours; None = nobody's."""
    row = connection.execute(
        "SELECT job, fingerprint FROM keys WHERE owner = ? AND key = ? AND created_at >= ?",
        (owner, key, now() - KEY_AGE_S),
    ).fetchone()
    return None if row is None else Known(row["job"], row["fingerprint"])


def is_running(connection: sqlite3.Connection, job_id: str, attempt: int) -> bool:
    """Whether a job runs, and this is its newest try."""
    row = connection.execute("SELECT state, attempt FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return row is not None and (row["state"], row["attempt"]) == (JobState.RUNNING.value, attempt)


def keep_log(
    connection: sqlite3.Connection, job_id: str, attempt: int, records: Iterable[Mapping[str, Any]]
) -> None:
    """Writes down the log of a try."""
    values = (job_id, attempt, packed(records))
    connection.execute("INSERT OR REPLACE INTO logs VALUES (?, ?, ?)", values)


def read_ticket(connection: sqlite3.Connection, job_id: str) -> Ticket:
    """A job as the queue needs it."""
    row = connection.execute(f"SELECT {TICKET_COLUMNS} FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return ticket_of(row)
