"""The small commands that list things."""

import json
from pathlib import Path

from sdenv.backends import BACKENDS
from tests.cli.support import sdenv


def test_every_backend_is_listed() -> None:
    done = sdenv("backends")
    assert done.code == 0
    assert [line.split()[0] for line in done.lines] == list(BACKENDS)
    assert [json.loads(line)["name"] for line in sdenv("backends", "--json").lines] == list(BACKENDS)


def test_a_backend_tells_its_models_and_what_it_can_do() -> None:
    record = json.loads(sdenv("backends", "fake", "--json").out)
    assert [model["name"] for model in record["models"]] == ["mosaic", "mosaic-native"]
    assert record["capabilities"]["cancel"] == "at-once"
    assert record["options"]["step_seconds"] == "0.0"
    page = sdenv("backends", "fake").out
    assert "mosaic-native" in page
    assert "step_seconds" in page


def test_models_are_listed_with_where_they_lie(here: Path) -> None:
    models = here / "models"
    (models / "mine" / "unet").mkdir(parents=True)
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    (models / "mine" / "model_index.json").write_text(json.dumps(index))
    (models / "mine" / "unet" / "config.json").write_text("{}")
    sdenv("config", "set", "models_dirs", json.dumps([str(models)]))
    records = [json.loads(line) for line in sdenv("models", "--json").lines]
    mine = next(record for record in records if record["name"] == "mine")
    assert (mine["family"], mine["source"], mine["path"]) == ("v1", "folder", str(models / "mine"))
    assert mine["size_bytes"] > 0
    assert any(line.startswith("mine") for line in sdenv("models").lines)
    assert sdenv("models").out == sdenv("models", "list").out


def test_the_machine_is_described_for_people_and_for_programs() -> None:
    record = json.loads(sdenv("probe", "local", "--json").out)
    assert record["chosen_device"] in [device["name"] for device in record["devices"]]
    page = sdenv("probe", "local").out
    assert record["reason"] in page
    assert record["versions"]["torch"] in page


def test_a_machine_without_torch_says_what_to_install() -> None:
    import subprocess
    import sys

    without = "import sys; sys.modules['torch'] = None; import sdenv.cli; "
    program = f"{without} sys.exit(sdenv.cli.run(['probe', 'local']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 4
    assert "pip install 'sdenv[local]'" in done.stderr
