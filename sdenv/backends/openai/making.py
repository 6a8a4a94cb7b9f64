"""One request while its pictures come in: what the server says of them, or what has to be assumed."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

from sdenv.core.backend import JobContext
from sdenv.core.errors import ConnectionFailed, PeerBrokeProtocol
from sdenv.core.events import Notice, PictureReady, PreviewReady, RequestResolved
from sdenv.core.image import ImageData, size_of
from sdenv.core.request import GenerationRequest, ResolvedRequest
from sdenv.core.result import GenerationResult
from sdenv.protocols import openai
from sdenv.protocols.containers import anonymous

NAME: Final = "openai"


@final
@dataclass(slots=True)
class Making:
    """One request while its pictures come in."""

    request: GenerationRequest
    context: JobContext
    is_sdenv: bool
    began_s: float = field(default_factory=time.monotonic)
    images: dict[int, ImageData] = field(default_factory=dict)
    resolved: ResolvedRequest | None = None
    model_hash: str = ""
    made_with: Mapping[str, str] = field(default_factory=dict)

    def take_event(self, name: str, event: Mapping[str, Any]) -> None:
        """One event of a stream; those that are not known mean nothing."""
        if name == "error":
            raise openai.error_of(0, event)
        if name.endswith(".partial_image") and self.context.preview_every:
            partial = openai.partial_of(event)
            picture = ImageData.from_bytes(partial.data, "a picture on the way")
            self.context.emit(PreviewReady(partial.step, partial.index, picture))
        if name.endswith(".completed"):
            received = openai.completed_of(event, len(self.images))
            if received.data is None:
                raise PeerBrokeProtocol("The server sent an address in a stream of pictures.")
            self.take(received, received.data)

    def take(self, received: openai.Received, data: bytes) -> None:
        """One finished picture."""
        picture = anonymous(ImageData.from_bytes(data, "the server's picture"))
        resolved = self.resolved or self._resolve(received, picture)
        if received.revised_prompt and received.revised_prompt != self.request.prompt:
            message = f"The server has drawn another prompt: {received.revised_prompt}"
            self.context.emit(Notice("prompt-revised", message))
        self.images[received.index] = picture
        seed = resolved.seed_of(received.index) if received.seed is None else received.seed
        self.context.emit(PictureReady(received.index, picture, seed))

    def _resolve(self, received: openai.Received, picture: ImageData) -> ResolvedRequest:
        """What is being made, said with the first picture."""
        facts = received.facts
        if facts is not None and facts.get("resolved") is not None:
            self.resolved = openai.resolved_of(facts, self.request)
            self.model_hash = str(facts.get("model_hash", ""))
            self.made_with = openai.made_with_of(facts)
            notices = list(openai.notices_of(facts))
        else:
            self.resolved, notices = self._assume(received, picture)
        self.context.emit(RequestResolved(self.resolved, self.model_hash, self.made_with))
        for notice in notices:
            self.context.emit(notice)
        return self.resolved

    def _assume(self, received: openai.Received, picture: ImageData) -> tuple[ResolvedRequest, list[Notice]]:
        size = size_of(picture)
        resolved, not_told = openai.assumed(self.request, size, received.seed)
        notices: list[Notice] = []
        if not_told:
            self.made_with = {"not told": ", ".join(not_told)}
            message = f"The server does not say with which {', '.join(not_told)} it has drawn."
            notices.append(Notice("not-told", message))
        asked = (self.request.width or size[0], self.request.height or size[1])
        if asked != size:
            message = f"{asked[0]}x{asked[1]} was asked for, {size[0]}x{size[1]} came."
            notices.append(Notice("size-differs", message))
        return resolved, notices

    def result(self, url: str) -> GenerationResult:
        """The end.

        Args:
            url: Of the server, for errors.

        Raises:
            ConnectionFailed: An answer ended before all pictures had come.
            PeerBrokeProtocol: A server of another maker sent fewer pictures than were asked for.
        """
        count = self.request.count
        if self.resolved is None or sorted(self.images) != list(range(count)):
            what = f"{url} has sent {len(self.images)} of {count} pictures."
            raise ConnectionFailed(what) if self.is_sdenv else PeerBrokeProtocol(what)
        return GenerationResult(
            images=tuple(self.images[index] for index in range(count)),
            resolved=self.resolved,
            backend=NAME,
            model_hash=self.model_hash,
            made_with=dict(self.made_with),
            seconds=time.monotonic() - self.began_s,
        )
