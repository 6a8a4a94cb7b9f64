"""Short forms of the kill loop; the long one is `python -m tests.stress.kill_loop`."""

from pathlib import Path

import pytest

from tests.stress.kill_loop import run_loop
from tests.stress.load import Plan


@pytest.mark.slow
def test_no_accepted_job_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    counts = run_loop(Plan("fake", kills=8, longest_life_s=3.0), tmp_path)
    assert counts.faults == []
    assert counts.server_kills == 8
    assert counts.ends == {"done": counts.accepted}
    assert counts.accepted > 8
    assert counts.streams_broken_and_resumed > 0


@pytest.mark.slow
def test_nor_when_its_child_is_killed_with_a_real_model(tmp_path: Path) -> None:
    counts = run_loop(Plan("local", kills=2, longest_life_s=20.0, child_kills=1.0), tmp_path)
    assert counts.faults == []
    assert counts.ends == {"done": counts.accepted}
    assert counts.accepted > 0
