"""The HTTP server under load, and its own share of a job.

Three things are measured on one machine in one run:

1. The share: from sending a job to the first event about it, on an idle server with a backend that draws
   at once, against an echo of the same bytes by a bare FastAPI application. The claim: 10 ms more at most.
2. The load: 1,000 jobs queued, 50 clients watching events; memory of the server before, then, and after.
3. The answer to `GET /status` during that load, asked by a process of its own.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from tests.stress.served import Served, free_port

CLAIM_MS: Final = 10.0
JOBS: Final = "/sdenv/v1/jobs"
REQUEST: Final = {"prompt": "a red square", "width": 64, "height": 64, "steps": 4, "seed": 7}
SUBMITTERS: Final = 8
MIB: Final = 2**20

ECHO: Final = """
import sys
import uvicorn
from fastapi import FastAPI, Request
app = FastAPI()
@app.post("/echo", status_code=202)
async def echo(request: Request) -> dict:
    return await request.json()
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
"""


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


@final
class Connection:
    """One kept-alive HTTP/1.1 connection, as lean as can be: the client must not be what is measured."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> "Connection":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def ask(self, method: str, path: str, record: object = None) -> Answer:
        """One request and its whole answer, which has a length."""
        await self._send(method, path, b"" if record is None else json.dumps(record).encode())
        assert self._reader is not None
        head = await self._reader.readuntil(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return Answer(int(head.split()[1]), await self._reader.readexactly(int(lengths[0].split()[1])))

    async def lines(self, path: str, until: bytes) -> None:
        """Reads a stream up to the first line that begins so."""
        await self._send("GET", path, b"")
        assert self._reader is not None
        while line := await self._reader.readline():
            if line.startswith(until):
                return
        raise AssertionError(f"{path} ended before {until!r}")

    async def _send(self, method: str, path: str, body: bytes) -> None:
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nContent-Length: {len(body)}\r\n"
        kind = "Content-Type: application/json\r\n" if body else ""
        assert self._writer is not None
        self._writer.write(f"{head}{kind}\r\n".encode() + body)
        await self._writer.drain()


async def submit(connection: Connection, number: int) -> str:
    """The id of a job that was accepted."""
    record = {"request": {**REQUEST, "seed": number}}
    answer = await connection.ask("POST", JOBS, record)
    assert answer.status == 202, answer
    return str(json.loads(answer.body)["id"])


# 1. The share


async def echo_ms(port: int) -> float:
    """From sending a body to having it back."""
    async with Connection(port) as connection:
        began = time.perf_counter()
        answer = await connection.ask("POST", "/echo", {"request": REQUEST})
        assert answer.status == 202
        return 1000 * (time.perf_counter() - began)


async def first_event_ms(port: int, event: bytes) -> float:
    """From sending a job to an event about it."""
    async with Connection(port) as posting, Connection(port) as watching:
        began = time.perf_counter()
        job_id = await submit(posting, 7)
        await watching.lines(f"{JOBS}/{job_id}/events", b"event: " + event)
        passed_ms = 1000 * (time.perf_counter() - began)
    async with Connection(port) as connection:  # the next one finds an idle server again
        await connection.lines(f"{JOBS}/{job_id}/events", b"event: job-ended")
    return passed_ms


async def share(server: int, echo: int, rounds: int) -> None:
    """Turn by turn, since a busy machine slows all of them."""
    asks: dict[str, Callable[[], Coroutine[Any, Any, float]]] = {
        "echo": lambda: echo_ms(echo),
        "first event": lambda: first_event_ms(server, b"job-queued"),
        "first event of the work": lambda: first_event_ms(server, b"request-resolved"),
    }
    taken: dict[str, list[float]] = {name: [] for name in asks}
    for turn in range(rounds + 5):
        for name, ask in asks.items():
            passed_ms = await ask()
            if turn >= 5:  # the first ones warm up
                taken[name].append(passed_ms)
    medians = {name: statistics.median(each) for name, each in taken.items()}
    for name, median in medians.items():
        print(f"http-share: submit to {name}: {median:.2f} ms at the median of {rounds}")
    for name in ("first event", "first event of the work"):
        difference_ms = medians[name] - medians["echo"]
        print(f"http-share difference to {name}: {difference_ms:.2f} ms (claim: {CLAIM_MS:g} ms)")


# 2. The load


async def load(server: Served, port: int, jobs: int, clients: int) -> None:
    """Queues the jobs, watches them all, and says what it took."""
    before = resident_bytes(server.process_id)
    began = time.perf_counter()
    ids = await queued(port, jobs)
    queued_s = time.perf_counter() - began
    print(f"http-load: {jobs} jobs accepted in {queued_s:.1f} s = {jobs / queued_s:.0f} a second")
    full = resident_bytes(server.process_id)
    await asyncio.gather(*(watched(port, ids[number::clients]) for number in range(clients)))
    passed_s = time.perf_counter() - began
    after, highest = resident_bytes(server.process_id), resident_bytes(server.process_id, "VmHWM")
    print(
        f"http-load: {jobs} jobs done in {passed_s:.1f} s = {jobs / passed_s:.0f} a second, {clients} clients"
    )
    print(
        f"http-load: memory before {before / MIB:.0f} MiB, with all queued {full / MIB:.0f}, "
        f"after {after / MIB:.0f}, highest {highest / MIB:.0f}"
    )


async def queued(port: int, jobs: int) -> list[str]:
    """Ids of jobs submitted over a few connections side by side."""

    async def some(numbers: Sequence[int]) -> list[str]:
        async with Connection(port) as connection:
            return [await submit(connection, number) for number in numbers]

    parts = await asyncio.gather(*(some(range(first, jobs, SUBMITTERS)) for first in range(SUBMITTERS)))
    return sorted(job_id for part in parts for job_id in part)


async def watched(port: int, ids: Sequence[str]) -> None:
    """One client: watches its jobs one after another, each to its end."""
    for job_id in ids:
        async with Connection(port) as connection:
            await connection.lines(f"{JOBS}/{job_id}/events", b"event: job-ended")


def resident_bytes(process_id: int, name: str = "VmRSS") -> int:
    """Memory of a process, now (VmRSS) or at its highest (VmHWM)."""
    lines = Path(f"/proc/{process_id}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


# 3. The status


async def ask_status(port: int) -> None:
    """Asks until stdin ends; prints what it took. Runs in a process of its own."""
    taken: list[float] = []
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    async with Connection(port) as connection:
        while not ended.done():
            began = time.perf_counter()
            answer = await connection.ask("GET", "/sdenv/v1/status")
            taken.append(1000 * (time.perf_counter() - began))
            assert answer.status == 200
            await asyncio.sleep(0.01)
    ordered = sorted(taken)
    p50, p99 = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99))
    print(f"http-load: status answered {len(taken)} times: median {p50:.1f} ms, p99 {p99:.1f} ms")


