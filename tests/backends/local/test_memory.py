"""The arithmetic that refuses what does not fit, before anything is allocated."""

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from sdenv.backends.local import LocalBackend, LocalSettings, memory
from sdenv.backends.local.memory import bytes_per_pixel, max_pixels, weight_bytes
from sdenv.backends.local.plan import make_plan
from sdenv.checkpoints.facts import ModelFacts, facts_of
from sdenv.checkpoints.folder import ModelFolder, read_folder
from sdenv.core.errors import DoesNotFit
from sdenv.core.request import GenerationRequest
from sdenv.services.engine import Engine
from sdenv.testing.fakes import Spy

GB = 10**9
SD15_WEIGHTS = 859_520_964 + 83_653_863 + 123_060_480  # UNet, autoencoder, text encoder
HALF, FULL = 2, 4


@pytest.fixture
def sd15(models: dict[str, Path]) -> tuple[ModelFolder, ModelFacts]:
    """The configurations of the true Stable Diffusion 1.5, on the tiny one's files."""
    folder = read_folder(models["sd1"])
    widths = {"unet": [320, 640, 1280, 1280], "vae": [128, 256, 512, 512]}
    parts = {
        name: replace(part, config={**part.config, "block_out_channels": widths[name]})
        if name in widths
        else part
        for name, part in folder.components.items()
    }
    changed = replace(folder, components=MappingProxyType(parts))
    return changed, facts_of(changed)


def room_after_weights(gigabytes: float, element_bytes: int) -> int:
    """The memory to ask with, when the true weights stand in for the tiny ones."""
    return int(gigabytes * GB) - SD15_WEIGHTS * element_bytes


@pytest.mark.parametrize("element_bytes", [HALF, FULL])
def test_stable_diffusion_at_its_size_fits_in_eight_gigabytes(
    sd15: tuple[ModelFolder, ModelFacts], element_bytes: int
) -> None:
    assert max_pixels(*sd15, element_bytes, room_after_weights(8, element_bytes)) >= 512 * 512


def test_sixteen_megapixels_of_stable_diffusion_do_not(sd15: tuple[ModelFolder, ModelFacts]) -> None:
    assert max_pixels(*sd15, HALF, room_after_weights(8, HALF)) < 8192 * 1952


@pytest.mark.parametrize(("element_bytes", "measured"), [(HALF, 409_776_128), (FULL, 804_081_664)])
def test_the_estimate_is_above_the_measured_peak_and_not_far(
    sd15: tuple[ModelFolder, ModelFacts], element_bytes: int, measured: int
) -> None:
    estimate = bytes_per_pixel(*sd15, element_bytes) * 512 * 512
    assert measured < estimate < 1.25 * measured


def test_the_weights_are_counted_from_the_headers_in_the_precision_of_the_device(
    models: dict[str, Path],
) -> None:
    folder = read_folder(models["sd1"])
    on_disk = sum(path.stat().st_size for path in folder.path.rglob("*.safetensors"))
    assert 0.9 * on_disk < weight_bytes(folder, FULL) <= on_disk
    assert weight_bytes(folder, HALF) * 2 == weight_bytes(folder, FULL)


def test_where_the_weights_alone_do_not_fit_nothing_does(sd15: tuple[ModelFolder, ModelFacts]) -> None:
    assert max_pixels(*sd15, FULL, 100_000_000) == 0


def test_a_picture_that_does_not_fit_is_refused_before_work(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sdenv.backends.local.backend.free_bytes", lambda device: memory.RUNTIME_BYTES + 50_000_000
    )
    spy = Spy(
        LocalBackend(LocalSettings(models={"sd1": str(models["sd1"])}, device="cpu", precision="float32"))
    )
    with Engine(spy, name="local") as engine, pytest.raises(DoesNotFit, match="megapixels"):
        engine.submit(GenerationRequest(width=4096, height=3072))
    assert spy.calls == []


def test_a_batch_that_does_not_fit_is_refused_where_one_picture_fits(models: dict[str, Path]) -> None:
    folder = read_folder(models["sd1"])
    facts = facts_of(folder)
    small = replace(facts, size=replace(facts.size, max_pixels=2 * 64 * 64))
    request = GenerationRequest(width=64, height=64, count=3, batch_size=2)
    assert make_plan(request, "sd1", folder, small).resolved.batch_size == 2
    with pytest.raises(DoesNotFit, match="3 pictures of 64x64"):
        make_plan(request.model_copy(update={"batch_size": 3}), "sd1", folder, small)
