"""Every error has a status in every dialect, and what would fail again is never one that clients repeat."""

import itertools

import pytest

from sdenv.core.errors import Busy, Denied, InternalError, Kind, ServerStopping, all_error_types
from sdenv.servers.http.statuses import (
    A1111,
    DRAW_THINGS,
    NATIVE,
    OPENAI,
    SDCPP,
    Table,
    headers_of,
    status_of,
)

TABLES = {
    "native": NATIVE,
    "a1111": A1111,
    "openai": OPENAI,
    "sdcpp": SDCPP,
    "drawthings-http": DRAW_THINGS,
}


def test_clients_of_openai_are_never_told_409() -> None:
    assert 409 not in OPENAI.values()


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_kind_has_a_status_whether_it_repeats_or_not(table: Table) -> None:
    assert set(table) == set(itertools.product(Kind, (True, False)))


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_what_would_fail_again_is_never_repeated_by_clients(table: Table) -> None:
    for error_type in all_error_types():
        status = status_of(error_type("What."), table)
        assert 400 <= status < 600
        assert not error_type.repeats or (status < 500 and status not in (408, 409, 429)), error_type


def test_a_full_queue_and_a_server_that_ends_say_when_to_come_back() -> None:
    assert headers_of(Busy("Full.", retry_after_s=2.1))["Retry-After"] == "3"
    assert headers_of(Busy("Full."))["Retry-After"] == "1"
    assert int(headers_of(ServerStopping("Ending."))["Retry-After"]) >= 1


def test_a_missing_token_says_how_to_send_one() -> None:
    assert headers_of(Denied("No."))["WWW-Authenticate"].startswith("Basic realm=")


def test_a_bug_is_not_computed_again() -> None:
    assert headers_of(InternalError("Oops."))["X-Should-Retry"] == "false"
