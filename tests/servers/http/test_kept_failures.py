"""A failure is said again for half a minute, to the same peer for the same words."""

import pytest

from sdenv.core.errors import (
    Busy,
    FailedError,
    InvalidRequest,
    NoStepInTime,
    OutOfMemory,
    SdenvError,
    UnavailableError,
)
from sdenv.servers.http.kept_failures import KEPT_S, MOST_FAILURES, KeptFailures
from tests.servers.http.test_file_links import Clock

KEY = KeptFailures.key("me", "/v1/images/generations", b"{}")


def test_a_failure_is_kept_for_half_a_minute() -> None:
    clock = Clock()
    failures = KeptFailures(clock)
    error = FailedError("Broken.")
    failures.keep(KEY, error)
    clock.now += KEPT_S - 1
    kept = failures.find(KEY)
    assert (type(kept), str(kept)) == (FailedError, str(error))
    clock.now += 1
    assert failures.find(KEY) is None


def test_a_kept_failure_holds_no_request() -> None:
    failures = KeptFailures()
    try:
        raise FailedError("Broken.")
    except FailedError as error:
        failures.keep(KEY, error)
    kept = failures.find(KEY)
    assert kept is not None
    assert kept.__traceback__ is None


def test_another_peer_path_or_body_is_another_request() -> None:
    others = [("you", "/v1/images/generations", b"{}"), ("me", "/v1/images/edits", b"{}")]
    others.append(("me", "/v1/images/generations", b"{ }"))
    assert KEY not in {KeptFailures.key(*each) for each in others}


@pytest.mark.parametrize(
    ("error", "is_kept"),
    [
        (FailedError("x"), True),
        (NoStepInTime("x"), True),
        (OutOfMemory("x"), True),
        (Busy("x"), False),
        (UnavailableError("x"), False),
        (InvalidRequest("x"), False),
    ],
    ids=lambda each: getattr(each, "code", ""),
)
def test_only_what_came_after_work_is_kept(error: SdenvError, is_kept: bool) -> None:
    failures = KeptFailures()
    failures.keep(KEY, error)
    assert (failures.find(KEY) is not None) is is_kept


def test_the_oldest_goes_when_there_are_too_many() -> None:
    failures = KeptFailures()
    for number in range(MOST_FAILURES + 1):
        failures.keep(str(number), FailedError("x"))
    assert failures.find("0") is None
    assert failures.find("1")
