"""How an HTTP server is reached: what `-O key=value` and `[backends.NAME]` may say."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from sdenv.core.backend import BackendSettings
from sdenv.net.address import Access
from sdenv.net.patience import RECONNECT_S

Seconds = Annotated[float, Field(gt=0.0, le=86_400.0, allow_inf_nan=False)]


class HttpBackendSettings(BackendSettings):
    """How to reach a server.

    Attributes:
        url: `http://host:9090` or `https://...`.
        token: What proves who asks; None = the one in the URL, in `token_file` or in `SDENV_TOKEN`.
        token_file: A file that holds it.
        fingerprint: SHA-256 of the server's certificate; None = trust on first use.
        ca: Certificates (PEM) to trust instead of the system's.
        insecure: Accept any certificate.
        connect_s: Longest wait for a connection, in seconds.
        timeout_s: Longest silence of the server, in seconds.
        reconnect_s: How long a server that was there may be away in the middle of a job, in seconds.
        busy_s: How long to wait for a place in a full queue, in seconds; None = not at all, but for a server
            of the seed dialect, which has no queue, as long as it takes.
        socket: A unix socket to use instead of TCP.
        forget: Remove each job from the server as soon as its pictures are here.
        trust_file: Where fingerprints are kept; None = in this process only.
        shown_as: The name that pictures and errors carry.
        greeting: What to tell the user with the first job; "" = nothing.
    """

    url: str = "http://localhost:9090"
    token: SecretStr | None = None
    token_file: Path | None = None
    fingerprint: str | None = None
    ca: Path | None = None
    insecure: bool = False
    connect_s: Seconds = 5.0
    timeout_s: Seconds = 30.0
    reconnect_s: Seconds = RECONNECT_S
    busy_s: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None
    socket: Path | None = None
    forget: bool = False
    trust_file: Path | None = None
    shown_as: str = "http"
    greeting: str = ""

    def access(self) -> Access:
        """The same for a session."""
        return Access(
            url=self.url,
            socket_path=self.socket,
            token=None if self.token is None else self.token.get_secret_value(),
            token_file=self.token_file,
            fingerprint=self.fingerprint,
            ca=self.ca,
            insecure=self.insecure,
            trust_file=self.trust_file,
            connect_s=self.connect_s,
            timeout_s=self.timeout_s,
        )