@contextlib.contextmanager
def process(*arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Another process of Python; its stdin is closed at the end, and it has a moment to end by itself."""
    path = os.pathsep.join(each or "." for each in sys.path)
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE, env=environment) as started:
        assert started.stdin is not None
        try:
            yield started
        finally:
            started.stdin.close()
            try:
                started.wait(5.0)
            except subprocess.TimeoutExpired:
                started.kill()


@contextlib.contextmanager
def echoing(port: int) -> Iterator[None]:
    """A bare FastAPI application on this port."""
    with process("-c", ECHO, str(port)) as started:
        try:
            for _ in range(500):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=5.0).close()
                    break
                time.sleep(0.02)
            yield
        finally:
            started.terminate()


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--ask-status", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ask_status is not None:
        asyncio.run(ask_status(arguments.ask_status))
        return
    with tempfile.TemporaryDirectory(prefix="sdenv-bench-http-") as folder:
        server = Served(Path(folder), ["-b", "fake", "--queue", str(2 * arguments.jobs)])
        server.start()
        try:
            server.wait_until_listening()
            with echoing(echo := free_port()):
                asyncio.run(share(server.port, echo, arguments.rounds))
            with process(__file__, "--ask-status", str(server.port)):
                asyncio.run(load(server, server.port, arguments.jobs, arguments.clients))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
