"""Trains the small autoencoder: 256 px pictures to 8x8 latents with 16 channels and back.

The network is diffusers' AutoencoderTiny, because it has no norms and one width per side, which on a CPU
trains three times as fast as an AutoencoderKL of the same size (docs/lab-log.md). Its latents are held near
mean 0 and standard deviation 1 in every channel, so that the diffusion model needs no scaling factor.

Shapes: n pictures in all, b batch, c picture channels, h w pixels, side pixels of a crop, z latent channels,
y x latent rows and columns.
"""

import math
import random
import time
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import final

import torch
from diffusers import AutoencoderTiny
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from sdenv.core.backend import JobContext
from sdenv.core.errors import Cancelled
from sdenv.core.events import Measured, Notice, PhaseStarted, StepDone
from sdenv.core.recipe import Recipe, TrainingResult
from sdenv.training.checkpoint import (
    MovingAverage,
    check_same_run,
    fingerprint_of,
    load_checkpoint,
    save_checkpoint,
    swap_folder,
)
from sdenv.training.data import (
    batch_rows,
    chance_for,
    generator_for,
    load_pictures,
    read_split,
    to_minus_one_to_one,
    training_samples,
)
from sdenv.training.parallel import Workers, check_shares
from sdenv.training.pipeline import tidy_autoencoder


@dataclass(frozen=True)
class AutoencoderConfig:
    """One run.

    Attributes:
        data: Folder that the data step filled.
        output: Folder for the checkpoint and, at the end, the `vae` folder.
        init_from: Folder of an autoencoder in diffusers layout to start from.
        decoder_only: Whether the encoder stays as it is (its latents are in use already).
        latent_channels: Channels of a latent.
        encoder_width, decoder_width: Channels at every level of that side.
        encoder_blocks: Residual blocks per level, picture first; the length sets the factor, 2^(length - 1).
        decoder_blocks: The same from the latent to the picture.
        steps: Optimizer steps; may be changed when a run is taken up again, the learning rate then follows.
        batch_size: Whole pictures a step; a step on crops takes as many pixels.
        crop_px: Side of the crops in the first part of the run.
        crop_share: Which share of the steps sees crops.
        learning_rate: Peak of AdamW's rate; it warms up and then falls as a cosine.
        warmup_steps: Steps to the peak.
        latent_noise: Upper end of the noise added to latents, in standard deviations of the latents.
        latent_weight: Weight of the pull of latent channels to mean 0 and standard deviation 1.
        edge_weight: Weight of the multi-scale gradient term.
        ema_decay: Of the weights that are saved as the result.
        checkpoint_every: Steps between checkpoints.
        workers: Processes that share a step; as many as there are cores.
        limit: Use only so many pictures (tests); 0 = all.
        seed: Of everything random.
    """

    data: Path = Path("data/emoji")
    output: Path = Path("runs/autoencoder")
    init_from: Path | None = None
    decoder_only: bool = False
    latent_channels: int = 16
    encoder_width: int = 32
    decoder_width: int = 48
    encoder_blocks: tuple[int, ...] = (0, 1, 1, 1, 1, 2)
    decoder_blocks: tuple[int, ...] = (3, 3, 2, 1, 1, 0)
    steps: int = 5500
    batch_size: int = 8
    crop_px: int = 128
    crop_share: float = 0.5
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    latent_noise: float = 0.2
    latent_weight: float = 0.02
    edge_weight: float = 1.0
    ema_decay: float = 0.998
    checkpoint_every: int = 500
    workers: int = 2
    limit: int = 0
    seed: int = 0


FREE_TO_CHANGE = frozenset({"data", "output", "steps", "checkpoint_every"})
"""Keys that a resumed run may set anew; all others must be those of the checkpoint."""


@final
class AutoencoderRecipe(Recipe):
    """See the module."""

    Config = AutoencoderConfig

    def run(self, config: AutoencoderConfig, context: JobContext) -> TrainingResult:
        """Trains until done; a second call on the same output folder goes on from the checkpoint."""
        check_shares(config.batch_size, config.workers)
        fingerprint = fingerprint_of(config, FREE_TO_CHANGE)
        context.emit(PhaseStarted("loading"))
        samples = training_samples(config.data, read_split())
        pictures = load_pictures(samples[: config.limit or None])

        model = _new_model(config).to(memory_format=torch.channels_last)  # oneDNN's own layout
        model.encoder.requires_grad_(not config.decoder_only)
        trained = [each for each in model.parameters() if each.requires_grad]
        optimizer = torch.optim.AdamW(
            trained, config.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=True
        )
        average = MovingAverage([model], config.ema_decay)
        first = 0
        state = load_checkpoint(config.output)
        if state is not None:
            check_same_run(state, fingerprint, config.output)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            average.load_state(state["average"])
            first = state["step"]
        context.emit(
            Notice("precision", "bfloat16 autocast, weights in float32: AMX multiplies bfloat16 only")
        )

        def save(step: int) -> None:
            save_checkpoint(
                config.output,
                {
                    "fingerprint": fingerprint,
                    "step": step,
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "average": average.state(),
                },
            )
            _save_average(model, average, config.output)

        context.emit(PhaseStarted("training"))
        values: dict[str, float] = {}
        started = time.monotonic()
        with Workers(partial(_loss, config, pictures, model), trained, config.workers) as workers:
            for step in range(first, config.steps):
                for group in optimizer.param_groups:
                    group["lr"] = config.learning_rate * _rate(step, config.warmup_steps, config.steps)
                means = workers.backward(step)
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                average.update()

                done = step + 1
                try:
                    context.emit(StepDone(done, config.steps))
                    if done % 50 == 0 or done == config.steps:
                        rate = (done - first) * config.batch_size / (time.monotonic() - started)
                        values = {name: float(value) for name, value in means.items()} | {
                            "pictures_per_s": rate
                        }
                        context.emit(Measured(done, values))
                except Cancelled:
                    save(done)
                    raise
                if done % config.checkpoint_every == 0 or done == config.steps:
                    save(done)

        return TrainingResult(config.output / "vae", config.steps, values)


