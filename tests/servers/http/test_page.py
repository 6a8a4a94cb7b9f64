"""What a browser is given to begin with, and the routes that the page has beside those of the jobs."""

import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Final

import httpx2
import pytest

from sdenv.core.image import ImageData, decode
from sdenv.servers.http.page import CONTENT_SECURITY_POLICY, page_files
from sdenv.testing.samples import picture
from tests.servers.http.support import BEARER, JOBS, SMALL, TOKEN, asked, error_code, finished

MAX_PAGE_BYTES: Final = 200_000
METADATA: Final = "/sdenv/v1/metadata"
BROWSER: Final = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PAGE: Final = page_files()
SOURCES: Final = {name: file.data.decode() for name, file in PAGE.items()}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with asked() as found:
        yield found


@pytest.fixture(scope="module")
def closed() -> Iterator[httpx2.Client]:
    """A server that wants a token."""
    with asked(token=TOKEN) as found:
        yield found


def test_a_browser_gets_the_page_and_a_program_json(client: httpx2.Client) -> None:
    page, answer = client.get("/", headers=BROWSER), client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.content == PAGE["index.html"].data
    assert answer.json()["status"] == "OK"


def test_everything_together_is_under_200_kb() -> None:
    assert sum(len(file.data) for file in PAGE.values()) < MAX_PAGE_BYTES


def test_nothing_comes_from_elsewhere_and_nothing_is_inline() -> None:
    for name, text in SOURCES.items():
        addresses = (
            set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"')]*", text)) if name != "icon.svg" else set()
        )
        assert addresses <= {"http://www.w3.org/2000/svg"}, name
        assert not re.search(r"<style|\sstyle=|\son\w+=\"|javascript:", text), name
        assert not re.search(r"<script(?![^>]*\ssrc=\"/page/)", text), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text), name


def test_every_file_that_is_named_is_there_and_every_file_is_named() -> None:
    named = {name for text in SOURCES.values() for name in re.findall(r"/page/([\w.]+)", text)}
    assert named == set(PAGE) - {"index.html", "login.html"}


def test_every_element_that_a_script_looks_for_is_on_a_page() -> None:
    ids = {
        id_ for name in ("index.html", "login.html") for id_ in re.findall(r'\bid="([\w-]+)"', SOURCES[name])
    }
    looked_for = {id_ for text in SOURCES.values() for id_ in re.findall(r'byId\("([\w-]+)"\)', text)}
    assert looked_for <= ids


def test_files_lie_in_one_folder_and_are_looked_up_by_name(client: httpx2.Client) -> None:
    for name in ("nothing.js", "..%2f..%2f__init__.py", "%2e%2e/about.py", "index.html%00"):
        assert client.get(f"/page/{name}").status_code == 404


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/page/style.css", "/page/icon.svg"])
def test_a_file_says_what_may_run_and_is_asked_for_again_by_its_tag(client: httpx2.Client, path: str) -> None:
    first = client.get(path, headers=BROWSER)
    again = client.get(path, headers={**BROWSER, "If-None-Match": first.headers["etag"]})
    assert first.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert first.headers["x-content-type-options"] == "nosniff"
    assert (again.status_code, again.content) == (304, b"")


def test_a_stranger_gets_the_form_for_the_token_and_the_files_but_nothing_else(closed: httpx2.Client) -> None:
    assert closed.get("/", headers=BROWSER).content == PAGE["login.html"].data
    assert closed.get("/page/style.css").status_code == 200
    assert closed.get("/docs", headers=BROWSER).status_code == 401
    assert closed.post(METADATA, content=b"").status_code == 401
    assert closed.get("/", headers={**BROWSER, **BEARER}).content == PAGE["index.html"].data


def test_the_form_gives_a_cookie_that_only_this_server_gets_and_takes_it_back(closed: httpx2.Client) -> None:
    answer = closed.post("/login", data={"token": TOKEN})
    cookie = answer.headers["set-cookie"]
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    held = {"Cookie": cookie.partition(";")[0]}
    assert closed.get(JOBS, headers=held).status_code == 200
    out = closed.post("/logout", headers=held)
    assert 'sdenv_token=""' in out.headers["set-cookie"]
    assert "Max-Age=0" in out.headers["set-cookie"]
    closed.cookies.clear()


