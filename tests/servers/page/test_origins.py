"""A page of another origin can neither read nor start anything here, in a real browser."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import httpx2
import pytest
from playwright.sync_api import Browser, Page

from sdenv.testing.fakes import PATIENCE_S
from tests.servers.http.support import TOKEN
from tests.servers.page.browser import FLAGS, READY, Complaints, executable, opened
from tests.support.http_servers import http_server, url_of

pytestmark = pytest.mark.slow

JOBS: Final = "/sdenv/v1/jobs"
BODY: Final = '{"request": {"prompt": "theirs", "width": 64, "height": 64, "steps": 1}}'

FETCHES = """async ([url, body]) => {
    const answers = {};
    const json = { "Content-Type": "application/json" };
    const tries = {
        read: [url + "/sdenv/v1/jobs", {}],
        page: [url + "/", {}],
        simple: [url + "/sdenv/v1/jobs", { method: "POST", body }],
        json: [url + "/sdenv/v1/jobs", { method: "POST", body, headers: json }],
        cookies: [url + "/sdenv/v1/jobs", { credentials: "include" }],
        login: [url + "/login", { method: "POST", body: new URLSearchParams({ token: "x" }) }],
    };
    for (const [name, [target, options]] of Object.entries(tries)) {
        answers[name] = await fetch(target, options).then((answer) => answer.status, () => "refused");
        answers[name + " opaque"] = await fetch(target, { ...options, headers: {}, mode: "no-cors" })
            .then((answer) => `${answer.type} ${(answer.status)}`, () => "refused");
    }
    return answers;
}"""
STREAM = """(url) => new Promise((resolve) => {
    const source = new EventSource(url);
    source.onopen = () => resolve("open");
    source.onerror = () => resolve("refused");
})"""
SOCKET = """(url) => new Promise((resolve) => {
    const socket = new WebSocket(url.replace("http", "ws") + "/sdenv/v1/jobs");
    socket.onopen = () => resolve("open");
    socket.onerror = () => resolve("refused");
})"""
LOAD = """([tag, url]) => new Promise((resolve) => {
    const element = document.createElement(tag);
    element.onload = () => resolve("loaded");
    element.onerror = () => resolve("refused");
    element.src = url;
    document.body.append(element);
})"""
POST = """([url, body]) => {
    const form = document.createElement("form");
    Object.assign(form, { method: "post", action: url + "/sdenv/v1/jobs", enctype: "text/plain" });
    const field = document.createElement("input");
    [field.name, field.value] = [body.slice(0, 20), body.slice(20)];
    form.append(field);
    document.body.append(form);
    form.submit();
}"""


class _Foreign(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>theirs</title><body>")

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    """Port of a page of somebody else."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Foreign)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join(PATIENCE_S)


@pytest.fixture(params=["without a token", "with the cookie of a token"])
def url(request: pytest.FixtureRequest, page: Page) -> Iterator[str]:
    """A server whose page the person has open, in the same browser."""
    token = TOKEN if "cookie" in request.param else None
    with http_server(token=token) as address:
        page.goto(url_of(address))
        if token:
            page.fill("#token", TOKEN)
            page.click("button")
        page.wait_for_selector(READY)
        yield url_of(address)


@pytest.fixture
def theirs(page: Page, complaints: Complaints, elsewhere: int) -> Page:
    """Their page, in the same browser."""
    complaints.expect("")  # the browser says on the console what it refuses them
    found = page.context.new_page()
    found.goto(f"http://localhost:{elsewhere}/")
    return found


def jobs(url: str) -> list[Any]:
    """What has been queued."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx2.Client(base_url=url, trust_env=False, headers=headers) as client:
        found: list[Any] = client.get(JOBS).json()["jobs"]
    return found


def test_it_cannot_fetch(url: str, theirs: Page) -> None:
    answers = theirs.evaluate(FETCHES, [url, BODY])
    readable = {name: status for name, status in answers.items() if "opaque" not in name}
    assert set(readable.values()) == {"refused"}
    assert {status for name, status in answers.items() if "opaque" in name} <= {"opaque 0", "refused"}
    assert jobs(url) == []


def test_it_cannot_post_a_form(url: str, theirs: Page) -> None:
    with theirs.expect_navigation():
        theirs.evaluate(POST, [url, BODY])
    assert "origin-denied" in theirs.content()
    assert jobs(url) == []


def test_it_cannot_follow_events_nor_open_a_socket(url: str, theirs: Page, page: Page) -> None:
    page.fill("#prompt", "mine")
    page.click("#make")
    page.wait_for_selector("#results .tile")
    job_id = jobs(url)[0]["id"]
    assert theirs.evaluate(STREAM, f"{url}{JOBS}/{job_id}/events") == "refused"
    assert theirs.evaluate(SOCKET, url) == "refused"


def test_it_cannot_show_our_pictures_run_our_scripts_or_frame_our_page(
    url: str, theirs: Page, page: Page
) -> None:
    page.fill("#prompt", "mine")
    page.click("#make")
    page.wait_for_selector("#results .tile")
    job_id = jobs(url)[0]["id"]
    assert theirs.evaluate(LOAD, ["img", f"{url}{JOBS}/{job_id}/pictures/0"]) == "refused"
    assert theirs.evaluate(LOAD, ["script", f"{url}/page/theme.js"]) == "refused"
    theirs.evaluate(LOAD, ["iframe", url])
    assert all("#view-create" not in _content(frame) for frame in theirs.frames)


def _content(frame: Any) -> str:
    try:
        return str(frame.content())
    except Exception as error:  # noqa: BLE001 - a frame that was refused has no content
        return str(error)


def test_a_name_that_was_made_to_point_here_opens_nothing(complaints: Complaints, browser: Browser) -> None:
    """DNS rebinding: to the browser `evil.test` is one origin, first theirs, then at our address."""
    complaints.expect("")
    with http_server() as address:
        rules = f"--host-resolver-rules=MAP evil.test 127.0.0.1:{address.port}"
        trusting = "--disable-features=LocalNetworkAccessChecks"  # a defence that not every browser has
        other = browser.browser_type.launch(executable_path=executable(), args=[*FLAGS, rules, trusting])
        try:
            rebound = other.new_page()
            evil = f"http://evil.test:{address.port}"
            answer = rebound.goto(f"{evil}/")
            assert answer is not None
            assert (answer.status, answer.json()["error"]["code"]) == (403, "origin-denied")
            theirs = f"{evil}/theirs"  # what the attacker's own server gave, before the name pointed here
            rebound.route(
                theirs, lambda route: route.fulfill(body="<!doctype html>", content_type="text/html")
            )
            rebound.goto(theirs)
            statuses = rebound.evaluate(
                """async (body) => [
                    (await fetch("/sdenv/v1/jobs")).status,
                    (await fetch("/sdenv/v1/jobs", { method: "POST", body })).status,
                    (await fetch("/page/app.js")).status,
                ]""",
                BODY,
            )
            assert statuses == [403, 403, 403]
        finally:
            other.close()
        assert jobs(url_of(address)) == []


def test_markup_in_a_prompt_stays_text(page: Page) -> None:
    with http_server() as address:
        opened(page, url_of(address))
        page.fill("#prompt", "<img src=x onerror=document.title='owned'><b>bold</b>")
        page.click("#make")
        page.click("#results .tile")
        assert page.locator("#viewer-prompt b").count() == 0
        assert page.title() == "sdenv"
