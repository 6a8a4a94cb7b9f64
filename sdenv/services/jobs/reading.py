"""What is read from the job database, by the server and by the history."""

import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, final

from sdenv.core.errors import UnknownJob
from sdenv.core.job_record import JobRecord, JobState
from sdenv.core.request import GenerationRequest
from sdenv.services.jobs.database import Database
from sdenv.services.jobs.requests import put_together
from sdenv.services.jobs.rows import job_of, storable, unpacked
from sdenv.services.jobs.statements import read_inputs
from sdenv.services.jobs.types import MAX_PAGE_JOBS, JobCounts, JobPage, JobQuery, LoggedEvent

CLI: Final = "cli"
"""Dialect of what `sdenv generate` has made itself; a server shows none of it."""


@dataclass(frozen=True, slots=True)
class PlacedPicture:
    """Where a picture lies.

    Attributes:
        path: Below `results/`, or absolute for a file that the user named.
        media_type: For example `image/png`.
    """

    path: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Work:
    """All that a try of a job needs.

    Attributes:
        request: What was asked for.
        allow_degraded: As in `Engine.submit`.
        preview_every: As in `Engine.submit`.
        resolved: What a try before has decided, as JSON values; None = nothing.
    """

    request: GenerationRequest
    allow_degraded: bool
    preview_every: int
    resolved: dict[str, object] | None


@final
class Reading:
    """The questions to the database.

    Args:
        database: The file.
        without_dialect: Jobs of this dialect are not there.
    """

    def __init__(self, database: Database, without_dialect: str = "") -> None:
        self._database = database
        self._hidden = without_dialect

    def job(self, job_id: str, owner: str | None = None) -> JobRecord:
        """One job; raises UnknownJob where there is none, or it belongs to another."""
        with self._database.read() as connection:
            row = self._row(connection, "*", job_id, owner)
            return job_of(row, _pictures(connection, [job_id]).get(job_id, ()))

    def request(self, job_id: str, owner: str | None = None) -> GenerationRequest:
        """What was asked for, input pictures included; raises as `job`."""
        return self.work(job_id, owner).request

    def work(self, job_id: str, owner: str | None = None) -> Work:
        """All that a try needs; raises as `job`."""
        columns = "request, allow_degraded, preview_every, resolved"
        with self._database.read() as connection:
            row = self._row(connection, columns, job_id, owner)
            inputs = read_inputs(connection, job_id)
        return Work(
            request=put_together(json.loads(row["request"]), inputs),
            allow_degraded=bool(row["allow_degraded"]),
            preview_every=row["preview_every"],
            resolved=None if row["resolved"] is None else json.loads(row["resolved"]),
        )

    def picture(self, job_id: str, index: int, owner: str | None = None) -> PlacedPicture | JobState:
        """Where a picture lies, or the state of the job that does not have it; raises as `job`."""
        with self._database.read() as connection:
            state = JobState(self._row(connection, "state", job_id, owner)["state"])
            row = connection.execute(
                "SELECT path, media_type FROM pictures WHERE job = ? AND place = ?", (job_id, index)
            ).fetchone()
        return state if row is None else PlacedPicture(os.fsdecode(row["path"]), row["media_type"])

    def log(self, job_id: str) -> tuple[LoggedEvent, ...]:
        """What is kept of its events, those of the tries that have ended."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT attempt, entries FROM logs WHERE job = ? ORDER BY attempt", (job_id,)
            ).fetchall()
        return tuple(event for row in rows for event in unpacked(row["attempt"], row["entries"]))

    def counts(self) -> JobCounts:
        """How many jobs there are, by state."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT state, count(*) FROM jobs WHERE dialect != ? GROUP BY state", (self._hidden,)
            ).fetchall()
        return JobCounts(**{row[0]: row[1] for row in rows})

    def find(self, query: JobQuery) -> JobPage:
        """Jobs, newest first; raises UnknownJob where `before` is none."""
        limit = min(max(1, query.limit), MAX_PAGE_JOBS)
        conditions, values = self._conditions(query)
        with self._database.read() as connection:
            if query.before is not None:
                conditions.append("number < ?")
                values.append(self._row(connection, "number", query.before, None)["number"])
            rows = _newest(connection, query.states, " AND ".join(conditions), values, limit + 1)
            shown = rows[:limit]
            pictures = _pictures(connection, [row["id"] for row in shown])
        jobs = tuple(job_of(row, pictures.get(row["id"], ())) for row in shown)
        return JobPage(jobs, jobs[-1].id if len(rows) > limit else None)

    def _conditions(self, query: JobQuery) -> tuple[list[str], list[object]]:
        conditions, values = ["dialect != ?"], list[object]([self._hidden])
        for word in storable(query.text.casefold()).split():
            conditions.append("instr(words, ?)")
            values.append(word)
        if query.id_part:
            part = storable(query.id_part)
            conditions.append("(substr(id, 1, ?) = ? OR substr(id, -?) = ?)")
            values += [len(part), part, len(part), part]
        for column, wanted in (("dialect", query.dialect), ("model", query.model)):
            if wanted:
                conditions.append(f"{column} = ?")
                values.append(storable(wanted))
        if query.owner is not None:
            conditions.append("owner = ?")
            values.append(query.owner)
        return conditions, values

    def _row(
        self, connection: sqlite3.Connection, columns: str, job_id: str, owner: str | None
    ) -> sqlite3.Row:
        row: sqlite3.Row | None = connection.execute(
            f"SELECT {columns} FROM jobs WHERE id = ? AND dialect != ? AND (? IS NULL OR owner = ?)",
            (storable(job_id), self._hidden, owner, owner),
        ).fetchone()
        if row is None:
            raise unknown_job(job_id)
        return row


def unknown_job(job_id: str, index: int | None = None) -> UnknownJob:
    """The same words for a job that never was and for one of somebody else.

    Args:
        job_id: What was asked for.
        index: Which of its pictures, where the job is there and the picture is not.
    """
    shown = storable(job_id[:40])
    if index is not None:
        return UnknownJob(f"The job {shown!r} has no picture {index}.", hint=f"sdenv jobs show {shown}")
    return UnknownJob(
        f"There is no job {shown!r}.", why="It never was, or it was removed.", hint="sdenv jobs list"
    )


def _newest(
    connection: sqlite3.Connection,
    states: frozenset[JobState],
    where: str,
    values: Sequence[object],
    limit: int,
) -> list[sqlite3.Row]:
    """Rows, newest first.

    Each state on its own walks its part of the index backwards and stops early; together they would be sorted
    first, all of them.
    """
    if not states or states == frozenset(JobState):
        newest = f"SELECT * FROM jobs WHERE {where} ORDER BY number DESC LIMIT ?"
        return connection.execute(newest, (*values, limit)).fetchall()
    found: list[sqlite3.Row] = []
    for state in states:
        newest = (
            f"SELECT * FROM jobs INDEXED BY jobs_by_state WHERE state = ? AND {where}"
            " ORDER BY number DESC LIMIT ?"
        )
        found += connection.execute(newest, (state.value, *values, limit)).fetchall()
    return sorted(found, key=lambda row: -int(row["number"]))[:limit]


def _pictures(connection: sqlite3.Connection, job_ids: Iterable[str]) -> dict[str, list[sqlite3.Row]]:
    ids = list(job_ids)
    found: dict[str, list[sqlite3.Row]] = {}
    for row in connection.execute(
        f"SELECT * FROM pictures WHERE job IN ({', '.join('?' * len(ids))}) ORDER BY job, place", ids
    ):
        found.setdefault(row["job"], []).append(row)
    return found
