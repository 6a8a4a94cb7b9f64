"""A disk that is full costs the job that needs it, and nothing else."""

import errno
import os
from pathlib import Path

import pytest

from tests.servers.http.support import JOBS, asked, error_code, events, finished, submitted


def refuse(_: int) -> None:
    """What the system says to a program that wants its file kept, when the disk is full."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_job_fails_with_its_cause_and_the_server_lives(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with asked(data_dir=tmp_path) as client:
        with monkeypatch.context() as full:
            full.setattr(os, "fsync", refuse)
            job_id = submitted(client)
            last = events(client, job_id)[-1][1]
        assert (last["state"], last["error"]["code"]) == ("failed", "disk-full")
        assert client.get("/health").status_code == 200
        assert error_code(client.get(f"{JOBS}/{job_id}/pictures/0")) == "job-not-found"
        assert list(tmp_path.rglob("*.part")) == []
        assert client.get(f"{JOBS}/{finished(client)}/pictures/0").status_code == 200
