"""What must hold after the kill loop: every job done, every pixel right, every file whole."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from sdenv.core.backend import Backend
from sdenv.core.errors import SdenvError
from sdenv.core.image import ImageData, decode
from sdenv.core.job_record import JobRecord, JobState
from sdenv.net.native_client import NativeClient
from sdenv.services.choose import choose_backend
from sdenv.services.settings import load_settings
from sdenv.testing.requests import run
from tests.stress.load import LONGEST_S, Counts, Plan, client_of, key, request_number


def ended_jobs(url: str, accepted: Mapping[int, str]) -> dict[int, JobRecord]:
    """All accepted jobs, ended."""
    with client_of(url) as client:
        return {number: client.wait(job_id, LONGEST_S) for number, job_id in accepted.items()}


def check_jobs(
    plan: Plan, url: str, accepted: Mapping[int, str], jobs: Mapping[int, JobRecord], counts: Counts
) -> None:
    """Every job is done, its id is its own, and its pixels are those of a run that nobody disturbs."""
    counts.accepted = len(accepted)
    if len(set(accepted.values())) != len(accepted):
        counts.faults.append("an id was handed out twice")
    backend = choose_backend(plan.backend, {}, load_settings(None, {})).backend
    with client_of(url) as client, closing(backend):
        for number, job in jobs.items():
            counts.ends[job.state.value] += 1
            counts.tries[job.attempt] += 1
            if job.state is not JobState.DONE:
                counts.faults.append(f"{job.id} is {job.state.value}: {job.error}")
                continue
            again = client.submit(request_number(number, plan.backend), key=key(number))
            if again.id != job.id:
                counts.faults.append(f"the key of {job.id} has made another job, {again.id}")
            counts.pictures += len(job.pictures)
            counts.faults.extend(_wrong_pixels(client, backend, number, plan.backend, job))


def _wrong_pixels(
    client: NativeClient, backend: Backend, number: int, kind: str, job: JobRecord
) -> Iterator[str]:
    """Compares a job's pictures with those of a run that nobody disturbs."""
    assert job.resolved is not None
    request = request_number(number, kind).model_copy(update={"seed": job.resolved["seed"]})
    undisturbed = run(backend, request).result.images
    if len(job.pictures) != len(undisturbed):
        yield f"{job.id} has {len(job.pictures)} pictures instead of {len(undisturbed)}"
    for index, image in enumerate(undisturbed[: len(job.pictures)]):
        kept = client.picture(job.id, index, metadata=False)
        if decode(kept).tobytes() != decode(image).tobytes():
            yield f"{job.id}: picture {index} has other pixels than an undisturbed run makes"


def check_files(data: Path, jobs: Mapping[int, JobRecord], counts: Counts) -> None:
    """No file is half written, left over or missing, and the database is whole."""
    files = [path for path in (data / "results").rglob("*") if path.is_file()]
    wanted = {f"{job.id}-{each.index}.png" for job in jobs.values() for each in job.pictures}
    if (found := {path.name for path in files}) != wanted:
        counts.faults.append(f"left over: {sorted(found - wanted)}, missing: {sorted(wanted - found)}")
    for path in files:
        try:
            decode(ImageData.from_bytes(path.read_bytes(), path.name))
        except SdenvError as error:
            counts.faults.append(f"{path.name} is half written: {error}")
    with closing(sqlite3.connect(data / "jobs.sqlite3")) as database:
        (verdict,) = database.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        counts.faults.append(f"the database is damaged: {verdict}")
