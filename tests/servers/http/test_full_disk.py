"""A disk that is full costs the job that needs it, and nothing else."""

import errno
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sdenv.core.errors import DiskFull
from sdenv.services.jobs.store import Store
from tests.servers.http.support import JOBS, SMALL, asked, error_code, events, finished, submitted


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
        assert str(tmp_path) not in json.dumps([last, client.get(f"{JOBS}/{job_id}").json()])
        assert client.get("/health").status_code == 200
        assert error_code(client.get(f"{JOBS}/{job_id}/pictures/0")) == "job-not-found"
        assert list(tmp_path.rglob("*.part")) == []
        assert client.get(f"{JOBS}/{finished(client)}/pictures/0").status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (JOBS, {"request": SMALL}),
        ("/image/generate", {"prompt": "a"}),
        ("/sdapi/v1/txt2img", {"prompt": "a", "width": 64, "height": 64, "steps": 1}),
        ("/v1/images/generations", {"prompt": "a", "size": "64x64"}),
    ],
)
def test_no_dialect_says_where_things_lie_on_the_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, body: dict[str, Any]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise DiskFull(f"The disk is full: {str(tmp_path / 'jobs.sqlite3')!r} could not be written.")

    with asked(data_dir=tmp_path) as client:
        monkeypatch.setattr(Store, "add", full)
        answer = client.post(path, json=body)
    assert answer.status_code == 500
    assert "'jobs.sqlite3'" in answer.text
    assert str(tmp_path) not in answer.text


def test_a_file_that_is_damaged_on_the_server_is_no_fault_of_the_client(tmp_path: Path) -> None:
    with asked(data_dir=tmp_path) as client:
        job_id = finished(client)
        file = next((tmp_path / "results").rglob("*.png"))
        file.write_bytes(file.read_bytes()[:100])
        damaged = client.get(f"{JOBS}/{job_id}/pictures/0", params={"format": "jpeg"})
        file.unlink()
        lost = client.get(f"{JOBS}/{job_id}/pictures/0")
    assert [(each.status_code, error_code(each)) for each in (damaged, lost)] == [(500, "failed")] * 2
    assert " object at " not in damaged.text
    assert str(tmp_path) not in lost.text


def test_a_server_that_cannot_write_jobs_down_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with asked(data_dir=tmp_path) as client:
        assert client.get("/ready").status_code == 200
        with monkeypatch.context() as full:
            full.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
            answer = client.get("/ready")
        assert client.get("/ready").status_code == 200
    assert (answer.status_code, error_code(answer)) == (503, "unavailable")
    assert str(tmp_path) not in answer.text
