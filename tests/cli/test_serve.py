"""`sdenv serve`, in real processes: where it listens, how it is used, how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx2
import pytest

from sdenv.testing.fakes import PATIENCE_S
from tests.cli.support import sdenv

SLOW = ("-b", "fake", "-O", "step_seconds=30")
REQUEST = {"request": {"prompt": "a cat", "width": 64, "height": 64, "steps": 2}}


@dataclass(frozen=True)
class Serving:
    """A server in a process of its own."""

    process: "subprocess.Popen[str]"
    url: str
    told: list[str]

    def post(self, path: str, body: object) -> httpx2.Response:
        return httpx2.post(f"{self.url}{path}", json=body, timeout=PATIENCE_S, trust_env=False)

    def get(self, path: str, **headers: str) -> httpx2.Response:
        return httpx2.get(f"{self.url}{path}", headers=headers, timeout=PATIENCE_S, trust_env=False)

    def running(self) -> str:
        """The id of a job that has begun."""
        job_id = str(self.post("/sdenv/v1/jobs", REQUEST).json()["id"])
        with httpx2.stream("GET", f"{self.url}/sdenv/v1/jobs/{job_id}/events", timeout=PATIENCE_S) as answer:
            for line in answer.iter_lines():
                if line == "event: job-started":
                    return job_id
        raise AssertionError("the job has not begun")

    def ended(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE_S)


def read_lines(stream: IO[str], into: list[str]) -> None:
    into.extend(stream)


@contextmanager
def serving(*arguments: str) -> Iterator[Serving]:
    command = [sys.executable, "-m", "sdenv", "serve", *(arguments or ("-b", "fake")), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    told: list[str] = []
    reader = threading.Thread(target=read_lines, args=(process.stderr, told))
    reader.start()
    try:
        yield Serving(process, process.stdout.readline().strip(), told)
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()
        process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_ends_it_in_order(number: int) -> None:
    with serving() as server:
        assert server.get("/health").json() == {"status": "OK"}
        server.process.send_signal(number)
        assert server.ended() == 0
    assert "Traceback" not in "".join(server.told)


@pytest.mark.slow
def test_a_job_that_runs_may_finish_and_one_that_cannot_is_done_after_the_next_start() -> None:
    with serving(*SLOW, "--drain", "0") as server:
        job_id = server.running()
        server.process.terminate()
        assert server.ended() == 0
    with serving() as server:
        with httpx2.stream(
            "GET", f"{server.url}/sdenv/v1/jobs/{job_id}/events", timeout=PATIENCE_S
        ) as answer:
            assert "event: job-ended" in list(answer.iter_lines())
        assert server.get(f"/sdenv/v1/jobs/{job_id}").json()["state"] == "done"
        server.process.terminate()


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once() -> None:
    with serving(*SLOW, "--drain", "600") as server:
        server.running()
        server.process.terminate()
        while server.get("/ready").status_code == 200:
            pass
        server.process.terminate()
        assert server.ended() == 128 + signal.SIGTERM


def test_the_address_goes_to_stdout_and_what_a_person_should_know_to_stderr(tmp_path: Path) -> None:
    token = tmp_path / "token.txt"
    token.write_text("correct-horse-battery\n")
    with serving("-b", "fake", "--token-file", str(token)) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert server.get("/sdenv/v1/status").status_code == 401
        assert server.get("/sdenv/v1/status", Authorization="Bearer correct-horse-battery").status_code == 200
        server.process.terminate()
        assert server.ended() == 0
    told = "".join(server.told)
    assert f"sdenv generate -b {server.url} -O token_file={token}" in told
    assert "correct-horse" not in told


@pytest.mark.slow
def test_with_json_a_script_reads_where_it_listens() -> None:
    with serving("-b", "fake", "--json", "--quiet") as server:
        record = json.loads(server.url)
        assert httpx2.get(f"{record['url']}/health", trust_env=False).status_code == 200
        assert (record["type"], record["front_end"], record["host"]) == ("serving", "http", "127.0.0.1")
        server.process.terminate()
        assert server.ended() == 0
    assert server.told == []


@pytest.mark.slow
def test_with_tls_the_fingerprint_is_told() -> None:
    with serving("-b", "fake", "--tls") as server:
        assert server.url.startswith("https://")
        assert httpx2.get(f"{server.url}/health", verify=False, trust_env=False).status_code == 200
        server.process.terminate()
        assert server.ended() == 0
    assert "Fingerprint of the certificate: " in "".join(server.told)


def test_a_port_in_use_ends_it_with_what_uses_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = sdenv("serve", "-b", "fake", "--port", str(taken.getsockname()[1]))
    assert done.code == 4
    assert f"(process {os.getpid()})" in done.stderr
    assert "[port-in-use]" in done.stderr


@pytest.mark.slow
def test_two_servers_on_one_folder_the_second_refuses() -> None:
    with serving():
        done = sdenv("serve", "-b", "fake", "--port", "0")
    assert done.code == 4
    assert "[folder-in-use]" in done.stderr


@pytest.mark.slow
def test_every_limit_and_rule_reaches_the_server() -> None:
    with serving(
        "-b", "fake", "--max-steps", "1", "--queue", "3", "--max-body", "1MB", "--keep-days", "1"
    ) as server:
        refused = server.post("/sdenv/v1/jobs", REQUEST)
        assert "steps: must be at most 1 on this server" in refused.json()["error"]["why"]
        assert server.get("/sdenv/v1/status").json()["queue"]["size"] == 3
        assert server.post("/sdenv/v1/jobs", {"x": "y" * 1_000_001}).status_code == 413
        server.process.terminate()
        assert server.ended() == 0


@pytest.mark.slow
def test_the_socket_of_its_user_is_there_while_it_runs() -> None:
    path = Path(os.environ["SDENV_RUNTIME_DIR"]) / "http.sock"
    with serving() as server:
        assert path.is_socket() == (len(os.fsencode(path)) <= 100)
        server.process.terminate()
        assert server.ended() == 0
    assert not path.exists()


@pytest.mark.parametrize(
    "text",
    ["", "short", "with a blank inside", 'alice = "short"', "[alice]\nshare = 1", "alice = 5", "not toml =",
     'a = "the-same-token"\nb = "the-same-token"', '[a]\ntoken = "long-enough"\nshare = 2.0',
     '[a]\ntoken = "long-enough"\ncolour = 1'],
)  # fmt: skip
def test_a_file_that_holds_no_tokens_is_refused_and_never_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    for flag in ("--token-file", "--tokens"):
        if flag == "--token-file" and "=" in text:
            continue
        done = sdenv("serve", "-b", "fake", "--port", "0", flag, str(path))
        assert done.code == 2
        assert "[bad-config]" in done.stderr
        assert "the-same-token" not in done.stderr
        assert "long-enough" not in done.stderr
