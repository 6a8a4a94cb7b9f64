"""What can be set about the HTTP server; every limit has a default that is safe for a stranger's request."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from sdenv.core.request import MAX_COUNT, MAX_PICTURE_PIXELS, MAX_SIDE_PX, MAX_STEPS
from sdenv.core.server import ServerSettings

MIB: Final = 2**20
MAX_BODY_BYTES: Final = 64 * MIB  # conventions, "Limits"

Seconds = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Positive = Annotated[int, Field(ge=1)]


class Token(BaseModel):
    """A named token.

    Attributes:
        secret: What the client sends.
        share: The part of the queue that it may fill, and its weight when tokens take turns.
        sees_all: Whether it may see and cancel the jobs of the other tokens.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    secret: SecretStr
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    sees_all: bool = False


class Limits(BaseModel):
    """The most that one request may ask for.

    Attributes:
        steps: Denoising steps.
        count: Pictures a request.
        side_px: Width or height.
        pixels: Width times height.
        body_bytes: Bytes of a request's body.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] = MAX_STEPS
    count: Annotated[int, Field(ge=1, le=MAX_COUNT)] = MAX_COUNT
    side_px: Annotated[int, Field(ge=1, le=MAX_SIDE_PX)] = MAX_SIDE_PX
    pixels: Annotated[int, Field(ge=1, le=MAX_PICTURE_PIXELS)] = MAX_PICTURE_PIXELS
    body_bytes: Annotated[int, Field(ge=1024, le=MAX_BODY_BYTES)] = MAX_BODY_BYTES


class HttpSettings(ServerSettings):
    """Everything that can be set.

    Attributes:
        data_dir: Where jobs, results and certificates are kept; None = a temporary folder that is removed.
        token: One token that may do everything; None = none.
        tokens: Further tokens by name, each with its own part of the queue.
        insecure: Serve other machines without a token.
        cors_origins: Origins whose web pages may use this server, such as `https://example.org`.
        hosts: Names under which clients reach this server, besides its addresses and its own name.
        limits: The most that one request may ask for.
        queue_size: How many jobs may wait; None = as many as the engine says.
        seed_side_px: Width and height in the seed dialect where a request says none; None = the model's own.
        strict_models: Refuse unknown models in the dialects whose clients send names of their own.
        tls: Speak TLS, with a certificate of our own unless one is given.
        tls_cert: A certificate chain in PEM; needs `tls_key`.
        tls_key: Its private key in PEM.
        socket_path: Also listen at this unix socket, without a token; only its owner can open it.
        drawthings_http_port: Also listen here, for clients of the Draw Things app; 0 = any free; None = not.
        drain_s: When told to stop, how long running jobs may take to end.
        max_age_s: Ended jobs older than this are removed; None = kept.
        max_jobs: How many ended jobs are kept; None = all.
        max_bytes: How many bytes of pictures are kept; None = all.
        header_s: How long a client may take to send the header of a request.
        body_s: How long it may take to send the body.
        max_connections: How many connections there may be at once; fewer where the system allows fewer files.
        keep_alive_s: How often a silent event stream says that it lives.
    """

    data_dir: Path | None = None
    token: SecretStr | None = None
    tokens: Mapping[str, Token] = Field(default_factory=dict)
    insecure: bool = False
    cors_origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    limits: Limits = Limits()
    queue_size: Annotated[int, Field(ge=0)] | None = None
    seed_side_px: Annotated[int, Field(ge=64, le=MAX_SIDE_PX)] | None = None
    strict_models: bool = False
    tls: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    socket_path: Path | None = None
    drawthings_http_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    drain_s: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 30.0
    max_age_s: Seconds | None = None
    max_jobs: Positive | None = None
    max_bytes: Positive | None = None
    header_s: Seconds = 20.0
    body_s: Seconds = 120.0
    max_connections: Positive = 1024
    keep_alive_s: Seconds = 10.0

    @model_validator(mode="after")
    def _certificate_has_key(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("a certificate and its key belong together")
        return self

    @property
    def has_tokens(self) -> bool:
        """Whether clients need a token."""
        return self.token is not None or bool(self.tokens)

    @property
    def speaks_tls(self) -> bool:
        """Whether the port speaks TLS."""
        return self.tls or self.tls_cert is not None
