"""The five forms of progress, on a stream that keeps what is written and with a clock that the test turns."""

import io
import json
import re

import PIL.Image
import pytest

from sdenv.cli.barview import LiveBars
from sdenv.cli.inline import Graphics
from sdenv.cli.render import Heading, JsonLines, PlainLines, Renderer, Silent, form_for
from sdenv.cli.terminal import Terminal
from sdenv.core.events import Event, Measured, Notice, PhaseStarted, PictureReady, PreviewReady, StepDone
from sdenv.core.image import ImageData, encode_png
from tests.cli.support import Screen

PICTURE = encode_png(PIL.Image.new("RGB", (8, 8), "red"))
TTY = Terminal(is_tty=True, color=True, columns=70, rows=24, moves_cursor=True)


class Clock:
    """Seconds that pass only when the test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def play(renderer: Renderer, clock: Clock, *events: tuple[float, Event], count: int = 1, of: int = 1) -> None:
    renderer.begin(Heading("JOB", "a cat", 1, of, count))
    for now_s, event in events:
        clock.now_s = now_s
        renderer.show(event)
    renderer.end()


ONE_PICTURE: list[tuple[float, Event]] = [
    (0.5, PhaseStarted("loading")),
    (1.0, PhaseStarted("denoising")),
    *((1.0 + step, StepDone(step, 20)) for step in range(1, 21)),
    (21.5, PhaseStarted("decoding")),
    (22.0, PictureReady(0, PICTURE, 7)),
]


def test_plain_lines_are_one_for_each_phase_and_tenth() -> None:
    stream, clock = io.StringIO(), Clock()
    play(PlainLines(stream, Terminal(), clock), clock, *ONE_PICTURE)
    lines = stream.getvalue().splitlines()
    assert lines[:3] == ["loading", "denoising", "picture: step 2/20, 1.0 s/step, 0:18 left"]
    assert lines[-3:] == ["picture: step 20/20, 1.0 s/step, 0:00 left", "decoding", "picture: done, seed 7"]
    assert len(lines) == 2 + 10 + 2


def test_plain_lines_name_the_job_when_there_are_several() -> None:
    stream, clock = io.StringIO(), Clock()
    play(PlainLines(stream, Terminal(), clock), clock, *ONE_PICTURE, of=3)
    assert stream.getvalue().startswith("[1/3] a cat\n")


def test_plain_lines_are_never_silent_for_long() -> None:
    stream, clock = io.StringIO(), Clock()
    steps: list[tuple[float, Event]] = [(step * 20.0, StepDone(step, 1000)) for step in range(1, 7)]
    play(PlainLines(stream, Terminal(), clock), clock, *steps)
    assert stream.getvalue().count("step") >= 3


def test_plain_lines_show_what_a_training_measures() -> None:
    stream, clock = io.StringIO(), Clock()
    events: list[tuple[float, Event]] = [
        (40.0, Measured(5, {"loss": 0.5})),
        (41.0, Measured(6, {"loss": 0.4})),
        (50.0, StepDone(10, 100)),
    ]
    play(PlainLines(stream, Terminal(), clock), clock, *events)
    assert stream.getvalue().splitlines() == ["step 5: loss 0.5", "picture: step 10/100, loss 0.4"]


def test_json_lines_are_the_events() -> None:
    stream, clock = io.StringIO(), Clock()
    play(JsonLines(stream), clock, *ONE_PICTURE)
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(records) == len(ONE_PICTURE)
    assert {record["job"] for record in records} == {"JOB"}
    assert records[-1] == {
        "v": 1,
        "type": "picture-ready",
        "job": "JOB",
        "index": 0,
        "media_type": "image/png",
        "picture_bytes": len(PICTURE.data),
        "seed": 7,
    }


def test_progress_off_shows_notices_and_quiet_not_even_those() -> None:
    notice = (0.0, Notice("size-fitted", "300x300 is made at 256x256."))
    for quiet, text in ((False, "note: 300x300 is made at 256x256.\n"), (True, "")):
        stream = io.StringIO()
        play(Silent(stream, Terminal(), quiet=quiet), Clock(), *ONE_PICTURE, notice)
        assert stream.getvalue() == text


def rows_of(text: str, columns: int = 70, rows: int = 30) -> list[str]:
    """What a terminal shows after this text: the few escapes that the region uses, understood."""
    screen = [[" "] * columns for _ in range(rows)]
    row = column = 0
    for part in re.finditer(r"\x1b\[(\??[\d;]*)([A-Za-z])|([^\x1b])", text):
        argument, command, character = part[1], part[2], part[3]
        if command == "A":
            row -= int(argument or 1)
        elif command == "B":
            row += int(argument or 1)
        elif command == "K":
            screen[row][column:] = [" "] * (columns - column)
        elif command == "J":
            screen[row][column:] = [" "] * (columns - column)
            screen[row + 1 :] = [[" "] * columns for _ in screen[row + 1 :]]
        elif character == "\r":
            column = 0
        elif character == "\n":
            row += 1
        elif character:
            assert column < columns, "a line is wider than the terminal"
            screen[row][column] = character
            column += 1
        assert row >= 0, "the cursor left the region upwards"
    return ["".join(line).rstrip() for line in screen]


def live(clock: Clock, stream: Screen, graphics: Graphics = Graphics.NONE) -> LiveBars:
    return LiveBars(stream, TTY, graphics, clock=clock, tick_s=None)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setenv("LINES", "24")


def test_bars_leave_one_line_for_each_picture_and_nothing_else() -> None:
    stream, clock = Screen(tty=True), Clock()
    play(live(clock, stream), clock, *ONE_PICTURE)
    assert [row for row in rows_of(stream.text) if row] == ["✓ picture  20 steps in 22.0 s  seed 7"]


def test_bars_are_drawn_in_place() -> None:
    stream, clock = Screen(tty=True), Clock()
    renderer = live(clock, stream)
    renderer.begin(Heading("JOB", "a cat", 2, 3, 1))
    for now_s, event in ONE_PICTURE[:12]:
        clock.now_s = now_s
        renderer.show(event)
    rows = rows_of(stream.text)
    assert rows[0] == "[2/3] a cat"
    assert rows[1].endswith("10/20  0:10 left  1.0 s/step")
    assert rows[2] == ""


def test_a_notice_stays_above_the_bars() -> None:
    stream, clock = Screen(tty=True), Clock()
    renderer = live(clock, stream)
    renderer.begin(Heading())
    renderer.show(Notice("degraded", "Left out: hires."))
    renderer.show(StepDone(1, 4))
    rows = rows_of(stream.text)
    assert rows[0] == "note: Left out: hires."
    assert " 1/4" in rows[1]


def test_other_output_finds_a_clean_line_while_bars_are_paused() -> None:
    stream, clock = Screen(tty=True), Clock()
    renderer = live(clock, stream)
    renderer.begin(Heading())
    renderer.show(StepDone(1, 4))
    with renderer.paused():
        stream.write("path.png\r\n")
    renderer.show(StepDone(2, 4))
    rows = rows_of(stream.text)
    assert rows[0] == "path.png"
    assert " 2/4" in rows[1]


def test_a_cancel_is_said_below_the_bars() -> None:
    stream, clock = Screen(tty=True), Clock()
    renderer = live(clock, stream)
    renderer.begin(Heading())
    renderer.show(StepDone(1, 4))
    renderer.stopping()
    renderer.show(StepDone(2, 4))
    assert rows_of(stream.text)[1] == "stopping; Ctrl-C again leaves at once"


def test_the_cursor_comes_back_however_it_ends() -> None:
    stream, clock = Screen(tty=True), Clock()
    renderer = live(clock, stream)
    renderer.begin(Heading())
    renderer.end()
    renderer.end()
    assert stream.text.rindex("\x1b[?25h") > stream.text.rindex("\x1b[?25l")


def test_a_preview_is_shown_above_the_bar_and_only_the_newest() -> None:
    stream, clock = Screen(tty=True), Clock()
    renderer = live(clock, stream, Graphics.BLOCKS)
    renderer.begin(Heading())
    for step in (1, 2, 3):
        renderer.show(StepDone(step, 4))
        renderer.show(PreviewReady(step, 0, PICTURE))
    rows = rows_of(stream.text)
    assert rows[:16] == ["▀" * 32] * 16
    assert " 3/4" in rows[16]
    assert rows[17:] == [""] * 13
    renderer.end()
    assert [row for row in rows_of(stream.text) if row] == []


def test_the_preview_of_a_finished_picture_does_not_stay() -> None:
    stream, clock = Screen(tty=True), Clock()
    renderer = live(clock, stream, Graphics.BLOCKS)
    renderer.begin(Heading("JOB", "a cat", 1, 1, 2))
    renderer.show(StepDone(1, 1, 0))
    renderer.show(PreviewReady(1, 0, PICTURE))
    renderer.show(PictureReady(0, PICTURE, 7))
    renderer.show(StepDone(1, 2, 1))
    rows = rows_of(stream.text)
    assert rows[0].startswith("✓ picture 1/2")
    assert rows[1].startswith("2/2 ")
    assert rows[2:] == [""] * 28


def test_a_bar_that_is_no_longer_needed_leaves_no_trace() -> None:
    stream, clock = Screen(tty=True), Clock()
    renderer = live(clock, stream)
    renderer.begin(Heading("JOB", "a cat", 1, 1, 3))
    for index in (0, 1, 2):
        renderer.show(StepDone(1, 2, index))
    renderer.stopping()
    renderer.show(StepDone(2, 2, 0))
    with renderer.paused():
        pass
    for index in (0, 1):
        renderer.show(PictureReady(index, PICTURE, 7))
    shown = [row for row in rows_of(stream.text) if row]
    assert [row[:11] for row in shown] == ["✓ picture 1", "✓ picture 2", shown[2][:11], "stopping; C"]
    assert shown[2].startswith("3/3 ")


def test_a_preview_that_is_no_picture_does_no_harm() -> None:
    stream, clock = Screen(tty=True), Clock()
    renderer = live(clock, stream, Graphics.BLOCKS)
    renderer.begin(Heading())
    renderer.show(PreviewReady(1, 0, ImageData(data=b"nothing", media_type="image/png")))
    renderer.show(StepDone(1, 4))
    assert " 1/4" in rows_of(stream.text)[0]


def test_a_title_of_wide_characters_fits() -> None:
    stream, clock = Screen(tty=True), Clock()
    renderer = live(clock, stream)
    renderer.begin(Heading("JOB", "絵文字" * 40, 1, 2, 1))
    from rich.cells import cell_len

    title = rows_of(stream.text)[0]
    assert cell_len(title) < 70
    assert title.endswith("…")


@pytest.mark.parametrize(
    ("wanted", "terminal", "form"), [("auto", TTY, "bar"), ("auto", Terminal(), "plain"), ("off", TTY, "off")]
)
def test_auto_means_bars_where_a_person_watches(wanted: str, terminal: Terminal, form: str) -> None:
    assert form_for(wanted, terminal) == form  # type: ignore[arg-type]  # a literal in the table above
