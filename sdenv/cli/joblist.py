"""Jobs as people read them: a table that fits the terminal, and a page about one."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sdenv.cli.bars import seconds_text
from sdenv.cli.quantities import ago_text, bytes_text, clock_and_date, iso_text
from sdenv.cli.tables import Painted, table
from sdenv.cli.terminal import Terminal
from sdenv.core.errors import Cancelled
from sdenv.core.job_record import JobRecord, JobState, PictureRecord
from sdenv.protocols.native import job_record

STATE_STYLES: Final[Mapping[JobState, tuple[str, ...]]] = {
    JobState.QUEUED: ("yellow",),
    JobState.RUNNING: ("bold", "cyan"),
    JobState.DONE: ("green",),
    JobState.FAILED: ("bold", "red"),
    JobState.CANCELLED: ("magenta",),
}

SHORT_ID: Final = 8
"""Characters of a shortened id: its end, which is random (40 bits), not its start, which is the time."""

_WIDE_COLUMNS: Final = 110
"""From so many columns on there is room for whole ids and for the model beside the prompt."""

_REQUEST_ROWS: Final = (
    ("Prompt", "prompt"),
    ("Negative", "negative_prompt"),
    ("Model", "model"),
    ("Steps", "steps"),
    ("Guidance", "guidance_scale"),
    ("Sampler", "sampler"),
    ("Schedule", "schedule"),
    ("Seed", "seed"),
    ("Count", "count"),
    ("Strength", "strength"),
    ("VAE", "vae"),
    ("Clip skip", "clip_skip"),
    ("Upscale", "upscale"),
)


def job_table(jobs: Sequence[JobRecord], terminal: Terminal, now_s: float | None = None) -> str:
    """Jobs in aligned columns, one line each.

    On a terminal ids are shortened where it is narrow, and times are relative; in a pipe every id is whole,
    and times are ISO 8601 in UTC, so that no column but the last holds a space.

    Args:
        jobs: In the order in which they are to be shown.
        terminal: What stdout can show.
        now_s: The time: UTC, seconds since 1970; None = now.
    """
    now_s = time.time() if now_s is None else now_s
    wide = not terminal.is_tty or terminal.columns >= _WIDE_COLUMNS
    heads = ("ID", "STATE", "WHEN", "DONE", *(("MODEL",) if wide else ()), "PROMPT")
    rows = [
        (
            job.id if wide else job.id[-SHORT_ID:],
            Painted(job.state.value, STATE_STYLES[job.state]),
            ago_text(job.created_at, now_s) if terminal.is_tty else iso_text(job.created_at),
            Painted(done_text(job), () if job.state.ended else ("bold",)),
            *((model_of(job) or "-",) if wide else ()),
            str(job.request.get("prompt", "")),
        )
        for job in jobs
    ]
    return table(heads, rows, cut=True)


def done_text(job: JobRecord) -> str:
    """How far it is: `#3` in the queue, `45%`, or `2/4` pictures of a job that has ended."""
    if job.state is JobState.QUEUED:
        return "-" if job.position is None else f"#{job.position + 1}"
    if job.state is JobState.RUNNING:
        return f"{int(100 * job.fraction)}%"
    return f"{len(job.pictures)}/{count_of(job)}"


def count_of(job: JobRecord) -> int:
    """How many pictures were asked for."""
    count = {**job.request, **(job.resolved or {})}.get("count", 1)
    return count if isinstance(count, int) else 1


def model_of(job: JobRecord) -> str:
    """The model that made it, or that was asked for; "" = the server's own choice, not yet known."""
    return str((job.resolved or {}).get("model") or job.request.get("model") or "")


def shown_record(job: JobRecord, paths: Mapping[int, Path] | None = None) -> dict[str, Any]:
    """A job as JSON for scripts: as on the wire, times as ISO 8601.

    Args:
        job: The job.
        paths: Where its pictures lie, by index, where that is known.
    """
    record = job_record(job)
    for name in ("created_at", "started_at", "ended_at"):
        record[name] = None if record[name] is None else iso_text(record[name])
    if paths is not None:
        for picture in record["pictures"]:
            path = paths.get(picture["index"])
            picture["path"] = None if path is None else str(path)
    del record["v"]
    return {"type": "job", **record}


