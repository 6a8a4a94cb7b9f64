"""A backend without a model: its pictures show the request they came from. For demos, docs and tests.

Each field of the request owns one cell of a mosaic, coloured by the field's value, and the mosaic is repeated
over the picture. Two pictures are equal exactly when every field arrived unchanged, and `differing_fields`
names those that did not; so a chain of clients and servers can be tested at its far end.
"""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, final

from pydantic import BaseModel, Field

from sdenv import __version__
from sdenv.core.backend import Backend, BackendSettings, BackendStatus, JobContext, ModelInfo
from sdenv.core.capabilities import EVERYTHING, Capabilities, SizeRule
from sdenv.core.defaults import size_of_request, strength_of
from sdenv.core.errors import BadMask, FailedError
from sdenv.core.events import PhaseStarted, PictureReady, PreviewReady, RequestResolved, StepDone
from sdenv.core.families import family_named
from sdenv.core.image import ImageData, decode, encode_png, size_of
from sdenv.core.request import GenerationRequest, ResolvedRequest
from sdenv.core.result import GenerationResult
from sdenv.core.samplers import AUTOMATIC, SAMPLERS, SCHEDULES, find_sampler, find_schedule

if TYPE_CHECKING:
    from PIL.Image import Image

NAME: Final = "fake"
COLUMNS: Final = 5
_SMALLEST_CELL_PX: Final = 8
_TEXT_BAND_PX: Final = 40
_SMALLEST_WITH_TEXT_PX: Final = 128
_LONGEST_PREVIEW_SIDE_PX: Final = 256

_ANY_SIZE: Final = SizeRule(multiple_px=8, min_px=64, max_px=2048)
_FEW_SIZES: Final = SizeRule(multiple_px=64, min_px=64, native=((256, 256), (192, 320), (320, 192)))
MODELS: Final = (
    ModelInfo("mosaic", "other", _ANY_SIZE, (512, 512), "any size in steps of 8 px"),
    ModelInfo(
        "mosaic-native", "other", _FEW_SIZES, (256, 256), "three sizes only, as a model trained on few has"
    ),
)

CELLS: Final = tuple(sorted(EVERYTHING - {"count", "batch_size", "hires", "upscale"}))
"""The fields that decide what a single picture looks like, in the order of their cells."""


class FakeSettings(BackendSettings):
    """How the fake backend behaves.

    Attributes:
        step_seconds: How long each step takes.
        fail_at_step: The step that fails, counted over the whole request; None = none does.
        concurrency: How many requests it works on at once.
    """

    step_seconds: Annotated[float, Field(ge=0.0, le=3600.0, allow_inf_nan=False)] = 0.0
    fail_at_step: Annotated[int, Field(ge=1)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=64)] = 1


