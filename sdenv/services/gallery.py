"""Pictures as a gallery of static HTML: a folder, or one file that holds everything.

Whatever was typed as a prompt is escaped, file names are made of ids only, and the page forbids itself every
connection (Content-Security-Policy); its one script, the search field, is named there by its hash.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Final, final

from sdenv.core.errors import BadImage, FileAlreadyExists, NotWritable
from sdenv.core.image import JPEG, PNG, WEBP, ImageData, sniff_media_type
from sdenv.services.output_checks import make_folder
from sdenv.services.whole_files import write_whole

PICTURES_FOLDER: Final = "pictures"
INDEX: Final = "index.html"
_SUFFIXES: Final = {PNG: ".png", JPEG: ".jpg", WEBP: ".webp"}


@final
@dataclass(frozen=True, slots=True)
class Shown:
    """One picture of a gallery.

    Attributes:
        name: Letters, digits and hyphens; no other picture has it. It becomes the name of the file.
        path: Where the picture lies.
        title: What is written below it: the prompt.
        facts: Labels and values, in order.
        again: The command that makes it again.
        width: In pixels.
        height: In pixels.
    """

    name: str
    path: Path
    title: str
    facts: tuple[tuple[str, str], ...] = ()
    again: str = ""
    width: int = 0
    height: int = 0


def write_gallery_folder(
    folder: Path, pictures: Iterable[Shown], title: str, *, replace: bool = False
) -> tuple[Path, int]:
    """Writes `index.html` and copies of the pictures into a folder.

    Args:
        folder: Made if it is not there.
        pictures: In the order in which they are shown.
        title: Name of the gallery.
        replace: Whether a gallery that is there may be replaced.

    Returns:
        The page, and how many pictures are on it; those that cannot be read any more are left out.

    Raises:
        FileAlreadyExists: There is an index.html already.
        NotWritable: The folder cannot be made or written to.
        DiskFull: There is no more space; a gallery that was there before still stands.
    """
    index = folder / INDEX
    if index.exists() and not replace:
        raise _taken(index)
    make_folder(folder / PICTURES_FOLDER)
    shown: list[tuple[Shown, str]] = []
    for each, image in _readable(pictures):
        copy = folder / PICTURES_FOLDER / f"{each.name}{_SUFFIXES[image.media_type]}"
        write_whole(copy, image.data, replace=True)
        shown.append((each, f"{PICTURES_FOLDER}/{copy.name}"))
    write_whole(index, _encoded(shown, title), replace=replace)
    return index, len(shown)


def write_gallery_file(
    path: Path, pictures: Iterable[Shown], title: str, *, replace: bool = False
) -> tuple[Path, int]:
    """Writes one HTML file with the pictures inside; otherwise as `write_gallery_folder`."""
    if path.exists() and not replace:
        raise _taken(path)
    make_folder(path.parent)
    shown = [(each, _as_url(image)) for each, image in _readable(pictures)]
    try:
        write_whole(path, _encoded(shown, title), replace=replace)
    except FileExistsError as error:
        raise _taken(path) from error
    return path, len(shown)


def _taken(path: Path) -> FileAlreadyExists:
    return FileAlreadyExists(
        f"The file {str(path)!r} exists.", hint="Give another place with -o, or replace it with --force."
    )


def _readable(pictures: Iterable[Shown]) -> Iterator[tuple[Shown, ImageData]]:
    """The pictures that are still there, and still pictures."""
    for each in pictures:
        if not each.name.replace("-", "").isalnum() or not each.name.isascii():
            raise NotWritable(f"{each.name!r} is not a name for a picture of a gallery.")
        try:
            data = each.path.read_bytes()
            yield each, ImageData(data=data, media_type=sniff_media_type(data))
        except (OSError, BadImage):
            continue


def _as_url(image: ImageData) -> str:
    return f"data:{image.media_type};base64,{base64.b64encode(image.data).decode('ascii')}"


def _encoded(shown: Sequence[tuple[Shown, str]], title: str) -> bytes:
    """The page as bytes; halves of characters, which the command line can bring, become question marks."""
    return _page(shown, title).encode("utf-8", "replace")


def _page(shown: Sequence[tuple[Shown, str]], title: str) -> str:
    script, style = _asset("gallery.js"), _asset("gallery.css")
    figures = "\n".join(_figure(each, address) for each, address in shown)
    count = f"{len(shown)} {'picture' if len(shown) == 1 else 'pictures'}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy(script, style)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{escape(title)}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p><output id="count">{count}</output></p>
<input id="search" type="search" placeholder="Search prompts and settings" aria-label="Search" hidden>
</header>
<main>
{figures or "<p>There is no picture.</p>"}
</main>
<script>{script}</script>
</body>
</html>
"""


def _policy(script: str, style: str) -> str:
    """Nothing may be loaded but pictures beside the page and inside it."""
    sums = {
        name: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
        for name, text in (("script", script), ("style", style))
    }
    return (
        f"default-src 'none'; img-src 'self' file: data:; script-src 'sha256-{sums['script']}'; "
        f"style-src 'sha256-{sums['style']}'; base-uri 'none'; form-action 'none'"
    )


def _figure(each: Shown, address: str) -> str:
    size = f' width="{each.width}" height="{each.height}"' if each.width and each.height else ""
    rows = "".join(f"<dt>{escape(label)}</dt><dd>{escape(value)}</dd>" for label, value in each.facts)
    again = f"<p><code>{escape(each.again)}</code></p>" if each.again else ""
    picture = f'<img src="{escape(address)}" alt="{escape(each.title)}"{size} loading="lazy">'
    if not address.startswith("data:"):  # which browsers do not follow, and which would be there twice
        picture = f'<a href="{escape(address)}">{picture}</a>'
    return (
        f'<figure id="{each.name}">{picture}'
        f"<figcaption>{escape(each.title) or '<i>no prompt</i>'}"
        f"<details><summary>How it was made</summary><dl>{rows}</dl>{again}</details></figcaption></figure>"
    )


def _asset(name: str) -> str:
    return files("sdenv").joinpath("assets", "gallery", name).read_text(encoding="utf-8")
