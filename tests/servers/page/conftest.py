"""One browser and one server with the built-in model for all tests; a fresh profile for each."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.servers.page.browser import DESKTOP, PATIENCE_MS, Complaints, launched
from tests.stress.served import Served


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright, launched(playwright) as found:
        yield found


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A profile with nothing in it."""
    made = browser.new_context(viewport=DESKTOP)  # type: ignore[arg-type]  # a literal of playwright's type
    made.set_default_timeout(PATIENCE_MS)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture(autouse=True)
def complaints(page: Page) -> Iterator[Complaints]:
    """No test may leave an error on the console that it has not named."""
    kept = Complaints(page)
    yield kept
    assert kept.found == []


@pytest.fixture(scope="session")
def emoji(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server with the built-in model."""
    served = Served(tmp_path_factory.mktemp("emoji"), ["--backend", "local"])
    served.start()
    try:
        served.wait_until_listening()
        yield served.url
    finally:
        served.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a server of the test keeps its jobs."""
    return tmp_path / "data"
