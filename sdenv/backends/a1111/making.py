"""One request while the server works on it: its progress, its pictures, its end."""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, final

from sdenv.backends.a1111.asking import LongCall
from sdenv.backends.a1111.settings import A1111Settings
from sdenv.core.backend import JobContext
from sdenv.core.errors import ConnectionFailed, FailedError, PeerBrokeProtocol, SdenvError
from sdenv.core.events import PhaseStarted, PictureReady, PreviewReady, RequestResolved, StepDone
from sdenv.core.image import PNG, ImageData
from sdenv.core.request import MAX_SEED, GenerationRequest, ResolvedRequest
from sdenv.core.result import GenerationResult
from sdenv.net.exchange import Answer, Call
from sdenv.net.session import Session
from sdenv.protocols import a1111
from sdenv.protocols.png_text import png_without_texts

NAME: Final = "a1111"

_TEXTS: Final = ("parameters", "sdenv")
"""Taken out of pictures: written anew where they are saved, with what is known here."""
_QUICK_S: Final = 2.0
"""How long an interrupt may take: nobody who has pressed Ctrl-C waits longer."""


@final
class Making:
    """One request, or several that make it up together."""

    def __init__(
        self, session: Session, context: JobContext, settings: A1111Settings, *, is_sdenv: bool
    ) -> None:
        self._session = session
        self._context = context
        self._settings = settings
        self._is_sdenv = is_sdenv
        self._began_s = time.monotonic()
        self._images: list[ImageData] = []
        self._resolved: ResolvedRequest | None = None
        self._model_hash = ""
        self._made_with: Mapping[str, str] = {}
        self._told: tuple[int, int] = (0, 0)  # batch and step
        self._preview: ImageData | None = None

    def answered(self, part: GenerationRequest, task: str) -> Answer:
        """The answer to a part of the request, its progress told meanwhile.

        Args:
            part: Whole batches.
            task: What the server is to call it.

        Raises:
            Cancelled: It was cancelled; the server has been told.
            ConnectionFailed: The server cannot be reached, or is no longer there.
        """
        route = "img2img" if part.init_image is not None else "txt2img"
        part = part.model_copy(update={"seed": self._next_seed(part)})
        call = LongCall(self._session, f"{a1111.PREFIX}/{route}", a1111.body_of(part, task=task))
        self._told = (0, 0)
        self._context.emit(PhaseStarted("waiting"))
        with self._context.on_cancel(call.wake):
            call.start()
            try:
                return self._awaited(call, part, task)
            except BaseException:
                self._stop(task)
                raise
            finally:
                call.end()

    def _next_seed(self, part: GenerationRequest) -> int | None:
        """Of a part after the first, where the server has chosen: the one after those that it used."""
        if part.seed is not None or self._resolved is None:
            return part.seed
        return self._resolved.seed_of(len(self._images))

    def _awaited(self, call: LongCall, part: GenerationRequest, task: str) -> Answer:
        silent_since_s: float | None = None
        while True:
            answer = call.answer(self._settings.poll_s)
            self._context.check()
            if answer is not None:
                return answer
            try:
                self._tell(self._polled(), part, task)
                silent_since_s = None
            except (ConnectionFailed, PeerBrokeProtocol) as error:
                silent_since_s = silent_since_s or time.monotonic()
                if time.monotonic() - silent_since_s > self._settings.timeout_s:
                    raise ConnectionFailed(f"{self._session.url} no longer answers.") from error

    def _polled(self) -> a1111.Polled:
        with_picture = self._context.preview_every and self._settings.previews
        query = "" if with_picture else "?skip_current_image=true"
        answer = self._session.get(f"{a1111.PREFIX}/progress{query}")
        if answer.status != 200:
            raise PeerBrokeProtocol(f"{answer.url} answers {answer.status} to a question about progress.")
        return a1111.polled_of(answer.json())

    def _tell(self, polled: a1111.Polled, part: GenerationRequest, task: str) -> None:
        """What a poll says of this job; of another one it says nothing."""
        if polled.task not in ("", task) or not polled.steps:
            return
        batch_size = part.batch_size or 1
        first = len(self._images) + polled.batch * batch_size
        if first >= len(self._images) + part.count or (polled.batch, polled.step) <= self._told:
            return
        if self._told == (0, 0):
            self._context.emit(PhaseStarted("denoising"))
        self._told = (polled.batch, polled.step)
        for index in range(first, min(first + batch_size, len(self._images) + part.count)):
            self._context.emit(StepDone(polled.step, polled.steps, index))
        if self._context.preview_every and polled.picture not in (None, self._preview):
            assert polled.picture is not None
            self._preview = polled.picture
            self._context.emit(PreviewReady(max(1, polled.step), first, polled.picture))

    def _stop(self, task: str) -> None:
        """Interrupts the job where it is the one that runs; a server of ours sees that we hang up."""
        if self._is_sdenv:
            return
        session = self._session.interruptible(None)
        with suppress(SdenvError):
            polled = a1111.polled_of(
                session.exchange(_quick("GET", "progress?skip_current_image=true")).json()
            )
            if polled.fraction > 0 and polled.task in ("", task):
                session.exchange(_quick("POST", "interrupt"))

    def take(self, part: GenerationRequest, answer: a1111.Answer, *, of: GenerationRequest) -> None:
        """The pictures of a part.

        Args:
            part: What was asked for in it.
            answer: What came.
            of: The whole request.

        Raises:
            FailedError: Fewer came than were asked for; those are handed over.
        """
        resolved = self._resolve(part, answer, of)
        first = len(self._images)
        for index, picture in enumerate(answer.pictures[: part.count], first):
            self._images.append(_bare(picture))
            position = index - first
            known = position < len(answer.seeds)
            seed = answer.seeds[position] if known else resolved.seed_of(index) % (MAX_SEED + 1)
            self._context.emit(PictureReady(index, self._images[-1], seed))
        if len(answer.pictures) < part.count:
            came = f"{len(answer.pictures)} of {part.count} pictures came."
            raise FailedError("The server has ended the job early.", why=f"{came} Somebody interrupted it.")

    def _resolve(
        self, part: GenerationRequest, answer: a1111.Answer, of: GenerationRequest
    ) -> ResolvedRequest:
        """What is being made, said with the first pictures."""
        if self._resolved is None:
            told = a1111.resolved_of(part, answer)
            self._resolved = told.model_copy(update={"count": of.count})
            self._model_hash = str(answer.info.get("sd_model_hash") or "")
            version = str(answer.info.get("version") or "")
            self._made_with = {"server": version} if version else {}
            self._context.emit(RequestResolved(self._resolved, self._model_hash, self._made_with))
        return self._resolved

    def result(self) -> GenerationResult:
        """All of it."""
        assert self._resolved is not None
        return GenerationResult(
            images=tuple(self._images),
            resolved=self._resolved,
            backend=NAME,
            model_hash=self._model_hash,
            made_with=dict(self._made_with),
            seconds=time.monotonic() - self._began_s,
        )


def _quick(method: str, path: str) -> Call:
    body = b"" if method == "POST" else None
    return Call(
        method=method, path=f"{a1111.PREFIX}/{path}", body=body, connect_s=_QUICK_S, answer_s=_QUICK_S
    )


def _bare(picture: ImageData) -> ImageData:
    if picture.media_type != PNG:
        return picture
    return picture.model_copy(update={"data": png_without_texts(picture.data, _TEXTS)})
