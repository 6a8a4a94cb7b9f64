"""The networks of the emoji model, with fresh weights: a small UNet and a small CLIP text encoder."""

from typing import Final

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

NORM_GROUPS: Final = 16  # divides every width in use; diffusers' 32 would not


def new_text_encoder(tokenizer: CLIPTokenizer, width: int, layers: int, heads: int) -> CLIPTextModel:
    """A CLIP text encoder.

    Args:
        tokenizer: Whose tokens and longest text it takes.
        width: Size of a token's vector.
        layers: Transformer layers.
        heads: Attention heads in each.
    """
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def new_unet(
    latent_shape: torch.Size,
    widths: tuple[int, ...],
    layers: int,
    heads: int,
    time_width: int,
    text_width: int,
) -> UNet2DConditionModel:
    """A UNet with cross-attention at every level.

    Args:
        latent_shape: (n, z, y, x) of the latents.
        widths: Channels per level, finest first.
        layers: Residual blocks per level on the way down; one more on the way up.
        heads: Attention heads.
        time_width: Size of the embedding of time and whole text.
        text_width: Size of a token's vector.
    """
    return UNet2DConditionModel(
        sample_size=latent_shape[-1],
        in_channels=latent_shape[1],
        out_channels=latent_shape[1],
        down_block_types=("CrossAttnDownBlock2D",) * len(widths),
        mid_block_type="UNetMidBlock2D",  # the text reaches it through the time embedding; keeps within 7.5 M
        up_block_types=("CrossAttnUpBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=layers,
        attention_head_dim=heads,  # diffusers' name; it is the number of heads
        norm_num_groups=NORM_GROUPS,
        cross_attention_dim=text_width,
        resnet_time_scale_shift="scale_shift",
        time_embedding_dim=time_width,
        addition_embed_type="text",  # the whole text also joins the time embedding and so reaches every block
        addition_embed_type_num_heads=heads,
    )
