"""Who is next: by priority, then by turns between owners, then by age; and whether one more may wait."""

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping
from typing import final

from sdenv.core.errors import Busy, ServerStopping
from sdenv.services.jobs.rows import Ticket


@final
class Waiting:
    """The jobs that wait, in memory; their requests stay in the database.

    Turns are shared by start-time fair queueing (Goyal, Vin and Cheng, 1996): each owner has a clock that
    each job moves on by its pictures divided by the owner's share, and the clock that is furthest behind is
    next. An owner who comes back starts at the clock of the one who was served last: idle time is not saved.

    Args:
        shares: Per owner, above 0 to 1; others have 1.
    """

    def __init__(self, shares: Mapping[str, float]) -> None:
        self._shares = dict(shares)
        self._changed = threading.Condition()
        self._by_owner: dict[str, list[Ticket]] = {}  # each sorted by `_order`
        self._by_id: dict[str, Ticket] = {}
        self._clocks: dict[str, float] = {}
        self._clock = 0.0
        self._unfinished: dict[str, int] = {}  # per owner: places taken, running and reserved ones too
        self._stopping = False

    def __len__(self) -> int:
        with self._changed:
            return len(self._by_id)

    def __contains__(self, job_id: str) -> bool:
        with self._changed:
            return job_id in self._by_id

    # Places

    def reserve(self, owner: str, limit: int, retry_after_s: int) -> None:
        """Takes a place, which `leave` gives back when its job has ended.

        Args:
            owner: Whose job it is.
            limit: How many jobs may wait and run together.
            retry_after_s: When a place is likely, for the error.

        Raises:
            ServerStopping: No more jobs are taken.
            Busy: There is none, or the owner has no right to more.
        """
        with self._changed:
            if self._stopping:
                raise ServerStopping(
                    "The server is about to end and takes no more jobs.", hint="Try again when it is back."
                )
            taken, own = sum(self._unfinished.values()), self._unfinished.get(owner, 0)
            if taken >= limit:
                raise Busy(
                    "The queue is full.",
                    why=f"{taken} jobs are running or waiting.",
                    hint=f"Try again in {retry_after_s} s.",
                    retry_after_s=retry_after_s,
                )
            if own >= max(1, int(limit * min(1.0, self._share(owner)))):
                raise Busy(
                    f"The share of {owner!r} in the queue is used up.",
                    why=f"{own} of its jobs are running or waiting.",
                    hint=f"Try again in {retry_after_s} s.",
                    retry_after_s=retry_after_s,
                )
            self._unfinished[owner] = own + 1

    @property
    def unfinished(self) -> int:
        """How many places are taken."""
        with self._changed:
            return sum(self._unfinished.values())

    def leave(self, owner: str) -> None:
        """Gives a place back."""
        with self._changed:
            self._unfinished[owner] -= 1
            if not self._unfinished[owner]:
                del self._unfinished[owner]

    def _share(self, owner: str) -> float:
        return self._shares.get(owner, 1.0)

    # Jobs

    def add(self, ticket: Ticket, *, reserved: bool) -> None:
        """A job waits from now on.

        Args:
            ticket: The job.
            reserved: Whether it has its place already; else it takes one, whether or not there is one.
        """
        with self._changed:
            own = self._by_owner.setdefault(ticket.owner, [])
            if not own:
                self._clocks[ticket.owner] = self._clock_of_new(ticket.owner)
            insort(own, ticket, key=_order)
            self._by_id[ticket.id] = ticket
            if not reserved:
                self._unfinished[ticket.owner] = self._unfinished.get(ticket.owner, 0) + 1
            self._changed.notify()

    def take(self, timeout_s: float) -> Ticket | None:
        """The next job, which waits no longer but keeps its place; None = there is none so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._by_id, timeout_s)
            if self._stopping or not self._by_id:
                return None
            owner = _next_owner(self._heads(), self._clocks)
            ticket = self._by_owner[owner][0]
            self._clock = max(self._clock, self._clocks[owner])
            self._clocks[owner] += ticket.count / self._share(owner)
            self._drop(ticket)
            return ticket

    def remove(self, job_id: str) -> Ticket | None:
        """Takes a job out of the queue; None = it does not wait. It keeps its place."""
        with self._changed:
            ticket = self._by_id.get(job_id)
            if ticket is not None:
                self._drop(ticket)
            return ticket

    def _drop(self, ticket: Ticket) -> None:
        own = self._by_owner[ticket.owner]
        own.remove(ticket)
        if not own:
            del self._by_owner[ticket.owner]
        del self._by_id[ticket.id]
        if not self._by_id:  # nobody waits: the clocks start again, and forget who has gone
            self._clocks.clear()
            self._clock = 0.0

    def position(self, job_id: str) -> int | None:
        """How many of those that wait come before a job, as things are; None = it does not wait."""
        with self._changed:
            ticket = self._by_id.get(job_id)
            if ticket is None:
                return None
            if len(self._by_owner) == 1:
                return bisect_left(self._by_owner[ticket.owner], _order(ticket), key=_order)
            return next(place for place, each in enumerate(self._in_order()) if each.id == job_id)

    def place_of_new(self, owner: str, priority: int) -> int:
        """How many of those that wait would come before a new job."""
        with self._changed:
            if not self._by_owner.keys() - {owner}:
                own = self._by_owner.get(owner, [])
                return bisect_right(own, -priority, key=lambda ticket: -ticket.priority)
            clock = self._clock_of_new(owner)
            before = 0
            for each, at in self._in_turn():
                if each.owner != owner and (-each.priority, at) > (-priority, clock):
                    break
                before += each.priority >= priority
                if each.owner == owner and each.priority >= priority:
                    clock = at + each.count / self._share(owner)
            return before

    def _clock_of_new(self, owner: str) -> float:
        return max(self._clocks.get(owner, 0.0), self._clock)

    def positions(self) -> dict[str, int]:
        """As `position`, for all."""
        with self._changed:
            return {each.id: place for place, each in enumerate(self._in_order())}

    def tickets(self) -> tuple[Ticket, ...]:
        """All that wait, in no order."""
        with self._changed:
            return tuple(self._by_id.values())

    def _heads(self) -> dict[str, Ticket]:
        return {owner: own[0] for owner, own in self._by_owner.items()}

    def _in_order(self) -> Iterator[Ticket]:
        """Those that wait, as `take` would hand them out."""
        return (ticket for ticket, _ in self._in_turn())

    def _in_turn(self) -> Iterator[tuple[Ticket, float]]:
        """As `_in_order`, each with its owner's clock at that moment."""
        rest = {owner: iter(own) for owner, own in self._by_owner.items()}
        heads = {owner: next(own) for owner, own in rest.items()}
        clocks = dict(self._clocks)
        while heads:
            owner = _next_owner(heads, clocks)
            ticket = heads[owner]
            yield ticket, clocks[owner]
            clocks[owner] += ticket.count / self._share(owner)
            if (following := next(rest[owner], None)) is None:
                del heads[owner]
            else:
                heads[owner] = following

    # The end

    def stop(self) -> None:
        """Hands nothing out and takes nothing in any more; whoever waits for a job is let go."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping

    def rest(self, timeout_s: float) -> None:
        """Waits so long, or until `stop`."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, timeout_s)


def _order(ticket: Ticket) -> tuple[int, int]:
    return (-ticket.priority, ticket.number)


def _next_owner(heads: Mapping[str, Ticket], clocks: Mapping[str, float]) -> str:
    return min(heads, key=lambda owner: (-heads[owner].priority, clocks[owner], heads[owner].number))
