"""Bad input: a clear error before any model loads, with its exit code and what to do instead."""

import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdenv.backends.local import LocalBackend, LocalSettings
from sdenv.core.errors import (
    BadImage,
    BadMask,
    ExtraMissing,
    InvalidRequest,
    ModelIncomplete,
    SdenvError,
    SizeNotPossible,
    UnknownModel,
    UnknownSampler,
    UnsafeWeights,
    UnsupportedError,
)
from sdenv.core.events import PhaseStarted
from sdenv.core.image import PNG, ImageData
from sdenv.core.request import GenerationRequest, parse_request
from sdenv.services.engine import Engine
from sdenv.testing.fakes import PATIENCE_S, Recorder, Spy
from sdenv.testing.samples import mask, not_pictures, picture
from tests.support.model_folders import write_json


def refused(backend: LocalBackend, **values: Any) -> SdenvError:
    """The error of a request, after making sure that nothing was loaded or drawn for it."""
    recorder = Recorder()
    with pytest.raises(SdenvError) as error:
        backend.generate(GenerationRequest(**values), recorder)
    assert [event for event in recorder.events if isinstance(event, PhaseStarted)] == []
    return error.value


def by_the_engine(backend: LocalBackend, **values: Any) -> SdenvError:
    """The error with which an engine refuses a request, without asking the backend for pictures."""
    spy = Spy(backend)
    with Engine(spy, name="local") as engine, pytest.raises(SdenvError) as error:
        engine.submit(GenerationRequest(**values))
    assert spy.calls == []
    return error.value


def test_an_unknown_model_is_answered_with_the_nearest(backend: LocalBackend) -> None:
    error = by_the_engine(backend, model="sdlx")
    assert isinstance(error, UnknownModel)
    assert "'sdxl'" in error.why
    assert error.exit_code == 2


def test_a_size_that_is_not_a_multiple_is_answered_with_the_nearest(backend: LocalBackend) -> None:
    error = by_the_engine(backend, width=100, height=64)
    assert isinstance(error, SizeNotPossible)
    assert "104x64" in error.why or "96x64" in error.why


@pytest.mark.parametrize("sampler", ["DPM fast", "Restart", "DPM++ 2S a"])
def test_a_sampler_that_diffusers_does_not_have_is_answered_with_the_nearest(
    backend: LocalBackend, sampler: str
) -> None:
    error = by_the_engine(backend, sampler=sampler)
    assert isinstance(error, UnknownSampler)
    assert "DPM" in error.why


def test_a_schedule_that_the_sampler_cannot_follow_is_refused_before_the_model_loads(
    backend: LocalBackend,
) -> None:
    assert isinstance(refused(backend, model="sd1", sampler="Euler a", schedule="Karras"), UnknownSampler)


@pytest.mark.parametrize("steps", [0, 1_000_000])
def test_no_steps_and_a_million_steps_are_no_request(steps: int) -> None:
    with pytest.raises(InvalidRequest, match="steps") as error:
        parse_request({"prompt": "a fox", "steps": steps})
    assert error.value.exit_code == 2


@pytest.mark.parametrize("name", sorted(not_pictures()))
@pytest.mark.parametrize("field", ["init_image", "mask"])
def test_what_is_not_a_picture_is_refused_before_the_model_loads(
    backend: LocalBackend, name: str, field: str
) -> None:
    values = {"init_image": picture(), field: not_pictures()[name]}
    error = refused(backend, model="sd1", **values)
    assert isinstance(error, BadImage)
    assert error.exit_code == 2
    assert ("mask" if field == "mask" else "init image") in error.what


