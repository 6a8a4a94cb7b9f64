"""What is refused is said on the page in the words of the API."""

from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Page, expect

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.testing.fakes import BrokenBackend, SlowBackend
from tests.servers.http.support import TOKEN
from tests.servers.page.browser import READY, Complaints, make, opened
from tests.support.http_servers import http_server, url_of

pytestmark = pytest.mark.slow

ERROR: Final = "#form-error .error"


@pytest.fixture
def closed() -> Iterator[str]:
    """URL of a server that wants a token."""
    with http_server(token=TOKEN) as address:
        yield url_of(address)


def test_the_right_token_lets_in_and_is_remembered_where_no_script_reads_it(page: Page, closed: str) -> None:
    page.goto(closed)
    page.fill("#token", TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_selector(READY)
    make(page, "let in", steps=2)
    expect(page.locator("#results .tile")).to_have_count(1)
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert page.evaluate("document.cookie") == ""
    assert TOKEN not in page.evaluate("JSON.stringify(localStorage)")


def test_a_wrong_token_is_refused_in_words(page: Page, closed: str, complaints: Complaints) -> None:
    complaints.expect("401")
    page.goto(closed)
    page.fill("#token", "a guess")
    page.click("button")
    expect(page.locator("#login-error")).to_contain_text("The token is not one that this server knows.")
    assert page.context.cookies() == []
    page.fill("#token", TOKEN)
    page.click("button.primary")
    page.wait_for_selector(READY)


def test_after_logging_out_the_form_for_the_token_is_back(page: Page, closed: str) -> None:
    page.goto(closed)
    page.fill("#token", TOKEN)
    page.click("button")
    page.wait_for_selector(READY)
    page.click("#logout button")
    expect(page.locator("#token")).to_be_visible()
    assert page.context.cookies() == []


def test_a_token_that_is_no_longer_known_leads_back_to_the_form(
    page: Page, closed: str, complaints: Complaints
) -> None:
    complaints.expect("401")
    page.goto(closed)
    page.fill("#token", TOKEN)
    page.click("button")
    page.wait_for_selector(READY)
    page.context.clear_cookies()
    page.fill("#prompt", "who am I")
    page.click("#make")
    expect(page.locator("#token")).to_be_visible()


def test_a_full_queue_is_said_with_when_to_come_back(page: Page, complaints: Complaints) -> None:
    complaints.expect("429")
    slow = SlowBackend()
    with http_server(slow, queue_size=1) as address:
        opened(page, url_of(address))
        for number in range(3):
            make(page, f"number {number}", steps=2)
        expect(page.locator(ERROR)).to_contain_text("The queue is full")
        slow.let(100)
        expect(page.locator("#results .tile")).to_have_count(2)


def test_a_size_that_cannot_be_made_is_refused_with_the_nearest(page: Page, complaints: Complaints) -> None:
    complaints.expect("422")
    with http_server(FakeBackend(FakeSettings())) as address:
        opened(page, url_of(address))
        page.select_option("#size", "own")
        make(page, "odd", width=100, height=100)
        expect(page.locator(ERROR)).to_contain_text("100x100")
        expect(page.locator(ERROR)).to_contain_text("104x104")
        expect(page.locator("#prompt")).to_have_value("odd")
        page.click(f"{ERROR} button")
        expect(page.locator(ERROR)).to_have_count(0)


def test_more_than_the_server_allows_is_refused_by_name(page: Page, complaints: Complaints) -> None:
    complaints.expect("422")
    with http_server(limits={"steps": 40}) as address:
        make(opened(page, url_of(address)), "for ever", steps=41)
        expect(page.locator(ERROR)).to_contain_text("steps: must be at most 40 on this server (given: 41)")


def test_a_job_that_fails_says_why_on_the_page_and_in_the_history(page: Page) -> None:
    with http_server(FakeBackend(FakeSettings(fail_at_step=2))) as address:
        make(opened(page, url_of(address)), "doomed", steps=4)
        expect(page.locator(".failed-note .error")).to_contain_text("step 2")
        page.click("[data-view-link=history]")
        expect(page.locator("#history-list .failed")).to_contain_text("step 2")


def test_a_bug_of_a_backend_is_no_riddle(page: Page) -> None:
    with http_server(BrokenBackend()) as address:
        make(opened(page, url_of(address)), "doomed", steps=4)
        expect(page.locator(".failed-note .error-what")).to_be_visible()
