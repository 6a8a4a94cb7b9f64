"""What hypothesis draws from: requests, rules, events."""

from hypothesis import settings
from hypothesis import strategies as st

from sdenv.core.capabilities import EVERYTHING, Capabilities, SizeRule
from sdenv.core.events import (
    BytesMoved,
    Event,
    Measured,
    Notice,
    PhaseStarted,
    PictureReady,
    PreviewReady,
    StepDone,
)
from sdenv.core.request import (
    MAX_COUNT,
    MAX_PICTURE_PIXELS,
    MAX_SEED,
    MAX_SIDE_PX,
    MAX_STEPS,
    Control,
    GenerationRequest,
    Hires,
    LoRA,
    Task,
)
from sdenv.testing.samples import mask, picture

# No deadline: a busy machine is not a fault. No database: a test run leaves nothing behind.
settings.register_profile("sdenv", deadline=None, database=None, max_examples=50)
settings.load_profile("sdenv")

PICTURES = (picture(8, 8), picture(16, 8, shade=3))
NAMES = st.text(min_size=1, max_size=20)
UNIT = st.floats(0.0, 1.0)
WEIGHTS = st.floats(-10.0, 10.0)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def controls(draw: st.DrawFn) -> Control:
    start, end = sorted((draw(UNIT), draw(UNIT)))
    image = draw(st.sampled_from(PICTURES))
    return Control(type=draw(NAMES), image=image, weight=draw(WEIGHTS), start=start, end=end)


@st.composite
def requests(draw: st.DrawFn) -> GenerationRequest:
    """Any valid request; each field is as likely to be left out as to be said."""
    init_image = draw(st.none() | st.sampled_from(PICTURES))
    width = draw(st.none() | st.integers(1, MAX_SIDE_PX))
    highest = MAX_SIDE_PX if width is None else min(MAX_SIDE_PX, MAX_PICTURE_PIXELS // width)
    return GenerationRequest(
        prompt=draw(st.text(max_size=50)),
        negative_prompt=draw(st.none() | st.text(max_size=50)),
        model=draw(st.none() | NAMES),
        width=width,
        height=draw(st.none() | st.integers(1, highest)),
        steps=draw(st.none() | st.integers(1, MAX_STEPS)),
        guidance_scale=draw(st.none() | st.floats(0.0, 100.0)),
        seed=draw(st.none() | st.integers(0, MAX_SEED)),
        sampler=draw(st.none() | NAMES),
        schedule=draw(st.none() | NAMES),
        count=draw(st.integers(1, MAX_COUNT)),
        batch_size=draw(st.none() | st.integers(1, MAX_COUNT)),
        init_image=init_image,
        mask=None if init_image is None else draw(st.none() | st.just(mask(8, 8))),
        strength=None if init_image is None else draw(st.none() | UNIT),
        controls=tuple(draw(st.lists(controls(), max_size=2))),
        references=tuple(draw(st.lists(st.sampled_from(PICTURES), max_size=2))),
        loras=tuple(draw(st.lists(st.builds(LoRA, name=NAMES, weight=WEIGHTS), max_size=2))),
        clip_skip=draw(st.none() | st.integers(1, 24)),
        hires=draw(st.none() | st.builds(Hires, scale=st.floats(1.01, 8.0), strength=UNIT)),
        upscale=draw(st.none() | st.floats(1.01, 8.0)),
        vae=draw(st.none() | NAMES),
        extensions=draw(st.dictionaries(NAMES, st.dictionaries(NAMES, JSON, max_size=2), max_size=2)),
    )


@st.composite
def size_rules(draw: st.DrawFn) -> SizeRule:
    """Any rule that allows at least one size."""
    multiple_px = draw(st.sampled_from([1, 2, 8, 64]))
    lowest = draw(st.integers(1, MAX_SIDE_PX // multiple_px))
    highest = draw(st.integers(lowest, MAX_SIDE_PX // multiple_px))
    sides = st.integers(lowest, highest).map(lambda units: units * multiple_px)
    return SizeRule(
        multiple_px=multiple_px,
        min_px=max(1, lowest * multiple_px - draw(st.integers(0, multiple_px - 1))),
        max_px=min(MAX_SIDE_PX, highest * multiple_px + draw(st.integers(0, multiple_px - 1))),
        native=tuple(draw(st.lists(st.tuples(sides, sides), max_size=3))),
        max_pixels=draw(st.none() | st.integers(1, MAX_PICTURE_PIXELS)),
    )


def capabilities() -> st.SearchStrategy[Capabilities]:
    names = st.none() | st.lists(NAMES, max_size=3).map(tuple)
    return st.builds(
        Capabilities,
        tasks=st.frozensets(st.sampled_from(Task)),
        carries=st.frozensets(st.sampled_from(sorted(EVERYTHING))),
        samplers=names,
        schedules=names,
        controls=st.frozensets(NAMES, max_size=2),
        size=size_rules(),
        max_count=st.integers(1, MAX_COUNT),
        max_batch=st.integers(1, MAX_COUNT),
    )


def events() -> st.SearchStrategy[Event]:
    """Any event, also such as no backend should send."""
    numbers = st.integers(-3, 30)
    pictures = st.sampled_from(PICTURES)
    return st.one_of(
        st.builds(PhaseStarted, st.text(max_size=5)),
        st.builds(StepDone, numbers, numbers, numbers),
        st.builds(PreviewReady, numbers, numbers, pictures),
        st.builds(PictureReady, numbers, pictures, numbers),
        st.builds(BytesMoved, st.text(max_size=5), numbers, st.none() | numbers),
        st.builds(Measured, numbers, st.dictionaries(st.text(max_size=5), st.floats(), max_size=2)),
        st.builds(Notice, st.text(max_size=5), st.text(max_size=5)),
    )
