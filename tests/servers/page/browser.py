"""A headless Chromium of the system, and a page of ours in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Playwright

from sdenv.testing.fakes import PATIENCE_S, SlowBackend
from tests.support.http_servers import http_server, url_of

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
FLAGS: Final = (
    "--no-sandbox",  # in a container there is no user namespace to make one of
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS: Final = PATIENCE_S * 1000
DESKTOP: Final = {"width": 1280, "height": 860}
PHONE: Final[dict[str, Any]] = {
    "viewport": {"width": 360, "height": 740},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}
READY: Final = "body[data-ready]"


def executable() -> str:
    """Where the browser of this machine is."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    assert found is not None, "There is no Chromium here. Install it with: make system-packages"
    return found


@contextmanager
def launched(playwright: Playwright) -> Iterator[Browser]:
    """The browser."""
    browser = playwright.chromium.launch(executable_path=executable(), headless=True, args=list(FLAGS))
    try:
        yield browser
    finally:
        browser.close()


class Complaints:
    """What a page has complained of: errors on its console, and exceptions that nobody caught.

    Args:
        page: The page.
    """

    def __init__(self, page: Page) -> None:
        self._found: list[str] = []
        self.expected: tuple[str, ...] = ()
        page.on("console", self._on_console)
        page.on("pageerror", self._on_error)

    def expect(self, *parts: str) -> None:
        """Chromium logs every answer of 400 and above; those that the test is about are named here."""
        self.expected = parts

    @property
    def found(self) -> list[str]:
        """Those that nobody expected."""
        return [each for each in self._found if not any(part in each for part in self.expected)]

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._found.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def _on_error(self, error: Error) -> None:
        self._found.append(f"exception: {error.message} {error.stack}")


def opened(page: Page, url: str, view: str = "create") -> Page:
    """The page of a server, ready to be used."""
    page.goto(f"{url}/#{view}")
    page.wait_for_selector(READY)
    return page


def make(page: Page, prompt: str, **settings: str | int) -> None:
    """Fills the form and presses the button, as a person with a mouse would."""
    page.fill("#prompt", prompt)
    for name, value in settings.items():
        page.fill(f"#{name}", str(value))
    page.click("#make")


@contextmanager
def step_by_step() -> Iterator[tuple[SlowBackend, str]]:
    """A backend that does a step when it is let, and the URL of its server; at the end it is let go."""
    slow = SlowBackend()
    with http_server(slow) as address:
        try:
            yield slow, url_of(address)
        finally:
            slow.let(1000)
