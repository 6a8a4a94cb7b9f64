"""`sdenv jobs watch`: a job on a server as if it ran here; Ctrl-C ends the watching, not the job."""

from collections.abc import Mapping
from typing import Any, Final, final

from sdenv.cli.errors import ErrorStyle
from sdenv.cli.jobids import every_job, read_ids
from sdenv.cli.joblist import STATE_STYLES, count_of
from sdenv.cli.jobs import WatchFlags
from sdenv.cli.jobs_run import say, settings_of, stopping_only_the_wait
from sdenv.cli.outcomes import raise_outcome
from sdenv.cli.output import print_json
from sdenv.cli.remote import Remote, open_remote
from sdenv.cli.render import Heading, JsonLines
from sdenv.cli.signals import Interrupts
from sdenv.cli.viewer import Viewer, make_viewer
from sdenv.core.errors import ConnectionFailed
from sdenv.core.events import Event, Notice, PhaseStarted, PictureReady, Progress, StepDone, advance
from sdenv.core.image import PNG, ImageData
from sdenv.core.job_record import JobRecord, JobState
from sdenv.net.native_client import JobEvent
from sdenv.protocols.native import error_of, event_of
from sdenv.services.jobs import JobQuery

_NOT_FETCHED: Final = ImageData(data=b"", media_type=PNG)
"""Stands for a picture that nobody wants to see."""

_ROUNDING: Final = 1e-6
"""By so much a share of the work may differ between the server's count and ours."""


def watch_jobs(flags: WatchFlags) -> None:
    """Runs `sdenv jobs watch`."""
    settings = settings_of(flags.profile, flags.color)
    viewer = make_viewer(
        flags.progress or settings.progress,
        flags.preview or settings.preview,
        show=flags.show,
        as_json=flags.json_lines,
        quiet=flags.quiet,
    )
    with Interrupts() as interrupts, open_remote(flags.backend, flags.option, settings) as remote:
        jobs = [remote.job(word) for word in read_ids(flags.ids)] if flags.ids else _going(remote)
        if not jobs and not flags.quiet:
            say("No job waits or runs.")
        ended: list[JobRecord] = []
        for number, job in enumerate(jobs, start=1):
            watcher = _Watcher(
                remote, viewer, job, Heading(job.id, _title(job), number, len(jobs), count_of(job))
            )
            with stopping_only_the_wait(interrupts, remote, job):
                ended.append(watcher.to_json() if flags.json_lines else watcher.to_end())
        raise_outcome(ended, ErrorStyle(flags.json_lines or flags.progress == "json", flags.debug))


def _going(remote: Remote) -> list[JobRecord]:
    """The jobs that run and wait, in the order in which they will end."""
    going = frozenset({JobState.QUEUED, JobState.RUNNING})
    found = list(every_job(remote.find, JobQuery(states=going)))
    return sorted(found, key=lambda job: (-1 if job.position is None else job.position, job.id))


def _title(job: JobRecord) -> str:
    return str(job.request.get("prompt", ""))


@final
class _Watcher:
    """Follows one job."""

    def __init__(self, remote: Remote, viewer: Viewer, job: JobRecord, heading: Heading) -> None:
        self._remote = remote
        self._viewer = viewer
        self._job = job
        joined = job.state is not JobState.QUEUED
        self._heading = Heading(
            heading.job_id, heading.title, heading.number, heading.of, heading.count, joined
        )
        self._progress = Progress(count=heading.count)
        self._held: dict[int, StepDone] = {}
        self._catching_up = job.fraction > 0

    def to_json(self) -> JobRecord:
        """Writes everything that happens to stdout, as JSON lines."""
        for event in self._remote.client.events(self._job.id, on_lost=self._lost):
            print_json(event.record)
        return self._remote.client.get(self._job.id)

    def to_end(self) -> JobRecord:
        """Shows everything that happens from now on, and how it ends."""
        if not self._job.state.ended:
            self._follow()
        job = self._remote.client.get(self._job.id)
        if not isinstance(self._viewer.renderer, JsonLines):
            self._viewer.renderer.say(self._end_text(job))
        return job

    def _follow(self) -> None:
        renderer = self._viewer.renderer
        renderer.begin(self._heading)
        try:
            previews = self._viewer.preview_every(None) > 0
            for event in self._remote.client.events(self._job.id, previews=previews, on_lost=self._lost):
                self._take(event)
        finally:
            renderer.end()

    def _take(self, event: JobEvent) -> None:
        """Shows one event of the log; one of the queue becomes what a renderer understands."""
        record = event.record
        match event.type:
            case "job-queued" if self._heading.joined:
                pass
            case "job-queued":
                self._show(PhaseStarted(_waiting_text(record)))
            case "job-started":
                self._begin_again(int(record.get("attempt", 1)))
            case "job-requeued":
                error = record.get("error")
                why = error_of(error).what if isinstance(error, Mapping) else ""
                self._show(Notice("job-requeued", f"The job is put back into the queue. {why}".strip()))
            case "job-ended":
                self._catch_up()
            case "request-resolved":
                pass
            case "picture-ready":
                self._show(self._picture(record))
            case "preview-ready" if "picture" not in record:
                pass
            case _:
                self._show(event_of(record))

    def _begin_again(self, attempt: int) -> None:
        """Every try makes all pictures anew."""
        if attempt <= 1:
            return
        self._progress, self._held = Progress(count=self._heading.count), {}
        self._catching_up = self._catching_up and attempt <= self._job.attempt
        renderer = self._viewer.renderer
        renderer.end()
        renderer.begin(self._heading)
        renderer.show(Notice("job-started", f"Try {attempt} begins."))

    def _picture(self, record: Mapping[str, Any]) -> PictureReady:
        index, seed = int(record["index"]), int(record["seed"])
        if not self._viewer.shows_result or self._catching_up:
            return PictureReady(index, _NOT_FETCHED, seed)
        picture = self._remote.client.picture(self._job.id, index)
        self._viewer.show(picture, one_of=self._heading.count)
        return PictureReady(index, picture, seed)

    def _show(self, event: Event) -> None:
        """Shows an event; of the steps before we came only the last of each picture: so paces are true."""
        self._progress = advance(self._progress, event)
        if self._catching_up and isinstance(event, StepDone):
            self._held[event.index] = event
        else:
            if isinstance(event, PictureReady) and event.index in self._held:
                self._viewer.renderer.show(self._held.pop(event.index))
            self._viewer.renderer.show(event)
        if self._catching_up and self._progress.fraction >= self._job.fraction - _ROUNDING:
            self._catch_up()

    def _catch_up(self) -> None:
        self._catching_up = False
        for event in self._held.values():
            self._viewer.renderer.show(event)
        self._held = {}

    def _lost(self, error: ConnectionFailed) -> None:
        self._viewer.renderer.show(Notice("connection-lost", f"{error.what} Trying again."))

    def _end_text(self, job: JobRecord) -> str:
        terminal = self._viewer.terminal
        state = terminal.paint(job.state.value, *STATE_STYLES[job.state])
        made, of = len(job.pictures), count_of(job)
        text = f"{state}: {made} of {of} pictures" if of != 1 else f"{state}: {made} picture"
        return f"{text}; to save: {self._remote.command('fetch', job.id)}" if made else text


def _waiting_text(record: Mapping[str, Any]) -> str:
    """`waiting, 3 jobs before it`."""
    before = record.get("position")
    if not isinstance(before, int) or before < 1:
        return "waiting"
    return f"waiting, {before} {'job' if before == 1 else 'jobs'} before it"
