"""What a model folder says of the pictures it makes, and what its own settings change."""

from pathlib import Path
from typing import Any

import pytest

from sdenv.checkpoints.facts import facts_of
from sdenv.checkpoints.folder import read_folder
from sdenv.core.errors import ModelIncomplete
from sdenv.core.request import Task
from tests.support.model_folders import paper_model, write_json


def facts(folder: Path, **settings: Any) -> Any:
    if settings:
        write_json(folder / "sdenv.json", settings)
    return facts_of(read_folder(folder))


def test_the_default_size_is_that_of_the_unet_in_pixels(tmp_path: Path) -> None:
    found = facts(paper_model(tmp_path, unet_config={"sample_size": 96}))
    assert found.default_size == (768, 768)
    assert found.size.multiple_px == 8
    assert found.size.accepts(512, 704)
    assert not found.size.accepts(516, 704)


def test_without_its_own_settings_a_model_has_the_defaults_of_its_family(tmp_path: Path) -> None:
    found = facts(paper_model(tmp_path))
    assert (found.family.name, found.family.steps, found.family.guidance_scale) == ("v1", 20, 7.0)
    assert found.family.sampler == "DPM++ 2M"


def test_its_own_settings_come_before_those_of_the_family(tmp_path: Path) -> None:
    found = facts(
        paper_model(tmp_path),
        family="emoji",
        native_sizes=[[256, 256], [128, 256]],
        default_steps=12,
        default_guidance_scale=3.5,
        default_sampler="k_euler_a",
        summary="small",
    )
    assert (found.family.name, found.family.steps, found.family.guidance_scale) == ("emoji", 12, 3.5)
    assert found.family.sampler == "Euler a"
    assert found.default_size == (256, 256)
    assert found.size.native == ((256, 256), (128, 256))
    assert found.summary == "small"


@pytest.mark.parametrize(
    "settings",
    [
        {"native_sizes": "256x256"},
        {"native_sizes": [[256]]},
        {"native_sizes": [[0, 256]]},
        {"default_steps": "many"},
        {"default_steps": 0},
        {"default_guidance_scale": -1},
        {"family": 3},
    ],
)
def test_a_setting_of_the_wrong_type_is_an_error_of_the_model(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    with pytest.raises(ModelIncomplete, match=r"sdenv\.json"):
        facts(paper_model(tmp_path), **settings)


def test_a_flow_model_has_the_one_sampler_that_can_run_it(tmp_path: Path) -> None:
    folder = paper_model(tmp_path, _class_name="SomeNewPipeline")
    write_json(
        folder / "scheduler" / "scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler"}
    )
    assert facts(folder).samplers == ("Euler",)
    assert facts(folder).family.sampler == "Euler"


def test_a_model_whose_unet_takes_a_mask_only_inpaints(tmp_path: Path) -> None:
    assert facts(paper_model(tmp_path / "a", unet_config={"in_channels": 9})).tasks == {Task.INPAINT}
    assert facts(paper_model(tmp_path / "b")).tasks == set(Task)
