"""Waiting for what another thread or process brings about."""

import time
from collections.abc import Callable
from typing import TypeVar

from sdenv.testing.fakes import PATIENCE_S

T = TypeVar("T")


def until(look: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """What `look` returns as soon as it is true; fails the test when that does not happen."""
    end_s = time.monotonic() + patience_s
    while not (found := look()):
        assert time.monotonic() < end_s, "it has not come"
        time.sleep(0.005)
    return found
