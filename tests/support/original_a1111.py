"""A double of AUTOMATIC1111 itself: its routes, its keys and its ways, without a model behind.

One request at a time, the others wait for a lock; the answer comes when all is made; progress is global and
polled; a request goes on when its client hangs up, and ends only by an interrupt. Texts and keys are those of
its documented answers.
"""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, final
from urllib.parse import parse_qs, urlsplit

from sdenv.protocols.inline import as_base64
from sdenv.testing.samples import picture

API = "/sdapi/v1"
_LISTS: dict[str, Any] = {
    "sd-models": [
        {
            "title": "v1-5-pruned-emaonly.safetensors [6ce0161689]",
            "model_name": "v1-5-pruned-emaonly",
            "hash": "6ce0161689",
            "sha256": "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa",
            "filename": "/models/v1-5-pruned-emaonly.safetensors",
            "config": None,
        },
        {
            "title": "ink.ckpt",
            "model_name": "ink",
            "hash": None,
            "sha256": None,
            "filename": "/ink",
            "config": None,
        },
    ],
    "samplers": [
        {"name": "DPM++ 2M", "aliases": ["k_dpmpp_2m"], "options": {"scheduler": "karras"}},
        {"name": "Euler a", "aliases": ["k_euler_a", "k_euler_ancestral"], "options": {}},
        {"name": "Euler", "aliases": ["k_euler"], "options": {}},
    ],
    "schedulers": [
        {
            "name": "automatic",
            "label": "Automatic",
            "aliases": None,
            "default_rho": -1.0,
            "need_inner_model": False,
        },
        {"name": "karras", "label": "Karras", "aliases": None, "default_rho": 7.0, "need_inner_model": False},
    ],
    "cmd-flags": {"api": True, "listen": False},
}


