"""Galleries: safe whatever a prompt says, complete without a network, never written over unasked."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import PIL.Image
import pytest

from sdenv.core.errors import FileAlreadyExists, NotWritable
from sdenv.services.gallery import Shown, write_gallery_file, write_gallery_folder

EVIL = "<script>alert(1)</script>\" onerror='x' & </title></style>"


class Tags(HTMLParser):
    """Every tag with its attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, tag: str, name: str) -> list[str]:
        return [attrs.get(name) or "" for each, attrs in self.tags if each == tag]


def shown(folder: Path, name: str = "one-0", title: str = "a cat") -> Shown:
    path = folder / f"{name}.png"
    PIL.Image.new("RGB", (8, 4), "teal").save(path)
    return Shown(name, path, title, (("Seed", "7"),), "sdenv history again one", 8, 4)


def test_a_prompt_is_text_whatever_it_says(tmp_path: Path) -> None:
    each = shown(tmp_path, title=EVIL)
    evil = Shown(each.name, each.path, EVIL, ((EVIL, EVIL),), EVIL, 8, 4)
    page, _ = write_gallery_folder(tmp_path / "out", [evil], EVIL)
    found = Tags(page.read_text())
    assert [tag for tag, _ in found.tags].count("script") == 1
    assert not any(name.startswith("on") for _, attrs in found.tags for name in attrs)
    assert found.values("img", "alt") == [EVIL]
    assert found.text.count(EVIL) >= 4


@pytest.mark.parametrize("name", ["../up", "a/b", "", "a.b", 'a"b', "é"])
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    good = shown(tmp_path)
    with pytest.raises(NotWritable):
        write_gallery_folder(tmp_path / "out", [Shown(name, good.path, "a cat")], "t")


def test_the_page_forbids_itself_everything_but_what_it_brings(tmp_path: Path) -> None:
    page, _ = write_gallery_folder(tmp_path / "out", [shown(tmp_path)], "t")
    text = page.read_text()
    found = Tags(text)
    policy = next(attrs["content"] for _, attrs in found.tags if attrs.get("http-equiv"))
    assert policy is not None
    for tag in ("script", "style"):
        body = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert body is not None
        digest = base64.b64encode(hashlib.sha256(body[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    links = [*found.values("img", "src"), *found.values("a", "href"), *found.values("script", "src")]
    assert not any("//" in link for link in links)


def test_a_folder_gets_copies_and_the_sizes_of_the_pictures(tmp_path: Path) -> None:
    one, two = shown(tmp_path, "one-0"), shown(tmp_path, "two-0")
    page, count = write_gallery_folder(tmp_path / "out", [one, two], "t")
    assert (page, count) == (tmp_path / "out" / "index.html", 2)
    found = Tags(page.read_text())
    assert found.values("img", "src") == ["pictures/one-0.png", "pictures/two-0.png"]
    assert found.values("img", "width") == ["8", "8"]
    assert (tmp_path / "out/pictures/one-0.png").read_bytes() == one.path.read_bytes()


def test_one_file_holds_the_pictures_themselves(tmp_path: Path) -> None:
    each = shown(tmp_path)
    page, _ = write_gallery_file(tmp_path / "all.html", [each], "t")
    found = Tags(page.read_text())
    (source,) = found.values("img", "src")
    assert found.values("a", "href") == []
    head, _, body = source.partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body) == each.path.read_bytes()


def test_pictures_that_are_gone_or_none_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "none.png").write_text("words")
    gone, none = Shown("gone-0", tmp_path / "gone.png", "x"), Shown("none-0", tmp_path / "none.png", "y")
    page, count = write_gallery_folder(tmp_path / "out", [gone, none, shown(tmp_path)], "t")
    assert count == 1
    assert Tags(page.read_text()).values("img", "alt") == ["a cat"]


def test_an_empty_gallery_is_a_page_too(tmp_path: Path) -> None:
    page, count = write_gallery_file(tmp_path / "all.html", [], "t")
    assert (count, "There is no picture." in page.read_text()) == (0, True)


def test_a_gallery_that_is_there_is_replaced_only_when_asked(tmp_path: Path) -> None:
    write_gallery_folder(tmp_path / "out", [], "first")
    write_gallery_file(tmp_path / "all.html", [], "first")
    with pytest.raises(FileAlreadyExists):
        write_gallery_folder(tmp_path / "out", [], "second")
    with pytest.raises(FileAlreadyExists):
        write_gallery_file(tmp_path / "all.html", [], "second")
    write_gallery_file(tmp_path / "all.html", [], "second", replace=True)
    assert "second" in (tmp_path / "all.html").read_text()
