"""Scores a text-to-image model of emoji: does it draw what was asked?

    python -m sdenv.training.score --model sdenv/assets/emoji --data data/emoji --output scores

Three numbers and two contact sheets: the share of 200 training prompts whose picture the judge names rightly;
the share of the 40 held-out (thing, style) pairs whose name is among the nearest five; and the first share
again under shuffled captions, which must be near chance. The judge's own share on real pictures comes first;
below the bar it does not count.
"""

import argparse
import io
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image, ImageDraw

from sdenv.training.checkpoint import write_whole
from sdenv.training.data import Sample, canonical_caption, read_samples, read_split
from sdenv.training.judge import Judge, self_check, share_named

NAMED_AT_LEAST: Final = 0.95  # of the real pictures of a style that the judge has never seen
SHUFFLED_AT_MOST: Final = 0.02
CHECK_STYLE: Final = "flat"
TRAINING_PROMPTS: Final = 200
PROMPT_SEED: Final = 2024  # draws the training prompts; fixed before the first model was scored
BATCH: Final = 20
GRID_COLUMNS: Final = 6
# Chosen for being familiar when the model still drew blobs; the styles take turns.
GRID_THINGS: Final = [
    "pizza",
    "cat",
    "rocket",
    "red-apple",
    "dog",
    "house",
    "bicycle",
    "guitar",
    "banana",
    "lion",
    "automobile",
    "cactus",
    "hamburger",
    "owl",
    "airplane",
    "sunflower",
    "strawberry",
    "penguin",
    "castle",
    "camera",
    "watermelon",
    "unicorn",
    "umbrella",
    "robot",
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the whole score and writes it to stdout as JSON; 0 if the judge counts, else 1."""
    options = _options(arguments)
    samples = read_samples(options.data)
    judge = Judge.of(
        [each.slug for each in samples],
        [each.style for each in samples],
        (Image.open(each.path) for each in samples),
    )
    result: dict[str, Any] = {"judge_names_real_pictures": self_check(judge), "references": len(samples)}
    if options.model is not None:
        result |= _score(_load(options.model), judge, samples, options)
    real, shuffled = result["judge_names_real_pictures"][CHECK_STYLE], result.get("shuffled_top1", 0.0)
    result["judge_counts"] = real >= NAMED_AT_LEAST and shuffled <= SHUFFLED_AT_MOST
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0 if result["judge_counts"] else 1


def _score(
    pipeline: Any, judge: Judge, samples: Sequence[Sample], options: argparse.Namespace
) -> dict[str, Any]:
    """Draws all prompts, judges the pictures, and writes the sheets that were asked for."""
    split = read_split()
    by_pair = {(each.slug, each.style): each for each in samples}
    chance = random.Random(PROMPT_SEED)
    training = [by_pair[pair] for pair in chance.sample(split.training_pairs(), TRAINING_PROMPTS)]
    held_out = [by_pair[pair] for pair in sorted(split.held_out_pairs)]
    names, held_names = [each.slug for each in training], [each.slug for each in held_out]
    pictures, held_pictures = _draw(pipeline, training, options), _draw(pipeline, held_out, options)
    ranked, held_ranked = judge.name(pictures, 5), judge.name(held_pictures, 5)
    if options.output is not None:
        _sheet(training[:50], pictures[:50], ranked, options.output / "training.png")
        _sheet(held_out, held_pictures, held_ranked, options.output / "held-out.png")
    if options.grid is not None:
        styles = (split.styles[number % len(split.styles)] for number in range(len(GRID_THINGS)))
        shown = [by_pair[pair] for pair in zip(GRID_THINGS, styles, strict=True)]
        _sheet(shown, _draw(pipeline, shown, options), None, options.grid, 150, GRID_COLUMNS)
    return {
        "training_top1": share_named(ranked, names, 1),
        "training_top5": share_named(ranked, names, 5),
        "training_top1_by_style": _by_style(ranked, training, 1),
        "shuffled_top1": share_named(ranked, _deranged(names, chance), 1),
        "held_out_top1": share_named(held_ranked, held_names, 1),
        "held_out_top5": share_named(held_ranked, held_names, 5),
        "held_out_top5_by_style": _by_style(held_ranked, held_out, 5),
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sdenv.training.score", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--model", type=Path, help="pipeline folder; without it only the judge is checked")
    parser.add_argument("--data", type=Path, required=True, help="folder filled by `sdenv train prepare`")
    parser.add_argument("--output", type=Path, help="folder for the contact sheets")
    parser.add_argument("--grid", type=Path, help="file for a grid of 24 familiar things")
    parser.add_argument("--steps", type=int, help="default: that of the model")
    parser.add_argument("--guidance-scale", type=float, help="default: that of the model")
    parser.add_argument("--seed", type=int, default=1, help="of the first picture; picture i has seed + i")
    return parser.parse_args(arguments)


def _load(folder: Path) -> Any:
    """The pipeline, in float32, because half precision is slow on CPUs, with its defaults beside it."""
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.sdenv_defaults = json.loads((folder / "sdenv.json").read_text("utf-8"))
    return pipeline


def _draw(pipeline: Any, samples: Sequence[Sample], options: argparse.Namespace) -> list[Image.Image]:
    """One picture for each canonical caption."""
    defaults = pipeline.sdenv_defaults
    guidance = options.guidance_scale
    pictures: list[Image.Image] = []
    for start in range(0, len(samples), BATCH):
        part = samples[start : start + BATCH]
        pictures += pipeline(
            [canonical_caption(each.phrase, each.style) for each in part],
            num_inference_steps=options.steps or defaults["default_steps"],
            guidance_scale=defaults["default_guidance_scale"] if guidance is None else guidance,
            generator=[torch.Generator().manual_seed(options.seed + start + row) for row in range(len(part))],
        ).images
    return pictures


def _deranged(names: Sequence[str], chance: random.Random) -> list[str]:
    """The names in another order in which no picture keeps its own."""
    order = list(names)
    while any(left == right for left, right in zip(order, names, strict=True)):
        chance.shuffle(order)
        for place, name in enumerate(names):  # repair what a shuffle leaves in place
            if order[place] == name:
                other = chance.randrange(len(order))
                order[place], order[other] = order[other], order[place]
    return order


def _by_style(ranked: Sequence[Sequence[str]], samples: Sequence[Sample], depth: int) -> dict[str, float]:
    shares = {}
    for style in dict.fromkeys(each.style for each in samples):
        rows = [row for row, each in enumerate(samples) if each.style == style]
        shares[style] = share_named([ranked[row] for row in rows], [samples[row].slug for row in rows], depth)
    return shares


def _sheet(
    samples: Sequence[Sample],
    pictures: Sequence[Image.Image],
    ranked: Sequence[Sequence[str]] | None,
    path: Path,
    side: int = 112,
    columns: int = 10,
) -> None:
    """Pictures with what was asked and, where it differs, what the judge saw."""
    line = 14 if ranked is None else 26
    rows = -(-len(samples) // columns)
    sheet = Image.new("RGB", (columns * side, rows * (side + line)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (sample, picture) in enumerate(zip(samples, pictures, strict=True)):
        left, top = number % columns * side, number // columns * (side + line)
        sheet.paste(picture.resize((side, side), Image.Resampling.LANCZOS), (left, top))
        letters = side // 6  # of Pillow's built-in font
        pen.text(
            (left + 3, top + side), canonical_caption(sample.phrase, sample.style)[:letters], fill="black"
        )
        if ranked is not None and ranked[number][0] != sample.slug:
            pen.text((left + 3, top + side + 12), f"seen: {ranked[number][0]}"[:letters], fill="red")
    buffer = io.BytesIO()
    (sheet if ranked is None else sheet.quantize(256)).save(buffer, "PNG", optimize=True)
    write_whole(path, buffer.getvalue())


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    sys.exit(main())
