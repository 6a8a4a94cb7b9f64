"""A model folder is read without loading it: whole, safe, or refused with the file that is at fault."""

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from sdenv.checkpoints.folder import read_folder
from sdenv.core.errors import ModelIncomplete, UnknownModel, UnsafeWeights, UnsupportedError
from tests.support.model_folders import INDEX, paper_model, weights, write_json

FILES = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "tokenizer/merges.txt",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
]


def test_a_whole_folder_tells_its_parts_without_the_safety_checker(tmp_path: Path) -> None:
    folder = read_folder(paper_model(tmp_path))
    assert folder.pipeline == "StableDiffusionPipeline"
    assert set(folder.components) == {"scheduler", "text_encoder", "tokenizer", "unet", "vae"}
    assert folder.config("unet")["sample_size"] == 64
    assert folder.variant is None


@pytest.mark.parametrize("name", FILES[1:])
def test_each_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (paper_model(tmp_path) / name).unlink()
    with pytest.raises(ModelIncomplete) as refused:
        read_folder(tmp_path)
    assert Path(name).name in str(refused.value)
    assert Path(name).parent.name in str(refused.value)


def test_a_missing_tokenizer_vocabulary_is_named(tmp_path: Path) -> None:
    (paper_model(tmp_path) / "tokenizer" / "vocab.json").unlink()
    with pytest.raises(ModelIncomplete, match="vocabulary"):
        read_folder(tmp_path)


def test_a_missing_component_folder_is_named(tmp_path: Path) -> None:
    paper_model(
        tmp_path, image_encoder=["transformers", "CLIPVisionModel"], vae_2=["diffusers", "AutoencoderKL"]
    )
    with pytest.raises(ModelIncomplete, match="vae_2"):
        read_folder(tmp_path)


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".json")])
def test_a_configuration_that_is_not_json_is_named(tmp_path: Path, name: str) -> None:
    (paper_model(tmp_path) / name).write_text('{"half": ', "utf-8")
    with pytest.raises(ModelIncomplete, match=Path(name).name):
        read_folder(tmp_path)


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".pt", ".pth"])
def test_weights_that_are_only_there_as_a_pickle_are_refused_by_name(tmp_path: Path, suffix: str) -> None:
    whole = paper_model(tmp_path) / "unet" / "diffusion_pytorch_model.safetensors"
    whole.rename(whole.with_suffix(suffix))
    with pytest.raises(UnsafeWeights, match=f"diffusion_pytorch_model{suffix}"):
        read_folder(tmp_path)


def test_a_pickle_under_the_name_of_safetensors_is_refused(tmp_path: Path) -> None:
    (paper_model(tmp_path) / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(pickle.dumps({}))
    with pytest.raises(UnsafeWeights):
        read_folder(tmp_path)


def test_no_pickle_is_ever_run(tmp_path: Path) -> None:
    trap = f"cbuiltins\nexec\n(S\"open('{tmp_path}/ran', 'w')\"\ntR."
    path = paper_model(tmp_path / "model") / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(trap.encode())
    with pytest.raises((UnsafeWeights, ModelIncomplete)):
        read_folder(tmp_path / "model")
    assert not (tmp_path / "ran").exists()


def test_pickles_beside_safetensors_do_not_matter(tmp_path: Path) -> None:
    (paper_model(tmp_path) / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps({}))
    assert read_folder(tmp_path).components["unet"].weights[0].suffix == ".safetensors"


@pytest.mark.parametrize(
    "index",
    [
        {"_class_name": ["my_pipeline", "MyPipeline"]},
        {"unet": ["my_unet", "MyUNet"]},
        {"unet": ["os", "system"]},
    ],
)
def test_an_index_that_names_code_of_its_own_is_refused(tmp_path: Path, index: dict[str, Any]) -> None:
    with pytest.raises(UnsafeWeights, match="code of its own"):
        read_folder(paper_model(tmp_path, **index))


def test_a_configuration_that_names_code_of_its_own_is_refused(tmp_path: Path) -> None:
    write_json(paper_model(tmp_path) / "text_encoder" / "config.json", {"auto_map": {"AutoModel": "x.Y"}})
    with pytest.raises(UnsafeWeights, match="auto_map"):
        read_folder(tmp_path)


def sharded(folder: Path, names: list[str]) -> Path:
    unet = paper_model(folder) / "unet"
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    table = {f"weight.{number}": name for number, name in enumerate(names)}
    write_json(unet / "diffusion_pytorch_model.safetensors.index.json", {"weight_map": table})
    return unet


def test_weights_in_several_files_are_read_by_their_index(tmp_path: Path) -> None:
    names = ["part-1.safetensors", "part-2.safetensors"]
    unet = sharded(tmp_path, names)
    for name in names:
        (unet / name).write_bytes(weights())
    assert [path.name for path in read_folder(tmp_path).components["unet"].weights] == names


def test_a_missing_part_of_the_weights_is_named(tmp_path: Path) -> None:
    sharded(tmp_path, ["part-1.safetensors"])
    with pytest.raises(ModelIncomplete, match="part-1"):
        read_folder(tmp_path)


def test_an_index_of_parts_cannot_leave_its_folder(tmp_path: Path) -> None:
    sharded(tmp_path, ["../../elsewhere.safetensors"])
    with pytest.raises(UnsafeWeights, match="outside"):
        read_folder(tmp_path)


def test_weights_that_are_only_there_in_half_precision_are_found(tmp_path: Path) -> None:
    whole = paper_model(tmp_path) / "unet" / "diffusion_pytorch_model.safetensors"
    whole.rename(whole.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert read_folder(tmp_path).variant == "fp16"


@pytest.mark.parametrize("entry", [["diffusers"], "UNet2DConditionModel-", [1, 2]])
def test_an_index_entry_that_is_not_one_is_damage(tmp_path: Path, entry: Any) -> None:
    index = {**INDEX, "unet": entry}
    paper_model(tmp_path)
    write_json(tmp_path / "model_index.json", index)
    if isinstance(entry, str):
        assert "unet" not in read_folder(tmp_path).components  # plain values are settings of the pipeline
        return
    with pytest.raises(ModelIncomplete, match="unet"):
        read_folder(tmp_path)


def test_what_is_not_a_model_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"model_index\.json"):
        read_folder(tmp_path)
    with pytest.raises(UnknownModel, match="no model folder"):
        read_folder(tmp_path / "none")


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "MODEL.CKPT"])
def test_a_single_file_of_a_pickle_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(UnsafeWeights, match=name):
        read_folder(tmp_path / name)


def test_a_single_safetensors_file_is_unsupported_and_not_damaged(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(weights())
    with pytest.raises(UnsupportedError, match="single"):
        read_folder(path)


def test_reading_folders_imports_no_torch() -> None:
    import subprocess

    code = "import sys, sdenv.checkpoints.facts, sdenv.services.models; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
