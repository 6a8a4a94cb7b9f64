"""What a person asks for: one request type for every front end and every backend.

`GenerationRequest` holds what was said, `None` meaning "you decide"; `ResolvedRequest` holds what was really
done, with nothing left to decide. Limits that hold for every backend are checked here, the rest by
`capabilities`.
"""

import math
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from sdenv.core.errors import InvalidRequest, did_you_mean
from sdenv.core.extensions import small_extensions
from sdenv.core.image import ImageData

MAX_STEPS: Final = 1000
MAX_COUNT: Final = 16
MAX_SIDE_PX: Final = 8192
MAX_PICTURE_PIXELS: Final = 16_000_000
MAX_PROMPT_CHARACTERS: Final = 10_000
MAX_LORAS: Final = 8
MAX_SEED: Final = 2**32 - 1

Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]
Steps = Annotated[int, Field(ge=1, le=MAX_STEPS)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
Unit = Annotated[float, Field(ge=0.0, le=1.0)]
Guidance = Annotated[float, Field(ge=0.0, le=100.0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=-10.0, le=10.0, allow_inf_nan=False)]
Prompt = Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS)]
Name = Annotated[str, Field(min_length=1, max_length=1024)]
Extensions = Annotated[dict[str, dict[str, Any]], AfterValidator(small_extensions)]

_STRICT: Final = ConfigDict(
    frozen=True, extra="forbid", allow_inf_nan=False, ser_json_bytes="base64", val_json_bytes="base64"
)


class Task(Enum):
    """What kind of work a request is; derived, never sent."""

    TEXT_TO_IMAGE = "text-to-image"
    IMAGE_TO_IMAGE = "image-to-image"
    INPAINT = "inpaint"


class Control(BaseModel):
    """One picture that steers the structure: a sketch (black on white), a depth map, a pose, ...

    Attributes:
        type: `sketch`, `depth`, `canny`, `pose`, ...
        image: The control picture.
        weight: Strength of the control; 1 as trained, 0 off.
        start: Share of the steps after which the control begins, 0 to 1.
        end: Share of the steps after which it ends, 0 to 1, at least `start`.
    """

    model_config = _STRICT

    type: Name
    image: ImageData
    weight: Weight = 1.0
    start: Unit = 0.0
    end: Unit = 1.0

    @model_validator(mode="after")
    def _ends_after_start(self) -> Self:
        if self.end < self.start:
            raise ValueError("a control ends before it starts")
        return self


class LoRA(BaseModel):
    """A low-rank adapter.

    Attributes:
        name: Its name where the model runs; never a path of the one who asks.
        weight: Strength, -10 to 10; 1 as trained, 0 off.
    """

    model_config = _STRICT

    name: Name
    weight: Weight = 1.0


class Hires(BaseModel):
    """A second pass at a larger size.

    Attributes:
        scale: Factor on both sides, above 1.
        steps: Steps of the second pass; None = as the first.
        strength: How much the second pass may change, 0 to 1.
    """

    model_config = _STRICT

    scale: Annotated[float, Field(gt=1.0, le=8.0)]
    steps: Steps | None = None
    strength: Unit = 0.7


class _SharedFields(BaseModel):
    """The fields that mean the same before and after resolution: absent stays absent."""

    model_config = _STRICT

    prompt: Prompt = ""
    init_image: ImageData | None = None
    mask: ImageData | None = None
    controls: tuple[Control, ...] = ()
    references: tuple[ImageData, ...] = ()
    loras: Annotated[tuple[LoRA, ...], Field(max_length=MAX_LORAS)] = ()
    clip_skip: Annotated[int, Field(ge=1, le=24)] | None = None
    hires: Hires | None = None
    upscale: Annotated[float, Field(gt=1.0, le=8.0)] | None = None
    vae: Name | None = None
    extensions: Extensions = Field(default_factory=dict)

    @property
    def task(self) -> Task:
        """What kind of work this is."""
        if self.mask is not None:
            return Task.INPAINT
        return Task.IMAGE_TO_IMAGE if self.init_image is not None else Task.TEXT_TO_IMAGE

    @model_validator(mode="after")
    def _mask_has_picture(self) -> Self:
        if self.mask is not None and self.init_image is None:
            raise ValueError("a mask needs an init image that it belongs to")
        return self