@final
class FakeBackend(Backend):
    """Draws a mosaic of the request at once, or as slowly and as faultily as its settings say."""

    Settings: ClassVar[type[BackendSettings]] = FakeSettings
    declared: ClassVar[Capabilities] = Capabilities(
        carries=EVERYTHING - {"hires", "upscale"},
        samplers=tuple(SAMPLERS),
        schedules=tuple(SCHEDULES),
        controls=frozenset({"canny", "depth", "pose", "sketch"}),
        size=_ANY_SIZE,
        cancel="at-once",
        concurrency=64,
    )

    def __init__(self, settings: FakeSettings) -> None:
        self._settings = settings

    def probe(self) -> BackendStatus:
        """Always there."""
        capabilities = replace(self.declared, concurrency=self._settings.concurrency)
        return BackendStatus(NAME, __version__, MODELS, capabilities)

    def generate(self, request: GenerationRequest, context: JobContext) -> GenerationResult:
        """Draws the pictures, batch by batch, step by step."""
        began_s = time.monotonic()
        resolved = resolve(request, self.probe())
        facts = {"pictures": "fake"}
        context.emit(RequestResolved(resolved, made_with=facts))
        context.emit(PhaseStarted("denoising"))
        steps_done = 0
        images: list[ImageData] = []
        for batch in _batches(resolved):
            pictures = {index: draw(resolved, resolved.seed_of(index)) for index in batch}
            for step in range(1, resolved.steps_to_run + 1):
                steps_done += 1
                self._work_for_a_step(steps_done, context)
                for index, picture in pictures.items():
                    context.emit(StepDone(step, resolved.steps_to_run, index))
                    if context.preview_every and step % context.preview_every == 0:
                        preview = _preview(picture, step / resolved.steps_to_run)
                        context.emit(PreviewReady(step, index, preview))
            for index, picture in pictures.items():
                images.append(encode_png(picture))
                context.emit(PictureReady(index, images[-1], resolved.seed_of(index)))
        return GenerationResult(
            images=tuple(images),
            resolved=resolved,
            backend=NAME,
            made_with=facts,
            seconds=time.monotonic() - began_s,
        )

    def _work_for_a_step(self, steps_done: int, context: JobContext) -> None:
        if self._settings.step_seconds:
            cancelled = threading.Event()
            with context.on_cancel(cancelled.set):
                cancelled.wait(self._settings.step_seconds)
        context.check()
        if steps_done == self._settings.fail_at_step:
            raise FailedError(
                f"The fake backend failed at step {steps_done}.",
                why="Its setting fail_at_step asks for that.",
            )

    def close(self) -> None:
        """Nothing was opened."""


def resolve(request: GenerationRequest, status: BackendStatus) -> ResolvedRequest:
    """The request with every decision made; also the seed, so that the same command draws the same picture.

    Raises:
        UnknownModel: There is no such model.
        BadImage: An input picture cannot be decoded.
        BadMask: The mask has another size than the init image.
    """
    model = status.model(request.model) or MODELS[0]
    family = family_named(model.family)
    width, height = _size(request, model)
    values: dict[str, Any] = {name: getattr(request, name) for name in request.said()}
    values |= {"model": model.name, "width": width, "height": height}
    values["negative_prompt"] = request.negative_prompt or ""
    values["steps"] = request.steps or family.steps
    values["guidance_scale"] = (
        family.guidance_scale if request.guidance_scale is None else request.guidance_scale
    )
    values["seed"] = _seed_of(request.prompt) if request.seed is None else request.seed
    sampler, schedule = find_sampler(request.sampler or family.sampler)
    if request.schedule is not None:
        schedule = find_schedule(request.schedule)
    values["sampler"] = sampler.name
    values["schedule"] = AUTOMATIC if schedule is None else schedule.name
    values["batch_size"] = min(request.batch_size or 1, request.count)
    values["strength"] = strength_of(request)
    return ResolvedRequest(**values)


def _size(request: GenerationRequest, model: ModelInfo) -> tuple[int, int]:
    init_size: tuple[int, int] | None = None
    if request.init_image is not None:
        init_size = size_of(request.init_image, "the init image")
        if request.mask is not None and size_of(request.mask, "the mask") != init_size:
            mask_width, mask_height = size_of(request.mask)
            raise BadMask(
                f"The mask is {mask_width}x{mask_height}, the init image {init_size[0]}x{init_size[1]}.",
                hint="Give a mask of the size of the init image.",
            )
    return size_of_request(request, model.size, model.default_size, init_size)


def _seed_of(prompt: str) -> int:
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], "big")


def _batches(resolved: ResolvedRequest) -> Iterator[range]:
    for first in range(0, resolved.count, resolved.batch_size):
        yield range(first, min(first + resolved.batch_size, resolved.count))


def draw(resolved: ResolvedRequest, seed: int) -> "Image":
    """The picture of a request and seed: the mosaic, the prompt in words, what stays of the init image."""
    import PIL.Image

    size = (resolved.width, resolved.height)
    tile = _tile(resolved, seed, _cell_px(size))
    picture = PIL.Image.new("RGB", size)
    for top in range(0, size[1], tile.height):
        for left in range(0, size[0], tile.width):
            picture.paste(tile, (left, top))
    if min(size) >= _SMALLEST_WITH_TEXT_PX:
        _write(picture, resolved, seed)
    if resolved.init_image is None or resolved.mask is None:
        return picture
    untouched = decode(resolved.init_image, "the init image").convert("RGB").resize(size)
    mask = decode(resolved.mask, "the mask").convert("L").resize(size)
    return PIL.Image.composite(picture, untouched, mask)


