"""A program that kills itself: at each point of a small day of a job queue in turn, then looks what is left.

It imports everything once and forks for each point, since starting Python anew costs most of the time. A
point is a statement that SQLite is about to run, a file that is about to be synced, to get its name or to be
removed.

    python -m tests.services.jobs.undead FOLDER FIRST STRIDE   # every STRIDE-th point from FIRST on, as JSON
"""

import hashlib
import json
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import Backend, BackendStatus, JobContext
from sdenv.core.image import decode
from sdenv.core.job_record import JobRecord
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult
from sdenv.services.engine import Engine
from sdenv.services.jobs import JobQuery, Jobs, database, schema

NEVER: Final = 10**9
SEEDED: Final = GenerationRequest(prompt="a cat", width=64, height=64, steps=2, seed=5, count=2)
UNSEEDED: Final = GenerationRequest(prompt="a dog", width=64, height=64, steps=2)


@final
class Undecided(Backend):
    """Takes another seed each time nobody says one, as a real model does."""

    def __init__(self) -> None:
        self._fake = FakeBackend(FakeSettings())

    def probe(self) -> BackendStatus:
        return self._fake.probe()

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        seed = request.seed if request.seed is not None else int.from_bytes(os.urandom(4), "big")
        return self._fake.generate(request.model_copy(update={"seed": seed}), context)

    def close(self) -> None:
        pass


@final
class Death:
    """Counts points, and kills the process at one of them."""

    def __init__(self, at: int) -> None:
        self.points = 0
        self._at = at
        self._lock = threading.Lock()
        vars(database)["connected"] = self._traced
        for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink")):
            setattr(owner, name, self._before(getattr(owner, name)))

    def point(self, *_: object) -> None:
        with self._lock:
            self.points += 1
            if self.points == self._at:
                os.kill(os.getpid(), signal.SIGKILL)

    def _traced(self, path: Path) -> sqlite3.Connection:
        connection = schema.connected(path)
        connection.set_trace_callback(self.point)
        return connection

    def _before(self, do: Callable[..., Any]) -> Callable[..., Any]:
        def dying(*values: Any, **named: Any) -> Any:
            self.point()
            return do(*values, **named)

        return dying


@dataclass
class Report:
    """What a day has told its clients before it died, one JSON line each."""

    descriptor: int

    def say(self, kind: str, **values: object) -> None:
        os.write(self.descriptor, json.dumps({"kind": kind, **values}).encode() + b"\n")

    # As JobObserver

    def accepted(self, job: JobRecord) -> None:
        pass

    def started(self, job: JobRecord, queue_wait_s: float) -> None:
        pass

    def stepped(self, seconds: float) -> None:
        pass

    def decoded(self, seconds: float) -> None:
        pass

    def picture(self, job: JobRecord) -> None:
        newest = job.pictures[-1]
        self.say("picture", job=job.id, index=newest.index, sha256=newest.sha256)

    def ended(self, job: JobRecord) -> None:
        self.say("ended", job=job.id, state=job.state.value)


def pixels(data: Any) -> str:
    return hashlib.sha256(decode(data).tobytes()).hexdigest()


def day(folder: Path, report: Report) -> None:
    """Two jobs are accepted, one twice, and run; a third is cancelled, and one is removed."""
    with Engine(Undecided(), name="fake") as engine, Jobs(engine, folder, observer=report) as jobs:
        ids = []
        for request, key in ((SEEDED, "one"), (UNSEEDED, None), (SEEDED, "one")):
            accepted = jobs.accept(request, key=key)
            ids.append(accepted.job.id)
            report.say("accepted", job=ids[-1], new=accepted.is_new, keyed=key is not None)
        for each in ids:
            jobs.wait(each, 30)
        removed = jobs.accept(SEEDED).job.id
        jobs.wait(removed, 30)
        report.say("removing", job=removed)
        jobs.remove(removed)
        report.say("removed", job=removed)


