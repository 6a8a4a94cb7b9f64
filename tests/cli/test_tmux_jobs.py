"""`sdenv jobs` in a tmux pane, before a real server: what a person sees, and what Ctrl-C does there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.job_record import JobState
from sdenv.core.request import GenerationRequest
from sdenv.core.server import Address
from tests.cli.test_tmux import SDENV, Tmux
from tests.support.http_servers import http_server, native_client, url_of

pytestmark = pytest.mark.slow  # it needs tmux, and a second or two a test


@pytest.fixture
def address(tmp_path: Path) -> Iterator[Address]:
    """A server that takes two seconds a picture of twenty steps."""
    backend = FakeBackend(FakeSettings(step_seconds=0.1))
    with http_server(backend, data_dir=tmp_path / "server") as bound:
        yield bound


@pytest.fixture
def tmux(here: Path) -> Iterator[Tmux]:
    opened = Tmux(here, 80, 24)
    yield opened
    opened.close()


def submitted(address: Address, prompt: str, steps: int = 20, preview_every: int = 0) -> str:
    request = GenerationRequest(prompt=prompt, steps=steps, seed=1)
    with native_client(address) as client:
        return client.submit(request, preview_every=preview_every).id


def test_a_watched_job_has_a_bar_that_moves_in_place_and_an_end(tmux: Tmux, address: Address) -> None:
    job_id = submitted(address, "a cat")
    tmux.type(f"clear; {SDENV} jobs watch last -b {url_of(address)} --no-show; echo code $?")
    tmux.wait_for(r"━ +\d+/20  \d:\d\d left  0\.\d+ s/step")
    shown = " ".join(tmux.wait_for(r"^code \d+\n\$").split())
    assert re.search(r"✓ picture 20 steps( in \d\.\d s)? seed 1 done: 1 picture; to save: ", shown), shown
    assert f"sdenv jobs fetch {job_id} -b" in shown
    assert shown.endswith("code 0 $")


def test_a_watched_job_shows_previews_and_its_picture_in_half_blocks(tmux: Tmux, address: Address) -> None:
    submitted(address, "a cat", preview_every=2)
    tmux.type(f"clear; {SDENV} jobs watch -b {url_of(address)}; echo code $?")
    tmux.wait_for(r"^▀{32}$")
    shown = tmux.wait_for(r"^code 0\n\$")
    assert len([line for line in shown.splitlines() if line.startswith("▀" * 33)]) >= 10


def test_ctrl_c_ends_the_watching_and_not_the_job(tmux: Tmux, address: Address) -> None:
    job_id = submitted(address, "a cat", steps=30)
    tmux.type(f"clear; {SDENV} jobs watch {job_id[-6:]} -b {url_of(address)}; echo code $?")
    tmux.wait_for(r"━ +\d+/30")
    tmux.press("C-c")
    shown = " ".join(tmux.wait_for(r"^code \d+\n\$").split())
    assert f"stopped: The job {job_id} goes on. hint: To cancel it:" in shown
    assert f"sdenv jobs cancel {job_id} -b {url_of(address)} code 130 $" in shown
    with native_client(address) as client:
        assert client.wait(job_id, 30).state is JobState.DONE


def test_the_list_fits_the_pane(address: Address, here: Path) -> None:
    submitted(address, "a cat, " + "very " * 40 + "long", steps=1)
    narrow = Tmux(here, 60, 12)
    try:
        narrow.type(f"clear; {SDENV} jobs list -b {url_of(address)}; echo code $?")
        shown = narrow.wait_for(r"^code \d+\n\$").splitlines()
    finally:
        narrow.close()
    assert re.fullmatch(r"ID +STATE +WHEN +DONE +PROMPT", shown[0])
    assert re.fullmatch(r"\w{8}  (queued|running|done) .* a cat, very.*…", shown[1])
    assert shown[2] == "code 0"
