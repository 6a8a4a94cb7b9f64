"""AUTOMATIC1111's API over real servers: our client before ours."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sdenv.backends.a1111 import A1111Backend, A1111Settings
from sdenv.core.backend import Backend
from sdenv.core.server import Address
from tests.support.http_servers import http_server


def a1111_client(address: Address, **options: Any) -> A1111Backend:
    """Our client of the server at this address.

    Without previews: they are polled, and a job that ends at once shows none.
    """
    url = f"a1111://{address.host}:{address.port}"
    return A1111Backend(A1111Settings(**{"url": url, "previews": False, **options}))


@contextmanager
def a1111_backend(folder: Path) -> Iterator[Backend]:
    """The backend `a1111` before a server that draws at once."""
    with http_server(data_dir=folder) as address, closing(a1111_client(address)) as client:
        yield client
