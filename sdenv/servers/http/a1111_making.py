"""txt2img and img2img: from a body, over a job in the queue, to the answer that their clients wait for."""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, final

from fastapi import Request
from starlette.responses import Response

from sdenv.core.backend import BackendStatus
from sdenv.core.errors import FailedError
from sdenv.core.image import PNG, ImageData
from sdenv.core.job_record import JobRecord, JobState
from sdenv.core.request import GenerationRequest, ResolvedRequest
from sdenv.protocols import a1111
from sdenv.protocols.a1111 import lists
from sdenv.protocols.headers import header_fields
from sdenv.servers.http.a1111_watching import DIALECT, Watching
from sdenv.servers.http.answers import converted
from sdenv.servers.http.context import Service
from sdenv.servers.http.principal import Principal, principal_of
from sdenv.servers.http.safe_json import SafeJSON
from sdenv.servers.http.waiting import run_to_end

IGNORED: Final = "X-Sdenv-Ignored"
NOTICES: Final = "X-Sdenv-Notice"


class HasOptions(Protocol):
    """What making needs to know of the settings."""

    def options(self, asker: Principal) -> a1111.Options:
        """Those in force for whoever asks."""

    def status(self) -> BackendStatus:
        """What the backend says of itself."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A job and its finished pictures."""

    job: JobRecord
    pictures: tuple[ImageData, ...]


@final
class Making:
    """Makes pictures for clients that wait."""

    def __init__(self, service: Service, settings: HasOptions, watching: Watching) -> None:
        self._service = service
        self._settings = settings
        self._watching = watching
        self._lock = threading.Lock()
        self._skipped: set[str] = set()

    async def answer(self, request: Request, body: Mapping[str, Any], *, img2img: bool) -> Response:
        """The whole call.

        Raises:
            SdenvError: It is refused, or has failed.
        """
        asker = principal_of(request)
        exact = request.headers.get(a1111.EXACT_HEADER, "").casefold() == "true"
        status = await asyncio.to_thread(self._settings.status)
        asked = partial(self._asked, status, body, asker, img2img, exact)
        ask = await (self._service.decoded(asked) if img2img else asyncio.to_thread(asked))
        parts: list[_Part] = []
        wanted: GenerationRequest | None = ask.request
        while wanted is not None:
            job = await self._made(request, ask, wanted, asker)
            parts.append(await asyncio.to_thread(self._part, ask, job))
            wanted = self._rest(wanted, job)
        return self._response(ask, parts)

    def skip(self, owner: str | None) -> None:
        """Ends the picture (or batch) that is being made; the job goes on with those after it (OURS-18)."""
        for job in self._watching.running(owner):
            with self._lock:
                self._skipped.add(job.id)
            self._service.jobs.cancel(job.id, owner)

    def _asked(
        self, status: BackendStatus, body: Mapping[str, Any], asker: Principal, img2img: bool, exact: bool
    ) -> a1111.Ask:
        samplers = status.capabilities.samplers
        known = a1111.Known(lists.names_of(status), samplers)
        options = self._settings.options(asker)
        ask = a1111.ask_of(body, img2img=img2img, exact=exact, options=options, known=known)
        if self._service.settings.strict_models:
            status.model(ask.request.model)
        return ask

    async def _made(
        self, request: Request, ask: a1111.Ask, wanted: GenerationRequest, asker: Principal
    ) -> JobRecord:
        """The job, once it has ended."""
        accepted = await asyncio.to_thread(
            self._service.accept,
            wanted,
            asker,
            dialect=DIALECT,
            durable=False,
            allow_degraded=not ask.exact,
            preview_every=ask.options.preview_every,
        )
        self._watching.name(accepted.job.id, ask.task, asker)
        return await run_to_end(self._service, request, accepted)

    def _part(self, ask: a1111.Ask, job: JobRecord) -> _Part:
        """What a job has left; one that was cancelled leaves the pictures that were finished.

        Raises:
            SdenvError: It has failed.
        """
        if job.state is JobState.FAILED:
            raise job.error or FailedError("The job has failed.")
        if not ask.send_images:
            return _Part(job, ())
        media_type = a1111.FORMATS[ask.options.samples_format]
        files = (self._service.jobs.picture(job.id, each.index) for each in job.pictures)
        if media_type == PNG:
            return _Part(job, tuple(files))
        return _Part(job, tuple(converted(each, media_type, metadata=True) for each in files))

    def _rest(self, wanted: GenerationRequest, job: JobRecord) -> GenerationRequest | None:
        """What is left to do of a job that was told to skip; None = nothing, or it was not told to."""
        with self._lock:
            if job.id not in self._skipped:
                return None
            self._skipped.discard(job.id)
        if job.state is not JobState.CANCELLED or job.resolved is None:
            return None
        done, batch = len(job.pictures), int(job.resolved["batch_size"])
        following = (done // batch + 1) * batch
        if following >= wanted.count:
            return None
        seed = (int(job.resolved["seed"]) + following) % 2**32
        return wanted.model_copy(update={"count": wanted.count - following, "seed": seed})

    def _response(self, ask: a1111.Ask, parts: list[_Part]) -> Response:
        jobs = [part.job for part in parts]
        notices = [f"{each.message}" for job in jobs for each in job.notices]
        ignored = (f"Ignored: {', '.join(ask.ignored)[:500]}.",) if ask.ignored else ()
        notes = tuple(dict.fromkeys((*ask.notes, *notices)))
        made = _made_of(jobs, (*notes, *ignored))
        pictures = [picture for part in parts for picture in part.pictures]
        headers = header_fields({IGNORED: ask.ignored, NOTICES: notes})
        return SafeJSON(a1111.answer_record(ask, made, pictures), headers=headers)


def _made_of(jobs: list[JobRecord], notes: tuple[str, ...]) -> a1111.Made:
    """What the jobs of one call have made."""
    records = [record for job in jobs for record in job.pictures]
    first = jobs[0]
    resolved = _resolved(first)
    size = (records[0].width, records[0].height) if records else (0, 0)
    if resolved is not None and (not records or resolved.hires is not None):
        size = (resolved.width, resolved.height)
    return a1111.Made(
        resolved=resolved,
        seeds=tuple(record.seed for record in records),
        size=size,
        model_hash=first.model_hash,
        began_at=first.started_at or first.created_at,
        notes=notes,
    )


def _resolved(job: JobRecord) -> ResolvedRequest | None:
    """What was decided, without the pictures, of which a record only has the checksums."""
    if job.resolved is None:
        return None
    values = {
        name: value
        for name, value in job.resolved.items()
        if name not in ("init_image", "mask", "controls", "references") and value is not None
    }
    return ResolvedRequest.model_validate(values)
