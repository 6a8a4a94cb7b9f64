"""How a server of AUTOMATIC1111's API is reached: what `-O key=value` and `[backends.NAME]` may say."""

import base64
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, SecretStr

from sdenv.core.backend import BackendSettings
from sdenv.net.address import Access, place_of
from sdenv.net.session import Session
from sdenv.net.tokens import token_of
from sdenv.protocols import a1111

_SCHEMES: Final = {"a1111": "http", "a1111+https": "https"}

Seconds = Annotated[float, Field(gt=0.0, le=86_400.0, allow_inf_nan=False)]


class A1111Settings(BackendSettings):
    """How the server is reached.

    Attributes:
        url: `a1111://host:7860` or `a1111+https://host`; `a1111://user:password@host` where it wants them.
        token: `user:password`, or the token of an sdenv server; None = those of the URL, of `token_file`, or
            of the variable SDENV_TOKEN.
        token_file: A file that holds it.
        fingerprint: SHA-256 of the server's certificate; None = trust on first use.
        ca: Certificates (PEM) to trust instead of the system's.
        insecure: Accept any certificate.
        connect_s: Longest wait for a connection, in seconds.
        timeout_s: Longest time in which the server answers no question about the progress, in seconds.
        poll_s: How often it is asked, in seconds.
        previews: Whether to ask for pictures on the way; one that is asked only now and then shows few of a
            quick job, or none.
        trust_file: Where fingerprints are kept; None = in this process only.
    """

    url: str = f"a1111://localhost:{a1111.DEFAULT_PORT}"
    token: SecretStr | None = None
    token_file: Path | None = None
    fingerprint: str | None = None
    ca: Path | None = None
    insecure: bool = False
    connect_s: Seconds = 5.0
    timeout_s: Seconds = 120.0
    poll_s: Seconds = 0.5
    previews: bool = True
    trust_file: Path | None = None

    def session(self) -> Session:
        """Connections to the server; opens none."""
        access = self._access()
        place = place_of(access.url)
        said = f"{place.user}:{place.password}" if place.user else token_of(access, place)
        if ":" not in said:
            return Session(access)
        word = base64.b64encode(said.encode()).decode("ascii")
        return Session(access, headers={"Authorization": f"Basic {word}"})

    def _access(self) -> Access:
        scheme, _, rest = self.url.partition("://")
        url = f"{_SCHEMES.get(scheme.casefold(), scheme)}://{rest}".rstrip("/").removesuffix(a1111.PREFIX)
        return Access(
            url=url,
            token=None if self.token is None else self.token.get_secret_value(),
            token_file=self.token_file,
            fingerprint=self.fingerprint,
            ca=self.ca,
            insecure=self.insecure,
            trust_file=self.trust_file,
            connect_s=self.connect_s,
            timeout_s=self.timeout_s,
        )
