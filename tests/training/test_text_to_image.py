"""The text-to-image recipe on four drawings and networks of a few channels."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderTiny, DiffusionPipeline, StableDiffusionPipeline

from sdenv.core.errors import BadTrainingData, Cancelled
from sdenv.core.events import Measured
from sdenv.training.checkpoint import load_checkpoint
from sdenv.training.recipes import text_to_image
from sdenv.training.recipes.text_to_image import TextToImageConfig, TextToImageRecipe
from tests.training.support import Recorder, prepared_folder


@pytest.fixture
def config(tmp_path: Path) -> TextToImageConfig:
    torch.manual_seed(0)
    vae = AutoencoderTiny(
        latent_channels=4,
        encoder_block_out_channels=(8,) * 6,
        decoder_block_out_channels=(8,) * 6,
        num_encoder_blocks=(0,) * 6,
        num_decoder_blocks=(0,) * 6,
    )
    with torch.no_grad():  # an untrained encoder's latents are nearly constant; spread them
        vae.encoder.layers[-1].weight.mul_(40)
    vae.save_pretrained(tmp_path / "vae")
    return TextToImageConfig(
        data=prepared_folder(tmp_path / "data", ["pizza", "rocket", "cat", "robot"]),
        autoencoder=tmp_path / "vae",
        output=tmp_path / "run",
        widths=(32, 32),
        heads=2,
        time_width=32,
        text_width=32,
        text_layers=1,
        vocabulary_size=560,
        steps=60,
        batch_size=4,
        learning_rate=4e-3,
        warmup_steps=10,
        decay_steps=20,
        ema_decay=0.9,
        caption_dropout=0.0,
        workers=1,
    )


def _weights(folder: Path) -> dict[str, Any]:
    state = load_checkpoint(folder)
    assert state is not None
    return {**state["unet"], **{f"text.{name}": each for name, each in state["text_encoder"].items()}}


def test_overfits_four_drawings(config: TextToImageConfig) -> None:
    context = Recorder()
    TextToImageRecipe().run(config, context)
    losses = [each.values["loss"] for each in context.events if isinstance(each, Measured)]
    assert losses[-1] < 0.6


def test_n_and_m_steps_equal_n_plus_m_steps(config: TextToImageConfig) -> None:
    short = replace(config, steps=6, warmup_steps=2, decay_steps=2)
    TextToImageRecipe().run(short, Recorder())
    again = replace(short, output=config.output.with_name("broken"))
    with pytest.raises(Cancelled):
        TextToImageRecipe().run(again, Recorder(cancel_after=3))
    TextToImageRecipe().run(again, Recorder())
    unbroken, resumed = _weights(short.output), _weights(again.output)
    assert max(float((unbroken[name] - resumed[name]).abs().max()) for name in unbroken) == 0.0


def test_a_cancelled_run_leaves_a_pipeline_that_plain_diffusers_loads(config: TextToImageConfig) -> None:
    with pytest.raises(Cancelled):
        TextToImageRecipe().run(config, Recorder(cancel_after=2))
    pipeline = DiffusionPipeline.from_pretrained(config.output / "pipeline", dtype=torch.float32)
    assert isinstance(pipeline, StableDiffusionPipeline)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("a pizza, flat", num_inference_steps=1).images[0].size == (256, 256)


def test_another_run_can_start_from_the_saved_weights(config: TextToImageConfig) -> None:
    with pytest.raises(Cancelled):
        TextToImageRecipe().run(config, Recorder(cancel_after=2))
    later = replace(config, init_from=config.output / "pipeline", output=config.output / "later", steps=1)
    result = TextToImageRecipe().run(later, Recorder())
    assert (result.output / "sdenv.json").is_file()


def test_does_not_mix_two_configurations_but_lets_the_length_change(config: TextToImageConfig) -> None:
    with pytest.raises(Cancelled):
        TextToImageRecipe().run(config, Recorder(cancel_after=1))
    assert TextToImageRecipe().run(replace(config, steps=2), Recorder()).steps == 2
    with pytest.raises(BadTrainingData, match="another configuration"):
        TextToImageRecipe().run(replace(config, learning_rate=1e-5), Recorder())


def test_the_noise_schedule_ends_in_nearly_pure_noise() -> None:
    alphas = text_to_image._alphas_cumulative()
    assert math.isclose(alphas[-1].sqrt().item(), 0.0064, rel_tol=0.02)  # 0.0064: closed form, float64


def test_the_target_is_v_so_that_clean_latents_can_be_had_back_from_it() -> None:
    clean = torch.randn(64, 4, 2, 2)
    alphas = text_to_image._alphas_cumulative()
    noisy, target, timesteps = text_to_image._noised(clean, torch.Generator().manual_seed(1))
    signal = alphas[timesteps].sqrt().view(-1, 1, 1, 1)
    spread = (1 - alphas[timesteps]).sqrt().view(-1, 1, 1, 1)
    assert torch.allclose(signal * noisy - spread * target, clean, atol=1e-5)  # x = alpha z - sigma v


def test_captions_are_dropped_one_by_one_and_not_by_the_batch(config: TextToImageConfig) -> None:
    from transformers import CLIPTokenizer

    from sdenv.training.data import read_samples

    with pytest.raises(Cancelled):
        TextToImageRecipe().run(config, Recorder(cancel_after=1))
    tokenizer = CLIPTokenizer.from_pretrained(config.output / "pipeline" / "tokenizer")
    empty = tokenizer("", padding="max_length", return_tensors="pt").input_ids[0]
    batch = read_samples(config.data) * 16
    tokens = text_to_image._tokens(tokenizer, batch, 0, replace(config, caption_dropout=0.5))
    dropped = int((tokens == empty).all(dim=1).sum())
    assert 16 < dropped < 48  # 32 expected of 64
