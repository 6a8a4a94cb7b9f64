"""Making pictures on the page: with the built-in model, watched, queued, cancelled."""

import re

import httpx2
import pytest
from playwright.sync_api import Page, expect

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.image import ImageData, decode
from sdenv.services.metadata import read_metadata
from sdenv.testing.fakes import SlowBackend
from tests.servers.page.browser import READY, make, opened, step_by_step
from tests.support.http_servers import http_server, url_of

pytestmark = pytest.mark.slow

TIMES = "\N{MULTIPLICATION SIGN}"
QUEUED = ".card:not(.is-running) .card-facts"


def test_a_picture_is_made_with_emoji_and_can_be_downloaded_with_its_settings(page: Page, emoji: str) -> None:
    make(opened(page, emoji), "a pizza, 3d", steps=4, seed=11)
    page.click("#results .tile")
    with page.expect_download() as download:
        page.click("#viewer-download")
    found = read_metadata(download.value.path().read_bytes())
    assert (found.request.prompt, found.request.steps, found.seed) == ("a pizza, 3d", 4, 11)


def test_a_preview_is_seen_before_the_picture_is_done(page: Page, emoji: str) -> None:
    make(opened(page, emoji), "a cat, flat", steps=60, seed=2)
    preview = page.locator(".card.is-running img")
    expect(preview).to_be_visible()
    source = preview.get_attribute("src") or ""
    assert source.startswith("data:image/")
    expect(page.locator(".card.is-running .card-facts")).to_have_text(re.compile(r"^Step \d+ of 60"))
    assert page.locator("#results .tile[aria-label^='a cat, flat']").count() == 0
    expect(page.locator("#results .tile[aria-label^='a cat, flat']")).to_be_visible()


def test_progress_is_told_step_by_step(page: Page) -> None:
    with step_by_step() as (slow, url):
        make(opened(page, url), "slowly", steps=4)
        for step in (1, 2, 3):
            slow.let()
            expect(page.locator(".card-facts")).to_contain_text(f"Step {step} of 4")
            expect(page.locator(".card progress")).to_have_js_property("value", step / 4)
        expect(page).to_have_title("75 % · sdenv")
        slow.let()
        expect(page.locator("#results .tile")).to_have_count(1)
        expect(page.locator("#queue-section")).to_be_hidden()
        expect(page).to_have_title("sdenv")


def test_pictures_of_one_job_come_as_each_is_finished(page: Page) -> None:
    with step_by_step() as (slow, url):
        make(opened(page, url), "three", steps=2, count=3)
        for done in (1, 2):
            slow.let(2)
            expect(page.locator("#results .tile")).to_have_count(done)
            expect(page.locator(".card-facts")).to_contain_text(f"{done} of 3 done")
        slow.let(2)
        expect(page.locator("#results .tile")).to_have_count(3)


def test_a_running_job_is_cancelled_and_the_next_one_begins(page: Page) -> None:
    with step_by_step() as (slow, url):
        opened(page, url)
        make(page, "the first", steps=4)
        make(page, "the second", steps=4)
        slow.let()
        expect(page.locator(".card.is-running .card-prompt")).to_have_text("the first")
        with page.expect_response("**/cancel"):
            page.click(".card.is-running button")
        slow.let()
        expect(page.locator(".card.is-running .card-prompt")).to_have_text("the second")
        expect(page.locator("#announcer")).to_have_text("Cancelled: the first")
        slow.let(4)
        expect(page.locator("#results .tile")).to_have_count(1)


def test_five_jobs_show_their_places_and_move_up(page: Page) -> None:
    with step_by_step() as (slow, url):
        opened(page, url)
        for number in range(5):
            make(page, f"number {number}", steps=4)
        expect(page.locator(QUEUED)).to_have_text(["Next", "1 before it", "2 before it", "3 before it"])
        page.click(".card:nth-child(3) button")  # one in the middle leaves
        expect(page.locator(QUEUED)).to_have_text(["Next", "1 before it", "2 before it"])
        slow.let(4)
        expect(page.locator(".card.is-running .card-prompt")).to_have_text("number 1")
        expect(page.locator(QUEUED)).to_have_text(["Next", "1 before it"])
        slow.let(100)
        expect(page.locator("#results .tile")).to_have_count(4)


def test_only_what_the_backend_carries_is_offered(page: Page, emoji: str) -> None:
    opened(page, emoji)
    expect(page.locator("#size option")).to_have_text([f"The model's own, 256 {TIMES} 256"])
    expect(page.locator("#sampler option")).not_to_have_count(0)
    expect(page.locator("#steps")).to_have_attribute("placeholder", "20")
    with http_server(FakeBackend(FakeSettings())) as address:
        opened(page, url_of(address))
        page.select_option("#model", "mosaic-native")
        expect(page.locator("#size option")).to_have_text(
            [f"The model's own, 256 {TIMES} 256", f"192 {TIMES} 320", f"320 {TIMES} 192"]
        )
    with http_server(SlowBackend()) as address:
        opened(page, url_of(address))
        expect(page.locator("#model")).to_be_hidden()
        expect(page.locator("#previews")).to_be_hidden()


def test_the_limits_of_the_server_bound_the_fields(page: Page) -> None:
    with http_server(FakeBackend(FakeSettings()), limits={"steps": 40, "count": 3}) as address:
        opened(page, url_of(address))
        expect(page.locator("#steps")).to_have_attribute("max", "40")
        expect(page.locator("#count")).to_have_attribute("max", "3")


def test_a_preset_is_saved_and_used_again(page: Page) -> None:
    with http_server() as address:
        opened(page, url_of(address))
        page.fill("#steps", "7")
        page.select_option("#sampler", "Heun")
        page.click("#preset-save")
        page.fill("#preset-name", "quick")
        page.keyboard.press("Enter")
        expect(page.locator("#preset")).to_have_value("saved:quick")
        page.select_option("#preset", "own")
        expect(page.locator("#steps")).to_have_value("")
        opened(page, url_of(address))
        page.reload()
        page.wait_for_selector(READY)
        page.select_option("#preset", "saved:quick")
        expect(page.locator("#steps")).to_have_value("7")
        expect(page.locator("#sampler")).to_have_value("Heun")


def test_an_own_size_is_what_is_made(page: Page) -> None:
    with http_server() as address, httpx2.Client(base_url=url_of(address), trust_env=False) as client:
        opened(page, url_of(address))
        page.select_option("#size", "own")
        make(page, "wide", width=128, height=64, steps=2)
        expect(page.locator("#results .tile")).to_have_count(1)
        job = client.get("/sdenv/v1/jobs").json()["jobs"][0]
        picture = client.get(f"/sdenv/v1/jobs/{job['id']}/pictures/0").content
        assert decode(ImageData.from_bytes(picture)).size == (128, 64)
