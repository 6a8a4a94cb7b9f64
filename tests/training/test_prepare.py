"""The data step, on npm packages made up for the test."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from sdenv.core.errors import BadTrainingData
from sdenv.core.events import Notice
from sdenv.training import emoji_data
from sdenv.training.recipes.prepare import PrepareConfig, PrepareRecipe
from tests.training.support import Recorder

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">{}</svg>'
DISC = '<circle cx="16" cy="16" r="{}" fill="tomato"/>'


def _pack(folder: Path, package: emoji_data.Package, files: dict[str, bytes]) -> None:
    with tarfile.open(folder / package.tarball, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _webp(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", (256, 256), colour).save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


@pytest.fixture
def config(tmp_path: Path) -> PrepareConfig:
    """Two things in four styles; the 3D pizza is damaged and the set has no Noto rocket."""
    packages = tmp_path / "packages"
    packages.mkdir()
    svg = {
        f"icons/{style}/{slug}.svg": SVG.format(DISC.format(radius)).encode()
        for radius, (style, slug) in enumerate(
            [("flat", "pizza"), ("flat", "rocket"), ("modern", "pizza"), ("modern", "rocket")], start=5
        )
    }
    noto = {"icons": {"pizza": {"body": DISC.format(50)}}, "aliases": {}, "width": 128}
    names = {"🍕": {"name": "pizza"}, "🚀": {"name": "rocket"}}
    tags = [{"emoji": "🍕", "tags": ["cheese", "pizza"]}, {"emoji": "🚀", "tags": ["space"]}]
    _pack(packages, emoji_data.FLUENT, svg)
    _pack(packages, emoji_data.FLUENT_3D, {"assets/1f355.webp": b"RIFF", "assets/1f680.webp": _webp("navy")})
    chars = json.dumps({"1f355": "pizza"}).encode()
    _pack(packages, emoji_data.NOTO, {"icons.json": json.dumps(noto).encode(), "chars.json": chars})
    _pack(packages, emoji_data.NAMES, {"data-by-emoji.json": json.dumps(names).encode()})
    _pack(packages, emoji_data.TAGS, {"en/data.json": json.dumps(tags).encode()})
    split = tmp_path / "split.json"
    concepts = [
        {"slug": "pizza", "emoji": "🍕", "phrase": "a pizza"},
        {"slug": "rocket", "emoji": "🚀", "phrase": "a rocket"},
    ]
    styles = ["flat", "modern", "3d", "noto"]
    split.write_text(
        json.dumps(
            {"styles": styles, "concepts": concepts, "held_out_concepts": [], "held_out_pairs": []},
        )
    )
    return PrepareConfig(tmp_path / "data", packages, split, pinned=False, bad_limit=2)


def test_bad_pictures_are_named_counted_and_left_out(config: PrepareConfig) -> None:
    context = Recorder()
    result = PrepareRecipe().run(config, context)
    assert result.measured == {"pictures": 6, "bad": 2}
    notices = [each.message for each in context.events if isinstance(each, Notice)]
    assert [text.partition(":")[0] for text in notices] == ["3d/pizza.png", "noto/rocket.png"]
    index = json.loads((config.output / "index.json").read_text())
    assert len(index["pictures"]) == 6
    assert [each["picture"] for each in index["bad"]] == ["3d/pizza.png", "noto/rocket.png"]


def test_pictures_are_256_px_on_white_with_phrase_and_tags(config: PrepareConfig) -> None:
    PrepareRecipe().run(config, Recorder())
    row = json.loads((config.output / "index.json").read_text())["pictures"][0]
    assert (row["phrase"], row["tags"], row["style"]) == ("a pizza", ["cheese"], "flat")
    with Image.open(config.output / row["file"]) as picture:
        assert picture.size == (256, 256)
        assert picture.mode == "RGB"
        assert picture.getpixel((0, 0)) == (255, 255, 255)
        assert picture.getpixel((128, 128)) == (255, 99, 71)


def test_more_bad_pictures_than_allowed_fail_and_leave_no_index(config: PrepareConfig) -> None:
    strict = PrepareConfig(config.output, config.packages, config.split, pinned=False, bad_limit=1)
    with pytest.raises(BadTrainingData, match=r"2 of 8 .*3d/pizza\.png"):
        PrepareRecipe().run(strict, Recorder())
    assert not (config.output / "index.json").exists()


def test_a_package_that_is_not_the_pinned_one_is_refused(config: PrepareConfig) -> None:
    with pytest.raises(BadTrainingData, match="SHA-512"):
        PrepareRecipe().run(PrepareConfig(config.output, config.packages, config.split), Recorder())


def test_a_drawing_of_nothing_is_bad() -> None:
    with pytest.raises(ValueError, match="nothing"):
        emoji_data.render(SVG.format("").encode())
