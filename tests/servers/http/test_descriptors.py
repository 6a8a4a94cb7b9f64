"""The limit on open files: a server stays below it, and `sdenv serve` raises it."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sdenv.cli.descriptors import MOST, raise_limit
from sdenv.servers.http.descriptors import RESERVED, most_connections
from tests.support.calls import call
from tests.support.http_servers import http_server
from tests.support.waiting import until


@contextmanager
def soft_limit(files: int) -> Iterator[int]:
    """While the context is open, this process may have so many files open; gives the hard limit."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    try:
        yield hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


def test_serve_raises_the_limit_as_far_as_it_may() -> None:
    with soft_limit(512) as hard:
        raise_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (MOST if hard < 0 else min(hard, MOST), hard)


def test_connections_leave_room_for_files() -> None:
    with soft_limit(512):
        assert most_connections(1024) == 512 - RESERVED
        assert most_connections(16) == 16


def test_a_server_with_few_files_refuses_connections_before_it_runs_out() -> None:
    with soft_limit(RESERVED + 8), http_server() as address, ExitStack() as idle:
        for _ in range(8):
            idle.enter_context(socket.create_connection((address.host, address.port)))
        until(lambda: call(address, "GET", "/health").status == 503)
