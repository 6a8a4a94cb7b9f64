"""Shows how a job goes, on stderr: plain lines, JSON lines or nothing here, bars in `barview`."""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final, Literal, TextIO, final

from sdenv.cli.bars import Pace, clock_text, measured_text, paced, paces, seconds_text
from sdenv.cli.terminal import Terminal
from sdenv.core.events import (
    BytesMoved,
    Event,
    Measured,
    Notice,
    PhaseStarted,
    PictureReady,
    Progress,
    StepDone,
    advance,
    event_record,
)

ProgressForm = Literal["auto", "bar", "plain", "json", "off"]
Clock = Callable[[], float]

_SILENCE_S: Final = 30.0  # a log that says nothing for longer looks like a program that hangs


@final
@dataclass(frozen=True, slots=True)
class Heading:
    """Which job it is.

    Attributes:
        job_id: Its ULID.
        title: The prompt, or the name of a recipe.
        number: Its place among the jobs of this command, from 1.
        of: How many jobs there are.
        count: Pictures of this job.
        joined: It had begun before it was watched: how long what is shown of it took is not known.
    """

    job_id: str = ""
    title: str = ""
    number: int = 1
    of: int = 1
    count: int = 1
    joined: bool = False


class Renderer(ABC):
    """Shows one job after another. `begin`, then `show` for each event, then `end`."""

    @abstractmethod
    def begin(self, heading: Heading) -> None:
        """A job begins."""

    @abstractmethod
    def show(self, event: Event) -> None:
        """Something happened to it."""

    @abstractmethod
    def say(self, text: str) -> None:
        """Writes a line for people that stays."""

    @abstractmethod
    def stopping(self) -> None:
        """A cancel was asked for. Called from a signal handler: remembers it, writes nothing."""

    @abstractmethod
    def paused(self) -> AbstractContextManager[None]:
        """While the context is open, nothing of this stands in the way of other output."""

    @abstractmethod
    def end(self) -> None:
        """The job is over, however it ended. May be called twice."""


@final
class Silent(Renderer):
    """Shows no progress; notices and what is said only.

    Args:
        stream: stderr.
        terminal: What it can show.
        quiet: Leave those out as well.
    """

    def __init__(self, stream: TextIO, terminal: Terminal, *, quiet: bool = False) -> None:
        self._stream = stream
        self._terminal = terminal
        self._quiet = quiet

    def begin(self, heading: Heading) -> None:
        """Shows nothing."""

    def show(self, event: Event) -> None:
        """Shows notices."""
        if isinstance(event, Notice):
            self.say(notice_text(event, self._terminal))

    def say(self, text: str) -> None:
        """Writes a line, unless quiet."""
        if not self._quiet:
            print(text, file=self._stream, flush=True)

    def stopping(self) -> None:
        """Shows nothing."""

    def paused(self) -> AbstractContextManager[None]:
        """Nothing is in the way."""
        return nullcontext()

    def end(self) -> None:
        """Shows nothing."""


@final
class PlainLines(Renderer):
    """A line for each phase and each tenth of the steps, for logs and for terminals that cannot draw.

    Args:
        stream: stderr.
        terminal: What it can show.
        clock: Seconds.
    """

    def __init__(self, stream: TextIO, terminal: Terminal, clock: Clock = time.monotonic) -> None:
        self._stream = stream
        self._terminal = terminal
        self._clock = clock
        self._progress = Progress()
        self._pace = Pace(0.0, 0.0)
        self._tenths: dict[str, int] = {}
        self._said_s = 0.0
        self._joined = False

    def begin(self, heading: Heading) -> None:
        """Names the job if there are several."""
        now_s = self._clock()
        self._joined = heading.joined
        self._progress, self._pace, self._tenths = Progress(count=heading.count), Pace(now_s, now_s), {}
        if heading.of > 1:
            self.say(f"[{heading.number}/{heading.of}] {self._terminal.clean(heading.title)}")

    def show(self, event: Event) -> None:
        """Writes a line where there is news enough for one."""
        phase = self._progress.phase
        if paces(event, self._progress, joined=self._joined):
            self._pace = paced(self._pace, event, self._clock())
        self._progress = advance(self._progress, event)
        match event:
            case PhaseStarted() if event.phase != phase:
                self.say(self._terminal.clean(event.phase))
            case StepDone(step, total, index) if self._is_news(f"picture {index}", step / total):
                self.say(self._step_text(step, total, index))
            case BytesMoved(what, done, total) if self._is_news(what, done / total if total else 0.0):
                share = f" of {total / 1e6:.1f}" if total else ""
                self.say(self._terminal.clean(f"{what}: {done / 1e6:.1f}{share} MB"))
            case PictureReady(index, _, seed):
                self.say(f"{picture_label(index, self._progress.count)}done, seed {seed}")
            case Measured(step) if self._clock() - self._said_s >= _SILENCE_S:
                self.say(f"step {step}: {measured_text(event)}")
            case Notice():
                self.say(notice_text(event, self._terminal))

    def _is_news(self, what: str, fraction: float) -> bool:
        """Whether another tenth is reached, or nothing was said for a long time."""
        tenth = int(fraction * 10 + 1e-9)
        news = tenth > self._tenths.get(what, 0) or self._clock() - self._said_s >= _SILENCE_S
        self._tenths[what] = max(tenth, self._tenths.get(what, 0))
        return news

    def _step_text(self, step: int, total: int, index: int) -> str:
        parts = [f"{picture_label(index, self._progress.count)}step {step}/{total}"]
        step_s, left_s = self._pace.step_s(index), self._pace.left_s(index, total, self._clock())
        if step_s is not None and left_s is not None:
            parts += [f"{seconds_text(step_s)}/step", f"{clock_text(left_s)} left"]
        parts += [f"{name} {value:.4g}" for name, value in self._progress.measured.items()]
        return ", ".join(parts)

    def say(self, text: str) -> None:
        """Writes a line."""
        self._said_s = self._clock()
        print(text, file=self._stream, flush=True)

    def stopping(self) -> None:
        """Shows nothing; the end will."""

    def paused(self) -> AbstractContextManager[None]:
        """Nothing is in the way."""
        return nullcontext()

    def end(self) -> None:
        """Shows nothing."""


@final
class JsonLines(Renderer):
    """One JSON object for each event (`core.events.event_record`), for programs.

    Args:
        stream: stderr.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._job_id = ""

    def begin(self, heading: Heading) -> None:
        """The job whose id the next objects carry."""
        self._job_id = heading.job_id

    def show(self, event: Event) -> None:
        """Writes the event."""
        print(json.dumps(event_record(event, self._job_id)), file=self._stream, flush=True)

    def say(self, text: str) -> None:
        """Leaves out what is for people."""

    def stopping(self) -> None:
        """Shows nothing."""

    def paused(self) -> AbstractContextManager[None]:
        """Nothing is in the way."""
        return nullcontext()

    def end(self) -> None:
        """Shows nothing."""


def notice_text(notice: Notice, terminal: Terminal) -> str:
    """A notice on one line."""
    return f"{terminal.paint('note:', 'bold', 'yellow')} {terminal.clean(notice.message)}"


def picture_label(index: int, count: int) -> str:
    """`picture 2/4: `, or `picture: ` for the only one."""
    return f"picture {index + 1}/{count}: " if count > 1 else "picture: "


def form_for(wanted: ProgressForm, terminal: Terminal) -> ProgressForm:
    """The form that `auto` means on this terminal; any other is what it is."""
    if wanted == "auto":
        return "bar" if terminal.moves_cursor else "plain"
    return wanted