def _tile(resolved: ResolvedRequest, seed: int, cell_px: int) -> "Image":
    import PIL.Image

    values = {name: getattr(resolved, name) for name in CELLS} | {"seed": seed}
    rows = -(-len(CELLS) // COLUMNS)
    tile = PIL.Image.new("RGB", (COLUMNS * cell_px, rows * cell_px))
    for position, name in enumerate(CELLS):
        tile.paste(_colour(name, values[name]), _box(position, cell_px))
    return tile


def _cell_px(size: tuple[int, int]) -> int:
    """Side of a cell: 8 px in the smallest pictures, so that the whole mosaic is in each of them."""
    return _SMALLEST_CELL_PX * max(1, min(size) // _ANY_SIZE.min_px)


def _box(position: int, cell_px: int) -> tuple[int, int, int, int]:
    row, column = divmod(position, COLUMNS)
    return (column * cell_px, row * cell_px, (column + 1) * cell_px, (row + 1) * cell_px)


def _colour(name: str, value: object) -> tuple[int, int, int]:
    red, green, blue = hashlib.sha256(f"{name} {_canonical(value)}".encode()).digest()[:3]
    return red, green, blue


def _canonical(value: object) -> str:
    """The value as text that does not depend on how it was written: pictures by pixel, numbers as numbers."""
    if isinstance(value, ImageData):
        picture = decode(value).convert("RGB")
        return f"{picture.size} {hashlib.sha256(picture.tobytes()).hexdigest()}"
    if isinstance(value, dict):
        return json.dumps(value.get(NAME, {}), sort_keys=True)
    if isinstance(value, tuple):
        return "; ".join(_canonical(each) for each in value)
    if isinstance(value, BaseModel):
        return ", ".join(f"{name}={_canonical(each)}" for name, each in value)
    if isinstance(value, float):
        return (
            str(int(value)) if value.is_integer() else f"{value:.6g}"
        )  # as exact as the 32 bits of some protocols
    return repr(value)


def _write(picture: "Image", resolved: ResolvedRequest, seed: int) -> None:
    import PIL.ImageDraw

    band = PIL.ImageDraw.Draw(picture)
    top = picture.height - _TEXT_BAND_PX
    band.rectangle((0, top, picture.width, picture.height), fill="white")
    words = " ".join(resolved.prompt.split()) or "(no prompt)"
    facts = f"{resolved.width}x{resolved.height}, {resolved.steps} steps, seed {seed}, {resolved.sampler}"
    band.text((4, top + 4), words[: picture.width // 5], fill="black")
    band.text((4, top + 22), facts[: picture.width // 5], fill="black")


def _preview(picture: "Image", share: float) -> ImageData:
    """A small picture on the way from grey to the final one; nearer to it at every step."""
    import PIL.Image

    small = picture.copy()
    small.thumbnail((_LONGEST_PREVIEW_SIDE_PX, _LONGEST_PREVIEW_SIDE_PX))
    return encode_png(PIL.Image.blend(PIL.Image.new("RGB", small.size, "grey"), small, share))


def differing_fields(one: ImageData, other: ImageData) -> tuple[str, ...]:
    """The fields whose cells differ between two of its pictures, read from the top left corner.

    For tests: what a wrong picture at the end of a chain says about the request that arrived there.
    """
    first, second = (decode(each).convert("RGB") for each in (one, other))
    found: list[str] = []
    for position, name in enumerate(CELLS):
        box = _box(position, _cell_px(first.size))
        if first.crop(box).tobytes() != second.crop(box).tobytes():
            found.append(name)
    return tuple(found)