@final
@dataclass
class OriginalA1111:
    """What the double does, and what it has seen.

    Attributes:
        url: Where it listens, as a backend URL.
        bodies: Of the requests for pictures, with `route` put in.
        interrupts: How often it was interrupted.
        password: `user:password` that it wants; "" = none.
        fails: Status and body with which requests for pictures fail; None = they do not.
        steps: Permits for steps; it does as many as are there.
        old: Whether it is from before schedulers were split from samplers.
        silent: Whether progress is not answered.
    """

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    interrupts: int = 0
    password: str = ""
    fails: tuple[int, Any] | None = None
    steps: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    free: bool = True
    old: bool = False
    silent: bool = False
    began: threading.Event = field(default_factory=threading.Event)
    task: str | None = None
    job_no: int = 0
    job_count: int = 0
    step: int = 0
    total: int = 0
    interrupted: bool = False
    queue: threading.Lock = field(default_factory=threading.Lock)

    def make(self, body: dict[str, Any]) -> dict[str, Any]:
        """Makes the pictures of a body, one step at a time."""
        with self.queue:
            self.interrupted, self.task = False, body.get("force_task_id") or "task(txt2img-1)"
            self.job_count, self.total, self.job_no = body.get("n_iter", 1), body.get("steps", 50), 0
            images, seeds = self._images(body)
            self.task, self.job_count, self.step = None, 0, 0
        info = self._info(body, seeds)
        return {"images": images, "parameters": body | {"init_images": None}, "info": json.dumps(info)}

    def _images(self, body: dict[str, Any]) -> tuple[list[str], list[int]]:
        batch = body.get("batch_size", 1)
        first = 123 if body.get("seed", -1) == -1 else body["seed"]
        images: list[str] = []
        for batch_number in range(self.job_count):
            self.job_no = batch_number
            for step in range(self.total):
                self.step = step
                self.began.set()
                if not self.free:
                    self.steps.acquire()
                if self.interrupted:
                    return images, [first + index for index in range(len(images))]
            size = (body.get("width", 512), body.get("height", 512))
            images += [as_base64(picture(*size, shade=first + len(images) + index)) for index in range(batch)]
        return images, [first + index for index in range(len(images))]

    def _info(self, body: dict[str, Any], seeds: list[int]) -> dict[str, Any]:
        sampler = body.get("sampler_name") or body.get("sampler_index", "Euler")
        schedule = {"karras": "Karras"}.get(str(body.get("scheduler")), "Automatic")
        text = (
            f"{body.get('prompt', '')}\nSteps: {self.total}, Sampler: {sampler}, Schedule type: {schedule}, "
            f"CFG scale: {body.get('cfg_scale', 7)}, Seed: {seeds[0] if seeds else -1}, "
            f"Size: {body.get('width', 512)}x{body.get('height', 512)}, Model hash: 6ce0161689"
        )
        return {
            "prompt": body.get("prompt", ""),
            "seed": seeds[0] if seeds else -1,
            "all_seeds": seeds,
            "width": body.get("width", 512),
            "height": body.get("height", 512),
            "sampler_name": sampler,
            "cfg_scale": body.get("cfg_scale", 7.0),
            "steps": self.total,
            "batch_size": body.get("batch_size", 1),
            "sd_model_name": "v1-5-pruned-emaonly",
            "sd_model_hash": "6ce0161689",
            "denoising_strength": body.get("denoising_strength"),
            "index_of_first_image": 0,
            "infotexts": [text] * len(seeds),
            "clip_skip": 1,
            "version": "v1.10.1",
        }

    def progress(self, with_picture: bool) -> dict[str, Any]:
        """The one global progress."""
        share = (self.job_no + (self.step / self.total if self.total else 0)) / max(1, self.job_count)
        busy = self.job_count > 0
        return {
            "progress": min(1.0, 0.01 + share) if busy else 0.0,
            "eta_relative": 1.5 if busy else 0.0,
            "state": {
                "skipped": False,
                "interrupted": self.interrupted,
                "stopping_generation": False,
                "job": "scripts_txt2img" if busy else "",
                "job_count": self.job_count,
                "job_timestamp": "20250412100000",
                "job_no": self.job_no,
                "sampling_step": self.step,
                "sampling_steps": self.total,
            },
            "current_image": as_base64(picture(16, 16)) if busy and with_picture else None,
            "textinfo": None,
            "current_task": self.task,
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    original: OriginalA1111

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-type", "application/json")
        self.send_header("x-process-time", "0.0021")
        self.end_headers()
        self.wfile.write(body)

    def let_in(self) -> bool:
        word = base64.b64encode(self.original.password.encode()).decode()
        if self.original.password and self.headers.get("authorization") != f"Basic {word}":
            self.answer(401, {"detail": "Incorrect username or password"})
            return False
        return True

    def do_GET(self) -> None:
        parts, original = urlsplit(self.path), self.original
        name = parts.path.removeprefix(f"{API}/")
        if not self.let_in():
            return
        if name == "progress" and not original.silent:
            skipped = parse_qs(parts.query).get("skip_current_image", ["false"])[0] == "true"
            self.answer(200, original.progress(not skipped))
        elif name == "options":
            self.answer(
                200, {"sd_model_checkpoint": _LISTS["sd-models"][0]["title"], "samples_format": "png"}
            )
        elif name in _LISTS and not (original.old and name == "schedulers"):
            self.answer(200, _LISTS[name])
        else:
            self.answer(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        name, original = self.path.removeprefix(f"{API}/"), self.original
        data = self.rfile.read(int(self.headers.get("content-length") or 0))
        if not self.let_in():
            return
        if name == "interrupt":
            original.interrupts += 1
            original.interrupted = True
            original.steps.release(100)
            self.answer(200, {})
        elif name in ("txt2img", "img2img"):
            body = json.loads(data)
            original.bodies.append({**body, "route": name})
            if original.fails is not None:
                self.answer(*original.fails)
                return
            made = original.make(body)
            try:
                self.answer(200, made)
            except OSError:  # the client has hung up: the work was done all the same
                self.close_connection = True
        else:
            self.answer(404, {"detail": "Not Found"})


@contextmanager
def original_a1111() -> Iterator[OriginalA1111]:
    """The double, listening on a free loopback port. It works at once unless `free` is cleared."""
    original = OriginalA1111()
    handler = type("Handler", (_Handler,), {"original": original})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        original.url = f"a1111://127.0.0.1:{server.server_address[1]}"
        try:
            yield original
        finally:
            original.free = True
            original.steps.release(10_000)
            server.shutdown()
            thread.join()
