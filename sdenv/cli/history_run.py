"""What `sdenv history list|search|show|again|prune` do."""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from sdenv.cli.gather import Made
from sdenv.cli.generate import GenerateFlags
from sdenv.cli.history import ListFlags, PruneFlags, SearchFlags, ShowFlags
from sdenv.cli.jobids import every_job, find_job
from sdenv.cli.joblist import job_page, shown_record
from sdenv.cli.jobs_run import limit_of, print_jobs, request_text, say, settings_of, states_of
from sdenv.cli.output import print_json, print_path, print_text
from sdenv.cli.quantities import parse_age, parse_bytes
from sdenv.cli.terminal import terminal_of
from sdenv.core.errors import UnknownJob, UsageError
from sdenv.core.job_record import JobRecord
from sdenv.core.request import GenerationRequest, parse_request
from sdenv.services.jobs import History, JobQuery, Retention
from sdenv.services.metadata import FITTED_TO
from sdenv.services.preferences import parse_size

_PICTURE_FIELDS: Final = frozenset({"init_image", "mask", "controls", "references"})
_SIZE_FITTED: Final = "size-fitted"


def list_history(flags: ListFlags) -> None:
    """Runs `sdenv history list`."""
    _print_found(flags, "")


def search_history(flags: SearchFlags) -> None:
    """Runs `sdenv history search`."""
    _print_found(flags, " ".join(flags.words))


def _print_found(flags: ListFlags | SearchFlags, text: str) -> None:
    query = JobQuery(
        states=states_of(flags.state), text=text, dialect=flags.dialect or "", model=flags.model or ""
    )
    with History(settings_of(flags.profile).data_dir) as history:
        as_data = flags.ids or flags.json_lines or flags.paths
        limit = limit_of(flags.limit, as_data=as_data)
        jobs = since(every_job(history.find, query), flags.since)
        if flags.paths:
            print_paths(history, jobs, limit)
        elif flags.json_lines:
            for job in _first(jobs, limit):
                print_json(shown_record(job, paths_of(history, job)))
        else:
            print_jobs(jobs, limit, only_ids=flags.ids, nothing="The history has no such entry.")


def _first(jobs: Iterator[JobRecord], limit: int | None) -> Iterator[JobRecord]:
    from itertools import islice

    return islice(jobs, limit)


def since(jobs: Iterator[JobRecord], age: str | None) -> Iterator[JobRecord]:
    """Those of the newest jobs that are not older than what was typed after `--since`."""
    if age is None:
        return jobs
    earliest_s = time.time() - parse_age(age, "--since")
    return takewhile(lambda job: job.created_at >= earliest_s, jobs)


def print_paths(history: History, jobs: Iterable[JobRecord], limit: int | None) -> None:
    """Paths of the pictures that are where they were."""
    from itertools import islice

    for job in islice(jobs, limit):
        for path in paths_of(history, job).values():
            print_path(path)


def paths_of(history: History, job: JobRecord) -> dict[int, Path]:
    """Where the pictures of a job lie, by index; those that were moved or removed are left out."""
    found: dict[int, Path] = {}
    for picture in job.pictures:
        try:
            path = history.picture_path(job.id, picture.index)
        except UnknownJob:
            continue
        if path.is_file():
            found[picture.index] = path
    return found


def show_entry(flags: ShowFlags) -> None:
    """Runs `sdenv history show`."""
    with History(settings_of(flags.profile).data_dir) as history:
        job = find_job(flags.id, history.find, history.get)
        paths = paths_of(history, job)
        if flags.request:
            print_text(request_text(history.request_of(job.id)))
        elif flags.json_lines:
            print_json(shown_record(job, paths))
        else:
            print_text(job_page(job, terminal_of(sys.stdout), paths))
            _show_pictures(paths.values(), flags.show)


def _show_pictures(paths: Iterable[Path], wanted: bool | None) -> None:
    """On the terminal below the page, where it can show them."""
    from sdenv.cli.viewer import make_viewer
    from sdenv.core.errors import BadImage
    from sdenv.core.image import ImageData

    viewer = make_viewer("auto", "auto", show=sys.stdout.isatty() if wanted is None else wanted)
    files = list(paths)
    for path in files:
        try:
            viewer.show(ImageData.from_bytes(path.read_bytes()), one_of=len(files))
        except (BadImage, OSError) as error:
            say(f"{path}: {error}")


def make_again(word: str, flags: GenerateFlags, *, new_seed: bool) -> None:
    """Runs `sdenv history again`."""
    if new_seed and flags.seed is not None:
        raise UsageError("--seed and --new-seed say two things.", hint="Give one of them.")
    with History(settings_of(flags.profile, flags.color).data_dir) as history:
        job = find_job(word, history.find, history.get)
        made = made_before(job, history.request_of(job.id))
    if new_seed:
        made = replace(
            made,
            asked=made.asked.model_copy(update={"seed": None}),
            done=made.done.model_copy(update={"seed": None}),
        )

    from sdenv.cli.run import generate

    generate(flags, made)


def made_before(job: JobRecord, asked: GenerationRequest) -> Made:
    """What a job made, as far as is known, to be made again.

    Args:
        job: The job.
        asked: Its request, input pictures included.
    """
    if job.resolved is None:
        return Made(asked, asked)
    decided = {name: value for name, value in job.resolved.items() if name not in _PICTURE_FIELDS}
    values: dict[str, Any] = {**decided, **{name: getattr(asked, name) for name in _PICTURE_FIELDS}}
    size = _size_before_fitting(job, asked)
    if size is not None:
        values |= {"width": size[0], "height": size[1]}
    return Made(asked, parse_request(values), size is not None)


def _size_before_fitting(job: JobRecord, asked: GenerationRequest) -> tuple[int, int] | None:
    """The size that was asked for, where the picture was made at another and resampled."""
    if FITTED_TO in job.made_with:
        return parse_size(job.made_with[FITTED_TO])
    width, height = asked.width or asked.height, asked.height or asked.width
    if width is None or height is None or _SIZE_FITTED not in {notice.code for notice in job.notices}:
        return None
    return width, height


def prune_history(flags: PruneFlags) -> None:
    """Runs `sdenv history prune`."""
    retention = Retention(
        None if flags.older_than is None else parse_age(flags.older_than, "--older-than"),
        flags.keep,
        None if flags.max_size is None else parse_bytes(flags.max_size, "--max-size"),
    )
    if retention == Retention():
        raise UsageError(
            "Prune what?", hint="For example: sdenv history prune --older-than 30d --max-size 2GB"
        )
    if flags.keep is not None and flags.keep < 0:
        raise UsageError(f"--keep {flags.keep} keeps nothing.", hint="Give a number from 0.")
    with History(settings_of(flags.profile).data_dir) as history:
        removed = history.prune(retention)
    for job_id in removed:
        if flags.json_lines:
            print_json({"type": "removed", "id": job_id})
        else:
            print_text(job_id)
    if not flags.quiet and sys.stderr.isatty():
        say(f"{len(removed)} {'entry was' if len(removed) == 1 else 'entries were'} removed.")
