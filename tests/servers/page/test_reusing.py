"""Settings that are used again: from the history, from a picture that is dropped, pasted or chosen."""

import base64
from collections.abc import Iterator
from typing import Final

import httpx2
import pytest
from playwright.sync_api import Page, expect

from sdenv.core.image import ImageData, decode
from sdenv.testing.samples import picture
from tests.servers.page.browser import Complaints, make, opened
from tests.support.http_servers import http_server, url_of

pytestmark = pytest.mark.slow

JOBS: Final = "/sdenv/v1/jobs"
DROP = """([data, type, target]) => {
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], "picture", { type }));
    for (const name of ["dragenter", "dragover", "drop"]) {
        const element = document.querySelector(target);
        element.dispatchEvent(new DragEvent(name, { dataTransfer, bubbles: true, cancelable: true }));
    }
}"""
PASTE = """([data, type]) => {
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([bytes], "picture", { type }));
    const event = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true });
    document.body.dispatchEvent(event);
}"""


@pytest.fixture
def server() -> Iterator[str]:
    with http_server() as address:
        yield url_of(address)


def made_by_api(url: str, **request: object) -> tuple[str, bytes]:
    """Id and file of a picture that a script has made."""
    with httpx2.Client(base_url=url, trust_env=False) as client:
        job_id = client.post(
            JOBS, json={"request": {"width": 64, "height": 64, "steps": 3, **request}}
        ).json()["id"]
        client.get(f"{JOBS}/{job_id}/events").read()
        return job_id, client.get(f"{JOBS}/{job_id}/pictures/0").content


def pixels_of_newest(url: str) -> list[bytes]:
    """Of the two newest jobs, newest first."""
    with httpx2.Client(base_url=url, trust_env=False) as client:
        jobs = client.get(JOBS, params={"limit": 2, "state": "done"}).json()["jobs"]
        files = [client.get(f"{JOBS}/{job['id']}/pictures/0").content for job in jobs]
    return [decode(ImageData.from_bytes(file)).tobytes() for file in files]


def dropped(page: Page, file: bytes, target: str = "body", media_type: str = "image/png") -> None:
    page.evaluate(DROP, [base64.b64encode(file).decode(), media_type, target])


def test_settings_from_the_history_make_the_same_pixels_again(page: Page, emoji: str) -> None:
    opened(page, emoji)
    make(page, "a green leaf, flat", steps=3, seed=77)
    expect(page.locator("#results .tile[aria-label^='a green leaf']")).to_have_count(1)
    page.fill("#prompt", "something else")
    page.fill("#seed", "")
    page.click("[data-view-link=history]")
    page.fill("#search-text", "leaf green")
    page.click("#history-list .tile")
    page.click("#viewer-reuse")
    expect(page.locator("#view-create")).to_be_visible()
    expect(page.locator("#prompt")).to_have_value("a green leaf, flat")
    expect(page.locator("#seed")).to_have_value("77")
    page.click("#make")
    expect(page.locator("#results .tile[aria-label^='a green leaf']")).to_have_count(2)
    newest, before = pixels_of_newest(emoji)
    assert newest == before


def test_a_dropped_png_fills_the_form_and_makes_the_same_pixels_again(page: Page, server: str) -> None:
    _, file = made_by_api(server, prompt="from a script", seed=5, sampler="Heun", guidance_scale=3.5)
    opened(page, server)
    dropped(page, file)
    expect(page.locator("#prompt")).to_have_value("from a script")
    values = {"#seed": "5", "#sampler": "Heun", "#guidance_scale": "3.5", "#width": "64", "#steps": "3"}
    for selector, value in values.items():
        expect(page.locator(selector)).to_have_value(value)
    page.click("#make")
    expect(page.locator("#results .tile")).to_have_count(2)
    newest, before = pixels_of_newest(server)
    assert newest == before


def test_the_picture_of_a_batch_that_is_dropped_has_its_own_seed(page: Page, server: str) -> None:
    job_id, _ = made_by_api(server, prompt="three", seed=5, count=3)
    with httpx2.Client(base_url=server, trust_env=False) as client:
        third = client.get(f"{JOBS}/{job_id}/pictures/2").content
    opened(page, server)
    dropped(page, third)
    expect(page.locator("#seed")).to_have_value("7")
    expect(page.locator("#count")).to_have_value("")


