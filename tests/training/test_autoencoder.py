"""The autoencoder recipe on four drawings and a network of a few channels."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file

from sdenv.core.errors import BadTrainingData, Cancelled
from sdenv.core.events import Measured
from sdenv.training.checkpoint import load_checkpoint
from sdenv.training.recipes.autoencoder import AutoencoderConfig, AutoencoderRecipe, edge_loss
from tests.training.support import Recorder, prepared_folder


@pytest.fixture
def config(tmp_path: Path) -> AutoencoderConfig:
    return AutoencoderConfig(
        data=prepared_folder(tmp_path / "data", ["pizza", "rocket", "cat", "robot"]),
        output=tmp_path / "run",
        latent_channels=4,
        encoder_width=16,
        decoder_width=16,
        encoder_blocks=(0, 0, 1),
        decoder_blocks=(1, 0, 0),
        steps=130,
        batch_size=1,
        crop_px=64,
        crop_share=1.0,
        learning_rate=2e-3,
        edge_weight=0.2,
        latent_noise=0.0,
        warmup_steps=5,
        ema_decay=0.8,
        workers=1,
    )


def test_overfits_four_drawings(config: AutoencoderConfig) -> None:
    context = Recorder()
    result = AutoencoderRecipe().run(config, context)
    losses = [each.values["squared"] for each in context.events if isinstance(each, Measured)]
    assert result.steps == 130
    assert losses[-1] < 0.1  # the best single colour costs about 0.5
    model = AutoencoderTiny.from_pretrained(result.output)
    weights = load_file(result.output / "diffusion_pytorch_model.safetensors")
    assert {each.dtype for each in weights.values()} == {torch.float16}
    assert len(model.config.block_out_channels) == 3  # pipelines read the factor from its length


def test_goes_on_from_a_checkpoint_as_if_never_stopped(config: AutoencoderConfig) -> None:
    short = replace(config, steps=6)
    AutoencoderRecipe().run(short, Recorder())
    unbroken = load_checkpoint(short.output)
    again = replace(short, output=config.output.with_name("broken"))
    with pytest.raises(Cancelled):
        AutoencoderRecipe().run(again, Recorder(cancel_after=3))
    AutoencoderRecipe().run(again, Recorder())
    resumed = load_checkpoint(again.output)
    assert unbroken is not None
    assert resumed is not None
    for name, weight in unbroken["model"].items():
        assert (weight - resumed["model"][name]).abs().max() == 0.0, name


def test_does_not_mix_two_configurations_in_one_folder(config: AutoencoderConfig) -> None:
    with pytest.raises(Cancelled):
        AutoencoderRecipe().run(config, Recorder(cancel_after=1))
    with pytest.raises(BadTrainingData, match="another configuration"):
        AutoencoderRecipe().run(replace(config, learning_rate=1e-4), Recorder())


def test_a_decoder_can_be_trained_alone(config: AutoencoderConfig) -> None:
    first = AutoencoderRecipe().run(replace(config, steps=3), Recorder())
    later = replace(
        config, steps=3, init_from=first.output, decoder_only=True, output=config.output / "later"
    )
    second = AutoencoderRecipe().run(later, Recorder())
    before = AutoencoderTiny.from_pretrained(first.output).state_dict()
    after = AutoencoderTiny.from_pretrained(second.output).state_dict()
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder"}


def test_the_edge_loss_ignores_an_even_error_and_sees_a_ragged_one() -> None:
    even = torch.full((1, 3, 16, 16), 0.5)
    ragged = torch.zeros(1, 3, 16, 16)
    ragged[..., ::2] = 0.5
    assert edge_loss(even) == 0.0
    assert edge_loss(ragged) > 0.2
