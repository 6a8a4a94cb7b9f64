"""The training data that the recipes share: the split, the prepared pictures, captions, and a seeded order.

Shapes: n pictures, c channels (red, green, blue), h and w rows and columns in pixels.
"""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from sdenv.core.errors import BadTrainingData

INDEX_NAME: Final = "index.json"  # what the data step writes beside the pictures
PICTURE_PX: Final = 256  # side of every prepared picture; the 3D set has no more, and the model makes no more


@dataclass(frozen=True, slots=True)
class Concept:
    """A thing that is drawn in every style.

    Attributes:
        slug: Its Unicode name with dashes, as the icon sets name their files.
        emoji: Its character, the key of the name and tag tables.
        phrase: How a person asks for it, article included: "a pizza", "grapes".
    """

    slug: str
    emoji: str
    phrase: str


@dataclass(frozen=True, slots=True)
class Split:
    """Who may see what. One committed file, so that every recipe means the same.

    Attributes:
        styles: The style words of captions.
        concepts: All concepts, held-out ones included.
        held_out_concepts: Slugs that no recipe sees; kept for judging adapters.
        held_out_pairs: (slug, style) kept from training while the other styles of the slug are trained.
    """

    styles: tuple[str, ...]
    concepts: tuple[Concept, ...]
    held_out_concepts: frozenset[str]
    held_out_pairs: frozenset[tuple[str, str]]

    def trains_on(self, slug: str, style: str) -> bool:
        """Whether recipes may see this picture."""
        return slug not in self.held_out_concepts and (slug, style) not in self.held_out_pairs

    def training_pairs(self) -> list[tuple[str, str]]:
        """All (slug, style) that recipes may see, in the order of the file."""
        return [
            (concept.slug, style)
            for concept in self.concepts
            for style in self.styles
            if self.trains_on(concept.slug, style)
        ]


@dataclass(frozen=True, slots=True)
class Sample:
    """One prepared picture: what it shows, in which style, further words for it, and where it lies."""

    slug: str
    style: str
    phrase: str
    tags: tuple[str, ...]
    path: Path


def read_split(path: Path | None = None) -> Split:
    """Reads a split file.

    Args:
        path: The file; None means the one that came with sdenv.

    Raises:
        BadTrainingData: A held-out name is not a concept or not a style, or a concept occurs twice.
    """
    if path is None:
        text = resources.files("sdenv.training").joinpath("emoji_split.json").read_text("utf-8")
    else:
        text = path.read_text("utf-8")
    raw = json.loads(text)
    split = Split(
        styles=tuple(raw["styles"]),
        concepts=tuple(Concept(each["slug"], each["emoji"], each["phrase"]) for each in raw["concepts"]),
        held_out_concepts=frozenset(raw["held_out_concepts"]),
        held_out_pairs=frozenset((slug, style) for slug, style in raw["held_out_pairs"]),
    )
    slugs = [concept.slug for concept in split.concepts]
    unknown = split.held_out_concepts - set(slugs)
    unknown |= {
        slug for slug, style in split.held_out_pairs if slug not in slugs or style not in split.styles
    }
    if unknown or len(set(slugs)) != len(slugs):
        raise BadTrainingData(
            "The split file contradicts itself.",
            why=f"Unknown: {sorted(unknown)}; {len(slugs) - len(set(slugs))} concepts occur twice.",
        )
    return split


def read_samples(folder: Path) -> list[Sample]:
    """All pictures that the data step prepared, held-out ones included.

    Raises:
        BadTrainingData: The folder was not prepared, or a picture that its index names is gone.
    """
    index = folder / INDEX_NAME
    if not index.is_file():
        raise BadTrainingData(
            f"{folder} holds no prepared pictures.",
            why=f"There is no {INDEX_NAME}.",
            hint=f"sdenv train prepare --set output={folder}",
        )
    samples = [
        Sample(each["slug"], each["style"], each["phrase"], tuple(each["tags"]), folder / each["file"])
        for each in json.loads(index.read_text("utf-8"))["pictures"]
    ]
    missing = [str(sample.path) for sample in samples if not sample.path.is_file()]
    if missing:
        raise BadTrainingData(f"{len(missing)} prepared pictures are gone.", why=f"The first: {missing[0]}.")
    return samples


