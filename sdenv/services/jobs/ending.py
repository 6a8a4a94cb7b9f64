"""Ending jobs before their time: because somebody cancels them, or because the server is about to end."""

from contextlib import suppress
from typing import final

from sdenv.core.errors import Cancelled, SdenvError
from sdenv.services.jobs.attempt import cancelled_end
from sdenv.services.jobs.live import LiveJob, LiveJobs, first_record
from sdenv.services.jobs.recovery import NOBODY_WAITS
from sdenv.services.jobs.rows import Ticket
from sdenv.services.jobs.runner import Runner
from sdenv.services.jobs.store import Store
from sdenv.services.jobs.waiting import Waiting
from sdenv.services.jobs.watching import Watching


@final
class Ending:
    """Cancels and drains.

    Args:
        store: Where it is written down.
        waiting: Who waits.
        live: Who has not ended.
        runner: Who runs them.
        watching: Who watches them.
    """

    def __init__(
        self, store: Store, waiting: Waiting, live: LiveJobs, runner: Runner, watching: Watching
    ) -> None:
        self._store = store
        self._waiting = waiting
        self._live = live
        self._runner = runner
        self._watching = watching

    def cancel(self, job_id: str) -> None:
        """See `Jobs.cancel`; the job is there, and may have ended."""
        ticket, live = self._waiting.remove(job_id), self._live.get(job_id)
        if ticket is not None and live is not None:
            self._end_waiting(live, ticket, Cancelled())
        elif live is not None:
            try:
                self._store.ask_cancel(job_id)
            finally:
                live.cancel()

    def drain(self, timeout_s: float) -> None:
        """See `Jobs.drain`."""
        self._waiting.stop()
        for ticket in self._waiting.tickets():
            live = self._live.get(ticket.id)
            if not ticket.durable and live is not None and self._waiting.remove(ticket.id):
                with suppress(SdenvError):  # the disk is full: the next start cancels it
                    self._end_waiting(live, ticket, NOBODY_WAITS)
        self._live.wait_until_none_runs(timeout_s)
        for live in self._live.running():
            self._runner.hand_back(live)
        self._watching.stop()

    def _end_waiting(self, live: LiveJob, ticket: Ticket, error: Cancelled) -> None:
        end = cancelled_end(ticket.id, [first_record(ticket)], error)
        try:
            self._store.end_unbegun(ticket, end)
        except BaseException:
            self._waiting.add(ticket, reserved=True)
            raise
        self._runner.tell_end(live, end)