class GenerationRequest(_SharedFields):
    """What the user said. Frozen; unknown fields are an error; `None` = the backend decides.

    Attributes:
        prompt: What to draw; empty = unconditional. At most 10,000 characters.
        negative_prompt: What to avoid.
        model: A name the backend knows, or for `local` a path.
        width: Picture width in pixels, 1 to 8192; at most 16 megapixels with the height.
        height: Picture height in pixels.
        steps: Denoising steps, 1 to 1000. With an init image max(1, floor(steps * strength)) of them run.
        guidance_scale: Classifier-free guidance, 0 to 100; 1 = off.
        seed: 0 to 2^32-1; picture i of the request uses seed + i (modulo 2^32).
        sampler: AUTOMATIC1111's name, for example "DPM++ 2M".
        schedule: Noise schedule, for example "Karras".
        count: Pictures to make, 1 to 16.
        batch_size: How many of them at once, 1 to 16.
        init_image: Start from this picture instead of noise.
        mask: White = repaint; the size of the init image.
        strength: Share of the schedule that runs on the init image, 0 to 1.
        controls: Pictures that steer the structure.
        references: Pictures whose subject or style to follow.
        loras: Low-rank adapters, at most 8.
        clip_skip: Which of the text encoder's last layers to use; 1 = the last.
        hires: Second pass at a larger size.
        upscale: Factor of a final upscaling.
        vae: Name of another autoencoder.
        extensions: Settings only one backend knows, under its name; at most 64 KiB as JSON, 8 levels deep.
    """

    negative_prompt: Prompt | None = None
    model: Name | None = None
    width: Side | None = None
    height: Side | None = None
    steps: Steps | None = None
    guidance_scale: Guidance | None = None
    seed: Seed | None = None
    sampler: Name | None = None
    schedule: Name | None = None
    count: Count = 1
    batch_size: Count | None = None
    strength: Unit | None = None

    @model_validator(mode="after")
    def _fields_belong_together(self) -> Self:
        if self.strength is not None and self.init_image is None:
            raise ValueError("strength says how far to move from an init image, and there is none")
        if self.width and self.height and self.width * self.height > MAX_PICTURE_PIXELS:
            raise ValueError(
                f"{self.width}x{self.height} is {self.width * self.height / 1e6:.1f} megapixels; "
                f"the limit is {MAX_PICTURE_PIXELS // 1_000_000}"
            )
        return self

    def said(self) -> frozenset[str]:
        """Names of the fields that ask for something: those that differ from the empty request."""
        return frozenset(
            name for name in type(self).model_fields if getattr(self, name) != getattr(_EMPTY, name)
        )


class ResolvedRequest(_SharedFields):
    """What was really done: the request with every decision made. Fields as in GenerationRequest."""

    negative_prompt: Prompt = ""
    model: Name
    width: Side
    height: Side
    steps: Steps
    guidance_scale: Guidance
    seed: Seed
    sampler: Name
    schedule: Name
    count: Count = 1
    batch_size: Count = 1
    strength: Unit | None = None

    def as_request(self) -> GenerationRequest:
        """The request that asks for exactly this again."""
        return GenerationRequest(**{name: getattr(self, name) for name in type(self).model_fields})

    def seed_of(self, index: int) -> int:
        """The seed of picture `index`, 0 <= index < count."""
        return (self.seed + index) % (MAX_SEED + 1)

    @property
    def steps_to_run(self) -> int:
        """The denoising steps that really run: fewer than `steps` on an init image."""
        return self.steps if self.strength is None else steps_that_run(self.steps, self.strength)


_EMPTY: Final = GenerationRequest()


def steps_that_run(steps: int, strength: float) -> int:
    """Steps that remain of `steps` at `strength`: max(1, floor(steps * strength)).

    The tiny constant keeps products such as 50 * 0.58 = 28.999999999999996 from losing a step to rounding.
    """
    return max(1, math.floor(steps * strength + 1e-9))


def parse_request(values: Mapping[str, Any]) -> GenerationRequest:
    """A request from untrusted values (flags, JSON), with errors that a person can act on.

    Raises:
        InvalidRequest: A field is unknown, has the wrong type or is outside its range; all faults are named.
    """
    try:
        return GenerationRequest.model_validate(dict(values))
    except ValidationError as error:
        raise invalid_request(error) from error


def parse_request_json(text: str | bytes) -> GenerationRequest:
    """As `parse_request`, from one JSON object (pictures as base64)."""
    try:
        return GenerationRequest.model_validate_json(text)
    except ValidationError as error:
        raise invalid_request(error) from error


def invalid_request(error: ValidationError) -> InvalidRequest:
    """Pydantic's list of faults as one sentence each, in the words of the request."""
    sentences = [_fault(each["type"], each["loc"], each["msg"], each.get("input")) for each in error.errors()]
    why = "; ".join(sentences)[:2000] + "."
    return InvalidRequest("The request is not valid.", why=why, hint=_hint_for(error))


def _fault(kind: str, location: Iterable[int | str], message: str, given: object) -> str:
    path = ".".join(str(part)[:100] for part in location)
    if kind == "extra_forbidden":
        return f"there is no field {path!r}"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    fault = message[:1].lower() + message[1:].rstrip(".")
    for theirs, ours in _WORDING:
        fault = fault.replace(theirs, ours)
    return f"{path}: {fault}{_shown(given)}" if path else fault


_WORDING: Final = (
    ("input should be greater than or equal to", "must be at least"),
    ("input should be less than or equal to", "must be at most"),
    ("input should be", "must be"),
)
"""Pydantic's words, which speak of inputs, and those for a person who typed a flag."""


def _shown(given: object) -> str:
    """The wrong value, cut short; nothing where it is long by nature."""
    if given is None or isinstance(given, (dict, bytes, list, tuple)):
        return ""
    printable = str(given)[:60].encode("utf-8", "replace").decode("utf-8")
    return f" (given: {printable})"


def _hint_for(error: ValidationError) -> str:
    known = sorted(GenerationRequest.model_fields)
    for each in error.errors():
        if each["type"] == "extra_forbidden" and len(each["loc"]) == 1:
            return did_you_mean(str(each["loc"][0]), known)
    return ""
