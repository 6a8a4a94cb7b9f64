"""What is said of this machine, and that what is chosen is what runs."""

import json
from pathlib import Path

import pytest
import torch

from sdenv.backends.local import LocalBackend, LocalSettings
from sdenv.backends.local.device import DeviceName, Precision, available_devices, choose
from sdenv.backends.local.machine import describe_machine
from sdenv.backends.local.memory import ELEMENT_BYTES, free_bytes, likely_element_bytes, total_bytes
from sdenv.core.errors import UnsupportedError
from sdenv.core.request import GenerationRequest
from sdenv.testing.fakes import Recorder


def test_the_report_is_plain_values_and_names_what_is_chosen_and_why() -> None:
    report = describe_machine()
    record = json.loads(json.dumps(report.as_record()))
    assert record["chosen_device"] == record["devices"][0]["name"] == available_devices()[0]
    assert record["reason"]
    assert record["versions"]["torch"].startswith(torch.__version__.partition("+")[0])
    assert record["threads"] >= 1


def test_every_device_says_of_every_precision_whether_it_runs_and_why() -> None:
    for device in describe_machine().devices:
        assert [each.name for each in device.precisions] == ["float32", "float16", "bfloat16"]
        assert all(each.why for each in device.precisions)
        assert device.memory_free_bytes <= device.memory_total_bytes
    usable = [each.name for each in describe_machine("cpu").devices[-1].precisions if each.usable]
    assert choose("cpu").precision in usable


def test_what_is_chosen_is_what_runs(models: dict[str, Path]) -> None:
    backend = LocalBackend(LocalSettings(models={"sd1": str(models["sd1"])}))
    made = backend.generate(GenerationRequest(prompt="a fox", steps=1), Recorder()).made_with
    backend.close()
    report = describe_machine()
    assert (made["device"], made["precision"]) == (report.chosen_device, report.chosen_precision)
    assert made["torch"] == torch.__version__


def test_a_cpu_with_bfloat16_units_is_given_bfloat16_and_another_float32() -> None:
    quick = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    assert choose("cpu").precision == ("bfloat16" if quick else "float32")


def test_what_is_guessed_without_torch_is_what_torch_chooses() -> None:
    assert likely_element_bytes("auto") == ELEMENT_BYTES[choose().precision]


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_a_precision_that_is_asked_for_is_taken(precision: Precision) -> None:
    assert choose("cpu", precision).precision == precision
    assert likely_element_bytes(precision) == ELEMENT_BYTES[precision]


def test_a_device_that_is_not_there_is_refused() -> None:
    missing: DeviceName = "mps" if "mps" not in available_devices() else "cuda"
    with pytest.raises(UnsupportedError, match="cpu"):
        choose(missing)


def test_free_memory_is_part_of_all_memory() -> None:
    assert 0 < free_bytes("cpu") <= total_bytes() * 1.01