def _new_model(config: AutoencoderConfig) -> AutoencoderTiny:
    """The network with fresh weights, or with those of `init_from`."""
    if config.init_from is not None:
        return AutoencoderTiny.from_pretrained(config.init_from, dtype=torch.float32)
    torch.manual_seed(config.seed)
    return AutoencoderTiny(
        latent_channels=config.latent_channels,
        encoder_block_out_channels=(config.encoder_width,) * len(config.encoder_blocks),
        decoder_block_out_channels=(config.decoder_width,) * len(config.decoder_blocks),
        num_encoder_blocks=config.encoder_blocks,
        num_decoder_blocks=config.decoder_blocks,
    )


def _batch(
    pictures: UInt8[Tensor, "n c h w"], step: int, config: AutoencoderConfig
) -> UInt8[Tensor, "b c side side"]:
    """Whole pictures, or in the first part of the run more of smaller crops."""
    side = pictures.shape[-1]
    cropping = step < config.crop_share * config.steps
    crop = min(config.crop_px, side) if cropping else side
    size = config.batch_size * (side // crop) ** 2
    rows = batch_rows(step, size, len(pictures), config.seed)
    chance = chance_for(config.seed, step, 1)
    return torch.stack([_crop(pictures[row], crop, chance) for row in rows])


def _crop(picture: UInt8[Tensor, "c h w"], side: int, chance: random.Random) -> UInt8[Tensor, "c side side"]:
    """A square cut out anywhere, mirrored half of the time."""
    top = chance.randint(0, picture.shape[1] - side)
    left = chance.randint(0, picture.shape[2] - side)
    cut = picture[:, top : top + side, left : left + side]
    return cut.flip(-1) if chance.random() < 0.5 else cut


def _noise(picture_shape: torch.Size, step: int, config: AutoencoderConfig) -> Float[Tensor, "b z y x"]:
    """Noise for the latents of a batch, of another strength for each picture."""
    factor = 2 ** (len(config.encoder_blocks) - 1)
    count, _, height, width = picture_shape
    generator = generator_for(config.seed, step, 2)
    strength = config.latent_noise * torch.rand(count, 1, 1, 1, generator=generator)
    shape = (count, config.latent_channels, height // factor, width // factor)
    return strength * torch.randn(shape, generator=generator)


def _loss(
    config: AutoencoderConfig,
    pictures: UInt8[Tensor, "n c h w"],
    model: AutoencoderTiny,
    step: int,
    share: int,
    shares: int,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a share of the batch of a step, and its parts.

    The noise is relative to the spread of the latents: from a fixed amount they escape by growing, or drown.
    """
    batch = _batch(pictures, step, config)
    mine = slice(share * len(batch) // shares, (share + 1) * len(batch) // shares)
    target = to_minus_one_to_one(batch[mine]).contiguous(memory_format=torch.channels_last)
    noise = _noise(batch.shape, step, config)[mine]
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        latents = model.encode(target).latents
    latents = latents.float()
    mean = latents.mean(dim=(0, 2, 3))
    spread = latents.var(dim=(0, 2, 3)).add(1e-6).sqrt()
    pull = (mean.square() + spread.log().square()).mean()
    noisy = latents + noise * spread.detach().view(1, -1, 1, 1)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        remade = model.decode(noisy).sample
    difference = remade.float() - target
    absolute, squared, edges = difference.abs().mean(), difference.square().mean(), edge_loss(difference)
    loss = absolute + squared + config.edge_weight * edges + config.latent_weight * pull
    return loss, {"absolute": absolute, "squared": squared, "edges": edges, "pull": pull}


def edge_loss(difference: Float[Tensor, "b c h w"], scales: int = 3) -> Tensor:
    """Mean absolute gradient of the error, at full size and at halves of it: what makes edges crisp."""
    total = difference.new_zeros(())
    for _ in range(scales):
        total = total + (difference[..., 1:] - difference[..., :-1]).abs().mean()
        total = total + (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()
        difference = functional.avg_pool2d(difference, 2)
    return total


def _rate(step: int, warmup_steps: int, steps: int) -> float:
    """Share of the peak learning rate: a line up, then a cosine to 1 %."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def _save_average(model: AutoencoderTiny, average: MovingAverage, output: Path) -> None:
    """Writes the averaged weights in half precision as a diffusers folder; those in training stay."""
    before = average.copy_to_modules()
    averaged = deepcopy(model).half()
    average.restore(before)
    temporary = output / ".vae.tmp"
    averaged.save_pretrained(temporary)
    tidy_autoencoder(temporary)
    swap_folder(temporary, output / "vae")
