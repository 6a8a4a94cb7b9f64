"""A dry run shows what a backend will really decide."""

import io
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from sdenv.backends.fake import MODELS, FakeBackend, FakeSettings, resolve
from sdenv.core.image import ImageData
from sdenv.core.request import GenerationRequest
from sdenv.services.decide import decided


def picture(width: int, height: int) -> ImageData:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (width, height), "white").save(buffer, "PNG")
    return ImageData.from_bytes(buffer.getvalue())


REQUESTS: list[dict[str, Any]] = [
    {},
    {"prompt": "a", "steps": 7, "guidance_scale": 2.0, "sampler": "euler A", "schedule": "karras", "seed": 3},
    {"width": 256},
    {"sampler": "DPM++ 2M Karras"},
    {"model": MODELS[1].name},
    {"init_image": picture(128, 64)},
    {"init_image": picture(300, 270), "model": MODELS[1].name},
    {"init_image": picture(128, 64), "strength": 0.3, "steps": 10},
    {"init_image": picture(128, 64), "mask": picture(128, 64), "count": 4, "batch_size": 2},
]
SHOWN = ("model", "width", "height", "steps", "guidance_scale", "sampler", "schedule", "strength")


@pytest.mark.parametrize("values", REQUESTS, ids=lambda values: "-".join(values) or "nothing")
def test_it_shows_what_the_fake_backend_decides(values: dict[str, Any]) -> None:
    status = FakeBackend(FakeSettings()).probe()
    request = GenerationRequest(**values)
    resolved = resolve(request, status)
    shown = decided(request, status)
    assert {name: shown[name] for name in SHOWN} == {name: getattr(resolved, name) for name in SHOWN}
    assert shown.get("steps_to_run", resolved.steps) == resolved.steps_to_run


LOCAL_REQUESTS: list[dict[str, Any]] = [
    {},
    {"steps": 7, "sampler": "Heun", "schedule": "Karras"},
    {"width": 64, "height": 128},
    {"init_image": picture(64, 128)},
    {"init_image": picture(900, 500)},
    {"init_image": picture(20, 20)},
    {"init_image": picture(64, 64), "mask": picture(64, 64)},
]


@pytest.mark.parametrize("values", LOCAL_REQUESTS, ids=lambda values: "-".join(values) or "nothing")
def test_it_shows_what_the_local_backend_decides(values: dict[str, Any], tmp_path: Path) -> None:
    from sdenv.backends.local import LocalBackend, LocalSettings
    from sdenv.backends.local.plan import make_plan
    from sdenv.checkpoints.facts import facts_of
    from sdenv.checkpoints.folder import read_folder
    from tests.support.tiny_models import make_sd1

    folder = make_sd1(tmp_path / "sd1")
    status = LocalBackend(LocalSettings(models={"sd1": str(folder)}, device="cpu")).probe()
    request = GenerationRequest(**values)
    found = read_folder(folder)
    resolved = make_plan(request, "sd1", found, facts_of(found)).resolved
    shown = decided(request, status)
    assert {name: shown[name] for name in SHOWN} == {name: getattr(resolved, name) for name in SHOWN}


def test_the_seed_stays_open_until_the_work_begins() -> None:
    status = FakeBackend(FakeSettings()).probe()
    assert decided(GenerationRequest(), status)["seed"] is None
    assert decided(GenerationRequest(seed=0), status)["seed"] == 0


def test_input_pictures_are_shown_as_their_sizes() -> None:
    status = FakeBackend(FakeSettings()).probe()
    shown = decided(GenerationRequest(init_image=picture(128, 64)), status)
    assert (shown["init_image"], shown["mask"]) == ("128x64", None)
