"""What the training tests share: a context that records, and a prepared folder of made-up drawings."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from PIL import Image, ImageDraw

from sdenv.core.errors import Cancelled
from sdenv.core.events import Event, StepDone
from sdenv.training.data import INDEX_NAME

COLOURS = ("crimson", "gold", "seagreen", "navy")


class Recorder:
    """A job context that keeps the events and can cancel after a step."""

    preview_every = 0

    def __init__(self, cancel_after: int | None = None) -> None:
        self.events: list[Event] = []
        self._cancel_after = cancel_after

    def emit(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, StepDone) and event.step == self._cancel_after:
            raise Cancelled

    def check(self) -> None:
        pass

    def on_cancel(self, unblock: Callable[[], None]) -> AbstractContextManager[None]:
        return nullcontext()


def draw(number: int) -> Image.Image:
    """Picture `number` of a series in which no two are alike."""
    picture = Image.new("RGB", (256, 256), "white")
    pen = ImageDraw.Draw(picture)
    colour = COLOURS[number % len(COLOURS)]
    if number // len(COLOURS) % 2:
        pen.ellipse((30, 60, 220, 190), fill=colour)
    else:
        pen.polygon([(128, 20), (230, 230), (30, 200)], fill=colour)
    pen.rectangle((100, 100, 110 + 10 * (number % 7), 150), fill="black")
    return picture


def prepared_folder(folder: Path, slugs: list[str], styles: tuple[str, ...] = ("flat",)) -> Path:
    """A folder as the data step leaves it."""
    rows = []
    for number, (slug, style) in enumerate((slug, style) for slug in slugs for style in styles):
        file = f"{style}/{slug}.png"
        (folder / style).mkdir(parents=True, exist_ok=True)
        draw(number).save(folder / file)
        rows.append(
            {"file": file, "slug": slug, "style": style, "phrase": f"a {slug}", "tags": ["thing", "toy"]}
        )
    (folder / INDEX_NAME).write_text(json.dumps({"pictures": rows}))
    return folder
