"""What `sdenv generate` does: one request after another, each picture saved as soon as it is ready."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

from sdenv.cli.dry_run import dry_run, with_fit_hint
from sdenv.cli.errors import ErrorStyle, show_error
from sdenv.cli.gather import Made, Wanted, gather, gather_again
from sdenv.cli.generate import GenerateFlags
from sdenv.cli.output import STDOUT, print_json, print_path
from sdenv.cli.pairs import key_values
from sdenv.cli.recording import Recorder
from sdenv.cli.render import Heading
from sdenv.cli.signals import Interrupts
from sdenv.cli.terminal import color_choice
from sdenv.cli.viewer import Viewer, make_viewer
from sdenv.core.backend import BackendStatus
from sdenv.core.errors import (
    Cancelled,
    DiskFull,
    NotWritable,
    PartlyFailed,
    SdenvError,
    SizeNotPossible,
    UsageError,
)
from sdenv.core.events import Failed, PictureReady, RequestResolved, Succeeded
from sdenv.core.request import GenerationRequest
from sdenv.services.choose import Chosen, choose_backend
from sdenv.services.engine import Engine, Job
from sdenv.services.files import PictureFacts, PictureWriter
from sdenv.services.metadata import FITTED_TO
from sdenv.services.preferences import MACHINE_SIDES_PX
from sdenv.services.settings import Settings, load_settings


def generate(flags: GenerateFlags, again: Made | None = None) -> None:
    """Runs the command.

    Args:
        flags: What was typed.
        again: Make this again, with what the flags change; None = what the flags say.

    Raises:
        SdenvError: What it ends with, unless everything was made.
    """
    with Interrupts() as interrupts:
        settings = load_settings(flags.profile, {"color": flags.color})
        color_choice.set(settings.color)
        if flags.detach:
            from sdenv.cli.detach import check_detach  # what talks to servers is not needed for the rest

            check_detach(flags)
        output = flags.output or settings.output
        if flags.json_lines and output == STDOUT:
            raise UsageError("--json and -o - both want stdout.", hint="Give -o a file or a folder.")
        viewer = make_viewer(
            flags.progress or settings.progress,
            flags.preview or settings.preview,
            show=flags.show,
            as_json=flags.json_lines,
            quiet=flags.quiet,
        )
        wanted = gather(flags, settings) if again is None else [gather_again(again, flags)]
        first, *others = (each.request.model for each in wanted)
        chosen = choose_backend(
            flags.backend or settings.backend, key_values(flags.option or [], "-O"), settings, first, others
        )
        if chosen.kind == "local" and not (flags.no_warm or flags.dry_run):
            from sdenv.services.warm import find_warm

            chosen = find_warm(chosen, settings) or chosen
        with Engine(chosen.backend, name=chosen.name) as engine:
            requests = [_named(each.request, chosen) for each in wanted]
            wanted = [
                replace(each, request=_sized(request, settings, engine.status()))
                for each, request in zip(wanted, requests, strict=True)
            ]
            if flags.detach:
                from sdenv.cli.detach import detach

                detach(wanted, chosen, engine, flags, viewer)
                return
            writer = PictureWriter(output, force=flags.force, strip_metadata=flags.strip_metadata)
            writer.check([each.kept for each in wanted])
            if flags.dry_run:
                dry_run(wanted, engine, allow_degraded=flags.allow_degraded, as_json=flags.json_lines)
                return
            pictures = sum(each.kept.count for each in wanted)
            keeps = settings.history if flags.history is None else flags.history
            recorder = Recorder(settings.data_dir if keeps else None, served=chosen.kind == "http")
            run = _Run(flags, engine, writer, viewer, interrupts, recorder, len(wanted), pictures)
            run.all(wanted)


def _named(request: GenerationRequest, chosen: Chosen) -> GenerationRequest:
    """The request with the name under which the backend knows its model; a path has become a name."""
    return request.model_copy(update={"model": chosen.names[request.model]})


def _sized(request: GenerationRequest, settings: Settings, status: BackendStatus) -> GenerationRequest:
    """The request with the size of this machine, where neither it nor its model says one."""
    said = request.width or request.height or request.init_image
    if settings.machine_size is None or said is not None:
        return request
    model = next((each for each in status.models if request.model in (None, each.name)), None)
    if model is None or model.size.native:
        return request
    side_px = MACHINE_SIDES_PX[settings.machine_size]
    width, height = model.size.nearest(side_px, side_px)
    return request.model_copy(update={"width": width, "height": height})


@final
@dataclass(slots=True)
class _Run:
    """The jobs of one command, and what has become of them."""

    flags: GenerateFlags
    engine: Engine
    writer: PictureWriter
    viewer: Viewer
    interrupts: Interrupts
    recorder: Recorder
    of: int
    wanted_pictures: int
    saved: list[Path] = field(default_factory=list)
    pictures: int = 0
    first_number: int = 0
    failed: list[SdenvError] = field(default_factory=list)

    def all(self, wanted: list[Wanted]) -> None:
        """Makes everything; one request that fails does not stop the others."""
        for number, each in enumerate(wanted, start=1):
            try:
                self._one(each, number)
            except Cancelled as error:
                raise self.interrupts.error(self._kept_text()) from error
            except (DiskFull, NotWritable):  # the next picture would end like this as well
                raise
            except SdenvError as error:
                self.failed.append(error)
                if self.of == 1:
                    raise
                error = type(error)(f"Request {number} of {self.of}: {error.what}", error.why, error.hint)
                show_error(error, self._error_style)
            finally:
                self.viewer.renderer.end()
                self.first_number += each.kept.count
        if self.failed:
            raise self._partly_failed()

    def _one(self, wanted: Wanted, number: int) -> None:
        request = wanted.request
        job = self._submitted(wanted)
        renderer = self.viewer.renderer
        renderer.begin(Heading(job.id, request.prompt, number, self.of, request.count))

        def cancel() -> None:
            renderer.stopping()
            job.cancel()

        def leave() -> None:
            if job.snapshot().phase in ("", "loading") and not self.pictures:
                renderer.end()
                error = self.interrupts.error(self._kept_text())
                show_error(error, self._error_style)
                os._exit(error.exit_code)

        self.recorder.begin()
        ended_with: SdenvError | None = Cancelled()
        with self.interrupts.cancelling(cancel, leave):
            try:
                self._watch(job, wanted)
                ended_with = None
            except SdenvError as error:
                ended_with = error
                raise
            finally:
                job.cancel()  # does nothing to one that has ended
                notice = self.recorder.end(job, ended_with)
                if notice is not None:
                    renderer.show(notice)

    def _submitted(self, wanted: Wanted) -> Job:
        request = wanted.request
        try:
            return self.engine.submit(
                request,
                preview_every=self.viewer.preview_every(request.steps),
                allow_degraded=self.flags.allow_degraded
                or (wanted.fit and self._only_size_is_wrong(request)),
            )
        except SizeNotPossible as error:
            raise with_fit_hint(error) from error

    def _only_size_is_wrong(self, request: GenerationRequest) -> bool:
        found = self.engine.mismatches(request)
        return bool(found) and all(each.error_type is SizeNotPossible for each in found)

    def _watch(self, job: Job, wanted: Wanted) -> None:
        """Follows one job to its end; a picture waits only while it is not known how it is made."""
        resolved: RequestResolved | None = None
        waiting: dict[int, PictureReady] = {}
        for event in job.events():
            match event:
                case Succeeded(result):
                    resolved = RequestResolved(result.resolved, result.model_hash, result.made_with)
                case Failed(error):
                    raise error
                case RequestResolved():
                    resolved = event
                    self.viewer.renderer.show(event)
                case PictureReady():
                    if wanted.only_index in (None, event.index):
                        waiting[event.index] = event
                case _:
                    self.viewer.renderer.show(event)
            if resolved is not None:
                for ready in waiting.values():
                    self._save(ready, resolved, wanted, job)
                waiting.clear()

    def _save(self, ready: PictureReady, made: RequestResolved, wanted: Wanted, job: Job) -> None:
        made_with = dict(made.made_with)
        if "size-fitted" in {notice.code for notice in job.snapshot().notices}:
            width = wanted.request.width or wanted.request.height
            made_with[FITTED_TO] = f"{width}x{wanted.request.height or width}"
        number = self.first_number + (0 if wanted.only_index is not None else ready.index)
        facts = PictureFacts(
            made.resolved, ready.index, self.engine.status().name, made.model_hash, made_with, number
        )
        path = self.writer.write(ready.picture, facts)
        self.pictures += 1
        self.recorder.saved(facts, path)
        self.viewer.show(ready.picture, one_of=self.of * wanted.kept.count)
        self.viewer.renderer.show(ready)
        if path is None:
            return
        self.saved.append(path)
        with self.viewer.renderer.paused():
            if self.flags.json_lines:
                print_json(picture_record(path, ready, facts, job.id))
            else:
                print_path(path)

    @property
    def _error_style(self) -> ErrorStyle:
        return ErrorStyle(self.flags.json_lines or self.flags.progress == "json", self.flags.debug)

    def _kept_text(self) -> str:
        if not self.pictures:
            return "Nothing was saved."
        verb = "was" if self.pictures == 1 else "were"
        return f"{self.pictures} of {self.wanted_pictures} pictures {verb} saved."

    def _partly_failed(self) -> SdenvError:
        """What a command of several requests ends with when some failed."""
        if len(self.failed) == self.of and len({error.code for error in self.failed}) == 1:
            return type(self.failed[0])(f"None of the {self.of} requests could be done.")
        return PartlyFailed(
            f"{len(self.failed)} of {self.of} requests failed.",
            why=f"{self.pictures} {'picture was' if self.pictures == 1 else 'pictures were'} saved.",
        )


def picture_record(path: Path, ready: PictureReady, facts: PictureFacts, job_id: str) -> dict[str, object]:
    """One picture that was saved, as JSON."""
    from sdenv.core.image import size_of

    width, height = size_of(ready.picture)
    return {
        "type": "picture",
        "job": job_id,
        "index": ready.index,
        "path": str(path),
        "seed": ready.seed,
        "width": width,
        "height": height,
        "backend": facts.backend,
        "model_hash": facts.model_hash,
        "made_with": dict(facts.made_with),
        "request": facts.resolved.model_dump(
            mode="json", exclude={"init_image", "mask", "controls", "references"}
        ),
    }