def next_day(folder: Path, report: Report) -> None:
    """Another server on the same folder; what it finds and finishes."""
    with Engine(Undecided(), name="fake") as engine, Jobs(engine, folder) as jobs:
        report.say("again", job=jobs.accept(SEEDED, key="one").job.id)  # a client that has heard nothing
        for job in jobs.find(JobQuery(limit=500)).jobs:
            done = jobs.wait(job.id, 30)
            shown = [pixels(jobs.picture(job.id, each.index)) for each in done.pictures]
            hashes = [each.sha256 for each in done.pictures]
            report.say(
                "found",
                job=job.id,
                state=done.state.value,
                pixels=shown,
                hashes=hashes,
                seeded="seed" in job.request,
            )
    left = sorted(each.name for each in (folder / "results").rglob("*") if each.is_file())
    report.say("files", names=left)
    with sqlite3.connect(folder / "jobs.sqlite3") as connection:
        report.say("integrity", word=connection.execute("PRAGMA integrity_check").fetchone()[0])
    connection.close()


def forked(do: Callable[[Report], None]) -> tuple[list[dict[str, Any]], int]:
    """What a forked process says until it ends or dies, and how it ended."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        status = 1
        try:
            os.close(reading)
            do(Report(writing))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as lines:
        said = [json.loads(line) for line in lines]
    return said, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@dataclass
class Verdict:
    """One point: what is wrong with what was left."""

    point: int
    faults: list[str] = field(default_factory=list)


def judged(
    point: int, before: list[dict[str, Any]], after: list[dict[str, Any]], right: list[str]
) -> Verdict:
    verdict = Verdict(point)
    found = {each["job"]: each for each in after if each["kind"] == "found"}
    told = {
        kind: [each for each in before if each["kind"] == kind] for kind in ("accepted", "picture", "ended")
    }
    gone = {each["job"] for each in before if each["kind"] == "removing"}

    def expect(truth: bool, fault: str) -> None:
        if not truth:
            verdict.faults.append(fault)

    again = next(each["job"] for each in after if each["kind"] == "again")
    keyed = {each["job"] for each in told["accepted"] if each["keyed"]}
    expect(keyed <= {again}, "a key has begun two jobs")
    new = [each["job"] for each in told["accepted"] if each["new"]]
    expect(len(new) == len(set(new)), "an id was handed out twice")
    for each in told["accepted"]:
        expect(each["job"] in found, "an accepted job is lost")
    for job in found.values():
        expect(job["state"] == "done", f"a job ended {job['state']}")
        expect(not job["seeded"] or job["pixels"] == right, "a job has other pixels than undisturbed")
        expect(len(set(job["pixels"])) == (2 if job["seeded"] else 1), "a job lacks a picture")
    for each in told["picture"]:
        kept = found.get(each["job"])
        expect(each["job"] in gone or kept is not None, "a job with a picture is lost")
        if kept is not None:
            expect(
                kept["hashes"][each["index"]] == each["sha256"],
                "a picture was told of and made anew otherwise",
            )
    names = next(each["names"] for each in after if each["kind"] == "files")
    known = {f"{job}-{index}.png" for job, each in found.items() for index in range(len(each["pixels"]))}
    expect(set(names) == known, f"files without a row, or half written: {sorted(set(names) - known)}")
    expect(after[-1].get("word") == "ok", "the database is damaged")
    expect(
        all(each["job"] not in found for each in before if each["kind"] == "removed"), "a removed job is back"
    )
    return verdict


def main(folder: Path, first: int, stride: int) -> None:
    def undisturbed(report: Report) -> None:
        death = Death(NEVER)
        day(folder / "undisturbed", report)
        report.say("points", points=death.points)

    said, status = forked(undisturbed)
    assert status == 0, "the undisturbed day failed"
    points = said[-1]["points"]
    rest, _ = forked(lambda report: next_day(folder / "undisturbed", report))
    right = next(each["pixels"] for each in rest if each["kind"] == "found" and each["seeded"])
    verdicts, killed = [], 0
    for point in range(first, points + 1, stride):
        place = folder / str(point)

        def disturbed(report: Report, at: int = point, place: Path = place) -> None:
            Death(at)
            day(place, report)

        before, status = forked(disturbed)
        killed += status == -signal.SIGKILL
        after, healthy = forked(lambda report, place=place: next_day(place, report))  # type: ignore[misc]
        verdict = (
            judged(point, before, after, right)
            if healthy == 0
            else Verdict(point, ["it does not start again"])
        )
        verdicts.append(verdict)
    faults = {each.point: each.faults for each in verdicts if each.faults}
    print(json.dumps({"points": points, "tried": len(verdicts), "killed": killed, "faults": faults}))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
