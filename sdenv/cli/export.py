"""`sdenv history export`: JSON lines for programs, a gallery for people."""

import json
import shlex
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from sdenv.cli.history import ExportFlags
from sdenv.cli.history_run import paths_of, since
from sdenv.cli.jobids import every_job, find_job, read_ids
from sdenv.cli.joblist import model_of, shown_record
from sdenv.cli.jobs_run import say, settings_of
from sdenv.cli.output import RESULT_VERSION, STDOUT, print_json, print_path
from sdenv.cli.quantities import clock_and_date
from sdenv.core.errors import FileAlreadyExists, UsageError
from sdenv.core.job_record import JobRecord, PictureRecord
from sdenv.services.gallery import Shown, write_gallery_file, write_gallery_folder
from sdenv.services.jobs import History, JobQuery
from sdenv.services.output_checks import is_folder, make_folder
from sdenv.services.whole_files import write_whole

_PAGES: Final = (".html", ".htm")
_LINES: Final = (".jsonl", ".ndjson")
_SETTINGS: Final = (
    ("Negative", "negative_prompt"),
    ("Steps", "steps"),
    ("Guidance", "guidance_scale"),
    ("Sampler", "sampler"),
    ("Schedule", "schedule"),
    ("Strength", "strength"),
)


def export_history(flags: ExportFlags) -> None:
    """Runs the command.

    Raises:
        UsageError: A place that says neither what kind of export it wants.
        FileAlreadyExists: It is taken, and `--force` is not given.
    """
    place = None if flags.output in (None, STDOUT) else flags.output
    suffix = "" if place is None else Path(place).suffix.casefold()
    as_folder = place is not None and (place.endswith("/") or is_folder(place))
    if place is not None and not as_folder and suffix not in (*_PAGES, *_LINES):
        raise UsageError(
            f"sdenv does not export to {place!r}.",
            hint="A folder/ or NAME.html is a gallery, NAME.jsonl or - is JSON lines.",
        )
    with History(settings_of(flags.profile).data_dir) as history:
        jobs = _chosen(history, flags)
        if place is None:
            for job in jobs:
                print_json(shown_record(job, paths_of(history, job)))
            return
        if not as_folder and suffix in _LINES:
            _write_lines(Path(place), history, jobs, force=flags.force)
            print_path(Path(place))
            return
        pictures = _pictures(history, jobs, flags)
        write = write_gallery_folder if as_folder else write_gallery_file
        page, count = write(Path(place), pictures, flags.title, replace=flags.force)
        print_path(page)
        if not flags.quiet:
            say(f"{count} {'picture' if count == 1 else 'pictures'}.")


def _chosen(history: History, flags: ExportFlags) -> Iterator[JobRecord]:
    if flags.ids:
        jobs = iter([find_job(word, history.find, history.get) for word in read_ids(flags.ids)])
    else:
        query = JobQuery(text=flags.search or "", model=flags.model or "")
        jobs = since(every_job(history.find, query), flags.since)
    return islice(jobs, flags.limit)


def _write_lines(path: Path, history: History, jobs: Iterator[JobRecord], *, force: bool) -> None:
    lines = [
        json.dumps({"v": RESULT_VERSION, **shown_record(job, paths_of(history, job))}) + "\n" for job in jobs
    ]
    make_folder(path.parent)
    try:
        write_whole(path, "".join(lines).encode(), replace=force)
    except FileExistsError as error:
        raise FileAlreadyExists(
            f"The file {str(path)!r} exists.", hint="Give another name with -o, or replace it with --force."
        ) from error


def _pictures(history: History, jobs: Iterator[JobRecord], flags: ExportFlags) -> Iterator[Shown]:
    """What the gallery shows; says how many pictures are not where they were."""
    missing = 0
    for job in jobs:
        paths = paths_of(history, job)
        missing += len(job.pictures) - len(paths)
        for picture in job.pictures:
            if picture.index in paths:
                yield _shown(job, picture, paths[picture.index])
    if missing and not flags.quiet:
        print(f"{missing} pictures are not where they were and are left out.", file=sys.stderr)


def _shown(job: JobRecord, picture: PictureRecord, path: Path) -> Shown:
    values = job.resolved or job.request
    facts = [("Model", model_of(job)), ("Size", f"{picture.width}x{picture.height}")]
    facts += [(label, str(values[name])) for label, name in _SETTINGS if values.get(name) not in (None, "")]
    facts += [("Seed", str(picture.seed)), ("Made", clock_and_date(job.ended_at or job.created_at))]
    return Shown(
        name=f"{job.id}-{picture.index}",
        path=path,
        title=str(job.request.get("prompt", "")),
        facts=tuple((label, value) for label, value in facts if value),
        again=shlex.join(["sdenv", "history", "again", job.id]),
        width=picture.width,
        height=picture.height,
    )