def training_samples(folder: Path, split: Split) -> list[Sample]:
    """The prepared pictures that recipes may see."""
    chosen = [sample for sample in read_samples(folder) if split.trains_on(sample.slug, sample.style)]
    if not chosen:
        raise BadTrainingData(f"{folder} holds no picture of the training split.")
    return chosen


def load_pictures(samples: Sequence[Sample]) -> UInt8[Tensor, "n c h w"]:
    """The pictures of these samples in memory, values 0..255.

    Raises:
        BadTrainingData: A picture cannot be read or has another size; none is ever replaced.
    """
    pictures = torch.empty(len(samples), 3, PICTURE_PX, PICTURE_PX, dtype=torch.uint8)
    for row, sample in enumerate(samples):
        try:
            with Image.open(sample.path) as opened:
                array = np.asarray(opened.convert("RGB"))
        except OSError as error:
            raise BadTrainingData(f"{sample.path} is not a readable picture.", why=str(error)) from error
        if array.shape != (PICTURE_PX, PICTURE_PX, 3):
            raise BadTrainingData(f"{sample.path} has shape {array.shape}, not {PICTURE_PX} px square.")
        pictures[row] = torch.from_numpy(array.copy()).permute(2, 0, 1)
    return pictures


def canonical_caption(phrase: str, style: str) -> str:
    """The caption that scores and examples use: "a pizza, flat"."""
    return f"{phrase}, {style}"


def varied_caption(sample: Sample, chance: random.Random) -> str:
    """One of the ways in which people type the same wish.

    Half of them are canonical; the others drop the article, move or drop the style word, or add tags.
    """
    bare = sample.phrase.removeprefix("a ").removeprefix("an ")
    way = chance.random()
    if way < 0.5:
        return canonical_caption(sample.phrase, sample.style)
    name = sample.phrase if chance.random() < 0.5 else bare
    tags = chance.sample(sample.tags, min(len(sample.tags), chance.randint(1, 2)))
    if way < 0.62:
        return f"{name}, {sample.style}" if chance.random() < 0.5 else f"{name} {sample.style}"
    if way < 0.74:
        return f"{sample.style} {bare}" if chance.random() < 0.7 else f"a {sample.style} {bare}"
    if way < 0.88:
        return ", ".join([name, *tags, sample.style])
    return name if chance.random() < 0.7 else ", ".join([name, *tags])


def chance_for(*counters: int) -> random.Random:
    """Randomness that depends on nothing but these numbers, so that a resumed run repeats an unbroken one."""
    digest = hashlib.sha256(repr(counters).encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "little"))


def generator_for(*counters: int) -> torch.Generator:
    """The same for torch."""
    return torch.Generator().manual_seed(chance_for(*counters).getrandbits(63))


@lru_cache(maxsize=4)
def _shuffled(count: int, seed: int, epoch: int) -> list[int]:
    order = list(range(count))
    chance_for(seed, epoch).shuffle(order)
    return order


def batch_rows(step: int, batch_size: int, count: int, seed: int) -> list[int]:
    """The rows of batch number `step`: each row once a pass, in an order that only the seed decides."""
    places = range(step * batch_size, (step + 1) * batch_size)
    return [_shuffled(count, seed, place // count)[place % count] for place in places]


def to_minus_one_to_one(pictures: UInt8[Tensor, "n c h w"]) -> Tensor:
    """Bytes 0..255 to float32 -1..1, the range of every autoencoder in diffusers."""
    return pictures.float().div_(127.5).sub_(1.0)


def style_counts(samples: Sequence[Sample]) -> Mapping[str, int]:
    """How many pictures there are in each style."""
    return {
        style: sum(sample.style == style for sample in samples) for style in {each.style for each in samples}
    }
