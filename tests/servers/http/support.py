"""Talking to a server without a client of ours: what it answers to anybody."""

import contextlib
import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx2

from sdenv.core.backend import Backend
from sdenv.core.server import Address
from sdenv.testing.fakes import PATIENCE_S
from tests.support.http_servers import http_server, url_of

JOBS: Final = "/sdenv/v1/jobs"
SMALL: Final[dict[str, Any]] = {"prompt": "a red square", "width": 64, "height": 64, "steps": 3, "seed": 7}
"""A request that is quick to make."""
TOKEN: Final = "correct-horse-battery"
BEARER: Final = {"Authorization": f"Bearer {TOKEN}"}


def plain(address: Address, **keywords: Any) -> httpx2.Client:
    """A client that knows nothing of sdenv."""
    return httpx2.Client(base_url=url_of(address), timeout=PATIENCE_S, trust_env=False, **keywords)


@contextmanager
def asked(backend: Backend | None = None, *, queue_size: int = 8, **settings: Any) -> Iterator[httpx2.Client]:
    """A plain client of a server of its own."""
    with http_server(backend, queue_size=queue_size, **settings) as address, plain(address) as client:
        yield client


def submitted(client: httpx2.Client, **changes: Any) -> str:
    """The id of a small job that was accepted."""
    answer = client.post(JOBS, json={"request": SMALL, **changes})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def events(
    client: httpx2.Client, job_id: str, until: str = "job-ended", **keywords: Any
) -> list[tuple[str, dict[str, Any]]]:
    """Id and record of each event, up to the first of a type."""
    found: list[tuple[str, dict[str, Any]]] = []
    with client.stream("GET", f"{JOBS}/{job_id}/events", **keywords) as answer:
        assert answer.status_code == 200, answer.read()
        with contextlib.closing(_records(answer)) as records:
            for event_id, record in records:
                found.append((event_id, record))
                if record["type"] == until:
                    break
    return found


def _records(answer: httpx2.Response) -> Generator[tuple[str, dict[str, Any]]]:
    event_id = ""
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if name == "id":
            event_id = value
        elif name == "data":
            yield event_id, json.loads(value)


def finished(client: httpx2.Client, **changes: Any) -> str:
    """The id of a small job that has ended."""
    job_id = submitted(client, **changes)
    events(client, job_id)
    return job_id


def error_code(answer: httpx2.Response) -> str:
    """The code of an error of the native API."""
    return str(answer.json()["error"]["code"])
