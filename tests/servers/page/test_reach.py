"""Who can use the page: on a phone, with the keyboard only, with a screen reader, in the dark."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from tests.servers.http.support import TOKEN
from tests.servers.page.browser import PHONE, Complaints, make, opened, step_by_step
from tests.servers.page.test_painting import FILE
from tests.support.http_servers import http_server, url_of

pytestmark = pytest.mark.slow

WIDEST = "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
SERIOUS: Final = ("serious", "critical")
LONG: Final = "a very_long_word_" + "without_an_end_" * 30


@pytest.fixture
def server() -> Iterator[str]:
    with http_server() as address:
        yield url_of(address)


@pytest.fixture
def phone(page: Page) -> Iterator[Page]:
    """A page of 360 px."""
    assert page.context.browser is not None
    made = page.context.browser.new_context(**PHONE)
    found = made.new_page()
    complaints = Complaints(found)
    yield found
    made.close()
    assert complaints.found == []


def faults(page: Page) -> list[Any]:
    """What axe-core finds that is serious: rule, and the places."""
    found = Axe().run(page).response["violations"]
    return [
        (each["id"], [node["target"] for node in each["nodes"]])
        for each in found
        if each["impact"] in SERIOUS
    ]


def walk_through(page: Page, url: str) -> Iterator[str]:
    """Every state of the page, one after the other."""
    opened(page, url)
    yield "nothing yet"
    page.set_input_files("#start-file", FILE)
    page.wait_for_selector("#start-chosen:not([hidden])")
    if not page.locator("#steps").is_visible():
        page.click("#settings summary")
    page.select_option("#size", "own")
    yield "all fields"
    page.click("#start-remove")
    make(page, LONG, width=64, height=64, steps=2)
    expect(page.locator("#results .tile")).to_have_count(1)
    yield "a result"
    page.click("#results .tile")
    expect(page.locator("#viewer")).to_be_visible()
    yield "a picture, large"
    page.click("#viewer-close")
    page.click("#help")
    yield "the help"
    page.keyboard.press("Escape")
    page.click("#preset-save")
    yield "a preset's name"
    page.keyboard.press("Escape")
    page.click("[data-view-link=history]")
    expect(page.locator("#history-list .tile")).to_have_count(1)
    yield "the history"


def test_nothing_scrolls_sideways_at_360_px(phone: Page, server: str) -> None:
    for state in walk_through(phone, server):
        assert phone.evaluate(WIDEST) == 360, state


def test_a_running_job_and_an_error_fit_a_phone_too(phone: Page) -> None:
    with step_by_step() as (slow, url):
        opened(phone, url)
        for _ in range(3):
            phone.fill("#prompt", LONG)
            phone.click("#make")
        slow.let()
        expect(phone.locator(".card")).to_have_count(3)
        expect(phone.locator(".card.is-running .card-facts")).to_contain_text("Step 1")
        assert phone.evaluate(WIDEST) == 360


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_axe_finds_nothing_serious(page: Page, server: str, colours: Any) -> None:
    page.emulate_media(color_scheme=colours, reduced_motion="reduce")
    found = {state: faults(page) for state in walk_through(page, server)}
    assert {state: each for state, each in found.items() if each} == {}


def test_axe_finds_nothing_serious_while_jobs_run_and_when_one_is_refused(
    page: Page, complaints: Complaints
) -> None:
    complaints.expect("422")
    with step_by_step() as (slow, url):
        opened(page, url)
        make(page, "the first", steps=4)
        make(page, "the second", steps=4)
        slow.let()
        expect(page.locator(".card.is-running .card-facts")).to_contain_text("Step 1")
        make(page, "too much", steps=5000)
        expect(page.locator("#form-error .error")).to_be_visible()
        assert faults(page) == []


def test_axe_finds_nothing_serious_in_the_form_for_the_token(page: Page, complaints: Complaints) -> None:
    complaints.expect("401")
    with http_server(token=TOKEN) as address:
        page.goto(url_of(address))
        page.fill("#token", "a guess")
        page.click("button")
        expect(page.locator(".error")).to_be_visible()
        assert faults(page) == []


def test_a_picture_is_made_looked_at_and_reused_with_the_keyboard_only(page: Page, server: str) -> None:
    opened(page, server)
    press(page, "Tab", "Enter")  # skip to the prompt
    expect(page.locator("#prompt")).to_be_focused()
    page.keyboard.type("by hand")
    tab_to(page, "#make")
    press(page, "Enter")
    expect(page.locator("#results .tile")).to_have_count(1)
    tab_to(page, "#results .tile")
    press(page, "Enter")
    expect(page.locator("#viewer")).to_be_visible()
    press(page, "Escape")
    expect(page.locator("#results .tile")).to_be_focused()
    press(page, "Enter")
    expect(page.locator("#viewer")).to_be_visible()
    press(page, "u")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator("#prompt")).to_be_focused()
    expect(page.locator("#seed")).not_to_have_value("")


def test_a_job_is_cancelled_with_the_keyboard_and_the_focus_stays_on_the_page(page: Page) -> None:
    with step_by_step() as (slow, url):
        opened(page, url)
        make(page, "unwanted", steps=4)
        slow.let()
        expect(page.locator(".card.is-running .card-facts")).to_contain_text("Step 1")
        tab_to(page, "[data-cancel]")
        with page.expect_response("**/cancel"):
            press(page, "Enter")
        slow.let()
        expect(page.locator("#queue-section")).to_be_hidden()
        expect(page.locator("#prompt")).to_be_focused()


def test_the_shortcuts_do_what_the_help_says(page: Page, server: str) -> None:
    opened(page, server)
    press(page, "h")
    expect(page.locator("#view-history")).to_be_visible()
    press(page, "/")
    expect(page.locator("#search-text")).to_be_focused()
    page.keyboard.type("h?n")  # typed, not obeyed
    expect(page.locator("#search-text")).to_have_value("h?n")
    press(page, "Tab", "Tab")
    page.evaluate("document.activeElement.blur()")
    press(page, "n")
    expect(page.locator("#prompt")).to_be_focused()
    page.evaluate("document.activeElement.blur()")
    press(page, "?")
    expect(page.locator("#help-dialog")).to_be_visible()
    page.click("#single-keys")
    press(page, "Escape")
    page.evaluate("document.activeElement.blur()")
    press(page, "h")
    expect(page.locator("#view-create")).to_be_visible()


def test_the_switch_changes_the_colours_and_is_remembered(
    page: Page, context: BrowserContext, server: str
) -> None:
    page.emulate_media(color_scheme="light")
    opened(page, server)
    light = background(page)
    page.click("#theme")
    dark = background(page)
    assert light != dark
    again = opened(context.new_page(), server)
    assert background(again) == dark
    page.emulate_media(color_scheme="dark")
    page.evaluate("localStorage.clear()")
    page.reload()
    assert background(page) == dark


def background(page: Page) -> Any:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def tab_to(page: Page, selector: str) -> None:
    """Presses Tab until the element has the focus; every stop on the way must be visible."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement?.matches(selector)", selector):
            return
        assert page.evaluate(
            "document.activeElement === document.body || document.activeElement.checkVisibility()"
        )
    raise AssertionError(f"no way to {selector} by Tab")
