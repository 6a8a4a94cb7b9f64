"""Models are found where they lie, offline, and a wrong name is answered with the nearest right one."""

import os
from pathlib import Path

import pytest

from sdenv.core.errors import ModelIncomplete, UnknownModel, UnsafeWeights
from sdenv.services import models
from sdenv.services.models import BUILT_IN, built_in_path, find_models, resolve_model
from tests.support.model_folders import paper_model, write_json


@pytest.fixture(autouse=True)
def no_built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for the built-in model, empty at first."""
    place = tmp_path / "assets" / BUILT_IN
    monkeypatch.setattr(models, "built_in_path", lambda: place)
    return place


def cached(repository: str, revision: str = "abc", *, main: str | None = "abc") -> Path:
    """A model in the cache of huggingface_hub."""
    root = Path(os.environ["HF_HOME"]) / "hub" / f"models--{repository.replace('/', '--')}"
    if main is not None:
        (root / "refs").mkdir(parents=True, exist_ok=True)
        (root / "refs" / "main").write_text(main, "utf-8")
    return paper_model(root / "snapshots" / revision)


def test_the_built_in_model_lies_in_the_package() -> None:
    assert built_in_path().parts[-3:] == ("sdenv", "assets", "emoji")


def test_the_built_in_model_comes_first_and_is_the_default(tmp_path: Path, no_built_in: Path) -> None:
    paper_model(no_built_in)
    write_json(no_built_in / "sdenv.json", {"family": "emoji"})
    paper_model(tmp_path / "models" / "aaa")
    found = find_models([tmp_path / "models"])
    assert [(each.name, each.family, each.source) for each in found] == [
        ("emoji", "emoji", "built-in"),
        ("aaa", "v1", "folder"),
    ]
    assert resolve_model(None, []) == found[0]


def test_models_are_named_by_their_path_below_the_models_directory(tmp_path: Path) -> None:
    for name in ("v1/sd", "runwayml/stable-diffusion-v1-5", "plain"):
        paper_model(tmp_path / name)
    assert [each.name for each in find_models([tmp_path])] == [
        "plain",
        "runwayml/stable-diffusion-v1-5",
        "v1/sd",
    ]


def test_what_a_model_is_gets_read_from_its_configurations_and_never_from_its_name(tmp_path: Path) -> None:
    paper_model(tmp_path / "sd15", unet_config={"use_linear_projection": True})
    paper_model(tmp_path / "flux", _class_name="StableDiffusionXLPipeline")
    paper_model(tmp_path / "sdxl")
    paper_model(tmp_path / "thing", _class_name="SomeNewPipeline")
    families = {each.name: each.family for each in find_models([tmp_path])}
    assert families == {"sd15": "v2", "flux": "sdxl_base_v0.9", "sdxl": "v1", "thing": "other"}


def test_the_cache_of_hugging_face_is_read_by_repository_and_by_its_main_revision() -> None:
    cached("runwayml/sd", "old")
    newest = cached("runwayml/sd", "abc")
    os.utime(newest, (1, 1))  # not by age
    found = find_models([])
    assert [(each.name, each.path.name, each.source) for each in found] == [
        ("runwayml/sd", "abc", "huggingface-cache")
    ]


def test_a_cached_model_without_a_main_revision_is_found_too() -> None:
    cached("someone/model", "f00", main=None)
    assert [each.path.name for each in find_models([])] == ["f00"]


def test_a_name_that_occurs_twice_belongs_to_the_first_directory(tmp_path: Path) -> None:
    first, second = paper_model(tmp_path / "a" / "same"), paper_model(tmp_path / "b" / "same")
    assert [each.path for each in find_models([tmp_path / "a", tmp_path / "b"])] == [first]
    assert resolve_model(str(second), [tmp_path / "a"]).path == second


def test_a_damaged_model_is_listed_with_its_problem_and_does_not_hide_the_others(tmp_path: Path) -> None:
    paper_model(tmp_path / "good")
    (paper_model(tmp_path / "bad") / "model_index.json").write_text("{", "utf-8")
    problems = {each.name: bool(each.problem) for each in find_models([tmp_path])}
    assert problems == {"good": False, "bad": True}


def test_a_directory_that_is_not_there_holds_no_models(tmp_path: Path) -> None:
    assert find_models([tmp_path / "none"]) == []


def test_a_name_is_resolved_to_its_folder(tmp_path: Path) -> None:
    path = paper_model(tmp_path / "runwayml" / "sd")
    found = resolve_model("runwayml/sd", [tmp_path])
    assert (found.name, found.path, found.family) == ("runwayml/sd", path, "v1")


def test_a_path_is_resolved_to_the_name_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = paper_model(tmp_path / "my-model")
    monkeypatch.chdir(tmp_path)
    for text in (str(path), "./my-model", "my-model"):
        assert (resolve_model(text, []).name, resolve_model(text, []).path) == ("my-model", path)


def test_a_wrong_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    paper_model(tmp_path / "dreamshaper")
    with pytest.raises(UnknownModel, match="Did you mean 'dreamshaper'") as refused:
        resolve_model("dreamshapr", [tmp_path])
    assert refused.value.exit_code == 2


def test_without_the_built_in_model_the_default_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="emoji"):
        resolve_model(None, [tmp_path])


def test_a_pickle_given_as_a_path_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "v1-5-pruned.ckpt").write_bytes(b"\x80\x02")
    with pytest.raises(UnsafeWeights, match=r"v1-5-pruned\.ckpt"):
        resolve_model(str(tmp_path / "v1-5-pruned.ckpt"), [])


def test_the_chosen_model_is_checked_to_its_weights_and_a_listed_one_is_not(tmp_path: Path) -> None:
    weights = paper_model(tmp_path / "sd") / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert [each.problem for each in find_models([tmp_path])] == [""]
    with pytest.raises(ModelIncomplete, match="damaged"):
        resolve_model("sd", [tmp_path])


def test_nothing_outside_the_given_directories_is_a_name(tmp_path: Path) -> None:
    paper_model(tmp_path / "outside" / "sd")
    (tmp_path / "models").mkdir()
    with pytest.raises(UnknownModel):
        resolve_model("../outside/sd", [tmp_path / "models"])
