"""Makes tiny diffusers folders of true structure: classes and wiring of the real ones, a few channels wide.

The weights are seeded noise, so the pictures mean nothing; what is tested is that the same settings give
the same pixels as a bare diffusers pipeline, that folders load, and that refusals are right. The tokenizer
is a real CLIPTokenizer whose vocabulary holds bytes only: every letter is a token, so 76 letters are too
long for 77 places.
"""

from pathlib import Path
from typing import Any, Final

import torch

SCALED_LINEAR: Final[dict[str, Any]] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "set_alpha_to_one": False,
}


def make_sd1(folder: Path, *, seed: int = 0, latents: int = 4, takes_mask: bool = False) -> Path:
    """A Stable Diffusion 1.x folder.

    Args:
        folder: Where to write it.
        seed: Of the weights.
        latents: Channels of the latents; 4 in every real one.
        takes_mask: Whether it is an inpainting model, whose UNet takes a mask and a masked picture besides.
    """
    torch.manual_seed(seed)
    channels = 2 * latents + 1 if takes_mask else latents
    unet = _unet(channels, latents, cross_dim=32, per_head=False)
    return _save_single_encoder(folder, unet, latents, "epsilon")


def make_sd2(folder: Path, *, seed: int = 0) -> Path:
    """A Stable Diffusion 2.x folder: v-prediction, linear projections, heads by width."""
    torch.manual_seed(seed)
    return _save_single_encoder(folder, _unet(4, 4, cross_dim=48, per_head=True), 4, "v_prediction")


def _save_single_encoder(folder: Path, unet: Any, latents: int, prediction: str) -> Path:
    from diffusers import PNDMScheduler, StableDiffusionPipeline
    from transformers import CLIPTextModel

    pipeline = StableDiffusionPipeline(
        vae=_autoencoder(0.18215, latents),
        text_encoder=CLIPTextModel(_text_config(unet.config.cross_attention_dim)),
        tokenizer=tokenizer(),
        unet=unet,
        scheduler=PNDMScheduler(**SCALED_LINEAR, skip_prk_steps=True, prediction_type=prediction),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def make_sdxl(folder: Path, *, seed: int = 0) -> Path:
    """A Stable Diffusion XL folder: two text encoders, size conditioning."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(seed)
    pipeline = StableDiffusionXLPipeline(
        vae=_autoencoder(0.13025, 4, force_upcast=True),
        text_encoder=CLIPTextModel(_text_config(32)),
        text_encoder_2=CLIPTextModelWithProjection(_text_config(40)),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(pad_token="!"),
        unet=_sdxl_unet(),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        ),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def tokenizer(pad_token: str = "<|endoftext|>", places: int = 77) -> Any:
    """A CLIP tokenizer that knows bytes and nothing else."""
    from transformers import CLIPTokenizer

    letters = sorted(_byte_letters())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], pad_token=pad_token, model_max_length=places)


def _byte_letters() -> list[str]:
    """The printable stand-ins of the 256 bytes that byte-level tokenizers use (GPT-2, `bytes_to_unicode`)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = range(256 - len(plain))
    return [chr(code) for code in plain] + [chr(256 + number) for number in others]


def _text_config(width: int) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=514,
        hidden_size=width,
        projection_dim=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )


def _autoencoder(scaling_factor: float, latents: int, **more: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=latents,
        sample_size=64,
        scaling_factor=scaling_factor,
        **more,
    )


def _unet(channels: int, latents: int, *, cross_dim: int, per_head: bool) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        out_channels=latents,
        block_out_channels=(16, 32, 32, 32),
        layers_per_block=1,
        down_block_types=(*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
        cross_attention_dim=cross_dim,
        attention_head_dim=(2, 4, 4, 4) if per_head else 4,
        use_linear_projection=per_head,
        norm_num_groups=8,
    )


def _sdxl_unet() -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2),
        cross_attention_dim=72,
        attention_head_dim=(2, 4, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=40 + 6 * 8,
        norm_num_groups=8,
    )
