"""How far the pictures are, as lines of text: a pure function of the progress, the pace and the time."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, final

from sdenv.cli.terminal import Terminal
from sdenv.core.events import BytesMoved, Event, Measured, PhaseStarted, Progress, StepDone

_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_ASCII_SPINNER: Final = "|/-\\"
_SPINS_PER_S: Final = 10.0
_MAX_BAR_CELLS: Final = 40
_MIN_BAR_CELLS: Final = 8


@final
@dataclass(frozen=True, slots=True)
class Pace:
    """When things happened, in seconds of one clock.

    Attributes:
        began_s: When the work began.
        phase_s: When the current phase began.
        first: Per picture, (time, step) from which its pace is measured.
        last: Per picture, (time, step) of its newest step.
    """

    began_s: float
    phase_s: float
    first: Mapping[int, tuple[float, int]] = field(default_factory=lambda: MappingProxyType({}))
    last: Mapping[int, tuple[float, int]] = field(default_factory=lambda: MappingProxyType({}))

    def step_s(self, index: int) -> float | None:
        """Mean seconds a step of one picture; None until it can be said."""
        if index not in self.last:
            return None
        (first_s, first_step), (last_s, last_step) = self.first[index], self.last[index]
        return (last_s - first_s) / (last_step - first_step) if last_step > first_step else None

    def picture_began_s(self, index: int) -> float:
        """When one picture began: a step before its first step was done, or with the work."""
        if index not in self.first or min(self.first) == index:
            return self.began_s
        return self.first[index][0] - (self.step_s(index) or 0.0)

    def left_s(self, index: int, total: int, now_s: float) -> float | None:
        """Seconds until the last step of one picture, at its mean pace."""
        step_s = self.step_s(index)
        if step_s is None:
            return None
        last_s, last_step = self.last[index]
        return max(0.0, (total - last_step) * step_s - (now_s - last_s))


def paced(pace: Pace, event: Event, now_s: float) -> Pace:
    """The pace after one more event. Pure.

    It counts from the end of the first step: what warms up in that one would spoil the estimate.
    """
    match event:
        case PhaseStarted():
            return replace(pace, phase_s=now_s)
        case StepDone(step, _, index):
            first = (
                pace.first if index in pace.first else MappingProxyType({**pace.first, index: (now_s, step)})
            )
            return replace(pace, first=first, last=MappingProxyType({**pace.last, index: (now_s, step)}))
        case _:
            return pace


def paces(event: Event, progress: Progress, *, joined: bool) -> bool:
    """Whether an event says anything about the pace.

    Args:
        event: What happened.
        progress: How far the work was before.
        joined: The work had begun before it was watched: the first step that is seen of a picture may have
            been done any time before, so that the pace counts from the one after it.
    """
    if not (joined and isinstance(event, StepDone)):
        return True
    return event.index in progress.steps or event.step == 1


def bar_lines(progress: Progress, pace: Pace, now_s: float, terminal: Terminal) -> list[str]:
    """One line for each picture that is being made, or one for the phase before the first step.

    Args:
        progress: How far the work is.
        pace: When its steps were.
        now_s: The time, on the clock of `pace`.
        terminal: What can be shown; no line is wider than its columns less one.
    """
    running = [index for index in sorted(progress.steps) if index not in progress.finished]
    if not running:
        return [_waiting_line(progress, pace, now_s, terminal)]
    return [_picture_line(progress, pace, index, now_s, terminal) for index in running]


def _waiting_line(progress: Progress, pace: Pace, now_s: float, terminal: Terminal) -> str:
    frames = _SPINNER if terminal.unicode else _ASCII_SPINNER
    frame = frames[int((now_s - pace.began_s) * _SPINS_PER_S) % len(frames)]
    words = f"{progress.phase or 'starting'}{_moved(progress.bytes_moved)}"
    text = f"{terminal.clean(words)}  {seconds_text(now_s - pace.phase_s)}"
    return f"{terminal.paint(frame, 'cyan')} {text[: max(1, terminal.columns - 4)]}"


def _moved(moved: BytesMoved | None) -> str:
    if moved is None:
        return ""
    total = f" of {moved.total / 1e6:.1f}" if moved.total else ""
    return f" {moved.what} {moved.done / 1e6:.1f}{total} MB"


def _picture_line(progress: Progress, pace: Pace, index: int, now_s: float, terminal: Terminal) -> str:
    step, total = progress.steps[index]
    label = f"{index + 1}/{progress.count} " if progress.count > 1 else ""
    counted = f" {step:>{len(str(total))}}/{total}"
    details = _details(progress, pace, index, now_s)
    room = terminal.columns - 1 - len(label) - len(counted)
    while details and room - _width(details) < _MIN_BAR_CELLS:
        details.pop()
    cells = min(_MAX_BAR_CELLS, max(1, room - _width(details)))
    bar = bar_text(step / total, cells, terminal)
    tail = "".join(f"  {terminal.clean(each)}" for each in details)
    return f"{terminal.paint(label, 'bold')}{bar}{counted}{terminal.paint(tail, 'dim')}"


def _width(details: list[str]) -> int:
    return sum(len(each) + 2 for each in details)


def _details(progress: Progress, pace: Pace, index: int, now_s: float) -> list[str]:
    """What stands after the bar, the most important first."""
    step, total = progress.steps[index]
    left_s = pace.left_s(index, total, now_s)
    step_s = pace.step_s(index)
    parts = []
    if step == total or (progress.phase and progress.phase != "denoising"):
        parts.append(progress.phase)
    elif left_s is not None:
        parts.append(f"{clock_text(left_s)} left")
    if step_s is not None:
        parts.append(f"{seconds_text(step_s)}/step")
    parts += [f"{name} {value:.4g}" for name, value in list(progress.measured.items())[:3]]
    return parts


def bar_text(fraction: float, cells: int, terminal: Terminal) -> str:
    """A bar of so many cells; a half cell at its end where the characters allow it."""
    halves = round(min(1.0, max(0.0, fraction)) * cells * 2)
    full, half = divmod(halves, 2)
    if not terminal.unicode:
        return "[" + ("#" * full).ljust(max(1, cells - 2), ".")[: max(1, cells - 2)] + "]"
    done = "━" * full + "╸" * half
    rest = ("━" if terminal.color else "─") * (cells - full - half)
    return terminal.paint(done, "green" if fraction >= 1 else "cyan") + terminal.paint(rest, "dim")


def seconds_text(seconds: float) -> str:
    """A duration for people: `0.113 s`, `2.4 s`, `75 s`, `12 min`."""
    if seconds >= 600:
        return f"{seconds / 60:.0f} min"
    digits = 0 if seconds >= 60 else 1 if seconds >= 1 else 2 if seconds >= 0.1 else 3
    return f"{seconds:.{digits}f} s"


def clock_text(seconds: float) -> str:
    """A time that is left: `0:07`, `12:30`, `1:02:00`."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def measured_text(event: Measured) -> str:
    """Numbers of a training step on one line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in event.values.items())
