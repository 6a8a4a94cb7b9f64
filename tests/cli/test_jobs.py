"""`sdenv jobs` and `--detach` against a real server, whose backend works when the test lets it."""

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.image import JPEG, ImageData, size_of
from sdenv.core.request import GenerationRequest
from sdenv.core.server import Address
from sdenv.services.metadata import read_metadata
from sdenv.testing.fakes import SlowBackend
from tests.cli.support import Done, sdenv
from tests.cli.test_signals import started, wait_for
from tests.support.http_servers import http_server, native_client, url_of


class Queue:
    """A server, and commands about it."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.url = url_of(address)

    def __call__(self, *words: str, stdin: bytes | None = None, tty: bool = False) -> Done:
        return sdenv("jobs", *words, "-b", self.url, stdin=stdin, tty=tty)

    def submit(self, *words: str) -> list[str]:
        done = sdenv("generate", *words, "--detach", "-b", self.url)
        assert done.code == 0, done.stderr
        return done.lines


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    """Draws at once."""
    with http_server(data_dir=tmp_path / "server") as address:
        yield Queue(address)


@pytest.fixture
def slow() -> SlowBackend:
    return SlowBackend()


@pytest.fixture
def held(tmp_path: Path, slow: SlowBackend) -> Iterator[Queue]:
    """Works when `slow` is let."""
    with http_server(slow, data_dir=tmp_path / "server") as address:
        yield Queue(address)
        slow.let(1000)


def test_without_a_command_the_options_are_those_of_the_list(queue: Queue) -> None:
    with native_client(queue.address) as client:
        job = client.submit(GenerationRequest(prompt="a cat", steps=1))
    assert queue("--ids").lines == [job.id]


def test_detach_prints_ids_and_ends_before_the_work(held: Queue, slow: SlowBackend, here: Path) -> None:
    ids = held.submit("a cat", "a dog", "-s", "2")
    assert [len(each) for each in ids] == [26, 26]
    slow.began.wait()
    rows = [json.loads(line) for line in held("list", "--json").lines]
    assert [(row["id"], row["state"]) for row in rows] == [(ids[1], "queued"), (ids[0], "running")]
    assert [path for path in here.iterdir() if path.name != "server"] == []


def test_detach_with_json_prints_the_jobs(queue: Queue) -> None:
    done = sdenv("generate", "a cat", "--detach", "--json", "-b", queue.url)
    record = json.loads(done.out)
    assert (record["type"], record["request"]) == ("job", {"prompt": "a cat"})


def test_one_refused_request_does_not_keep_the_others_from_being_handed_over(queue: Queue) -> None:
    lines = b'{"prompt": "a"}\n{"prompt": "b", "sampler": "DPM++ 9M"}\n{"prompt": "c"}\n'
    done = sdenv("generate", "--request", "-", "--detach", "-b", queue.url, stdin=lines)
    assert (done.code, len(done.lines)) == (6, 2)
    assert "Request 2 of 3" in done.stderr


def test_a_full_queue_is_busy(tmp_path: Path) -> None:
    slow = SlowBackend()
    with http_server(slow, data_dir=tmp_path / "server", queue_size=1) as address:
        queue = Queue(address)
        queue.submit("running")
        slow.began.wait()
        queue.submit("waiting")
        assert sdenv("generate", "c", "--detach", "-b", queue.url).code == 5
        slow.let(1000)


def test_ids_in_a_pipe_lead_from_list_to_files(queue: Queue, here: Path) -> None:
    queue.submit("a cat", "a dog", "--seed", "4", "-c", "2")
    ids = queue("list", "--ids").stdout
    waited = queue("wait", "-", stdin=ids)
    assert (waited.code, waited.stdout) == (0, ids)
    fetched = queue("fetch", "-", "-o", "out/{prompt}-{seed}.png", stdin=waited.stdout)
    assert fetched.lines == ["out/a-dog-4.png", "out/a-dog-5.png", "out/a-cat-4.png", "out/a-cat-5.png"]
    assert all((here / line).is_file() for line in fetched.lines)


def test_a_fetched_picture_is_the_servers_byte_for_byte(queue: Queue, here: Path) -> None:
    (job_id,) = queue.submit("a cat", "--seed", "4", "--size", "256")
    queue("wait", job_id)
    assert queue("fetch", job_id, "-o", "cat.png").lines == ["cat.png"]
    with native_client(queue.address) as client:
        assert (here / "cat.png").read_bytes() == client.picture(job_id, 0).data
    assert sdenv("generate", "--from", "cat.png", "-b", "fake", "-o", "same.png").code == 0
    one, other = (ImageData.from_bytes((here / name).read_bytes()) for name in ("cat.png", "same.png"))
    from sdenv.backends.fake import differing_fields

    assert differing_fields(one, other) == ()


def test_fetch_converts_strips_and_chooses(queue: Queue, here: Path) -> None:
    (job_id,) = queue.submit("a cat", "--seed", "4", "-c", "3")
    queue("wait", job_id)
    assert queue("fetch", job_id, "--index", "1", "-o", "cat.jpg").code == 0
    jpeg = ImageData.from_bytes((here / "cat.jpg").read_bytes())
    assert (jpeg.media_type, size_of(jpeg)) == (JPEG, (512, 512))
    assert read_metadata(jpeg.data).request.seed == 5
    assert queue("fetch", job_id, "--index", "1", "--strip-metadata", "-o", "bare.png").code == 0
    assert b"a cat" not in (here / "bare.png").read_bytes()
    done = queue("fetch", job_id, "--index", "1", "-o", "-")
    assert ImageData.from_bytes(done.stdout).media_type == "image/png"
    missing = queue("fetch", job_id, "--index", "7")
    assert (missing.code, "There are: 0, 1, 2." in missing.stderr) == (2, True)


def test_fetch_never_replaces_a_file_unless_told_to(queue: Queue, here: Path) -> None:
    (job_id,) = queue.submit("a cat", "--seed", "4")
    queue("wait", job_id)
    (here / "cat.png").write_text("mine")
    refused = queue("fetch", job_id, "-o", "cat.png")
    assert (refused.code, (here / "cat.png").read_text()) == (2, "mine")
    assert queue("fetch", job_id).lines == ["a-cat-4-0.png"]
    assert queue("fetch", job_id).lines == ["a-cat-4-0-2.png"]
    assert queue("fetch", job_id, "-o", "cat.png", "--force").lines == ["cat.png"]


def test_a_job_with_input_pictures_is_fetched_with_them_inside(queue: Queue, here: Path) -> None:
    import PIL.Image

    PIL.Image.new("RGB", (256, 256), "teal").save(here / "init.png")
    (job_id,) = queue.submit("a cat", "--init-image", "init.png", "--strength", "0.5")
    assert queue("fetch", "--wait", job_id, "-o", "cat.png").code == 0
    found = read_metadata((here / "cat.png").read_bytes())
    assert (found.missing, found.request.init_image is not None) == ((), True)


def test_fetch_of_a_job_that_has_not_ended_says_how_to_wait(held: Queue) -> None:
    (job_id,) = held.submit("a cat")
    done = held("fetch", job_id)
    assert done.code == 2
    assert f"sdenv jobs fetch --wait {job_id} -b {held.url}" in done.stderr


def test_fetch_can_wait(held: Queue, slow: SlowBackend, here: Path) -> None:
    (job_id,) = held.submit("a cat", "-s", "2")
    threading.Timer(0.1, slow.let, [2]).start()
    assert held("fetch", "--wait", "last", "-o", "cat.png").lines == ["cat.png"]


def test_the_pictures_of_a_cancelled_job_are_fetched_and_the_exit_code_tells(
    held: Queue, slow: SlowBackend, here: Path
) -> None:
    (job_id,) = held.submit("a cat", "-s", "2", "-c", "2", "--seed", "1")
    slow.let(2)
    with native_client(held.address) as client:
        while not client.get(job_id).pictures:
            pass
    assert held("cancel", job_id).lines == [job_id]
    slow.let(1)
    assert held("wait", job_id).code == 130
    done = held("fetch", job_id, "-o", "out/{seed}.png")
    assert (done.code, done.lines) == (130, ["out/1.png"])


def test_cancel_ends_what_waits_at_once_and_leaves_what_has_ended(held: Queue, slow: SlowBackend) -> None:
    first, second = held.submit("a", "b")
    assert held("cancel", second[-8:]).lines == [second]
    assert json.loads(held("show", second, "--json").out)["state"] == "cancelled"
    again = held("cancel", second)
    assert (again.code, again.out) == (0, "")
    assert f"The job {second} has ended before: cancelled." in again.stderr
    assert held("cancel", "--all").lines == [first]
    slow.let(1)
    assert held("wait", first).code == 130
    assert held("cancel", "--all").out == ""


@pytest.mark.parametrize("words", [[], ["last", "--all"]])
def test_cancel_wants_either_ids_or_all(queue: Queue, words: list[str]) -> None:
    assert queue("cancel", *words).code == 2


def test_wait_gives_up_after_a_time_and_the_job_goes_on(held: Queue, slow: SlowBackend) -> None:
    (job_id,) = held.submit("a cat", "-s", "1")
    done = held("wait", job_id, "--timeout", "0.2")
    assert (done.code, done.out) == (7, "")
    assert "It goes on." in done.stderr
    slow.let(1)
    assert held("wait", job_id, "--timeout", "20").code == 0


def test_a_failed_job_ends_a_command_with_its_own_error(tmp_path: Path) -> None:
    with http_server(FakeBackend(FakeSettings(fail_at_step=2)), data_dir=tmp_path / "server") as address:
        queue = Queue(address)
        (job_id,) = queue.submit("a cat")
        for command in ("wait", "watch", "fetch"):
            done = queue(command, job_id)
            assert (done.code, done.out) == (6, ""), command
            assert "The fake backend failed at step 2. [failed]" in done.stderr


def test_several_jobs_of_which_one_failed_end_with_6_and_a_line_for_it(tmp_path: Path) -> None:
    with http_server(FakeBackend(FakeSettings(fail_at_step=5)), data_dir=tmp_path / "server") as address:
        queue = Queue(address)
        good, bad = *queue.submit("a cat", "-s", "3"), *queue.submit("a cat", "-s", "8")
        done = queue("wait", good, bad)
        assert (done.code, done.lines) == (6, [good])
        assert f"error: Job {bad}: The fake backend failed at step 5. [failed]" in done.stderr
        assert "1 of 2 jobs are not done. [partly-failed]" in done.stderr


def test_watch_shows_the_steps_and_the_end(queue: Queue, here: Path) -> None:
    (job_id,) = queue.submit("a cat", "-s", "4", "--seed", "9")
    done = queue("watch", job_id, "--progress", "plain")
    assert (done.code, done.out) == (0, "")
    assert (
        done.stderr.splitlines()[-1] == f"done: 1 picture; to save: sdenv jobs fetch {job_id} -b {queue.url}"
    )


def test_watch_of_a_job_that_runs_begins_where_it_is(held: Queue, slow: SlowBackend) -> None:
    (job_id,) = held.submit("a cat", "-s", "6", "--seed", "9")
    slow.let(3)
    with native_client(held.address) as client:
        while client.get(job_id).fraction < 0.5:
            pass
    threading.Timer(0.3, slow.let, [3]).start()
    lines = held("watch", "--progress", "plain").stderr.splitlines()
    steps = [line.partition(",")[0] for line in lines if "step" in line]
    assert steps == [f"picture: step {step}/6" for step in (3, 4, 5, 6)]
    assert "picture: done, seed 9" in lines


def test_watch_with_json_is_everything_that_happened_on_stdout(queue: Queue) -> None:
    (job_id,) = queue.submit("a cat", "-s", "2")
    done = queue("watch", job_id, "--json")
    records = [json.loads(line) for line in done.lines]
    assert {record["job"] for record in records} == {job_id}
    assert [record["type"] for record in records if record["type"].startswith("job-")] == [
        "job-queued",
        "job-started",
        "job-ended",
    ]
    assert [record["step"] for record in records if record["type"] == "step-done"] == [1, 2]


def test_watch_without_jobs_says_so(queue: Queue) -> None:
    done = queue("watch")
    assert (done.code, done.out, done.stderr) == (0, "", "No job waits or runs.\n")


def test_watch_without_an_id_follows_all_as_they_run(held: Queue, slow: SlowBackend) -> None:
    held.submit("a cat", "a dog", "-s", "1", "--seed", "1")
    slow.began.wait()
    slow.let(2)
    lines = held("watch", "--progress", "plain").stderr.splitlines()
    assert [line for line in lines if line.startswith("[")] in (["[1/2] a cat", "[2/2] a dog"], [])


def test_lists_are_narrowed_by_state_words_and_number(queue: Queue) -> None:
    ids = queue.submit("a red cat", "a red dog", "a blue dog", "-s", "1")
    queue("wait", *ids)
    assert queue("list", "--search", "RED", "--ids").lines == [ids[1], ids[0]]
    assert queue("list", "-n", "1", "--ids").lines == [ids[2]]
    assert queue("list", "--state", "queued", "--state", "failed", "--ids").lines == []
    assert queue("list", "--state", "done", "--search", "blue").lines[0].startswith(ids[2])
    wrong = queue("list", "--state", "dnoe")
    assert (wrong.code, "Did you mean 'done'?" in wrong.stderr) == (2, True)


def test_the_request_of_a_job_goes_into_another_command(queue: Queue, here: Path) -> None:
    (job_id,) = queue.submit("a cat", "--seed", "4", "-s", "3")
    request = queue("show", job_id, "--request").stdout
    assert json.loads(request) == {"prompt": "a cat", "seed": 4, "steps": 3}
    done = sdenv("generate", "--request", "-", "-b", "fake", "-o", "cat.png", stdin=request)
    assert (done.code, done.lines) == (0, ["cat.png"])


def test_the_configured_server_needs_no_flag(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDENV_BACKEND", queue.url)
    (job_id,) = sdenv("generate", "a cat", "--detach").lines
    assert sdenv("jobs", "wait", job_id).lines == [job_id]
    assert sdenv("jobs", "list", "--ids").lines == [job_id]
    assert f"sdenv jobs fetch {job_id}\n" in sdenv("jobs", "watch", job_id).stderr


def test_without_a_server_there_is_a_hint_how_to_start_one() -> None:
    for words in (["list"], ["list", "-b", "fake"]):
        done = sdenv("jobs", *words)
        assert (done.code, "sdenv serve http" in done.stderr) == (3, True)


def test_detach_needs_a_server(here: Path) -> None:
    done = sdenv("generate", "a cat", "--detach", "-b", "fake")
    assert (done.code, "sdenv serve http" in done.stderr) == (3, True)


def test_detach_refuses_flags_that_would_mean_nothing(here: Path) -> None:
    done = sdenv("generate", "a cat", "--detach", "-b", "fake", "-o", "cat.png", "--force")
    assert (done.code, "-o and --force have no meaning with --detach" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGINT, 130, "stopped: "), (signal.SIGTERM, 143, "(SIGTERM was received.)")],
)
def test_a_signal_ends_the_watching_and_not_the_job(
    held: Queue, slow: SlowBackend, number: signal.Signals, code: int, words: str
) -> None:
    (job_id,) = held.submit("a cat", "-s", "3")
    slow.let(1)
    with started("jobs", "watch", job_id, "-b", held.url, "--progress", "plain") as process:
        wait_for(process, "step 1/3")
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    assert process.returncode == code
    assert f"The job {job_id} goes on." in said
    assert words in said
    slow.let(2)
    assert held("wait", job_id).lines == [job_id]
