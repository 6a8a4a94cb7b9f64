"""Finished pictures of a job as the images API answers them: encoded, linked, or as a stream of events."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final, final

from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sdenv.core.backend import BackendStatus
from sdenv.core.defaults import strength_of
from sdenv.core.errors import BadImage, FailedError, SdenvError, ServerStopping, UnknownModel
from sdenv.core.families import family_named
from sdenv.core.image import ImageData, resampled, size_of
from sdenv.core.job_record import JobRecord, JobState
from sdenv.core.request import GenerationRequest, steps_that_run
from sdenv.protocols import native, openai
from sdenv.protocols.discretion import discreet
from sdenv.servers.http.context import Service
from sdenv.servers.http.file_links import FileLinks, Link
from sdenv.servers.http.principal import principal_of
from sdenv.servers.http.streaming import MEDIA_TYPE, with_pauses
from sdenv.servers.http.waiting import first_of, hung_up
from sdenv.services.metadata import with_metadata_of

if TYPE_CHECKING:
    from sdenv.services.jobs import LoggedEvent

_SUFFIXES: Final = {media_type: name for name, media_type in openai.FORMATS.items()}


def picture_at(service: Service, link: Link) -> ImageData:
    """A finished picture in the file type that was asked for, with how it was made inside; blocks.

    Raises:
        UnknownJob: The job was removed since.
        FailedError: The file is lost or damaged.
    """
    original = service.jobs.picture(link.job_id, link.index)
    if original.media_type == link.media_type:
        return original
    try:
        return with_metadata_of(openai.encoded_as(original, link.media_type, link.quality), original)
    except BadImage as error:  # the file is ours, and no fault of who asks for it
        raise FailedError("The file of the picture is damaged.") from error


@final
class Pictures:
    """Turns the pictures of jobs into answers.

    Args:
        service: What the routes work with.
        links: Where addresses are kept.
    """

    def __init__(self, service: Service, links: FileLinks) -> None:
        self._service = service
        self._links = links

    async def finished(
        self, request: Request, wanted: openai.Wanted, job: JobRecord, index: int
    ) -> openai.Finished:
        """One finished picture.

        Args:
            request: Whose address the addresses of pictures begin with.
            wanted: What the client wants.
            job: The job, with this picture in its list.
            index: Which of its pictures.
        """
        link = Link(job.id, index, wanted.media_type, wanted.quality)
        url = self.url(request, link) if wanted.with_url and not wanted.stream else ""
        picture = await asyncio.to_thread(picture_at, self._service, link)
        known = next((each for each in job.pictures if each.index == index), None)
        seed = 0 if known is None else known.seed
        return openai.Finished(picture, seed, size_of(picture), index, url)

    def url(self, request: Request, link: Link) -> str:
        """A new address for a picture, under the name by which the client has reached this server."""
        secret = self._links.add(link)
        return f"{str(request.base_url).rstrip('/')}{openai.FILES}/{secret}.{_SUFFIXES[link.media_type]}"

    async def answer(self, request: Request, wanted: openai.Wanted, job: JobRecord) -> bytes:
        """The body of an answer that is no stream."""
        found = [await self.finished(request, wanted, job, each.index) for each in job.pictures]
        facts = openai.facts_of(job)
        return await asyncio.to_thread(openai.images_body, wanted, found, int(time.time()), facts)


def preview_every(wanted: openai.Wanted, status: BackendStatus) -> int:
    """After how many steps a preview is due, so that those asked for are spread over the work; 0 = none."""
    if not wanted.partial_images:
        return 0
    return max(1, -(-_steps(wanted.request, status) // (wanted.partial_images + 1)))


def _steps(request: GenerationRequest, status: BackendStatus) -> int:
    """The steps that will run, as far as it is known before the work."""
    try:
        model = status.model(request.model)
    except UnknownModel:
        model = status.model(None)
    family = family_named(model.family if model else "other")
    steps = request.steps or (model.steps if model else None) or family.steps
    strength = strength_of(request)
    return steps if strength is None else steps_that_run(steps, strength)


@final
class PictureStream(Response):
    """A job as a stream of events, to its end. A client that hangs up cancels it, as long as it is alone.

    Args:
        service: What the routes work with.
        request: Of the client.
        wanted: What it wants.
        job: The job, accepted.
        pictures: Encodes what is finished.
        headers: Of the answer.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        service: Service,
        request: Request,
        wanted: openai.Wanted,
        job: JobRecord,
        pictures: Pictures,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store", **headers})
        del self.headers["content-length"]
        self._service = service
        self._request = request
        self._wanted = wanted
        self._job = job
        self._pictures = pictures
        self._partials: Counter[int] = Counter()
        self._completed: set[int] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        del scope

        async def write(chunk: bytes) -> None:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        watchers, streams = self._service.watchers, self._service.streams
        with streams.opened(principal_of(self._request)), watchers.waiting(self._job.id):
            first = await first_of(self._pump(write), hung_up(receive))
        if first == 0:
            await send({"type": "http.response.body", "body": b""})
        elif not watchers.count(self._job.id):
            with suppress(SdenvError):  # it has ended and was removed in this very moment
                await asyncio.to_thread(self._service.jobs.cancel, self._job.id)

    async def _pump(self, write: Callable[[bytes], Any]) -> None:
        lifetime, pause_s = self._service.lifetime, self._service.settings.keep_alive_s
        events = self._service.jobs.watch(self._job.id)
        try:
            async with aclosing(with_pauses(events, lifetime.closing, pause_s)) as paused:
                async for event in paused:
                    chunk = openai.KEEP_ALIVE if event is None else await self._said(event)
                    if chunk:
                        await write(chunk)
                    if event is not None and event.record["type"] == "job-ended":
                        return
        except SdenvError as error:
            await write(openai.error_event(discreet(error)))
            return
        await write(openai.error_event(ServerStopping("The server ends before the picture is made.")))

    async def _said(self, event: "LoggedEvent") -> bytes:
        """What a client is told of an event; nothing of most."""
        record = event.record
        match record["type"]:
            case "preview-ready" if event.picture is not None:
                return await self._partial(event.picture, int(record["index"]), int(record["step"]))
            case "picture-ready":
                return await self._picture(int(record["index"]))
            case "job-ended" if record["state"] != JobState.DONE.value:
                return openai.error_event(native.error_of(record["error"]))
        return b""

    async def _partial(self, preview: ImageData, index: int, step: int) -> bytes:
        number = self._partials[index]
        if number >= self._wanted.partial_images:
            return b""
        self._partials[index] += 1
        size = await self._size(preview)
        picture = await asyncio.to_thread(_as_large, preview, size, self._wanted)
        return openai.partial_event(
            self._wanted, picture, size=size, number=number, created=int(time.time()), index=index, step=step
        )

    async def _size(self, preview: ImageData) -> tuple[int, int]:
        """The size of the finished picture: what was asked for, else what was resolved."""
        asked = self._wanted.request
        if asked.width and asked.height:
            return asked.width, asked.height
        job = await asyncio.to_thread(self._service.jobs.get, self._job.id)
        return size_of(preview) if job.resolved is None else (job.resolved["width"], job.resolved["height"])

    async def _picture(self, index: int) -> bytes:
        if index in self._completed:  # a second try of the job makes the same picture again
            return b""
        self._completed.add(index)
        job = await asyncio.to_thread(self._service.jobs.get, self._job.id)
        finished = await self._pictures.finished(self._request, self._wanted, job, index)
        facts = openai.facts_of(job)
        return openai.completed_event(self._wanted, finished, int(time.time()), facts)


def _as_large(preview: ImageData, size: tuple[int, int], wanted: openai.Wanted) -> ImageData:
    """A preview at the size of the picture, in its file type."""
    return openai.encoded_as(resampled(preview, *size), wanted.media_type, wanted.quality)
