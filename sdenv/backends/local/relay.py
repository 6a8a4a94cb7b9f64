"""The crossing between the device's thread, which makes pictures, and the caller's, which alone may emit.

The device puts messages into a queue and looks at a flag between steps; the caller takes the messages out,
turns pixels into files and emits. A cancel sets the flag; the caller waits until the device has let go.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar, final

from sdenv.core.backend import JobContext
from sdenv.core.errors import Cancelled
from sdenv.core.events import Event, PictureReady, PreviewReady
from sdenv.core.image import ImageData, encode_png

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished picture, not yet encoded."""

    index: int
    seed: int
    picture: "Image"


@dataclass(frozen=True, slots=True)
class Glimpse:
    """A preview, not yet encoded."""

    step: int
    index: int
    picture: "Image"


_END: Final = None
Message = Event | Finished | Glimpse


@final
class Relay:
    """One job between two threads."""

    def __init__(self) -> None:
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self.pictures: list[ImageData] = []

    def put(self, message: Message) -> None:
        """Device side: reports something."""
        self._messages.put(message)

    def stop(self) -> None:
        """Any side: asks the device to stop at its next look."""
        self._stopped.set()

    def check(self) -> None:
        """Device side: raises Cancelled when the job is to stop; called between steps."""
        if self._stopped.is_set():
            raise Cancelled

    def run(self, device: Executor, work: Callable[["Relay"], T], context: JobContext) -> T:
        """Caller side: has the device do the work, and emits what it reports until it is done.

        Raises:
            Cancelled: The job was cancelled; the device has stopped.
        """
        future: Future[T] = device.submit(work, self)
        future.add_done_callback(lambda _: self._messages.put(_END))
        try:
            with context.on_cancel(lambda: self._stop(future)):
                self._emit_all(context)
        finally:
            self._stop(future)  # does nothing after the end
            while not future.done():
                self._messages.get()
        if future.cancelled():
            raise Cancelled
        return future.result()

    def _stop(self, future: "Future[T]") -> None:
        """Stops the work: at its next look, or before it begins."""
        self._stopped.set()
        future.cancel()

    def _emit_all(self, context: JobContext) -> None:
        while (message := self._messages.get()) is not _END:
            context.emit(self._encoded(message))

    def _encoded(self, message: Message) -> Event:
        match message:
            case Finished(index, seed, picture):
                self.pictures.append(encode_png(picture))
                return PictureReady(index, self.pictures[-1], seed)
            case Glimpse(step, index, picture):
                return PreviewReady(step, index, encode_png(picture))
            case _:
                return message
