"""Bars with a clock that the test turns."""

import pytest

from sdenv.cli.bars import Pace, bar_lines, bar_text, clock_text, paced, seconds_text
from sdenv.cli.terminal import Terminal
from sdenv.core.events import (
    BytesMoved,
    Event,
    Measured,
    PhaseStarted,
    PictureReady,
    Progress,
    StepDone,
    advance,
)
from sdenv.core.image import ImageData

PICTURE = ImageData(data=b"", media_type="image/png")
WIDE = Terminal(is_tty=True, columns=80)


def after(*events: tuple[float, Event], count: int = 1) -> tuple[Progress, Pace]:
    """The progress and the pace after events at these times."""
    progress, pace = Progress(count=count), Pace(0.0, 0.0)
    for now_s, event in events:
        progress, pace = advance(progress, event), paced(pace, event, now_s)
    return progress, pace


def shown(*events: tuple[float, Event], now_s: float, count: int = 1, terminal: Terminal = WIDE) -> list[str]:
    return bar_lines(*after(*events, count=count), now_s, terminal)


def test_before_the_first_step_the_phase_and_its_time_are_shown() -> None:
    assert shown((1.0, PhaseStarted("loading")), now_s=3.0) == ["⠋ loading  2.0 s"]


def test_bytes_that_move_are_counted() -> None:
    events = (0.0, PhaseStarted("fetching")), (0.5, BytesMoved("emoji", 1_500_000, 20_000_000))
    assert shown(*events, now_s=1.0) == ["⠋ fetching emoji 1.5 of 20.0 MB  1.0 s"]


def test_a_bar_says_step_time_left_and_step_time() -> None:
    steps = [(1.0 + 0.5 * step, StepDone(step, 8)) for step in range(1, 5)]
    line = shown((0.0, PhaseStarted("denoising")), *steps, now_s=3.0)[0]
    assert line == "━" * 20 + "─" * 20 + " 4/8  0:02 left  0.50 s/step"


def test_the_time_left_goes_down_between_two_steps() -> None:
    steps = [(float(step), StepDone(step, 8)) for step in range(1, 5)]
    assert "0:04 left" in shown(*steps, now_s=4.0)[0]
    assert "0:03 left" in shown(*steps, now_s=4.9)[0]


def test_a_slow_first_step_does_not_spoil_the_estimate() -> None:
    steps = [(60.0 + step, StepDone(step, 10)) for step in range(1, 4)]
    assert "1.0 s/step" in shown(*steps, now_s=63.0)[0]


def test_after_the_last_step_the_phase_is_shown() -> None:
    steps = [(float(step), StepDone(step, 2)) for step in (1, 2)]
    line = shown(*steps, (2.0, PhaseStarted("decoding")), now_s=2.5)[0]
    assert line == "━" * 40 + " 2/2  decoding  1.0 s/step"


def test_each_picture_of_a_batch_has_a_bar_and_a_finished_one_has_none() -> None:
    events = [(float(step), StepDone(step, 4, index)) for step in (1, 2) for index in (0, 1)]
    lines = shown(*events, now_s=2.0, count=3)
    assert [line[:4] for line in lines] == ["1/3 ", "2/3 "]
    assert len(shown(*events, (3.0, PictureReady(0, PICTURE, 7)), now_s=3.0, count=3)) == 1


def test_measured_numbers_stand_behind_the_bar() -> None:
    line = shown((1.0, StepDone(1, 4)), (1.0, Measured(1, {"loss": 0.12345})), now_s=1.0)[0]
    assert line.endswith("  loss 0.1235")


@pytest.mark.parametrize("columns", [20, 30, 40, 50, 60, 79, 200])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    steps = [(1.0 + step, StepDone(step, 1000, 15)) for step in (998, 999)]
    for terminal in (Terminal(columns=columns), Terminal(columns=columns, unicode=False)):
        lines = shown((0.0, PhaseStarted("denoising")), *steps, now_s=1000.0, count=16, terminal=terminal)
        lines += shown((0.0, PhaseStarted("loading " * 40)), now_s=1.0, terminal=terminal)
        assert all(len(line) < max(columns, 24) for line in lines)


def test_without_unicode_every_character_is_ascii() -> None:
    plain = Terminal(columns=60, unicode=False)
    line = shown((0.0, StepDone(1, 4)), (1.0, StepDone(2, 4)), now_s=1.0, terminal=plain)[0]
    assert line.isascii()
    assert line.startswith("[####")
    assert shown((0.0, PhaseStarted("loading")), now_s=0.1, terminal=plain)[0].isascii()


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.0, "────"), (0.125, "╸───"), (0.5, "━━──"), (1.0, "━━━━"), (7.0, "━━━━"), (-1.0, "────")],
)
def test_a_bar_is_as_full_as_the_work(fraction: float, text: str) -> None:
    assert bar_text(fraction, 4, Terminal()) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "0.012 s"), (0.456, "0.46 s"), (2.345, "2.3 s"), (75.2, "75 s"), (720, "12 min")],
)
def test_durations_are_as_exact_as_is_useful(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(7.4, "0:07"), (750, "12:30"), (3720, "1:02:00")])
def test_times_left_read_as_on_a_clock(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text
