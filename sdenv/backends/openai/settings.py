"""How a server of the images API is reached: what `-O key=value` and `[backends.NAME]` may say."""

import os
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, SecretStr, field_validator

from sdenv.core.backend import BackendSettings
from sdenv.net.address import Access
from sdenv.protocols import openai

OPENAI_HOST: Final = "api.openai.com"
_SCHEMES: Final = {"openai": "http", "openai+https": "https"}

Seconds = Annotated[float, Field(gt=0.0, le=86_400.0, allow_inf_nan=False)]


class OpenAISettings(BackendSettings):
    """How the server is reached, and what it understands.

    Attributes:
        url: `openai://host:port` or `openai+https://host`; a path before `/v1` may follow.
        token: The API key; None = that of `token_file`, of `OPENAI_API_KEY` for OpenAI's own server, or of
            `SDENV_TOKEN`.
        token_file: A file that holds it.
        fingerprint: SHA-256 of the server's certificate; None = trust on first use.
        ca: Certificates (PEM) to trust instead of the system's.
        insecure: Accept any certificate.
        connect_s: Longest wait for a connection, in seconds.
        timeout_s: Longest silence of the server, in seconds: it says nothing while it works.
        fields: Request fields that a server of another maker takes besides the standard ones, separated by
            commas: `steps,seed,negative_prompt`.
        stream: Whether to ask a server of another maker for a stream, for previews.
        trust_file: Where fingerprints are kept; None = in this process only.
    """

    url: str = "openai://localhost:9090"
    token: SecretStr | None = None
    token_file: Path | None = None
    fingerprint: str | None = None
    ca: Path | None = None
    insecure: bool = False
    connect_s: Seconds = 5.0
    timeout_s: Seconds = 600.0
    fields: str = ""
    stream: bool = False
    trust_file: Path | None = None

    @field_validator("fields")
    @classmethod
    def _known_fields(cls, value: str) -> str:
        if unknown := sorted(names_in(value) - set(openai.EXTENSIONS)):
            raise ValueError(f"there are {', '.join(openai.EXTENSIONS)}; not {', '.join(unknown)}")
        return value

    def access(self) -> Access:
        """The same for a session."""
        scheme, _, rest = self.url.partition("://")
        url = f"{_SCHEMES.get(scheme.casefold(), scheme)}://{rest}".rstrip("/").removesuffix(openai.PREFIX)
        token = None if self.token is None else self.token.get_secret_value()
        if token is None and self.token_file is None and rest.partition("/")[0] == OPENAI_HOST:
            token = os.environ.get("OPENAI_API_KEY")
        return Access(
            url=url,
            token=token,
            token_file=self.token_file,
            fingerprint=self.fingerprint,
            ca=self.ca,
            insecure=self.insecure,
            trust_file=self.trust_file,
            connect_s=self.connect_s,
            timeout_s=self.timeout_s,
        )


def names_in(text: str) -> frozenset[str]:
    """Names separated by commas."""
    return frozenset(each.strip() for each in text.split(",") if each.strip())
