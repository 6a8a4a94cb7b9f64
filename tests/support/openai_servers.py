"""The images API over real servers: our client, and OpenAI's own."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sdenv.backends.openai import OpenAIBackend, OpenAISettings
from sdenv.core.backend import Backend
from sdenv.core.server import Address
from tests.support.http_servers import http_server


def openai_client(address: Address, **options: Any) -> OpenAIBackend:
    """Our client of the server at this address."""
    return OpenAIBackend(OpenAISettings(url=f"openai://{address.host}:{address.port}", **options))


@contextmanager
def openai_backend(folder: Path) -> Iterator[Backend]:
    """The backend `openai` before a server that draws at once."""
    with http_server(data_dir=folder) as address, closing(openai_client(address)) as client:
        yield client
