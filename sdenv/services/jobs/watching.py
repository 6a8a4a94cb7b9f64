"""Following a job: what has happened from the database, what happens from its channel."""

import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing, suppress
from queue import Empty, SimpleQueue
from typing import Final, final

from sdenv.core.errors import NoStepInTime
from sdenv.services.jobs.channel import Channel, position_of
from sdenv.services.jobs.live import LiveJobs
from sdenv.services.jobs.reading import Reading, unknown_job
from sdenv.services.jobs.types import LoggedEvent

WAKE_S: Final = 0.2
"""Longest wait in one piece, so that Ctrl-C is seen on Windows too."""


@final
class Watching:
    """Many may watch many jobs: in an event loop each costs a position in a list, and no thread.

    Args:
        live: The jobs that have not ended.
        reading: The others.
    """

    def __init__(self, live: LiveJobs, reading: Reading) -> None:
        self._live = live
        self._reading = reading
        self._stopped = False

    def check(self, job_id: str, owner: str | None) -> None:
        """Raises UnknownJob where there is no such job, or it belongs to another."""
        live = self._live.get(job_id)
        if live is None:
            self._reading.job(job_id, owner)
        elif owner not in (None, live.owner):
            raise unknown_job(job_id)

    async def watch(
        self, job_id: str, place: tuple[int, int], owner: str | None
    ) -> AsyncIterator[LoggedEvent]:
        """See `Jobs.watch`; `place` is that of the last event that is known."""
        import asyncio  # 30 ms that a command line need not wait for

        if self._live.get(job_id) is None:
            await asyncio.to_thread(self.check, job_id, owner)  # the disk may be slow
        with ExitStack() as stack:
            channel = self._channel(job_id, owner, stack)
            if channel is None or channel.first_attempt > 1:
                preview = self._live.last_preview(job_id)
                kept = await asyncio.to_thread(self._reading.log, job_id)
                if channel is None and not kept:  # it was removed in this very moment
                    await asyncio.to_thread(self.check, job_id, owner)
                for event in kept:
                    earlier = position_of(event.id)
                    if earlier > place and (channel is None or earlier[0] < channel.first_attempt):
                        yield preview if preview is not None and preview.id == event.id else event
            if channel is not None:
                async with aclosing(channel.events(place)) as events:
                    async for event in events:
                        yield event

    def wait(self, job_id: str, timeout_s: float | None, owner: str | None) -> None:
        """See `Jobs.wait`."""
        self.check(job_id, owner)
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        with ExitStack() as stack:
            channel = self._channel(job_id, owner, stack)
            if channel is not None and not _ends_in_time(channel, deadline_s):
                raise NoStepInTime(f"The job {job_id} has not ended within {timeout_s:g} s.")

    def _channel(self, job_id: str, owner: str | None, stack: ExitStack) -> Channel | None:
        """The channel of a job that has not ended, kept while the stack is open; None = it has ended."""
        live = self._live.get(job_id)
        if live is None:
            return None
        if owner not in (None, live.owner):
            raise unknown_job(job_id)
        channel = stack.enter_context(live.held())
        if channel is not None and self._stopped:
            channel.close()
        return channel

    def stop(self) -> None:
        """Tells all who watch a job that it does not end any more in this server."""
        self._stopped = True  # first: who comes later sees it
        for live in self._live.all():
            live.close()


def _ends_in_time(channel: Channel, deadline_s: float | None) -> bool:
    bell: SimpleQueue[None] = SimpleQueue()
    with channel.waking(lambda: bell.put(None)):
        while not channel.ended:
            channel.check()
            left_s = WAKE_S if deadline_s is None else deadline_s - time.monotonic()
            if left_s <= 0:
                return False
            with suppress(Empty):
                bell.get(timeout=min(left_s, WAKE_S))
    return True
