"""Jobs as people read them, with a clock and a terminal of the test."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sdenv.cli import tables
from sdenv.cli.joblist import SHORT_ID, done_text, job_page, job_table, shown_record
from sdenv.cli.jobs_run import limit_of, print_jobs
from sdenv.cli.quantities import ago_text, bytes_text, iso_text, parse_age, parse_bytes
from sdenv.cli.terminal import Terminal
from sdenv.core.errors import OutOfMemory, UsageError
from sdenv.core.events import Notice
from sdenv.core.job_record import JobRecord, JobState, PictureRecord
from tests.cli.support import streams

NOW_S = 1_795_000_000.0
ID = "01M7XC28Q33FCN5AEJ1MVWT1GT"
JOB = JobRecord(
    id=ID, state=JobState.QUEUED, request={"prompt": "a cat", "count": 4}, created_at=NOW_S - 90, position=2
)
PICTURE = PictureRecord(0, 7, 512, 256, "image/png", 62_100, "ab" * 32)
JOBS = [
    JOB,
    replace(JOB, state=JobState.RUNNING, fraction=0.456, phase="denoising", resolved={"model": "emoji"}),
    replace(JOB, state=JobState.DONE, pictures=(PICTURE,), created_at=NOW_S - 86400 * 30),
    replace(JOB, state=JobState.FAILED, error=OutOfMemory("Too big.", hint="Make it smaller.")),
]


def on(monkeypatch: pytest.MonkeyPatch, terminal: Terminal) -> Terminal:
    monkeypatch.setattr(tables, "terminal_of", lambda stream: terminal)
    return terminal


@pytest.mark.parametrize(
    ("past_s", "text"),
    [
        (-500, "now"),
        (4, "now"),
        (59, "59 s ago"),
        (90, "2 min ago"),
        (3 * 3600, "3 h ago"),
        (26 * 3600, "1 d ago"),
        (13 * 86400, "13 d ago"),
    ],
)
def test_times_are_told_as_people_tell_them(past_s: float, text: str) -> None:
    assert ago_text(NOW_S - past_s, NOW_S) == text


def test_a_time_long_ago_is_a_date() -> None:
    assert ago_text(NOW_S - 40 * 86400, NOW_S) == "2026-10-09"


def test_a_time_for_scripts_is_iso_8601_in_utc() -> None:
    assert iso_text(NOW_S + 0.5) == "2026-11-18T11:06:40.500Z"


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (912, "912 B"), (62_100, "62.1 kB"), (5_100_000_000, "5.1 GB")]
)
def test_sizes_are_told_in_powers_of_ten(size: int, text: str) -> None:
    assert bytes_text(size) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10min", 600), ("1.5h", 5400), ("4w", 28 * 86400)]
)
def test_an_age_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_age(text, "--since") == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "-3d", "3 years", "1e9d"])
def test_what_is_no_age_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="--since 30d"):
        parse_age(text, "--since")


def test_a_size_is_a_number_and_a_unit() -> None:
    assert [parse_bytes(text, "--max-size") for text in ("5", "2GB", "1.5 kB")] == [5, 2 * 10**9, 1500]
    with pytest.raises(UsageError, match="is not a size"):
        parse_bytes("2 GiB", "--max-size")


def test_in_a_pipe_no_column_but_the_last_holds_a_space_and_ids_are_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = job_table(JOBS, on(monkeypatch, Terminal(columns=40)), NOW_S).splitlines()
    assert [row.split(None, 5) for row in rows[:2]] == [
        [ID, "queued", "2026-11-18T11:05:10.000Z", "#3", "-", "a cat"],
        [ID, "running", "2026-11-18T11:05:10.000Z", "45%", "emoji", "a cat"],
    ]


@pytest.mark.parametrize("columns", [60, 80, 110, 200])
def test_on_a_terminal_no_row_is_wider_than_the_window(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    long = [replace(job, request={"prompt": "一只猫, " + "very " * 60}) for job in JOBS]
    terminal = on(monkeypatch, Terminal(is_tty=True, columns=columns))
    from rich.cells import cell_len

    rows = job_table(long, terminal, NOW_S).splitlines()
    assert len(rows) == 1 + len(long)
    assert all(cell_len(row) <= columns for row in rows)
    assert all(row.endswith("…") for row in rows[1:])


def test_a_narrow_terminal_shows_the_end_of_an_id_and_relative_times(monkeypatch: pytest.MonkeyPatch) -> None:
    head, first, *_ = job_table(JOBS, on(monkeypatch, Terminal(is_tty=True, columns=80)), NOW_S).splitlines()
    assert head.split() == ["ID", "STATE", "WHEN", "DONE", "PROMPT"]
    assert first == f"{ID[-SHORT_ID:]}  queued   2 min ago   #3    a cat"


def test_states_have_colours_that_take_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = job_table(JOBS, on(monkeypatch, Terminal(is_tty=True, columns=80)), NOW_S)
    coloured = job_table(JOBS, on(monkeypatch, Terminal(is_tty=True, color=True, columns=80)), NOW_S)
    assert "\x1b[33mqueued\x1b[0m" in coloured
    assert "\x1b[1;31mfailed\x1b[0m" in coloured
    import re

    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain


def test_a_prompt_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    evil = replace(JOB, request={"prompt": "a\x1b[2Jcat\nand\tmore"})
    terminal = on(monkeypatch, Terminal(is_tty=True, columns=200))
    for text in (job_table([evil], terminal, NOW_S), job_page(evil, terminal)):
        assert "\x1b" not in text
        assert "a\\x1b[2Jcat" in text


def test_how_far_a_job_is_takes_one_word() -> None:
    assert [done_text(job) for job in JOBS] == ["#3", "45%", "1/4", "0/4"]
    assert done_text(replace(JOB, position=None)) == "-"


def test_json_is_the_wire_format_with_times_to_read() -> None:
    record = shown_record(replace(JOBS[2], ended_at=NOW_S), {0: Path("/there/cat.png")})
    assert json.loads(json.dumps(record)) == record
    assert (record["type"], record["state"], record["started_at"]) == ("job", "done", None)
    assert record["ended_at"] == "2026-11-18T11:06:40.000Z"
    assert record["pictures"][0]["path"] == "/there/cat.png"


def test_a_page_tells_the_request_the_course_the_pictures_and_the_error() -> None:
    job = replace(
        JOBS[3],
        pictures=(PICTURE,),
        attempt=2,
        started_at=NOW_S - 60,
        ended_at=NOW_S,
        owner="alice",
        notices=(Notice("size-fitted", "300x300 is made at 256x256."),),
        resolved={"model": "emoji", "width": 512, "height": 256, "loras": [{"name": "ink", "weight": 0.5}]},
    )
    page = job_page(job, Terminal(), {0: Path("/there/cat.png")})
    assert page.startswith(f"{ID}  failed  1 of 4 pictures\n")
    for line in (
        "Prompt      a cat",
        "Size        512x256",
        "LoRA        ink:0.5",
        "Picture 0   512x256  seed 7  62.1 kB  /there/cat.png",
        "Note        300x300 is made at 256x256.",
        "Error       Too big. [out-of-memory]",
        "Hint        Make it smaller.",
    ):
        assert f"  {line}\n" in page + "\n"
    assert ", native by alice" in page
    assert ", try 2" in page


def listed(count: int, limit: int | None) -> tuple[list[str], str]:
    """What stdout and stderr show of so many jobs, on a terminal."""
    jobs = iter([replace(JOB, id=f"01M7XC28Q33FCN5AEJ1MVW{number:04}") for number in range(count)])
    with streams(None, tty=True) as (out, err):
        out._tty = True
        print_jobs(jobs, limit_of(limit, as_data=False))
        return out.text.splitlines(), err.text


def test_on_a_terminal_the_newest_twenty_are_listed_and_a_line_says_that_there_are_more() -> None:
    rows, said = listed(30, None)
    assert (len(rows), "These are the newest 20; more with -n N." in said) == (21, True)
    assert len(listed(20, None)[0]) == 21
    assert listed(20, None)[1] == ""
    assert len(listed(30, 25)[0]) == 26


def test_a_list_of_nothing_says_so_on_a_terminal() -> None:
    rows, said = listed(0, None)
    assert (rows, "There is no such job here." in said) == ([], True)
