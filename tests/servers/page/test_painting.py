"""Starting from a picture, and painting over what is to be made anew."""

from typing import Any, Final

import httpx2
import pytest
from playwright.sync_api import Page, expect

from sdenv.core.image import ImageData, decode
from sdenv.testing.samples import picture
from tests.servers.page.browser import PHONE, make, opened
from tests.support.http_servers import http_server, url_of

pytestmark = pytest.mark.slow

JOBS: Final = "/sdenv/v1/jobs"
SIDE_PX: Final = 256
FILE: Final[Any] = {"name": "a.png", "mimeType": "image/png", "buffer": picture(SIDE_PX, SIDE_PX, 3).data}


def chosen(page: Page, url: str) -> Page:
    """The page with a picture to start from."""
    opened(page, url)
    page.set_input_files("#start-file", FILE)
    page.wait_for_selector("#start-chosen:not([hidden])")
    return page


def stroke(page: Page, *points: tuple[float, float]) -> None:
    """Paints from point to point; each is a share of the canvas."""
    canvas = page.locator("#mask")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


def asked(url: str) -> dict[str, Any]:
    """The request of the newest job, pictures included."""
    with httpx2.Client(base_url=url, trust_env=False) as client:
        job_id = client.get(JOBS, params={"limit": 1}).json()["jobs"][0]["id"]
        request: dict[str, Any] = client.get(f"{JOBS}/{job_id}/request").json()
    return request


def mask_of(request: dict[str, Any]) -> Any:
    return decode(ImageData.model_validate(request["mask"])).convert("L")


def test_a_drawn_mask_changes_what_is_under_it_and_little_else(page: Page, emoji: str) -> None:
    chosen(page, emoji)
    stroke(page, (0.2, 0.2), (0.45, 0.2), (0.45, 0.45), (0.2, 0.45), (0.3, 0.3))
    make(page, "a blue square, flat", steps=6, seed=1)
    expect(page.locator("#results .tile[aria-label^='a blue square']")).to_be_visible()
    mask = mask_of(asked(emoji))
    assert mask.size == (SIDE_PX, SIDE_PX)
    assert mask.getpixel((int(0.45 * SIDE_PX), int(0.3 * SIDE_PX))) == 255
    assert mask.getpixel((int(0.8 * SIDE_PX), int(0.8 * SIDE_PX))) == 0
    with httpx2.Client(base_url=emoji, trust_env=False) as client:
        job_id = client.get(JOBS, params={"limit": 1}).json()["jobs"][0]["id"]
        made = decode(ImageData.from_bytes(client.get(f"{JOBS}/{job_id}/pictures/0").content)).convert("L")
    start = decode(picture(SIDE_PX, SIDE_PX, 3)).convert("L")
    inside, outside = (0.25, 0.25, 0.4, 0.4), (0.6, 0.6, 0.95, 0.95)
    assert difference(made, start, inside) > 3 * difference(made, start, outside)


def difference(one: Any, other: Any, box: tuple[float, float, float, float]) -> float:
    """Mean difference of two pictures in a box of shares."""
    places = tuple(int(share * SIDE_PX) for share in box)
    pairs = zip(one.crop(places).tobytes(), other.crop(places).tobytes(), strict=True)
    values = [abs(left - right) for left, right in pairs]
    return float(sum(values) / len(values))


def test_without_a_stroke_there_is_no_mask(page: Page) -> None:
    with http_server() as address:
        chosen(page, url_of(address))
        page.fill("#strength", "0.4")
        make(page, "all of it", steps=2)
        expect(page.locator("#results .tile")).to_have_count(1)
        request = asked(url_of(address))
        assert request.get("mask") is None
        assert (request["strength"], request["init_image"]["media_type"]) == (0.4, "image/png")


def test_undo_erase_invert_and_clear_do_what_they_say(page: Page) -> None:
    with http_server() as address:
        url = url_of(address)
        chosen(page, url)
        stroke(page, (0.5, 0.5), (0.6, 0.5))
        stroke(page, (0.1, 0.1), (0.2, 0.1))
        page.click("#mask-undo")  # only the first is left
        page.click("#mask-erase")
        stroke(page, (0.6, 0.4), (0.6, 0.6))
        page.click("#mask-invert")
        make(page, "painted", steps=1)
        expect(page.locator("#results .tile")).to_have_count(1)
        mask = mask_of(asked(url))
        at = [
            mask.getpixel((int(x * SIDE_PX), int(y * SIDE_PX)))
            for x, y in ((0.5, 0.5), (0.6, 0.5), (0.15, 0.1))
        ]
        assert at == [0, 255, 255]
        page.click("#mask-clear")
        expect(page.locator("#mask-undo")).to_be_disabled()


def test_the_brush_has_the_size_that_is_set(page: Page) -> None:
    with http_server() as address:
        url = url_of(address)
        chosen(page, url)
        page.fill("#brush", "40")
        stroke(page, (0.5, 0.5), (0.5, 0.5))
        make(page, "one dab", steps=1)
        expect(page.locator("#results .tile")).to_have_count(1)
        left, _, right, _ = mask_of(asked(url)).getbbox()
        assert right - left == pytest.approx(0.4 * SIDE_PX, abs=4)


def test_a_mask_can_be_painted_with_the_keyboard(page: Page) -> None:
    with http_server() as address:
        url = url_of(address)
        chosen(page, url)
        page.focus("#mask")
        page.keyboard.press("Space")
        for _ in range(5):
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Space")
        page.keyboard.press("Delete")
        page.keyboard.press("Control+Enter")
        expect(page.locator("#results .tile")).to_have_count(1)
        left, _, right, _ = mask_of(asked(url)).getbbox()
        assert (left + right) / 2 == pytest.approx(SIDE_PX / 2, abs=3)


def test_a_finger_paints_too(page: Page) -> None:
    assert page.context.browser is not None
    phone = page.context.browser.new_context(**PHONE)
    try:
        with http_server() as address:
            url = url_of(address)
            touched = chosen(phone.new_page(), url)
            canvas = touched.locator("#mask")
            canvas.scroll_into_view_if_needed()
            box = canvas.bounding_box()
            assert box is not None
            touched.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            touched.fill("#prompt", "tapped")
            touched.click("#make")
            expect(touched.locator("#results .tile")).to_have_count(1)
            assert mask_of(asked(url)).getpixel((SIDE_PX // 2, SIDE_PX // 2)) == 255
    finally:
        phone.close()


def test_a_picture_made_here_can_be_started_from_and_its_mask_comes_back(page: Page) -> None:
    with http_server() as address:
        url = url_of(address)
        chosen(page, url)
        stroke(page, (0.5, 0.5), (0.6, 0.5))
        make(page, "painted", steps=1)
        expect(page.locator("#results .tile")).to_have_count(1)
        first = asked(url)
        page.reload()
        page.click("#results .tile")
        page.click("#viewer-reuse")
        expect(page.locator("#start-summary")).to_have_text("with a mask")
        page.click("#make")
        expect(page.locator("#results .tile")).to_have_count(2)
        again = asked(url)
        assert again["init_image"] == first["init_image"]
        assert mask_of(again).tobytes() == mask_of(first).tobytes()
