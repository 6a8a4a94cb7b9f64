"""Trains the UNet and the text encoder of the emoji model on cached latents.

v-prediction (Salimans and Ho 2022, arXiv:2202.00512, appendix D: v = alpha eps - sigma x) on the `linear`
schedule, classifier-free guidance by dropping single captions (Ho and Salimans 2022, arXiv:2207.12598), and a
moving average of the weights, which is what gets saved.

Shapes: b batch, n pictures, z latent channels, y x latent rows and columns, t tokens, d token size.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

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
)
from sdenv.training.data import (
    Sample,
    batch_rows,
    canonical_caption,
    chance_for,
    generator_for,
    load_pictures,
    read_split,
    to_minus_one_to_one,
    training_samples,
    varied_caption,
)
from sdenv.training.networks import new_text_encoder, new_unet
from sdenv.training.parallel import Workers, check_shares
from sdenv.training.pipeline import BETA_END, BETA_START, TRAIN_TIMESTEPS, build_pipeline, save_pipeline
from sdenv.training.tokenizer import train_tokenizer


@dataclass(frozen=True)
class TextToImageConfig:
    """One run.

    Attributes:
        data: Folder that the data step filled.
        autoencoder: Folder of the trained autoencoder.
        output: Folder for the checkpoint and the `pipeline` folder.
        init_from: Pipeline folder whose UNet, text encoder and tokenizer to start from.
        widths: UNet channels per level, finest first.
        layers: Residual blocks per level.
        heads: Attention heads.
        time_width: Size of the embedding of time and of the whole text.
        text_width, text_layers: Shape of the text encoder.
        vocabulary_size: Tokens.
        max_tokens: Longest caption, start and end included.
        steps: Optimizer steps; may be changed when a run is taken up again.
        batch_size: Pictures a step.
        learning_rate: AdamW's rate on the plateau.
        warmup_steps: Steps of a line up to it.
        decay_steps: Steps of the fall to zero at the end.
        caption_dropout: Share of captions replaced by the empty one.
        ema_decay: Of the averaged weights.
        checkpoint_every: Steps between checkpoints; each also writes the pipeline as it is.
        workers: Processes that share a step; as many as there are cores.
        limit: Use only so many pictures (tests); 0 = all.
        seed: Of everything random.
    """

    data: Path = Path("data/emoji")
    autoencoder: Path = Path("runs/autoencoder/vae")
    output: Path = Path("runs/text-to-image")
    init_from: Path | None = None
    widths: tuple[int, ...] = (128, 160)
    layers: int = 1
    heads: int = 4
    time_width: int = 192
    text_width: int = 128
    text_layers: int = 4
    vocabulary_size: int = 1200
    max_tokens: int = 32
    steps: int = 9000
    batch_size: int = 64
    learning_rate: float = 1e-3
    warmup_steps: int = 300
    decay_steps: int = 3000
    caption_dropout: float = 0.1
    ema_decay: float = 0.999
    checkpoint_every: int = 1000
    workers: int = 2
    limit: int = 0
    seed: int = 0


FREE_TO_CHANGE = frozenset({"data", "autoencoder", "output", "steps", "checkpoint_every"})
"""Keys that a resumed run may set anew; all others must be those of the checkpoint."""


@final
class TextToImageRecipe(Recipe):
    """See the module."""

    Config = TextToImageConfig

    def run(self, config: TextToImageConfig, context: JobContext) -> TrainingResult:
        """Trains until done; a second call on the same output folder goes on from the checkpoint."""
        check_shares(config.batch_size, config.workers)
        fingerprint = fingerprint_of(config, FREE_TO_CHANGE)
        context.emit(PhaseStarted("loading"))
        samples = training_samples(config.data, read_split())[: config.limit or None]
        vae = AutoencoderTiny.from_pretrained(config.autoencoder, dtype=torch.float32)
        latents = _encode_all(vae, samples)
        tokenizer, text_encoder, unet = _new_parts(config, samples, latents.shape)
        unet.set_attn_processor(AttnProcessor())  # on a CPU the fused kernels' backward pass is slower
        text_encoder.set_attn_implementation("eager")
        parameters = [*unet.parameters(), *text_encoder.parameters()]
        optimizer = torch.optim.AdamW(
            parameters, config.learning_rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        average = MovingAverage([unet, text_encoder], config.ema_decay)
        first = 0
        state = load_checkpoint(config.output)
        if state is not None:
            check_same_run(state, fingerprint, config.output)
            unet.load_state_dict(state["unet"])
            text_encoder.load_state_dict(state["text_encoder"])
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
                    "unet": unet.state_dict(),
                    "text_encoder": text_encoder.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "average": average.state(),
                },
            )
            _save_average(config, average, (unet, text_encoder), tokenizer)

        loss_of = partial(_loss, config, samples, latents, tokenizer, text_encoder, unet)
        context.emit(PhaseStarted("training"))
        values: dict[str, float] = {}
        started, loss_sum = time.monotonic(), torch.zeros(())
        with Workers(loss_of, parameters, config.workers) as workers:
            for step in range(first, config.steps):
                for group in optimizer.param_groups:
                    group["lr"] = config.learning_rate * _rate(step, config)
                means = workers.backward(step)
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                average.update()
                loss_sum += means["loss"]

                done = step + 1
                try:
                    context.emit(StepDone(done, config.steps))
                    if done % 100 == 0 or done == config.steps:
                        rate = (done - first) * config.batch_size / (time.monotonic() - started)
                        values = {"loss": loss_sum.item() / (done % 100 or 100)}
                        values |= {"passes": done * config.batch_size / len(samples), "pictures_per_s": rate}
                        loss_sum.zero_()
                        context.emit(Measured(done, values))
                except Cancelled:
                    save(done)
                    raise
                if done % config.checkpoint_every == 0 or done == config.steps:
                    save(done)
        return TrainingResult(config.output / "pipeline", config.steps, values)


@torch.no_grad()
def _encode_all(vae: AutoencoderTiny, samples: list[Sample]) -> Float[Tensor, "n z y x"]:
    """The latents of all pictures, once; they fit in memory."""
    pictures = load_pictures(samples)
    return torch.cat([vae.encode(to_minus_one_to_one(part)).latents for part in torch.split(pictures, 16)])


def _new_parts(
    config: TextToImageConfig, samples: list[Sample], latent_shape: torch.Size
) -> tuple[CLIPTokenizer, CLIPTextModel, UNet2DConditionModel]:
    """The tokenizer and the two networks, fresh or from `init_from`."""
    if config.init_from is not None:
        loaded: dict[str, Any] = {"dtype": torch.float32}
        return (
            CLIPTokenizer.from_pretrained(config.init_from / "tokenizer"),
            CLIPTextModel.from_pretrained(config.init_from / "text_encoder", **loaded).train(),
            UNet2DConditionModel.from_pretrained(config.init_from, subfolder="unet", **loaded).train(),
        )
    texts = [
        text
        for row, sample in enumerate(samples)
        for text in (
            canonical_caption(sample.phrase, sample.style),
            *(varied_caption(sample, chance_for(config.seed, row, way)) for way in range(6)),
        )
    ]
    tokenizer = train_tokenizer(texts, config.vocabulary_size, config.max_tokens, config.output / "tokenizer")
    torch.manual_seed(config.seed)
    text_encoder = new_text_encoder(tokenizer, config.text_width, config.text_layers, config.heads)
    unet = new_unet(
        latent_shape, config.widths, config.layers, config.heads, config.time_width, config.text_width
    )
    return tokenizer, text_encoder.train(), unet.train()


def _alphas_cumulative() -> Float[Tensor, " steps"]:
    """Share of signal variance left after each noise step (Ho et al. 2020, arXiv:2006.11239, eq. 4)."""
    betas = torch.linspace(BETA_START, BETA_END, TRAIN_TIMESTEPS, dtype=torch.float64)
    return (1.0 - betas).cumprod(0).float()


def _noised(
    clean: Float[Tensor, "b z y x"], generator: torch.Generator
) -> tuple[Float[Tensor, "b z y x"], Float[Tensor, "b z y x"], Int[Tensor, " b"]]:
    """Noisy latents at random times, the v that the network has to predict, and the times."""
    alphas = _alphas_cumulative()
    timesteps = torch.randint(0, TRAIN_TIMESTEPS, (len(clean),), generator=generator)
    noise = torch.randn(clean.shape, generator=generator)
    signal = alphas[timesteps].sqrt().view(-1, 1, 1, 1)
    spread = (1.0 - alphas[timesteps]).sqrt().view(-1, 1, 1, 1)
    return signal * clean + spread * noise, signal * noise - spread * clean, timesteps


def _tokens(
    tokenizer: CLIPTokenizer, batch: list[Sample], step: int, config: TextToImageConfig
) -> Int[Tensor, "b t"]:
    """Captions in varied words, some of them empty: each picture by itself, never the whole batch."""
    chance = chance_for(config.seed, step, 1)
    texts = [
        "" if chance.random() < config.caption_dropout else varied_caption(each, chance) for each in batch
    ]
    encoded = tokenizer(
        texts, padding="max_length", max_length=config.max_tokens, truncation=True, return_tensors="pt"
    )
    tokens: Tensor = encoded.input_ids
    return tokens


def _loss(
    config: TextToImageConfig,
    samples: list[Sample],
    latents: Float[Tensor, "n z y x"],
    tokenizer: CLIPTokenizer,
    text_encoder: CLIPTextModel,
    unet: UNet2DConditionModel,
    step: int,
    share: int,
    shares: int,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean squared error of v over a share of the batch of a step."""
    rows = batch_rows(step, config.batch_size, len(samples), config.seed)
    mine = slice(share * len(rows) // shares, (share + 1) * len(rows) // shares)
    tokens = _tokens(tokenizer, [samples[row] for row in rows], step, config)[mine]
    noisy, target, timesteps = _noised(latents[rows], generator_for(config.seed, step, 2))
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        text_btd = text_encoder(tokens)[0]
        predicted = unet(noisy[mine], timesteps[mine], encoder_hidden_states=text_btd).sample
    loss = functional.mse_loss(predicted.float(), target[mine])
    return loss, {"loss": loss}


def _rate(step: int, config: TextToImageConfig) -> float:
    """Share of the learning rate: a line up, a plateau, a line down to zero.

    The plateau does not depend on the length of the run, so that a run can be prolonged or cut short.
    """
    up = (step + 1) / max(1, config.warmup_steps)
    down = (config.steps - step) / max(1, config.decay_steps)
    return min(1.0, up, down)


def _save_average(
    config: TextToImageConfig,
    average: MovingAverage,
    trained: tuple[UNet2DConditionModel, CLIPTextModel],
    tokenizer: CLIPTokenizer,
) -> None:
    """Writes the pipeline with the averaged weights; the ones in training stay as they are."""
    before = average.copy_to_modules()
    unet, text_encoder = trained
    copies = (
        UNet2DConditionModel.from_config(unet.config),
        CLIPTextModel(text_encoder.config),
    )
    copies[0].load_state_dict(unet.state_dict())
    copies[1].load_state_dict(text_encoder.state_dict())
    average.restore(before)
    vae = AutoencoderTiny.from_pretrained(config.autoencoder)
    save_pipeline(build_pipeline(copies[0], copies[1], tokenizer, vae), config.output / "pipeline")