def test_a_dropped_png_brings_the_picture_that_it_was_made_from(page: Page, server: str) -> None:
    start = picture(64, 64, 1).model_dump(mode="json")
    _, file = made_by_api(server, prompt="changed", seed=5, init_image=start, strength=0.6)
    opened(page, server)
    dropped(page, file)
    expect(page.locator("#start-summary")).to_have_text("chosen")
    expect(page.locator("#strength")).to_have_value("0.6")
    page.click("#make")
    expect(page.locator("#results .tile")).to_have_count(2)
    newest, before = pixels_of_newest(server)
    assert newest == before


def test_a_jpeg_that_is_chosen_fills_the_form_too(page: Page, server: str) -> None:
    job_id, _ = made_by_api(server, prompt="as a jpeg", seed=9)
    with httpx2.Client(base_url=server, trust_env=False) as client:
        jpeg = client.get(f"{JOBS}/{job_id}/pictures/0", params={"format": "jpeg"}).content
    opened(page, server)
    page.set_input_files("#settings-file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": jpeg})
    expect(page.locator("#prompt")).to_have_value("as a jpeg")
    expect(page.locator("#seed")).to_have_value("9")


def test_a_field_without_a_place_in_the_form_is_kept_named_and_sent(page: Page, server: str) -> None:
    _, file = made_by_api(server, prompt="with a lora", seed=1, loras=[{"name": "lines", "weight": 0.5}])
    opened(page, server)
    dropped(page, file)
    expect(page.locator("#extras")).to_contain_text("loras")
    page.click("#make")
    expect(page.locator("#results .tile")).to_have_count(2)
    newest, before = pixels_of_newest(server)
    assert newest == before
    page.click("#extras button")
    expect(page.locator("#extras")).to_be_hidden()


def test_what_this_server_does_not_offer_is_said(page: Page, emoji: str) -> None:
    with http_server() as address:
        _, file = made_by_api(url_of(address), prompt="elsewhere", seed=1, clip_skip=2, sampler="Restart")
    opened(page, emoji)
    dropped(page, file)
    expect(page.locator("#toasts")).to_contain_text("the model mosaic, the sampler Restart, clip skip")


def test_a_picture_that_says_nothing_is_what_the_next_one_starts_from(
    page: Page, server: str, complaints: Complaints
) -> None:
    complaints.expect("422")
    opened(page, server)
    page.evaluate(PASTE, [base64.b64encode(picture(64, 64, 1).data).decode(), "image/png"])
    expect(page.locator("#start-chosen")).to_be_visible()
    expect(page.locator("#toasts")).to_contain_text("does not say how it was made")


def test_what_is_no_picture_is_refused_in_words(page: Page, server: str, complaints: Complaints) -> None:
    complaints.expect("422")
    opened(page, server)
    dropped(page, b"not a picture")
    expect(page.locator("#toasts")).to_contain_text("is not a picture that sdenv reads")


def test_a_picture_dropped_on_a_zone_is_used_for_what_the_zone_says(page: Page, server: str) -> None:
    _, file = made_by_api(server, prompt="twice useful", seed=5)
    opened(page, server)
    dropped(page, file, "[data-purpose=start]")
    expect(page.locator("#start-chosen")).to_be_visible()
    expect(page.locator("#prompt")).to_have_value("")


def test_the_history_is_read_page_by_page_and_searched(page: Page, server: str) -> None:
    with httpx2.Client(base_url=server, trust_env=False) as client:
        for number in range(35):
            request = {"prompt": f"number {number}", "width": 64, "height": 64, "steps": 1}
            answer = client.post(JOBS, json={"request": request})
            client.get(f"{JOBS}/{answer.json()['id']}/events").read()
    opened(page, server, "history")
    expect(page.locator("#history-list .tile")).to_have_count(30)
    page.click("#older")
    expect(page.locator("#history-list .tile")).to_have_count(35)
    expect(page.locator("#older")).to_be_hidden()
    page.fill("#search-text", "number 31")
    expect(page.locator("#history-list .tile")).to_have_count(1)
    page.fill("#search-text", "nowhere")
    expect(page.locator("#history-empty")).to_have_text("Nothing was found.")


def test_a_job_is_deleted_after_a_second_press(page: Page, server: str) -> None:
    made_by_api(server, prompt="unloved", seed=5)
    opened(page, server)
    page.click("#results .tile")
    page.click("#viewer-delete")
    expect(page.locator("#viewer")).to_be_visible()
    page.click("#viewer-delete")
    expect(page.locator("#results .tile")).to_have_count(0)
    expect(page.locator("#results-empty")).to_be_visible()