def test_a_decompression_bomb_is_refused_by_its_header(backend: LocalBackend) -> None:
    whole = bytearray(picture(8, 8).data)
    whole[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height of the IHDR chunk
    crc = __import__("zlib").crc32(whole[12:29]).to_bytes(4, "big")
    whole[29:33] = crc
    error = refused(backend, model="sd1", init_image=ImageData(data=bytes(whole), media_type=PNG))
    assert isinstance(error, BadImage)


def test_a_mask_of_another_size_is_refused_with_both_sizes(backend: LocalBackend) -> None:
    error = refused(backend, model="sd1", init_image=picture(64, 64), mask=mask(64, 72))
    assert isinstance(error, BadMask)
    assert "64x72" in error.what
    assert "64x64" in error.what


def test_a_model_that_only_inpaints_is_refused_other_work(backend: LocalBackend) -> None:
    assert isinstance(by_the_engine(backend, model="inpainting"), UnsupportedError)
    assert isinstance(refused(backend, model="inpainting"), UnsupportedError)


def drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def pickled(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(pickle.dumps({}))


def only_pickled(folder: Path) -> None:
    whole = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole.rename(whole.with_suffix(".bin"))


def cut(folder: Path) -> None:
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def custom(folder: Path) -> None:
    write_json(folder / "model_index.json", {"_class_name": ["pipeline", "Custom"]})


@pytest.mark.parametrize(
    ("spoil", "error_type", "exit_code"),
    [
        (drop("vae/config.json"), ModelIncomplete, 2),
        (drop("text_encoder/model.safetensors"), ModelIncomplete, 2),
        (drop("tokenizer/tokenizer.json"), ModelIncomplete, 2),
        (cut, ModelIncomplete, 2),
        (pickled, UnsafeWeights, 3),
        (only_pickled, UnsafeWeights, 3),
        (custom, UnsafeWeights, 3),
    ],
)
def test_a_spoiled_model_folder_is_refused_before_it_is_loaded(
    models: dict[str, Path],
    tmp_path: Path,
    spoil: Callable[[Path], None],
    error_type: type[SdenvError],
    exit_code: int,
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models["sd1"], folder)
    spoil(folder)
    backend = LocalBackend(LocalSettings(models={"m": str(folder)}, device="cpu"))
    with pytest.raises(error_type) as error:
        backend.probe()
    assert error.value.exit_code == exit_code
    assert error.value.repeats
    assert isinstance(refused(backend), error_type)


def test_a_model_that_is_spoiled_after_it_was_read_is_refused_all_the_same(
    models: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models["sd1"], folder)
    backend = LocalBackend(LocalSettings(models={"m": str(folder)}, device="cpu"))
    backend.probe()
    only_pickled(folder)
    assert isinstance(refused(backend), UnsafeWeights)


def test_a_model_whose_shapes_contradict_its_configuration_is_an_error_of_the_model(
    models: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models["sd1"], folder)
    shutil.copy(models["sdxl"] / "unet" / "diffusion_pytorch_model.safetensors", folder / "unet")
    backend = LocalBackend(LocalSettings(models={"m": str(folder)}, device="cpu"))
    with pytest.raises(ModelIncomplete, match="cannot be loaded"):
        backend.generate(GenerationRequest(steps=1), Recorder())
    backend.close()


def test_a_device_that_is_not_there_is_refused_with_those_that_are(models: dict[str, Path]) -> None:
    backend = LocalBackend(LocalSettings(models={"m": str(models["sd1"])}, device="mps"))
    with pytest.raises(UnsupportedError, match="cpu"):
        backend.generate(GenerationRequest(steps=1), Recorder())
    backend.close()


def test_without_torch_the_error_is_the_pip_command(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else object())
    backend = LocalBackend(LocalSettings(models={"m": str(models["sd1"])}))
    for call in (backend.probe, lambda: backend.generate(GenerationRequest(), Recorder())):
        with pytest.raises(ExtraMissing) as error:
            call()
        assert error.value.hint == "pip install 'sdenv[local]'"
        assert error.value.exit_code == 4


def test_building_and_probing_import_neither_torch_nor_diffusers(models: dict[str, Path]) -> None:
    import subprocess

    code = f"""
import sys
from sdenv.backends.local import LocalBackend, LocalSettings
backend = LocalBackend(LocalSettings(models={{"m": {str(models["sd1"])!r}}}, device="cpu"))
assert backend.probe().models[0].family == "v1"
backend.close()
print([name for name in ("torch", "diffusers", "transformers", "numpy", "PIL") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_of_the_libraries_comes_to_stderr(models: dict[str, Path]) -> None:
    import subprocess

    code = f"""
from sdenv.backends.local import LocalBackend, LocalSettings
from sdenv.core.request import GenerationRequest
from sdenv.testing.fakes import Recorder
from sdenv.testing.samples import picture
backend = LocalBackend(LocalSettings(models={{"m": {str(models["sdxl"])!r}}}, device="cpu"))
backend.generate(GenerationRequest(prompt="x" * 100, steps=2, init_image=picture()), Recorder())
backend.close()
"""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S * 4,
    )
    assert (done.stdout, done.stderr) == ("", "")
