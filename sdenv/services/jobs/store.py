"""What the queue writes into the job database: one method for each thing that happens to a job."""

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

from sdenv.core.errors import SdenvError
from sdenv.core.events import Notice
from sdenv.core.image import ImageData
from sdenv.core.job_record import JobState, PictureRecord
from sdenv.core.request import GenerationRequest, ResolvedRequest
from sdenv.services.jobs.database import Database
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


@final
class Store:
    """The statements; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Accepting

    def known_key(self, owner: str, key: str) -> Known | None:
        """Whose key this was within the last 24 hours; None = nobody's."""
        with self._database.read() as connection:
            return _known_key(connection, owner, key)

    def add(self, job: NewJob) -> Ticket | Known:
        """Writes a new job down, safe from a power cut; or whose its key was before."""
        with self._database.write(synced=True) as connection:
            if job.key is not None:
                connection.execute("DELETE FROM keys WHERE created_at < ?", (job.created_at - KEY_AGE_S,))
                if (known := _known_key(connection, job.owner, job.key)) is not None:
                    return known
            insert_job(connection, job, JobState.QUEUED)
            if job.key is not None:
                values = (job.owner, job.key, job.id, job.stored.fingerprint, job.created_at)
                connection.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?)", values)
            return _ticket(connection, job.id)

    def add_ended(
        self,
        job: NewJob,
        end: End,
        resolved: ResolvedRequest | None,
        pictures: Iterable[tuple[PictureRecord, str]],
    ) -> None:
        """Writes down a job that somebody else has seen through, with its pictures and where they lie."""
        with self._database.write(synced=False) as connection:
            insert_job(connection, job, JobState.QUEUED)
            if resolved is not None:
                _resolve(connection, job.id, resolved)
            for picture, path in pictures:
                insert_picture(connection, job.id, picture, path)
            _end(connection, job.id, 1, end)
            connection.execute(
                "UPDATE jobs SET attempt = 1, started_at = created_at, fraction = ? WHERE id = ?",
                (float(end.state is JobState.DONE), job.id),
            )

    # One try of a job

    def begin(self, ticket: Ticket, started_at: float) -> bool:
        """The job runs from now on, for the next time; False = it does not wait any more."""
        with self._database.write(synced=False) as connection:
            changed = connection.execute(
                "UPDATE jobs SET state = 'running', attempt = ?, started_at = ?, requeued = NULL"
                " WHERE id = ? AND state = 'queued' AND attempt = ?",
                (ticket.next_attempt, started_at, ticket.id, ticket.attempt),
            )
            return changed.rowcount > 0

    def resolved(
        self, job_id: str, attempt: int, made: ResolvedRequest, model_hash: str, facts: Mapping[str, str]
    ) -> None:
        """What will be made is decided; a second try will make the same."""
        with self._database.write(synced=False) as connection:
            if _is_running(connection, job_id, attempt):
                _resolve(connection, job_id, made)
                values = (model_hash, as_json(dict(facts)), job_id)
                connection.execute("UPDATE jobs SET model_hash = ?, made_with = ? WHERE id = ?", values)

    def picture(self, job_id: str, attempt: int, picture: PictureRecord, path: str, *, synced: bool) -> bool:
        """A picture is in its file; False = the try is not the newest any more."""
        with self._database.write(synced=synced) as connection:
            if not _is_running(connection, job_id, attempt):
                return False
            insert_picture(connection, job_id, picture, path)
            return True

    def end(self, job_id: str, attempt: int, end: End) -> bool:
        """A try has ended its job, safe from a power cut; False = a newer one has begun, or it had ended."""
        with self._database.write(synced=True) as connection:
            if not _is_running(connection, job_id, attempt):
                return False
            _end(connection, job_id, attempt, end)
            return True

    def put_back(
        self,
        job_id: str,
        attempt: int,
        cause: Mapping[str, Any],
        *,
        lost: bool,
        records: Iterable[Mapping[str, Any]] | None = None,
    ) -> Ticket | None:
        """The try has come to nothing and the job waits again; None = the try is not the newest any more.

        Args:
            job_id: The job.
            attempt: The try.
            cause: Why, as an error record.
            lost: Whether it counts among the tries that a job has.
            records: The log of the try; None = it was lost with the server.
        """
        with self._database.write(synced=False) as connection:
            if not _is_running(connection, job_id, attempt):
                return None
            connection.execute(
                "UPDATE jobs SET state = 'queued', losses = losses + ?, requeued = ? WHERE id = ?",
                (int(lost), as_json(dict(cause)), job_id),
            )
            if records is not None:
                _keep_log(connection, job_id, attempt, records)
            return _ticket(connection, job_id)

    # Ends of jobs that do not run

    def end_unbegun(self, ticket: Ticket, end: End) -> bool:
        """A job has ended that waits, or whose try a killed server has left; False = it had ended before."""
        with self._database.write(synced=True) as connection:
            row = connection.execute("SELECT ended_at FROM jobs WHERE id = ?", (ticket.id,)).fetchone()
            if row is None or row["ended_at"] is not None:
                return False
            _end(connection, ticket.id, ticket.next_attempt, end)
            return True

    def ask_cancel(self, job_id: str) -> None:
        """Somebody has cancelled a running job: should the server die now, it does not run again."""
        with self._database.write(synced=False) as connection:
            connection.execute(
                "UPDATE jobs SET cancel_asked = 1 WHERE id = ? AND ended_at IS NULL", (job_id,)
            )

    # At start

    def unfinished(self) -> list[sqlite3.Row]:
        """Rows of the jobs that a server before has left waiting or running, in order of acceptance."""
        with self._database.read() as connection:
            return connection.execute(
                f"SELECT {TICKET_COLUMNS}, state, cancel_asked, resolved FROM jobs"
                " WHERE state IN ('queued', 'running') ORDER BY number"
            ).fetchall()


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


def _resolve(connection: sqlite3.Connection, job_id: str, made: ResolvedRequest) -> None:
    values = (taken_apart(made).text, made.model, job_id)
    connection.execute("UPDATE jobs SET resolved = ?, model = ? WHERE id = ?", values)


def _end(connection: sqlite3.Connection, job_id: str, attempt: int, end: End) -> None:
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
        _keep_log(connection, job_id, attempt, end.records)
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


def _known_key(connection: sqlite3.Connection, owner: str, key: str) -> Known | None:
    row = connection.execute(
        "SELECT job, fingerprint FROM keys WHERE owner = ? AND key = ? AND created_at >= ?",
        (owner, key, now() - KEY_AGE_S),
    ).fetchone()
    return None if row is None else Known(row["job"], row["fingerprint"])


def _is_running(connection: sqlite3.Connection, job_id: str, attempt: int) -> bool:
    row = connection.execute("SELECT state, attempt FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return row is not None and (row["state"], row["attempt"]) == (JobState.RUNNING.value, attempt)


def _keep_log(
    connection: sqlite3.Connection, job_id: str, attempt: int, records: Iterable[Mapping[str, Any]]
) -> None:
    values = (job_id, attempt, packed(records))
    connection.execute("INSERT OR REPLACE INTO logs VALUES (?, ?, ?)", values)


def _ticket(connection: sqlite3.Connection, job_id: str) -> Ticket:
    row = connection.execute(f"SELECT {TICKET_COLUMNS} FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return ticket_of(row)
