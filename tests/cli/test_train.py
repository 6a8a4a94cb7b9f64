"""`sdenv train` with a recipe of three steps."""

import json
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sdenv.core.backend import JobContext
from sdenv.core.events import Measured, PhaseStarted, StepDone
from sdenv.core.recipe import Recipe, TrainingResult
from sdenv.core.registry import Entry, Registry
from tests.cli.support import sdenv


@dataclass(frozen=True)
class CountConfig:
    """How to count.

    Attributes:
        output: Where the count is written,
            into a file of its own.
        steps: How far.
        rate, slope: Numbers that change nothing.
    """

    output: Path = Path("runs/count")
    steps: int = 3
    rate: float = 1e-3
    slope: float = 0.5


class CountRecipe(Recipe):
    Config = CountConfig

    def run(self, config: CountConfig, context: JobContext) -> TrainingResult:
        context.emit(PhaseStarted("training"))
        for step in range(1, config.steps + 1):
            context.emit(Measured(step, {"loss": config.rate / step}))
            context.emit(StepDone(step, config.steps))
        config.output.mkdir(parents=True)
        (config.output / "count").write_text(str(config.steps))
        return TrainingResult(config.output, config.steps, {"loss": config.rate})


@pytest.fixture(autouse=True)
def recipes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table with this recipe alone, and a folder with one configuration."""
    import sys

    import sdenv.cli.options
    import sdenv.services.training
    import sdenv.training

    module = types.ModuleType("counting")
    module.CountRecipe = CountRecipe  # type: ignore[attr-defined]  # a module made for this test
    monkeypatch.setitem(sys.modules, "counting", module)
    table: Registry[Any] = Registry(
        "recipe", "sdenv.tests.none", {"count": Entry("counting:CountRecipe", "", "Counts")}
    )
    monkeypatch.setattr(sdenv.training, "RECIPES", table)
    monkeypatch.setattr(sdenv.services.training, "RECIPES", table)
    configs = here / "configs"
    configs.mkdir()
    (configs / "to-five.yaml").write_text("steps: 5\nrate: 1e-2\n")
    monkeypatch.setattr(sdenv.services.training, "CONFIGS", configs)


def test_the_folder_that_was_written_is_printed(here: Path) -> None:
    done = sdenv("train", "count", "--progress", "plain")
    assert (done.code, done.out) == (0, "runs/count\n")
    assert "training" in done.stderr
    assert "loss" in done.stderr


def test_flags_change_keys_and_a_configuration_is_chosen_by_name(here: Path) -> None:
    done = sdenv(
        "train",
        "count",
        "--config",
        "to-five",
        "--set",
        "slope=2",
        "-o",
        "out",
        "--json",
        "--progress",
        "off",
    )
    record = json.loads(done.out)
    assert (record["type"], record["output"], record["steps"]) == ("trained", "out", 5)
    assert record["measured"] == {"loss": 0.01}
    assert (here / "out" / "count").read_text() == "5"


def test_a_configuration_is_a_file_too(here: Path) -> None:
    (here / "mine.yaml").write_text("steps: 2\n")
    assert sdenv("train", "count", "--config", "mine.yaml", "-q").code == 0
    assert (here / "runs" / "count" / "count").read_text() == "2"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["count", "--set", "stpes=3"], "Did you mean 'steps'?"),
        (["count", "--set", "steps=many"], "steps: Input should be a valid integer"),
        (["count", "--set", "steps"], "is not KEY=VALUE"),
        (["count", "--set", "steps=[1"], "is not YAML"),
        (["count", "--config", "to-fve"], "Did you mean 'to-five'?"),
        (["cuont"], "Did you mean 'count'?"),
    ],
)
def test_what_is_wrong_is_said_before_any_training(here: Path, arguments: list[str], said: str) -> None:
    done = sdenv("train", *arguments)
    assert done.code == 2
    assert said in done.stderr
    assert not (here / "runs").exists()


def test_the_list_names_recipes_and_configurations() -> None:
    assert sdenv("train", "--list").lines == ["count  Counts", "", "to-five"]


def test_the_keys_of_a_recipe_are_listed_with_their_defaults() -> None:
    assert sdenv("train", "count", "--list").lines == [
        "output  runs/count  Where the count is written, into a file of its own.",
        "steps   3           How far.",
        "rate    0.001       Numbers that change nothing.",
        "slope   0.5         Numbers that change nothing.",
    ]


def test_json_progress_of_a_training_is_its_events() -> None:
    done = sdenv("train", "count", "--progress", "json")
    types_seen = [json.loads(line)["type"] for line in done.stderr.splitlines()]
    assert types_seen == ["phase-started", *["measured", "step-done"] * 3]
