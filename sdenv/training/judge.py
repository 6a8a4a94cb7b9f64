"""Names what a picture shows by its nearest neighbours among the rendered emoji.

Feature space: colours (CIE Lab) and edge directions (histograms of oriented gradients, Dalal and Triggs
2005), both coarse and both after the drawing was cut out and brought to one size, so that small shifts,
another shading or another outline matter little. Nothing is learnt, above all not by the model that is
judged. Its fitness is measured on real pictures (`self_check`), before any generated one is judged.

Shapes: n pictures, f features, r references.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy import ndimage

Array = np.ndarray

SIDE_PX: Final = 64  # of the cut-out; finer adds texture, in which the styles differ
INK_LEVEL: Final = (
    24  # difference from white, of 255, from which a pixel belongs to the drawing; above JPEG-like noise
)
COLOUR_CELLS: Final = 16
EDGE_CELLS: Final = 8
DIRECTIONS: Final = 9  # as Dalal and Triggs, unsigned
COLOUR_WEIGHT: Final = 0.3  # chosen on real pictures: 0.3 names most of every style (docs/lab-log.md)
COLOUR_SCALE: Final = 20.0  # Lab units; brings typical colour distances to the size of typical edge distances
EDGE_SCALE: Final = 8.0**-0.5
EDGE_FLOOR: Final = 0.3  # keeps flat cells from turning noise into edges

_RGB_TO_XYZ: Final = np.array(  # IEC 61966-2-1, divided by its white point below
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
_WHITE: Final = np.array([0.9505, 1.0, 1.089])


def cut_out(picture: Image.Image) -> Image.Image:
    """The drawing without the white around it, centred in a square of SIDE_PX."""
    array = np.asarray(picture.convert("RGB")).astype(int)
    ink = (255 - array).max(-1) > INK_LEVEL
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    if not len(rows):
        return Image.new("RGB", (SIDE_PX, SIDE_PX), "white")
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    side = int(max(bottom - top, right - left) * 1.06) + 1
    square = Image.new("RGB", (side, side), "white")
    square.paste(
        picture.convert("RGB").crop((int(left), int(top), int(right), int(bottom))),
        ((side - int(right - left)) // 2, (side - int(bottom - top)) // 2),
    )
    return square.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)


def to_lab(rgb: Array) -> Array:
    """SRGB bytes to CIE Lab, D65 (IEC 61966-2-1 and CIE 15)."""
    level = rgb / 255.0
    linear = np.where(level > 0.04045, ((level + 0.055) / 1.055) ** 2.4, level / 12.92)
    relative = linear @ _RGB_TO_XYZ.T / _WHITE
    root = np.where(relative > 0.008856, np.cbrt(relative), 7.787 * relative + 16 / 116)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def features(picture: Image.Image) -> tuple[Array, Array]:
    """Colour and edge features of a picture, scaled so that a distance of 1 is a large one."""
    lab = to_lab(np.asarray(cut_out(picture)).astype(float))
    step = SIDE_PX // COLOUR_CELLS
    colour = ndimage.gaussian_filter(lab, (step / 2, step / 2, 0))[step // 2 :: step, step // 2 :: step]
    smooth = ndimage.gaussian_filter(lab, (0.7, 0.7, 0))
    down, right = np.gradient(smooth, axis=0), np.gradient(smooth, axis=1)
    strongest = np.hypot(right, down).argmax(-1)[..., None]
    down = np.take_along_axis(down, strongest, -1)[..., 0]
    right = np.take_along_axis(right, strongest, -1)[..., 0]
    strength = np.sqrt(np.hypot(right, down))  # the root tames outlines, which styles draw differently
    place = (np.arctan2(down, right) % np.pi) / np.pi * DIRECTIONS
    lower, share = np.floor(place).astype(int) % DIRECTIONS, place - np.floor(place)
    votes = np.zeros((SIDE_PX, SIDE_PX, DIRECTIONS))
    row, column = np.mgrid[:SIDE_PX, :SIDE_PX]
    votes[row, column, lower] += strength * (1 - share)
    votes[row, column, (lower + 1) % DIRECTIONS] += strength * share
    cell = SIDE_PX // EDGE_CELLS
    cells = ndimage.gaussian_filter(votes, (3, 3, 0))[cell // 2 :: cell, cell // 2 :: cell]
    energy = ndimage.uniform_filter(np.square(cells), (3, 3, 1)).sum(-1, keepdims=True)
    edges = cells / (np.sqrt(np.maximum(energy, 0)) + EDGE_FLOOR)
    colour_features = (colour / COLOUR_SCALE).ravel()
    edge_features = (edges / EDGE_SCALE).ravel()
    return colour_features / colour_features.size**0.5, edge_features / edge_features.size**0.5


@dataclass(frozen=True, slots=True)
class Judge:
    """Rendered pictures, by what they show.

    Attributes:
        names: What each reference shows.
        styles: In which style.
        colours: Their colour features.
        edges: Their edge features.
    """

    names: tuple[str, ...]
    styles: tuple[str, ...]
    colours: Float[Array, "r f"]
    edges: Float[Array, "r g"]

    @classmethod
    def of(cls, names: Sequence[str], styles: Sequence[str], pictures: Iterable[Image.Image]) -> "Judge":
        """A judge that knows these pictures."""
        colours, edges = zip(*map(features, pictures), strict=True)
        return cls(tuple(names), tuple(styles), np.stack(colours), np.stack(edges))

    def without_style(self, style: str) -> "Judge":
        """A judge that has never seen this style."""
        keep = [row for row, each in enumerate(self.styles) if each != style]
        return Judge(
            tuple(self.names[row] for row in keep),
            tuple(self.styles[row] for row in keep),
            self.colours[keep],
            self.edges[keep],
        )

    def rank(self, colours: Float[Array, "n f"], edges: Float[Array, "n g"], depth: int) -> list[list[str]]:
        """The names nearest to each picture, nearest first, each name once."""
        distance = COLOUR_WEIGHT * _distances(colours, self.colours)
        distance += (1 - COLOUR_WEIGHT) * _distances(edges, self.edges)
        return [
            list(dict.fromkeys(self.names[column] for column in row))[:depth]
            for row in distance.argsort(axis=1)
        ]

    def name(self, pictures: Iterable[Image.Image], depth: int = 1) -> list[list[str]]:
        """The names nearest to each of these pictures."""
        colours, edges = zip(*map(features, pictures), strict=True)
        return self.rank(np.stack(colours), np.stack(edges), depth)


def _distances(left: Float[Array, "n f"], right: Float[Array, "r f"]) -> Float[Array, "n r"]:
    squares = np.square(left).sum(1)[:, None] + np.square(right).sum(1)[None] - 2 * left @ right.T
    distances: Array = np.sqrt(np.maximum(squares, 0))
    return distances


def share_named(ranked: Sequence[Sequence[str]], names: Sequence[str], depth: int) -> float:
    """The share of pictures whose name is among the first `depth`."""
    return float(np.mean([name in row[:depth] for row, name in zip(ranked, names, strict=True)]))


def self_check(judge: Judge) -> dict[str, float]:
    """For every style: the share of its real pictures that a judge without it names rightly."""
    shares = {}
    for style in dict.fromkeys(judge.styles):
        rows = [row for row, each in enumerate(judge.styles) if each == style]
        ranked = judge.without_style(style).rank(judge.colours[rows], judge.edges[rows], 1)
        shares[style] = share_named(ranked, [judge.names[row] for row in rows], 1)
    return shares
