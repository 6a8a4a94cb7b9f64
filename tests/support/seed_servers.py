"""The seed dialect: our server of it, and a double of the original that answers with its very bytes.

The double keeps the documented behaviour of the original, its faults included: one job at a time and no
queue, `[]` for a job that runs, is lost or was never heard of, naive local times, errors swallowed.
"""

import json
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, final
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

from sdenv.backends.http.seed import CAPABILITIES, Pace, SeedClient
from sdenv.backends.http.settings import HttpBackendSettings
from sdenv.core.backend import Backend, BackendSettings, BackendStatus, JobContext
from sdenv.core.errors import PeerBrokeProtocol
from sdenv.core.request import GenerationRequest
from sdenv.core.result import GenerationResult
from sdenv.net.session import Session
from sdenv.testing.samples import picture

QUICK = Pace(poll_s=0.01, slowest_poll_s=0.02, lost_s=0.05, busy_s=0.01, longest_busy_s=0.02)
"""Fit for servers that draw at once."""


@final
class SeedBackend(Backend):
    """The client of the seed dialect alone, as the http backend uses it."""

    declared = CAPABILITIES

    def __init__(self, settings: BackendSettings, busy_s: float | None = None, pace: Pace = QUICK) -> None:
        assert isinstance(settings, HttpBackendSettings)
        self._session = Session(settings.access())
        self._client = SeedClient(self._session, settings.shown_as, busy_s, pace)

    def probe(self) -> BackendStatus:
        return self._client.status(PeerBrokeProtocol("This is no server of the seed dialect."))

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        return self._client.generate(request, context)

    def close(self) -> None:
        self._session.close()


@contextmanager
def seed_client(
    url: str, *, busy_s: float | None = None, pace: Pace = QUICK, **options: Any
) -> Iterator[SeedBackend]:
    """A client of the server at this address."""
    with closing(SeedBackend(HttpBackendSettings(url=url, **options), busy_s, pace)) as client:
        yield client


@final
@dataclass
class Original:
    """What the double does, and what it has seen.

    Attributes:
        url: Where it listens.
        prompts: Of the jobs that it has accepted.
        results: By uuid, as on the wire.
        busy_answers: How many requests it still answers with 429, whether it is busy or not.
        drops: How many answers to accepted requests it still loses by hanging up.
        loses: Whether the next job vanishes, as one does whose model cannot be loaded.
        fails: The text with which each job fails; "" = none does.
        made: What a job makes.
        hold: Jobs end only when it is set.
    """

    url: str = ""
    prompts: list[str] = field(default_factory=list)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    busy_answers: int = 0
    drops: int = 0
    loses: bool = False
    fails: str = ""
    made: Callable[[str], bytes] = lambda _: picture(64, 64).data
    hold: threading.Event = field(default_factory=threading.Event)
    polls: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    running: int = 0

    def run(self, uuid: UUID, prompt: str, dry_run: bool) -> None:
        created = datetime.now().isoformat()
        self.hold.wait(30)
        data: str | None = b64encode(b"deadbeef" if dry_run else self.made(prompt)).decode()
        errors: list[str] = []
        if self.fails:
            data, errors = None, [self.fails]
        with self.lock:
            if not self.loses:
                self.results[str(uuid)] = {
                    "uuid": str(uuid),
                    "prompt": prompt,
                    "data": data,
                    "created_time": created,
                    "errors": errors,
                }
            self.running -= 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    original: Original

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def answer(self, status: int, value: Any) -> None:
        body = json.dumps(value, separators=(",", ":")).encode()
        self.send_response(status)
        self.send_header("server", "uvicorn")
        self.send_header("content-length", str(len(body)))
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        original, parts = self.original, urlsplit(self.path)
        if parts.path == "/server/status":
            self.answer(200, {"is_available": original.running == 0})
        elif parts.path == "/image/generate":
            original.polls += 1
            wanted = parse_qs(parts.query).get("generation_uuid")
            with original.lock:
                found = list(original.results.values())
            self.answer(200, [each for each in found if wanted is None or each["uuid"] in wanted])
        else:
            self.answer(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        original = self.original
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path != "/image/generate":
            self.answer(404, {"detail": "Not Found"})
            return
        if "prompt" not in body:
            fault = {"type": "missing", "loc": ["body", "prompt"], "msg": "Field required", "input": body}
            self.answer(422, {"detail": [fault]})
            return
        with original.lock:
            busy = original.running > 0 or original.busy_answers > 0
            original.busy_answers -= original.busy_answers > 0
            if not busy:
                original.running += 1
                original.prompts.append(body["prompt"])
        if busy:
            self.answer(429, {"detail": "The service is busy. Go away."})
            return
        uuid = uuid4()
        work = (uuid, body["prompt"], bool(body.get("dry_run")))
        threading.Thread(target=original.run, args=work, daemon=True).start()
        if original.drops:
            original.drops -= 1
            self.close_connection = True
            self.connection.shutdown(2)
            return
        self.answer(200, {"generation_uuid": str(uuid)})


@contextmanager
def original_seed() -> Iterator[Original]:
    """The double, listening on a free loopback port. Its jobs end at once unless `hold` is cleared."""
    original = Original()
    original.hold.set()
    handler = type("Handler", (_Handler,), {"original": original})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        original.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield original
        finally:
            original.hold.set()
            server.shutdown()
            thread.join()