def job_page(job: JobRecord, terminal: Terminal, paths: Mapping[int, Path] | None = None) -> str:
    """Everything about one job, for a person.

    Args:
        job: The job.
        terminal: What stdout can show.
        paths: Where its pictures lie, by index, where that is known.
    """
    state = terminal.paint(job.state.value, *STATE_STYLES[job.state])
    parts = [f"{terminal.paint(job.id, 'bold')}  {state}  {_progress_words(job)}"]
    parts += _aligned(_request_rows(job), terminal)
    parts += _aligned(_course_rows(job), terminal)
    parts += _aligned(_picture_rows(job.pictures, paths or {}), terminal)
    parts += _aligned([("Note", each.message) for each in job.notices], terminal)
    if job.error is not None and job.error.what != Cancelled().what:
        parts += _aligned(
            [
                ("Error", f"{job.error.what} [{job.error.code}]"),
                *((("", job.error.why),) if job.error.why else ()),
                *((("Hint", job.error.hint),) if job.error.hint else ()),
            ],
            terminal,
        )
    return "\n".join(parts)


def _progress_words(job: JobRecord) -> str:
    if job.state is JobState.QUEUED:
        before = job.position or 0
        return "next" if before == 0 else f"{before} before it"
    if job.state is JobState.RUNNING:
        return f"{done_text(job)} {job.phase}".rstrip()
    pictures = "picture" if count_of(job) == 1 else "pictures"
    return f"{len(job.pictures)} of {count_of(job)} {pictures}"


def _request_rows(job: JobRecord) -> list[tuple[str, str]]:
    values = {**job.request, **{k: v for k, v in (job.resolved or {}).items() if v is not None}}
    rows = [(label, str(values[name])) for label, name in _REQUEST_ROWS if values.get(name) not in (None, "")]
    if values.get("width") and values.get("height"):
        rows.append(("Size", f"{values['width']}x{values['height']}"))
    rows += [
        (name.replace("_", " ").capitalize(), "yes") for name in ("init_image", "mask") if values.get(name)
    ]
    rows += [
        ("LoRA", f"{each.get('name')}:{each.get('weight', 1.0):g}") for each in values.get("loras") or ()
    ]
    rows += [("Control", str(each.get("type"))) for each in values.get("controls") or ()]
    return rows


def _course_rows(job: JobRecord) -> list[tuple[str, str]]:
    by = f" by {job.owner}" if job.owner else ""
    rows = [("Asked", f"{clock_and_date(job.created_at)}, {job.dialect}{by}")]
    if job.started_at is not None:
        tries = f", try {job.attempt}" if job.attempt > 1 else ""
        rows.append(("Began", f"{clock_and_date(job.started_at)}{tries}"))
    if job.ended_at is not None:
        took = f", {seconds_text(job.seconds)}" if job.seconds is not None else ""
        rows.append(("Ended", f"{clock_and_date(job.ended_at)}{took}"))
    if job.priority:
        rows.append(("Priority", str(job.priority)))
    if job.backend:
        rows.append(("Backend", ", ".join([job.backend, *(f"{k} {v}" for k, v in job.made_with.items())])))
    return rows


def _picture_rows(pictures: Sequence[PictureRecord], paths: Mapping[int, Path]) -> list[tuple[str, str]]:
    rows = []
    for each in pictures:
        facts = f"{each.width}x{each.height}  seed {each.seed}  {bytes_text(each.size_bytes)}"
        where = f"  {paths[each.index]}" if each.index in paths else f"  {each.media_type}"
        rows.append((f"Picture {each.index}", facts + where))
    return rows


def _aligned(rows: Sequence[tuple[str, str]], terminal: Terminal) -> list[str]:
    """Labels and texts; labels of all groups have one width, so that the page is one column."""
    return [
        f"  {terminal.paint(f'{label:<10}', 'dim')}  {terminal.clean(text)}".rstrip().replace(
            "\n", "\n" + " " * 14
        )
        for label, text in rows
    ]
