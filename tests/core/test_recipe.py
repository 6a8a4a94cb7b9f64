"""The configuration of a recipe: from text, checked, nothing ignored."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sdenv.core.errors import BadConfig
from sdenv.core.recipe import config_from


@dataclass(frozen=True)
class Config:
    data: Path
    steps: int = 100
    betas: tuple[float, float] = (0.9, 0.999)
    names: list[str] = field(default_factory=list)


def test_values_become_what_the_fields_say() -> None:
    config = config_from(Config, {"data": "emoji", "betas": [0.5, 0.9]}, "my.yaml")
    assert config == Config(data=Path("emoji"), betas=(0.5, 0.9))


def test_an_unknown_key_is_an_error_with_the_nearest_known_one() -> None:
    with pytest.raises(BadConfig) as refused:
        config_from(Config, {"data": "emoji", "stpes": 3}, "my.yaml")
    assert str(refused.value) == "my.yaml has an unknown key 'stpes'. Did you mean 'steps'?"


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({}, "data: Field required"),
        ({"data": "emoji", "steps": "many"}, "steps: Input should be a valid integer"),
    ],
)
def test_a_missing_or_wrong_value_is_named(values: dict[str, object], fault: str) -> None:
    with pytest.raises(BadConfig) as refused:
        config_from(Config, values, "my.yaml")
    assert refused.value.what == "my.yaml is not valid."
    assert fault in refused.value.why
