"""Folders as they are found in the world: half-precision files, weights in parts, safety checkers."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sdenv.backends.local import LocalBackend, LocalSettings
from sdenv.core.image import ImageData
from sdenv.core.request import GenerationRequest
from sdenv.testing.fakes import Recorder

REQUEST = GenerationRequest(prompt="a fox", seed=4, steps=2)


def pictures(folder: Path) -> tuple[ImageData, ...]:
    backend = LocalBackend(LocalSettings(models={"m": str(folder)}, device="cpu", precision="float32"))
    made = backend.generate(REQUEST, Recorder()).images
    backend.close()
    return made


@pytest.fixture
def folder(models: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a model that a test may change."""
    return Path(shutil.copytree(models["sd1"], tmp_path / "model"))


def test_files_that_are_named_fp16_are_loaded(folder: Path) -> None:
    for path in folder.rglob("*.safetensors"):
        halved = {name: tensor.half() for name, tensor in load_file(path).items()}
        save_file(
            halved, path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")), {"format": "pt"}
        )
        path.unlink()
    assert pictures(folder)


def test_weights_in_parts_give_the_same_picture_as_in_one_file(folder: Path) -> None:
    before = pictures(folder)
    whole = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(whole)
    names = sorted(tensors)
    parts = {"part-1.safetensors": names[::2], "part-2.safetensors": names[1::2]}
    for file, own in parts.items():
        save_file({name: tensors[name] for name in own}, whole.with_name(file), {"format": "pt"})
    table = {name: file for file, own in parts.items() for name in own}
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": table}
    whole.with_name(f"{whole.name}.index.json").write_text(json.dumps(index), "utf-8")
    whole.unlink()
    assert pictures(folder) == before


def test_a_safety_checker_is_not_loaded_and_need_not_be_there(folder: Path) -> None:
    before = pictures(folder)
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    index["requires_safety_checker"] = True
    (folder / "model_index.json").write_text(json.dumps(index), "utf-8")
    assert pictures(folder) == before


def test_a_pickle_beside_safetensors_is_never_opened(folder: Path) -> None:
    before = pictures(folder)
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04not a pickle that could be read")
    assert pictures(folder) == before


def test_a_model_of_another_precision_is_loaded_in_the_one_that_is_asked_for(folder: Path) -> None:
    for path in folder.rglob("*.safetensors"):
        save_file(
            {name: tensor.to(torch.bfloat16) for name, tensor in load_file(path).items()},
            path,
            {"format": "pt"},
        )
    backend = LocalBackend(LocalSettings(models={"m": str(folder)}, device="cpu", precision="float32"))
    assert backend.generate(REQUEST, Recorder()).made_with["precision"] == "float32"
    backend.close()
