"""Removing jobs that have ended: one that is asked for, or the oldest when there are too many."""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

from sdenv.core.errors import JobNotFinished
from sdenv.services.jobs.database import Database
from sdenv.services.jobs.results import Results
from sdenv.services.jobs.types import Retention

_AT_ONCE: Final = 200  # SQLite takes 999 values in one statement in its older builds


def remove(database: Database, results: Results, job_ids: Sequence[str]) -> None:
    """Removes jobs that have ended, and their files below `results/`; jobs that have not are left.

    The rows go first, together with a note of which files are to go: a server that is killed in between
    removes them at its next start.
    """
    for first in range(0, len(job_ids), _AT_ONCE):
        with database.write(synced=True) as connection:
            _remove_rows(connection, job_ids[first : first + _AT_ONCE])
        finish_removals(database, results)


def finish_removals(database: Database, results: Results) -> None:
    """Removes the files of jobs whose rows are gone."""
    with database.read() as connection:
        rows = connection.execute("SELECT job, created_at, count FROM removals").fetchall()
    if not rows:
        return
    for row in rows:
        results.remove(row["job"], row["created_at"], row["count"])
    with database.write(synced=False) as connection:
        connection.executemany("DELETE FROM removals WHERE job = ?", [(row["job"],) for row in rows])
    database.shrink()


def unfinished(job_id: str) -> JobNotFinished:
    """Why a job that waits or runs is not removed."""
    return JobNotFinished(
        f"The job {job_id} has not ended.",
        why="Only jobs that have ended are removed.",
        hint=f"sdenv jobs cancel {job_id}",
    )


def prune(
    database: Database, results: Results, retention: Retention, now: float, without_dialect: str = ""
) -> list[str]:
    """Removes what is older or more than the limits; the ids of what was removed.

    Args:
        database: The rows.
        results: The files.
        retention: The limits.
        now: UTC, seconds since 1970.
        without_dialect: Jobs of this dialect are neither counted nor removed.
    """
    if retention == Retention():
        return []
    with database.read() as connection:
        due = list(dict.fromkeys(_due(connection, retention, now, without_dialect)))
    remove(database, results, due)
    return due


def _due(connection: sqlite3.Connection, retention: Retention, now: float, hidden: str) -> Iterator[str]:
    ended = "FROM jobs WHERE ended_at IS NOT NULL AND dialect != ?"
    if retention.max_age_s is not None:
        values = (hidden, now - retention.max_age_s)
        for row in connection.execute(f"SELECT id {ended} AND ended_at < ? ORDER BY ended_at", values):
            yield row["id"]
    if retention.max_jobs is not None:
        count = connection.execute(f"SELECT count(*) {ended}", (hidden,)).fetchone()[0]
        oldest_first = f"SELECT id {ended} ORDER BY ended_at, number LIMIT ?"
        for row in connection.execute(oldest_first, (hidden, max(0, count - max(0, retention.max_jobs)))):
            yield row["id"]
    if retention.max_bytes is not None:
        yield from _over(connection, retention.max_bytes, ended, hidden)


def _over(connection: sqlite3.Connection, max_bytes: int, ended: str, hidden: str) -> Iterator[str]:
    """The oldest, until the others fit."""
    total = connection.execute(f"SELECT coalesce(sum(kept_bytes), 0) {ended}", (hidden,)).fetchone()[0]
    if total <= max_bytes:
        return
    for row in connection.execute(f"SELECT id, kept_bytes {ended} ORDER BY ended_at, number", (hidden,)):
        yield row["id"]
        total -= row["kept_bytes"]
        if total <= max_bytes:
            return


def _remove_rows(connection: sqlite3.Connection, job_ids: Sequence[str]) -> None:
    marks = ", ".join("?" * len(job_ids))
    chosen = f"SELECT id FROM jobs WHERE id IN ({marks}) AND ended_at IS NOT NULL"
    inputs = connection.execute(
        f"SELECT DISTINCT sha256 FROM job_inputs WHERE job IN ({chosen})", job_ids
    ).fetchall()
    connection.execute(
        f"INSERT OR IGNORE INTO removals SELECT id, created_at, count FROM jobs WHERE id IN ({chosen})",
        job_ids,
    )
    connection.execute(f"DELETE FROM jobs WHERE id IN ({chosen})", job_ids)
    for row in inputs:
        connection.execute(
            "DELETE FROM inputs WHERE sha256 = ?"
            " AND NOT EXISTS (SELECT 1 FROM job_inputs WHERE sha256 = inputs.sha256)",
            (row["sha256"],),
        )
