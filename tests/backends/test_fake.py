"""The fake backend: its pictures show what arrived, and it is as slow and as faulty as it is told to be."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from pydantic import ValidationError

from sdenv.backends.fake import CELLS, FakeBackend, FakeSettings, differing_fields
from sdenv.core.backend import Backend
from sdenv.core.errors import BadImage, BadMask, Cancelled, FailedError, UnknownModel
from sdenv.core.events import PictureReady, PreviewReady, StepDone
from sdenv.core.image import ImageData, decode, encode_png, size_of
from sdenv.core.request import GenerationRequest
from sdenv.services.engine import Engine
from sdenv.testing.contracts import BackendContract
from sdenv.testing.fakes import PATIENCE_S, Recorder
from sdenv.testing.requests import Run, run
from sdenv.testing.samples import largest_difference, mask, not_pictures, picture

ROOT = Path(__file__).parents[2]
ALL_WHITE = encode_png(PIL.Image.new("L", (64, 64), 255))


class TestFakeBackend(BackendContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return FakeBackend(FakeSettings())


def made(settings: FakeSettings | None = None, preview_every: int = 0, **fields: Any) -> Run:
    request = GenerationRequest.model_validate({"width": 64, "height": 64, "steps": 4, "seed": 1, **fields})
    return run(FakeBackend(settings or FakeSettings()), request, preview_every)


def image(**fields: Any) -> ImageData:
    return made(**fields).result.images[0]


# What its pictures show


@pytest.mark.parametrize("name", [name for name in CELLS if name not in {"width", "height"}])
def test_each_field_changes_its_own_cell_and_no_other(name: str) -> None:
    maker = BackendContract()
    backend = FakeBackend(FakeSettings())
    values = {"extensions": {"fake": {"mood": "good"}}, "mask": ALL_WHITE, "steps": 9}
    value = values[name] if name in values else maker.value(backend, name)
    before: dict[str, object] = {"init_image": picture(64, 64)} if name in {"mask", "strength"} else {}
    after = {**before, name: value}
    allowed = {name, "strength"} if name in {"init_image", "mask"} else {name}
    differing = differing_fields(image(**before), image(**after))
    assert name in differing
    assert set(differing) <= allowed


def test_a_field_that_is_said_with_its_default_value_changes_nothing() -> None:
    assert image() == image(guidance_scale=7.0, negative_prompt="", sampler="DPM++ 2M", schedule="Automatic")


def test_a_number_is_the_same_after_a_protocol_with_32_bits() -> None:
    import struct

    (rounded,) = struct.unpack("<f", struct.pack("<f", 7.3))
    assert rounded != 7.3
    assert image(guidance_scale=7.3) == image(guidance_scale=rounded)


def test_a_picture_is_the_same_after_it_was_encoded_again() -> None:
    import io

    buffer = io.BytesIO()
    decode(picture(64, 64)).save(buffer, format="PNG", compress_level=9)
    again = ImageData.from_bytes(buffer.getvalue())
    assert again != picture(64, 64)
    assert image(init_image=picture(64, 64)) == image(init_image=again)


def test_other_peoples_extensions_do_not_change_the_picture() -> None:
    assert image() == image(extensions={"local": {"attention": "slow"}})


def test_no_field_of_the_request_is_forgotten() -> None:
    carried = FakeBackend.declared.carries
    assert set(CELLS) == carried - {"count", "batch_size"}


def test_large_pictures_say_their_prompt_in_words() -> None:
    band = (0, 512 - 40, 512, 512)
    plain, worded = (
        decode(image(width=512, height=512, prompt=text)).crop(band) for text in ("", "a red fox")
    )
    assert plain.tobytes() != worded.tobytes()


@pytest.mark.parametrize("prompt", ["", "\n", "狐", "🦊" * 3000, "\x00"])
def test_any_prompt_can_be_drawn(prompt: str) -> None:
    assert size_of(image(width=256, height=128, prompt=prompt)) == (256, 128)


def test_outside_the_mask_the_init_image_stays_as_it_was() -> None:
    init_image = picture(64, 64)
    painted = decode(image(init_image=init_image, mask=mask(64, 64)))
    left = (0, 0, 32, 64)
    assert painted.crop(left).tobytes() == decode(init_image).crop(left).tobytes()
    assert painted.tobytes() != decode(init_image).tobytes()


def test_without_a_seed_the_same_prompt_draws_the_same_picture() -> None:
    first, again, other = (made(seed=None, prompt=prompt).result for prompt in ("a cat", "a cat", "a dog"))
    assert first.images == again.images
    assert first.resolved.seed != other.resolved.seed


# Sizes


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"width": None, "height": None}, (512, 512)),
        ({"width": 128, "height": None}, (128, 128)),
        ({"width": None, "height": None, "model": "mosaic-native"}, (256, 256)),
        ({"width": None, "height": None, "init_image": picture(499, 370)}, (496, 368)),
        (
            {"width": None, "height": None, "init_image": picture(90, 160), "model": "mosaic-native"},
            (192, 320),
        ),
    ],
)
def test_a_size_that_was_not_said_follows_from_the_init_image_or_the_model(
    fields: dict[str, object], size: tuple[int, int]
) -> None:
    assert size_of(image(**fields)) == size


# What it refuses


@pytest.mark.parametrize("name", sorted(not_pictures()))
def test_what_is_no_picture_is_refused(name: str) -> None:
    with pytest.raises(BadImage):
        made(init_image=not_pictures()[name])
    with pytest.raises(BadImage):
        made(init_image=picture(64, 64), mask=not_pictures()[name])


def test_a_mask_of_another_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(BadMask, match=r"The mask is 32x64, the init image 64x64\."):
        made(init_image=picture(64, 64), mask=mask(32, 64))


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(UnknownModel):
        made(model="v1-5")


# Steps and previews


def test_with_an_init_image_fewer_steps_run() -> None:
    done = made(steps=10, init_image=picture(64, 64), strength=0.5)
    assert [event.step for event in done.of(StepDone)] == [1, 2, 3, 4, 5]


def test_pictures_of_a_batch_advance_together() -> None:
    done = made(count=3, batch_size=2, steps=1)
    seen = [(type(e).__name__, e.index) for e in done.events if isinstance(e, StepDone | PictureReady)]
    assert [index for _, index in seen] == [0, 1, 0, 1, 2, 2]


def test_previews_come_nearer_to_the_picture_at_every_step() -> None:
    done = made(width=256, height=256, steps=6, preview_every=1)
    distances = [
        largest_difference(preview.picture, done.result.images[0]) for preview in done.of(PreviewReady)
    ]
    assert len(distances) == 6
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] == 0 < distances[0]


def test_previews_are_small_and_come_every_so_many_steps() -> None:
    done = made(width=1024, height=512, steps=6, preview_every=2)
    assert [preview.step for preview in done.of(PreviewReady)] == [2, 4, 6]
    assert {size_of(preview.picture) for preview in done.of(PreviewReady)} == {(256, 128)}


# Slow and faulty on purpose


def test_a_long_step_is_cancelled_at_once() -> None:
    with Engine(FakeBackend(FakeSettings(step_seconds=3600)), name="fake") as engine:
        job = engine.submit(GenerationRequest(prompt="a cat", width=64, height=64))
        next(iter(job.events()))
        began_s = time.monotonic()
        job.cancel()
        with pytest.raises(Cancelled):
            job.result(PATIENCE_S)
    assert time.monotonic() - began_s < PATIENCE_S


def test_a_step_takes_as_long_as_it_is_told() -> None:
    assert made(FakeSettings(step_seconds=0.01), steps=2).result.seconds >= 0.02


def test_it_fails_at_the_step_that_it_is_told_counted_over_all_pictures() -> None:
    recorder = Recorder()
    request = GenerationRequest(width=64, height=64, steps=3, count=2)
    with pytest.raises(FailedError, match="step 5"):
        FakeBackend(FakeSettings(fail_at_step=5)).generate(request, recorder)
    assert [event.step for event in recorder.events if isinstance(event, StepDone)] == [1, 2, 3, 1]


def test_it_works_on_as_many_requests_at_once_as_it_is_told() -> None:
    assert FakeBackend(FakeSettings(concurrency=3)).probe().capabilities.concurrency == 3


@pytest.mark.parametrize(
    "fault", [{"step_seconds": -1}, {"fail_at_step": 0}, {"concurrency": 0}, {"no_such_option": 1}]
)
def test_settings_outside_their_range_are_refused(fault: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FakeSettings.model_validate(fault)


def test_it_needs_neither_torch_nor_numpy() -> None:
    script = (
        "import sys; from sdenv.backends.fake import FakeBackend, FakeSettings; "
        "from sdenv.core.request import GenerationRequest; from sdenv.services.engine import Engine; "
        "engine = Engine(FakeBackend(FakeSettings()), name='fake'); "
        "engine.submit(GenerationRequest(prompt='x')).result(); engine.close(); "
        "print(sorted({'torch', 'diffusers', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_the_mosaic_is_whole_in_the_smallest_picture() -> None:
    smallest = decode(encode_png(PIL.Image.new("RGB", (64, 64))))
    assert len(differing_fields(encode_png(smallest), image())) == len(CELLS)
