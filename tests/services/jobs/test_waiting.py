"""Who is next, in the queue alone."""

import threading
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdenv.core.errors import Busy, ServerStopping
from sdenv.services.jobs.rows import Ticket
from sdenv.services.jobs.waiting import Waiting


def ticket(number: int, owner: str = "", priority: int = 0, count: int = 1) -> Ticket:
    return Ticket(number, f"job{number}", owner, priority, count, 0, 0, True, 0, 0.0, 0.0)


def queue(*tickets: Ticket, **shares: float) -> Waiting:
    waiting = Waiting(shares)
    for each in tickets:
        waiting.add(each, reserved=False)
    return waiting


def order(waiting: Waiting) -> list[Ticket]:
    taken = []
    while (each := waiting.take(0)) is not None:
        taken.append(each)
    return taken


def test_the_oldest_is_first() -> None:
    assert [each.number for each in order(queue(ticket(2), ticket(1), ticket(3)))] == [1, 2, 3]


def test_priority_comes_before_age_and_before_turns() -> None:
    waiting = queue(ticket(1, "a"), ticket(2, "b"), ticket(3, "a", priority=1), ticket(4, "b", priority=-1))
    assert [each.number for each in order(waiting)] == [3, 2, 1, 4]


def test_owners_take_turns_however_many_jobs_one_has() -> None:
    waiting = queue(
        *(ticket(number, "many") for number in range(100)), ticket(100, "few"), ticket(101, "few")
    )
    assert [each.number for each in order(waiting)[:4]] == [0, 100, 1, 101]


def test_turns_are_as_the_shares() -> None:
    jobs = [ticket(number, "half") for number in range(40)] + [
        ticket(50 + number, "whole") for number in range(40)
    ]
    first = Counter(each.owner for each in order(queue(*jobs, half=0.5))[:30])
    assert first == {"whole": 20, "half": 10}


def test_a_job_of_many_pictures_costs_as_many_turns() -> None:
    waiting = queue(
        *(ticket(number, "big", count=4) for number in range(4)),
        *(ticket(10 + number, "small") for number in range(8)),
    )
    owners = [each.owner for each in order(waiting)][:8]
    assert owners == ["big", *["small"] * 4, "big", *["small"] * 2]


def test_who_was_away_has_saved_nothing_up() -> None:
    waiting = queue(*(ticket(number, "stays") for number in range(10)))
    for _ in range(5):
        waiting.take(0)
    for number in range(20, 25):
        waiting.add(ticket(number, "comes"), reserved=False)
    owners = Counter(each.owner for each in order(waiting)[:4])
    assert owners == {"stays": 2, "comes": 2}


jobs_of_some = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(-1, 1), st.integers(1, 16)), min_size=1, max_size=30
)


@given(jobs_of_some, st.integers(0, 10))
def test_positions_foretell_the_order(jobs: list[tuple[str, int, int]], taken: int) -> None:
    waiting = queue(*(ticket(number, *each) for number, each in enumerate(jobs)), a=0.3)
    for _ in range(min(taken, len(jobs) - 1)):
        waiting.take(0)
    foretold = waiting.positions()
    assert foretold == {each: waiting.position(each) for each in foretold}
    assert [each.id for each in order(waiting)] == sorted(foretold, key=lambda job_id: foretold[job_id])


@given(jobs_of_some, st.sampled_from("abcd"), st.integers(-1, 1))
def test_the_place_of_a_new_job_is_foretold(
    jobs: list[tuple[str, int, int]], owner: str, priority: int
) -> None:
    waiting = queue(*(ticket(number, *each) for number, each in enumerate(jobs)))
    foretold = waiting.place_of_new(owner, priority)
    waiting.add(ticket(999, owner, priority), reserved=False)
    assert waiting.position("job999") == foretold


@given(jobs_of_some)
def test_every_job_is_handed_out_once(jobs: list[tuple[str, int, int]]) -> None:
    tickets = [ticket(number, *each) for number, each in enumerate(jobs)]
    assert sorted(each.number for each in order(queue(*tickets))) == list(range(len(jobs)))


def test_a_removed_job_is_not_handed_out() -> None:
    waiting = queue(ticket(1), ticket(2))
    assert waiting.remove("job1") == ticket(1)
    assert waiting.remove("job1") is None
    assert [each.number for each in order(waiting)] == [2]


def test_one_that_comes_back_is_the_oldest_again() -> None:
    waiting = queue(ticket(1), ticket(2))
    first = waiting.take(0)
    assert first is not None
    waiting.add(replace(first, attempt=1), reserved=True)
    assert [each.number for each in order(waiting)] == [1, 2]


def test_places_are_taken_and_given_back() -> None:
    waiting = Waiting({})
    for _ in range(2):
        waiting.reserve("a", 2, 7)
    with pytest.raises(Busy) as refused:
        waiting.reserve("b", 2, 7)
    waiting.leave("a")
    waiting.reserve("b", 2, 7)
    assert (refused.value.retry_after_s, waiting.unfinished) == (7, 2)


def test_an_owner_with_the_smallest_share_still_has_one_place() -> None:
    waiting = Waiting({"tiny": 0.001})
    waiting.reserve("tiny", 4, 1)
    with pytest.raises(Busy, match="share"):
        waiting.reserve("tiny", 4, 1)


def test_after_the_stop_nothing_goes_in_or_out() -> None:
    waiting = queue(ticket(1))
    waiting.stop()
    assert waiting.take(0) is None
    with pytest.raises(ServerStopping):
        waiting.reserve("", 9, 1)


def test_who_waits_for_a_job_is_woken_by_one_and_by_the_stop() -> None:
    waiting = Waiting({})
    taken: list[Ticket | None] = []
    taker = threading.Thread(target=lambda: taken.extend((waiting.take(30), waiting.take(30))))
    taker.start()
    waiting.add(ticket(1), reserved=False)
    waiting.stop()
    taker.join(30)
    assert taken in ([ticket(1), None], [None, None])
