"""`sdenv generate -b local` with a warm server: the same picture, byte for byte, and a line that says so."""

from pathlib import Path

import pytest

from sdenv.services.choose import choose_backend
from sdenv.services.settings import load_settings
from sdenv.services.warm import socket_path
from tests.cli.support import sdenv
from tests.support.http_servers import http_server

COMMAND = ("generate", "a pizza, 3d", "-b", "local", "--seed", "1", "--steps", "2", "--progress", "off")


@pytest.mark.slow  # loads the built-in model twice
def test_a_warm_picture_is_the_cold_one_with_all_that_it_says(here: Path) -> None:
    settings = load_settings()
    with http_server(choose_backend("local", {}, settings).backend, socket_path=socket_path(settings)):
        warm = sdenv(*COMMAND, "-o", "warm.png")
        cold = sdenv(*COMMAND, "-o", "cold.png", "--no-warm")
    assert (warm.code, cold.code) == (0, 0)
    assert "note: Made by your server on this machine" in warm.stderr
    assert "server" not in cold.stderr
    assert (here / "warm.png").read_bytes() == (here / "cold.png").read_bytes()


def test_a_dry_run_asks_no_server(here: Path) -> None:
    settings = load_settings()
    with http_server(choose_backend("local", {}, settings).backend, socket_path=socket_path(settings)):
        done = sdenv(*COMMAND, "--dry-run")
    assert done.code == 0
    assert "server" not in done.stderr
