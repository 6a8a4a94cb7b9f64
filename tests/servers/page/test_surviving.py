"""What the page survives: a reload, a sleeping phone, a server that is killed and started again."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.servers.page.browser import READY, Complaints, make, opened, step_by_step
from tests.stress.served import Served

pytestmark = pytest.mark.slow

GO_TO_SLEEP = """() => {
    Object.defineProperty(document, "hidden", { value: true, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
WAKE_UP = """() => {
    delete document.hidden;
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_reload_in_mid_run_shows_the_progress_where_it_is(page: Page) -> None:
    with step_by_step() as (slow, url):
        make(opened(page, url), "slowly", steps=8)
        slow.let(3)
        expect(page.locator(".card-facts")).to_contain_text("Step 3 of 8")
        page.reload()
        expect(page.locator(".card-facts")).to_contain_text("Step 3 of 8")
        expect(page.locator("#prompt")).to_have_value("slowly")
        expect(page.locator("#steps")).to_have_value("8")
        slow.let(5)
        expect(page.locator("#results .tile")).to_have_count(1)


def test_a_preview_is_there_again_after_a_reload(page: Page, emoji: str) -> None:
    make(opened(page, emoji), "a rocket, 3d", steps=120, seed=3)
    expect(page.locator(".card.is-running img")).to_be_visible()
    page.reload()
    expect(page.locator(".card.is-running img")).to_be_visible()
    expect(page.locator(".card.is-running .card-facts")).to_have_text(re.compile(r"^Step \d+ of 120"))
    page.click(".card.is-running button")
    expect(page.locator("#queue-section")).to_be_hidden()


def test_a_page_that_slept_shows_what_has_happened_since(page: Page) -> None:
    with step_by_step() as (slow, url):
        opened(page, url)
        make(page, "while awake", steps=4)
        make(page, "while asleep", steps=4)
        slow.let()
        expect(page.locator(".card.is-running .card-facts")).to_contain_text("Step 1 of 4")
        page.evaluate(GO_TO_SLEEP)
        slow.let(5)
        page.evaluate(WAKE_UP)
        expect(page.locator("#results .tile")).to_have_count(1)
        expect(page.locator(".card.is-running .card-facts")).to_contain_text("Step 2 of 4")
        slow.let(2)
        expect(page.locator("#results .tile")).to_have_count(2)


def test_a_page_asleep_keeps_no_connection(page: Page) -> None:
    with step_by_step() as (slow, url):
        make(opened(page, url), "slowly", steps=4)
        slow.let()
        expect(page.locator(".card-facts")).to_contain_text("Step 1 of 4")
        with page.expect_event("requestfailed", lambda request: "/events" in request.url):
            page.evaluate(GO_TO_SLEEP)
        slow.let(4)


def test_a_killed_server_is_waited_for_and_its_job_goes_on(
    page: Page, complaints: Complaints, tmp_path: Path
) -> None:
    complaints.expect("net::ERR_")  # connections to a server that is dead
    served = Served(tmp_path, ["--backend", "fake", "-O", "step_seconds=0.1"])
    served.start()
    try:
        served.wait_until_listening()
        make(opened(page, served.url), "slowly", steps=60, seed=4)
        expect(page.locator(".card-facts")).to_have_text(re.compile(r"Step [1-9]\d* of 60"))
        served.kill()
        expect(page.locator("#server-text")).to_contain_text("does not answer")
        served.start()
        expect(page.locator("#server-text")).to_have_text("fake · mosaic")
        expect(page.locator(".card-facts")).to_have_text(re.compile(r"Step \d+ of 60.*try 2"))
        expect(page.locator("#results .tile")).to_have_count(1)
    finally:
        served.stop()


def test_what_is_asked_for_while_the_server_is_away_is_queued_once_when_it_is_back(
    page: Page, complaints: Complaints, tmp_path: Path
) -> None:
    complaints.expect("net::ERR_")
    served = Served(tmp_path, ["--backend", "fake"])
    served.start()
    try:
        served.wait_until_listening()
        opened(page, served.url)
        served.kill()
        make(page, "asked in between", steps=2)
        served.start()
        expect(page.locator("#results .tile")).to_have_count(1)
        page.reload()
        page.wait_for_selector(READY)
        expect(page.locator("#results .tile")).to_have_count(1)
    finally:
        served.stop()