def test_a_wrong_token_gets_no_cookie(closed: httpx2.Client) -> None:
    answer = closed.post("/login", data={"token": "a guess"})
    assert (answer.status_code, error_code(answer)) == (401, "denied")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ({}, "Basic"),
        ({"Sec-Fetch-Mode": "navigate"}, "Basic"),
        ({"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}, "Bearer"),
        ({"X-Requested-With": "sdenv"}, "Bearer"),
        ({"Accept": "text/event-stream"}, "Bearer"),
        ({"Accept": "image/avif,image/webp"}, "Bearer"),
    ],
)
def test_no_script_makes_the_browser_ask_for_a_password(
    closed: httpx2.Client, headers: dict[str, str], challenge: str
) -> None:
    answer = closed.get(JOBS, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith(challenge)


def test_the_status_says_what_one_request_may_ask_for_and_whether_a_token_is_needed() -> None:
    with asked(limits={"steps": 40, "count": 3}) as bounded:
        found = bounded.get("/sdenv/v1/status").json()
    assert (found["limits"]["steps"], found["limits"]["count"], found["needs_token"]) == (40, 3, False)


def test_a_picture_is_sent_as_small_as_it_is_asked_for(client: httpx2.Client) -> None:
    where = f"{JOBS}/{finished(client)}/pictures/0"
    small = client.get(where, params={"max_side_px": 32, "format": "webp"})
    same = client.get(where, params={"max_side_px": 640})
    assert (small.headers["content-type"], size(small)) == ("image/webp", (32, 32))
    assert same.content == client.get(where).content
    assert client.get(where, params={"max_side_px": 0}).status_code == 422


def size(answer: httpx2.Response) -> tuple[int, int]:
    return decode(ImageData.from_bytes(answer.content)).size


@pytest.mark.parametrize("format_name", ["png", "jpeg", "webp"])
def test_a_picture_says_how_it_was_made(client: httpx2.Client, format_name: str) -> None:
    job_id = finished(client, request={**SMALL, "count": 2})
    file = client.get(f"{JOBS}/{job_id}/pictures/1", params={"format": format_name}).content
    found = client.post(METADATA, content=file).json()
    assert (found["request"]["prompt"], found["seed"], found["missing"]) == (
        SMALL["prompt"],
        SMALL["seed"] + 1,
        [],
    )


def test_what_a_picture_was_made_from_comes_with_it_or_is_named(client: httpx2.Client) -> None:
    start = picture(64, 64, 1).model_dump(mode="json")
    job_id = finished(client, request={**SMALL, "init_image": start, "strength": 0.5})
    where = f"{JOBS}/{job_id}/pictures/0"
    inside = client.post(METADATA, content=client.get(where).content).json()
    outside = client.post(METADATA, content=client.get(where, params={"format": "webp"}).content).json()
    assert (inside["request"]["init_image"], inside["missing"]) == (start, [])
    assert [each["field"] for each in outside["missing"]] == ["init_image"]
    assert "init_image" not in outside["request"]


@pytest.mark.parametrize(
    ("file", "code"),
    [
        (b"", "bad-image"),
        (b"not a picture", "bad-image"),
        (picture(8, 8, 1).data, "bad-metadata"),
        (picture(8, 8, 1).data[:40], "bad-image"),
    ],
)
def test_a_file_without_settings_is_refused_in_words(client: httpx2.Client, file: bytes, code: str) -> None:
    answer = client.post(METADATA, content=file)
    assert (answer.status_code, error_code(answer)) == (422, code)


def test_a_file_above_the_limit_is_not_read() -> None:
    with asked(limits={"body_bytes": 2000}) as bounded:
        assert bounded.post(METADATA, content=b"x" * 3000).status_code == 413


def test_the_files_that_are_sent_are_those_of_the_package() -> None:
    folder = files("sdenv").joinpath("assets", "page")
    assert {each.name for each in folder.iterdir()} == set(PAGE)
