"""Every `console` block of the docs is run, in order, page by page, with the built-in model."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http_servers import http_server, url_of

WITH_A_SERVER = "<!-- test: a server is the configured backend -->"
ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def blocks(page: Path) -> list[tuple[str, str]]:
    """(command, expected stdout) in order; the expected text `...` stands for anything."""
    found = []
    for body in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            found.append((command, expected.strip()))
    return found


WITH_EXAMPLES = [page for page in PAGES if blocks(page)]


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that draws at once, for pages about servers."""
    with http_server(data_dir=tmp_path_factory.mktemp("server")) as address:
        yield url_of(address)


def test_there_are_examples() -> None:
    assert len(WITH_EXAMPLES) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.stem)
def test_the_commands_of_the_page_do_what_it_says(
    page: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    if WITH_A_SERVER in page.read_text(encoding="utf-8"):
        environment["SDENV_BACKEND"] = request.getfixturevalue("server")
    for command, expected in blocks(page):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        refused = "--dry-run" in command and done.returncode in (2, 3)
        assert done.returncode == 0 or refused, f"$ {command}\n{done.stdout}{done.stderr}"
        if expected != "...":
            assert done.stdout.strip() == expected, f"$ {command}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_between_pages_is_dead(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []
