"""What the queue writes into the job database: one method for each thing that happens to a job."""

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, final

from sdenv.core.job_record import JobState, PictureRecord
from sdenv.core.request import ResolvedRequest
from sdenv.services.jobs.database import Database
from sdenv.services.jobs.rows import TICKET_COLUMNS, Ticket, as_json
from sdenv.services.jobs.statements import (
    KEY_AGE_S,
    End,
    Known,
    NewJob,
    end_row,
    insert_job,
    insert_picture,
    is_running,
    keep_log,
    known_key,
    now,
    read_ticket,
    resolve,
)

__all__ = ["End", "Known", "NewJob", "Store", "now"]


@final
class Store:
    """The statements; each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Accepting

    def known_key(self, owner: str, key: str) -> Known | None:
        """Whose key this was within the last 24 hours; None = nobody's."""
        with self._database.read() as connection:
            return known_key(connection, owner, key)

    def add(self, job: NewJob) -> Ticket | Known:
        """Writes a new job down, safe from a power cut; or whose its key was before."""
        with self._database.write(synced=True) as connection:
            if job.key is not None:
                connection.execute("DELETE FROM keys WHERE created_at < ?", (job.created_at - KEY_AGE_S,))
                if (known := known_key(connection, job.owner, job.key)) is not None:
                    return known
            insert_job(connection, job, JobState.QUEUED)
            if job.key is not None:
                values = (job.owner, job.key, job.id, job.stored.fingerprint, job.created_at)
                connection.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?)", values)
            return read_ticket(connection, job.id)

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
                resolve(connection, job.id, resolved)
            for picture, path in pictures:
                insert_picture(connection, job.id, picture, path)
            end_row(connection, job.id, 1, end)
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
            if is_running(connection, job_id, attempt):
                resolve(connection, job_id, made)
                values = (model_hash, as_json(dict(facts)), job_id)
                connection.execute("UPDATE jobs SET model_hash = ?, made_with = ? WHERE id = ?", values)

    def picture(self, job_id: str, attempt: int, picture: PictureRecord, path: str, *, synced: bool) -> bool:
        """A picture is in its file; False = the try is not the newest any more."""
        with self._database.write(synced=synced) as connection:
            if not is_running(connection, job_id, attempt):
                return False
            insert_picture(connection, job_id, picture, path)
            return True

    def end(self, job_id: str, attempt: int, end: End) -> bool:
        """A try has ended its job, safe from a power cut; False = a newer one has begun, or it had ended."""
        with self._database.write(synced=True) as connection:
            if not is_running(connection, job_id, attempt):
                return False
            end_row(connection, job_id, attempt, end)
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
            if not is_running(connection, job_id, attempt):
                return None
            connection.execute(
                "UPDATE jobs SET state = 'queued', losses = losses + ?, requeued = ? WHERE id = ?",
                (int(lost), as_json(dict(cause)), job_id),
            )
            if records is not None:
                keep_log(connection, job_id, attempt, records)
            return read_ticket(connection, job_id)

    # Ends of jobs that do not run

    def end_unbegun(self, ticket: Ticket, end: End) -> bool:
        """A job has ended that waits, or whose try a killed server has left; False = it had ended before."""
        with self._database.write(synced=True) as connection:
            row = connection.execute("SELECT ended_at FROM jobs WHERE id = ?", (ticket.id,)).fetchone()
            if row is None or row["ended_at"] is not None:
                return False
            end_row(connection, ticket.id, ticket.next_attempt, end)
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
