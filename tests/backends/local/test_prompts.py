"""Long prompts are read to the end, and when they cannot be, somebody is told."""

from pathlib import Path
from typing import Any

import pytest
import torch

from sdenv.backends.local import LocalBackend
from sdenv.backends.local.device import choose
from sdenv.backends.local.loading import load_pipeline
from sdenv.backends.local.prompts import long_prompt_arguments
from sdenv.backends.local.quiet import quieten
from sdenv.checkpoints.folder import read_folder
from sdenv.core.events import Notice
from sdenv.core.request import MAX_PROMPT_CHARACTERS, GenerationRequest
from sdenv.testing.fakes import Recorder
from sdenv.testing.samples import largest_difference

ROUNDING = 2
"""Levels of 255: convolutions of a batch add in another order than those of a single picture."""

ROOM = 75  # letters are tokens in the tiny models


def notices(backend: LocalBackend, **values: Any) -> list[Notice]:
    recorder = Recorder()
    backend.generate(GenerationRequest(seed=1, steps=1, **values), recorder)
    return [event for event in recorder.events if isinstance(event, Notice)]


@pytest.fixture(scope="module")
def pipelines(models: dict[str, Path]) -> dict[str, Any]:
    quieten()
    choice = choose("cpu", "float32")
    return {name: load_pipeline(read_folder(models[name]), choice) for name in ("sd1", "sdxl")}


def encoded(
    pipelines: dict[str, Any], model: str, prompt: str, negative: str = "", guided: bool = True
) -> Any:
    pipeline = pipelines[model]
    kind = type(pipeline).__name__
    with torch.inference_mode():
        return long_prompt_arguments(pipeline, kind, prompt, negative, guided, lambda _: None)


@pytest.mark.parametrize("model", ["sd1", "sd2", "sdxl"])
def test_a_long_prompt_is_read_in_pieces_and_said_to_be(backend: LocalBackend, model: str) -> None:
    told = notices(backend, prompt="x" * (ROOM + 1), model=model)
    assert [notice.code for notice in told] == ["prompt-chunked"]
    assert "2 pieces" in told[0].message


@pytest.mark.parametrize("model", ["sd1", "sdxl"])
def test_a_prompt_that_fits_exactly_takes_the_plain_way(backend: LocalBackend, model: str) -> None:
    assert notices(backend, prompt="x" * ROOM, model=model) == []


@pytest.mark.parametrize("model", ["sd1", "sdxl"])
def test_the_end_of_a_long_prompt_changes_the_picture(backend: LocalBackend, model: str) -> None:
    one, other = (
        backend.generate(GenerationRequest(prompt="x" * 200 + end, model=model, seed=1, steps=2), Recorder())
        for end in ("a", "b")
    )
    assert one.images != other.images


def test_the_longest_prompt_that_a_request_can_hold_is_read_to_the_end(backend: LocalBackend) -> None:
    told = notices(backend, prompt="x" * MAX_PROMPT_CHARACTERS, model="sd1")
    assert "134 pieces" in told[0].message


def test_the_first_piece_is_encoded_as_a_prompt_of_that_length_is_by_diffusers(
    pipelines: dict[str, Any],
) -> None:
    beginning = " ".join("abcdefghijklmno" * 5)  # a word of one letter is one token
    for model in ("sd1", "sdxl"):
        pipeline = pipelines[model]
        with torch.inference_mode():
            bare = pipeline.encode_prompt(
                beginning, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True
            )
        ours = encoded(pipelines, model, f"{beginning} p q r")
        assert torch.equal(ours["prompt_embeds"][:, : ROOM + 2], bare[0])


def test_the_negative_prompt_gets_as_many_pieces_whichever_is_longer(pipelines: dict[str, Any]) -> None:
    for prompt, negative in (("x" * 160, "snow"), ("fox", "y" * 160), ("x" * 80, "y" * 160)):
        for model in ("sd1", "sdxl"):
            found = encoded(pipelines, model, prompt, negative)
            assert found["prompt_embeds"].shape[1] == found["negative_prompt_embeds"].shape[1] == 3 * 77


def test_an_empty_negative_prompt_is_zeros_where_the_model_was_trained_so(pipelines: dict[str, Any]) -> None:
    found = encoded(pipelines, "sdxl", "x" * 80)
    assert not found["negative_prompt_embeds"].any()
    assert not found["negative_pooled_prompt_embeds"].any()


def test_without_guidance_no_negative_prompt_is_encoded(pipelines: dict[str, Any]) -> None:
    assert encoded(pipelines, "sd1", "x" * 80, "y" * 500, guided=False)["prompt_embeds"].shape[1] == 2 * 77


def test_long_prompts_work_for_a_batch(backend: LocalBackend) -> None:
    request = GenerationRequest(prompt="x" * 100, model="sdxl", seed=4, steps=2, count=2, batch_size=2)
    alone = GenerationRequest(prompt="x" * 100, model="sdxl", seed=4, steps=2)
    together = backend.generate(request, Recorder()).images
    assert len(together) == 2
    apart = largest_difference(together[0], backend.generate(alone, Recorder()).images[0])
    assert apart <= ROUNDING


def test_an_encoder_that_is_not_read_in_pieces_names_the_words_that_it_cuts_off(
    pipelines: dict[str, Any],
) -> None:
    told: list[Notice] = []
    found = long_prompt_arguments(
        pipelines["sd1"], "SomeOtherPipeline", "x" * 76 + "yz", "", True, told.append
    )
    assert found is None
    assert [notice.code for notice in told] == ["prompt-cut"]
    assert "xyz" in told[0].message
