"""What a server that starts makes of the jobs that one before it has left."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from sdenv.core.errors import Cancelled, SdenvError, WorkerLost
from sdenv.core.job_record import JobState
from sdenv.protocols.native import error_record
from sdenv.services.jobs.attempt import ended_record
from sdenv.services.jobs.results import Results
from sdenv.services.jobs.rows import Ticket, ticket_of
from sdenv.services.jobs.store import End, Store, now

NOBODY_WAITS: Final = Cancelled(
    "The server has ended before the job.", why="Who asked for it waits no longer, and it is not durable."
)
_KILLED: Final = WorkerLost("The server was killed while the job ran.")


def recover(store: Store, results: Results, max_tries: int) -> Iterator[Ticket]:
    """Settles what was left; the jobs that wait, in order of acceptance."""
    for row in store.unfinished():
        if (ticket := _recovered(store, results, max_tries, row)) is not None:
            yield ticket


def _recovered(store: Store, results: Results, max_tries: int, row: sqlite3.Row) -> Ticket | None:
    """What waits again; None = it has ended."""
    ticket = ticket_of(row)
    was_running = row["state"] == JobState.RUNNING.value
    if was_running:
        results.sweep(ticket.created_at)
    if row["cancel_asked"] or not ticket.durable:
        _end(store, ticket, JobState.CANCELLED, Cancelled() if row["cancel_asked"] else NOBODY_WAITS)
        return None
    if not was_running:
        return ticket
    if ticket.losses + 1 >= max_tries:
        _end(store, ticket, JobState.FAILED, tries_used_up(_KILLED, ticket.losses + 1))
        return None
    return store.put_back(ticket.id, ticket.attempt, error_record(_KILLED), lost=True)


def _end(store: Store, ticket: Ticket, state: JobState, error: SdenvError) -> None:
    record = ended_record(ticket.id, state, error)
    store.end_unbegun(ticket, End(state, now(), (record,), error))


def tries_used_up(cause: WorkerLost, tries: int) -> WorkerLost:
    """The end of a job that has lost as many workers as it may."""
    why = f"{cause.why} {tries} tries have ended like this.".strip()
    return WorkerLost(cause.what, why=why, hint=cause.hint or "A smaller picture needs less memory.")


def waiting_again(ticket: Ticket) -> Ticket:
    """The ticket of a job that comes back into the queue now."""
    return replace(ticket, waits_since=now())
