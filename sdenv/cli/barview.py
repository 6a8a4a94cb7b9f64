"""The bars on a terminal: what `bars` says, drawn over and over by `live`, under the newest preview."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO, final

from sdenv.cli.bars import Pace, bar_lines, paced, paces, seconds_text
from sdenv.cli.inline import Graphics, InlinePicture, inline_picture
from sdenv.cli.live import Region
from sdenv.cli.render import Clock, Heading, Renderer, notice_text
from sdenv.cli.tables import cut_to
from sdenv.cli.terminal import Terminal, resized
from sdenv.core.errors import BadImage
from sdenv.core.events import Event, Notice, PictureReady, PreviewReady, Progress, advance

_PREVIEW_CELLS: Final = (32, 16)
_ROWS_KEPT: Final = 6  # of the terminal, for the bars and for what was there before
_TICK_S: Final = 0.1


@final
class LiveBars(Renderer):
    """A bar for each picture that is being made.

    Args:
        stream: stderr, a terminal.
        terminal: What it can show.
        graphics: How previews are shown.
        picture_id: Number of the preview for kitty.
        clock: Seconds.
        tick_s: Seconds between two drawings when nothing happens; None = only events draw.
    """

    def __init__(
        self,
        stream: TextIO,
        terminal: Terminal,
        graphics: Graphics = Graphics.NONE,
        picture_id: int = 1,
        clock: Clock = time.monotonic,
        tick_s: float | None = _TICK_S,
    ) -> None:
        self._stream = stream
        self._terminal = terminal
        self._graphics = graphics
        self._picture_id = picture_id
        self._clock = clock
        self._tick_s = tick_s
        self._region = Region(stream)
        self._lock = threading.RLock()
        self._heading = Heading()
        self._progress = Progress()
        self._pace = Pace(0.0, 0.0)
        self._preview: InlinePicture | None = None
        self._stopping = False
        self._ended: threading.Event | None = None

    def begin(self, heading: Heading) -> None:
        """Starts to draw."""
        with self._lock:
            now_s = self._clock()
            self._heading, self._progress = heading, Progress(count=heading.count)
            self._pace, self._preview = Pace(now_s, now_s), None
            self._draw()
        if self._tick_s is not None:
            self._ended = threading.Event()
            threading.Thread(target=self._tick, args=(self._ended, self._tick_s), daemon=True).start()

    def _tick(self, ended: threading.Event, tick_s: float) -> None:
        while not ended.wait(tick_s):
            with self._lock:
                if not ended.is_set():
                    self._draw()

    def show(self, event: Event) -> None:
        """Takes the event in, and draws it."""
        now_s = self._clock()
        with self._lock:
            if paces(event, self._progress, joined=self._heading.joined):
                self._pace = paced(self._pace, event, now_s)
            self._progress = advance(self._progress, event)
            if isinstance(event, PreviewReady):
                self._preview = self._shown(event)
            elif isinstance(event, Notice):
                self.say(notice_text(event, self._terminal))
            elif isinstance(event, PictureReady):
                self._preview = None
                self.say(self._finished_text(event, now_s))
            self._draw()

    def _shown(self, event: PreviewReady) -> InlinePicture | None:
        columns = min(_PREVIEW_CELLS[0], self._terminal.columns - 1)
        rows = min(_PREVIEW_CELLS[1], self._terminal.rows - _ROWS_KEPT - self._progress.count)
        if self._graphics is Graphics.NONE or columns < 4 or rows < 3:
            return None
        try:
            return inline_picture(event.picture, self._graphics, columns, rows, self._picture_id)
        except BadImage:  # a preview is a courtesy; a broken one is no reason to stop
            return self._preview

    def _finished_text(self, event: PictureReady, now_s: float) -> str:
        count = self._progress.count
        label = f"picture {event.index + 1}/{count}" if count > 1 else "picture"
        took = seconds_text(now_s - self._pace.picture_began_s(event.index))
        steps = self._progress.steps.get(event.index)
        facts = [f"{steps[1]} steps in {took}" if steps else took, f"seed {event.seed}"]
        if self._heading.joined:
            facts[0] = f"{steps[1]} steps" if steps else ""
        tail = self._terminal.paint("  ".join(each for each in facts if each), "dim")
        return f"{self._terminal.paint(self._terminal.symbols('✓'), 'green')} {label}  {tail}"

    def _draw(self) -> None:
        self._terminal = resized(self._terminal, self._stream)
        lines = bar_lines(self._progress, self._pace, self._clock(), self._terminal)
        if self._stopping:
            lines.append(self._terminal.paint("stopping; Ctrl-C again leaves at once", "yellow"))
        if self._heading.of > 1:
            label = f"[{self._heading.number}/{self._heading.of}]"
            room = max(4, self._terminal.columns - len(label) - 2)
            title = cut_to(self._terminal.clean(self._heading.title), room, self._terminal.symbols("…"))
            lines.insert(0, f"{self._terminal.paint(label, 'bold')} {title}")
        self._region.draw(self._preview, lines)

    def say(self, text: str) -> None:
        """Writes a line above the bars."""
        with self.paused():
            self._region.print(text)

    def stopping(self) -> None:
        """Says so below the bars, from the next drawing on."""
        self._stopping = True

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Takes the bars away until the context ends; the next event or tick draws them again."""
        with self._lock:
            self._region.clear()
            yield

    def end(self) -> None:
        """Takes the bars away for good."""
        if self._ended is not None:
            self._ended.set()
        with self._lock:
            self._region.close()
