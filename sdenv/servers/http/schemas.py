"""The JSON of sdenv's own API as types, for its OpenAPI document.

They describe what `sdenv.protocols.native` writes; a test compares the two, key by key.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from sdenv.core.errors import Kind
from sdenv.core.job_record import JobState
from sdenv.core.request import GenerationRequest, Task

ULID_PATTERN = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$"
JobId = Annotated[str, Field(pattern=ULID_PATTERN)]


class Submission(BaseModel):
    """A request and how to queue it.

    Attributes:
        request: What is wanted; pictures as base64.
        priority: Higher comes first; above 0 only with a token that sees all jobs.
        allow_degraded: Leave out what is optional and cannot be done, with a notice for each change.
        preview_every: Make a preview every so many steps; 0 = none, they cost device time.
        durable: Run it again after a crash of the server; else it ends as cancelled.
    """

    model_config = ConfigDict(extra="forbid", val_json_bytes="base64")

    request: GenerationRequest
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    allow_degraded: StrictBool = False
    preview_every: Annotated[int, Field(ge=0, le=1000)] = 0
    durable: StrictBool = True


class Fault(BaseModel):
    """What happened, why, and what to do."""

    code: str
    kind: Kind
    repeats: Annotated[bool, Field(description="Whether the same request would fail again.")]
    what: str
    why: str
    hint: str


class ErrorBody(BaseModel):
    """Every answer that is not what was asked for."""

    error: Fault


class Picture(BaseModel):
    """One finished picture of a job; its bytes are at `pictures/{index}`."""

    index: int
    seed: int
    width: int
    height: int
    media_type: str
    size_bytes: int
    sha256: str


class Notice(BaseModel):
    """Something a person should know that is not an error."""

    code: str
    message: str


class Job(BaseModel):
    """A job as it is now. Times are seconds since 1970, UTC."""

    v: Literal[1]
    id: JobId
    state: JobState
    request: Annotated[
        dict[str, Any],
        Field(description="What was asked for; of pictures only their hash, no long extensions."),
    ]
    created_at: float
    started_at: float | None
    ended_at: float | None
    attempt: Annotated[int, Field(ge=0, description="How often it was begun.")]
    priority: int
    owner: Annotated[str, Field(description="Name of the token that asked.")]
    dialect: str
    durable: bool
    position: Annotated[int | None, Field(description="How many jobs run before it.")]
    fraction: Annotated[float, Field(ge=0, le=1)]
    phase: str
    resolved: Annotated[dict[str, Any] | None, Field(description="What is made, nothing left open.")]
    backend: str
    model_hash: str
    made_with: dict[str, str]
    seconds: float | None
    pictures: list[Picture]
    notices: list[Notice]
    error: Fault | None


class JobList(BaseModel):
    """Some jobs, newest first."""

    v: Literal[1]
    jobs: list[Job]
    next: Annotated[JobId | None, Field(description="`before` of the next page; null = this is the last.")]


class SentEvent(BaseModel):
    """One server-sent event of a job; its type is also in the record."""

    id: Annotated[str, Field(description="What `after` and Last-Event-ID take.")]
    event: Annotated[str, Field(description="Type of the record: `step-done`, `job-ended`, ...")]
    data: Annotated[str, Field(description="The record, as JSON: docs/reference/events.md.")]


class SizeRule(BaseModel):
    """Which picture sizes are made."""

    multiple_px: int
    min_px: int
    max_px: int
    native: list[tuple[int, int]]
    max_pixels: int | None


class Capabilities(BaseModel):
    """What can be done."""

    tasks: list[Task]
    carries: list[str]
    samplers: list[str] | None
    schedules: list[str] | None
    controls: list[str]
    size: SizeRule
    max_count: int
    max_batch: int
    progress: Literal["steps", "phases", "none"]
    previews: bool
    cancel: Literal["at-once", "between-steps", "never"]
    concurrency: int


class Model(BaseModel):
    """A model that can be asked for."""

    name: str
    family: str
    size: SizeRule
    default_size: tuple[int, int]
    summary: str
    detail: dict[str, str]
    steps: int | None
    guidance_scale: float | None
    sampler: str | None
    tasks: list[Task] | None
    samplers: list[str] | None


class ServerFacts(BaseModel):
    """Which program answers."""

    name: Literal["sdenv"]
    version: str


class Queue(BaseModel):
    """How full the queue is."""

    queued: int
    running: int
    size: Annotated[int, Field(description="How many jobs may wait.")]
    draining: Annotated[bool, Field(description="Whether the server is about to end and takes no more.")]


class RequestLimits(BaseModel):
    """The most that one request may ask for on this server, whatever the backend can do."""

    steps: int
    count: int
    side_px: int
    pixels: Annotated[int, Field(description="Width times height.")]
    body_bytes: Annotated[int, Field(description="Bytes of a request's body, pictures as base64 included.")]


class Status(BaseModel):
    """What the server and the backend behind it say of themselves."""

    v: Literal[1]
    name: Annotated[str, Field(description="Name of the backend.")]
    version: str
    models: list[Model]
    capabilities: Capabilities
    kind: Annotated[str, Field(description="Name of the backend in the table of backends.")]
    server: ServerFacts
    dialects: list[str]
    queue: Queue
    needs_token: Annotated[bool, Field(description="Whether those who ask over the network need a token.")]
    limits: RequestLimits


class ModelList(BaseModel):
    """The models; the first is the default."""

    v: Literal[1]
    models: list[Model]


class CapabilitiesBody(BaseModel):
    """What can be done, with one model or in general."""

    v: Literal[1]
    model: str | None
    capabilities: Capabilities


class BackendRow(BaseModel):
    """What makes the pictures."""

    name: str
    kind: str
    version: str
    models: list[str]


class BackendList(BaseModel):
    """What this server makes pictures with."""

    v: Literal[1]
    backends: list[BackendRow]


class MissingPicture(BaseModel):
    """A picture that another was made from, and that is not inside it."""

    field: Annotated[str, Field(description="Of the request: `init_image`, `mask`, `references.0`, ...")]
    sha256: Annotated[str, Field(description="Of the file; empty = not known.")]


class Recovered(BaseModel):
    """How a picture was made, as far as it says."""

    v: Literal[1]
    request: Annotated[dict[str, Any], Field(description="What to ask for, without what is missing.")]
    source: Annotated[str, Field(description="Which of its texts said it: `sdenv`, `parameters`, ...")]
    index: Annotated[int, Field(ge=0, description="Which of the request's pictures it is.")]
    seed: Annotated[int | None, Field(description="Of this picture; the request has that of the first.")]
    missing: list[MissingPicture]
    backend: Annotated[str, Field(description="What made it; empty = not known.")]
    version: Annotated[str, Field(description="Of the program that made it; empty = not known.")]


class Health(BaseModel):
    """The server answers."""

    status: Literal["OK"]


class Readiness(BaseModel):
    """The server takes jobs."""

    ready: Literal[True]


class Root(BaseModel):
    """What a program gets that asks for the page: `status` as an early server said it, and the model."""

    status: Literal["OK"]
    model: str | None
