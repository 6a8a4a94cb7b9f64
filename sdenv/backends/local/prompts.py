"""Prompts longer than the encoder takes: encoded in pieces for CLIP, said aloud for every other encoder.

A CLIP encoder reads 77 tokens, two of them the marks of beginning and end. A longer prompt is cut into
pieces of 75, each piece is encoded with its own marks, and the embeddings are laid one after the other, as
AUTOMATIC1111 does (`modules/sd_hijack_clip.py`). The negative prompt gets as many pieces, empty ones at the
end. Prompts that fit take the plain way through the pipeline.
"""

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import torch

from sdenv.core.events import Notice

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

# b prompts (always 1 here), t tokens of all pieces, d width of an embedding

_UNLIMITED: Final = 100_000  # transformers writes 10^30 for tokenizers that know no limit
_MARKS: Final = 2  # beginning and end
_SINGLE: Final = ("StableDiffusionPipeline", "StableDiffusionInpaintPipeline")
_DOUBLE: Final = ("StableDiffusionXLPipeline", "StableDiffusionXLInpaintPipeline")


def long_prompt_arguments(
    pipeline: Any, family: str, prompt: str, negative: str, guided: bool, tell: Callable[[Notice], None]
) -> dict[str, Any] | None:
    """The pipeline's arguments for a prompt that is longer than its encoder; None when it fits.

    Args:
        pipeline: The pipeline that will run.
        family: Name of its class before it was made fit for a task.
        prompt: What to draw.
        negative: What to avoid.
        guided: Whether the negative prompt is encoded at all.
        tell: Takes the notice of what is done.
    """
    if family not in (*_SINGLE, *_DOUBLE):
        _tell_what_is_lost(pipeline, prompt, tell)
        return None
    texts = (prompt, negative) if guided else (prompt,)
    pieces = max(_pieces(encoder, text) for encoder in _tokenizers(pipeline) for text in texts)
    if pieces == 1:
        return None
    room = _room(pipeline.tokenizer)
    tell(Notice("prompt-chunked", f"The prompt is longer than {room} tokens; it is read in {pieces} pieces."))
    if family in _SINGLE:
        return _single(pipeline, prompt, negative, guided, pieces)
    return _double(pipeline, prompt, negative, guided, pieces)


def _tokenizers(pipeline: Any) -> list[Any]:
    found = (getattr(pipeline, name, None) for name in ("tokenizer", "tokenizer_2", "tokenizer_3"))
    return [each for each in found if each is not None]


def _room(tokenizer: Any) -> int:
    """Tokens of a prompt that fit between the marks."""
    return int(tokenizer.model_max_length) - _MARKS


def _ids(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text without the marks."""
    return list(tokenizer(text, add_special_tokens=False, truncation=False).input_ids)


def _pieces(tokenizer: Any, text: str) -> int:
    return max(1, math.ceil(len(_ids(tokenizer, text)) / _room(tokenizer)))


def _piece_ids(tokenizer: Any, text: str, pieces: int, device: Any) -> "list[Int[Tensor, '1 t']]":
    """Each piece with its marks, filled up as the tokenizer fills."""
    ids, room = _ids(tokenizer, text), _room(tokenizer)
    rows = []
    for start in range(0, pieces * room, room):
        row = [tokenizer.bos_token_id, *ids[start : start + room], tokenizer.eos_token_id]
        row += [tokenizer.pad_token_id] * (room + _MARKS - len(row))
        rows.append(torch.tensor([row], device=device))
    return rows


def _single(pipeline: Any, prompt: str, negative: str, guided: bool, pieces: int) -> dict[str, Any]:
    """Stable Diffusion 1 and 2: the last hidden state of one encoder."""

    def encoded(text: str) -> "Float[Tensor, 'b t d']":
        encoder = pipeline.text_encoder
        rows = _piece_ids(pipeline.tokenizer, text, pieces, encoder.device)
        return torch.cat([encoder(row)[0] for row in rows], dim=1)

    return {
        "prompt_embeds": encoded(prompt),
        "negative_prompt_embeds": encoded(negative) if guided else None,
    }


def _double(pipeline: Any, prompt: str, negative: str, guided: bool, pieces: int) -> dict[str, Any]:
    """Stable Diffusion XL: the last hidden state but one of two encoders side by side, and a pooled one.

    The pooled embedding is that of the first piece: it says what the picture is about, and prompts begin
    with it.
    """
    pairs = [
        (tokenizer, encoder)
        for tokenizer, encoder in (
            (pipeline.tokenizer, pipeline.text_encoder),
            (pipeline.tokenizer_2, pipeline.text_encoder_2),
        )
        if encoder is not None
    ]

    def encoded(text: str) -> "tuple[Float[Tensor, 'b t d'], Float[Tensor, 'b d']]":
        sides, pooled = [], None
        for tokenizer, encoder in pairs:
            rows = _piece_ids(tokenizer, text, pieces, encoder.device)
            made = [encoder(row, output_hidden_states=True) for row in rows]
            sides.append(torch.cat([each.hidden_states[-2] for each in made], dim=1))
            pooled = made[0][0]
        assert pooled is not None
        return torch.cat(sides, dim=-1), pooled

    embeds, pooled = encoded(prompt)
    arguments: dict[str, Any] = {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}
    if not guided:
        return arguments
    if not negative and pipeline.config.force_zeros_for_empty_prompt:
        without, without_pooled = torch.zeros_like(embeds), torch.zeros_like(pooled)
    else:
        without, without_pooled = encoded(negative)
    return arguments | {"negative_prompt_embeds": without, "negative_pooled_prompt_embeds": without_pooled}


def _tell_what_is_lost(pipeline: Any, prompt: str, tell: Callable[[Notice], None]) -> None:
    """Says which words no encoder of a pipeline will read."""
    default = inspect.signature(type(pipeline).__call__).parameters.get("max_sequence_length")
    lost = [
        _beyond(tokenizer, prompt, default.default if default else None)
        for tokenizer in _tokenizers(pipeline)
    ]
    if lost and all(lost):
        shortest = min(lost, key=len)
        tell(Notice("prompt-cut", f"The prompt is too long for this model. Not read: {shortest!r}."))


def _beyond(tokenizer: Any, prompt: str, sequence_length: int | None) -> str:
    """The end of a prompt that a tokenizer cuts off; empty when it fits."""
    limit = int(min(tokenizer.model_max_length, _UNLIMITED))
    if "CLIP" not in type(tokenizer).__name__ and sequence_length:
        limit = min(limit, sequence_length)
    ids = list(tokenizer(prompt, truncation=False).input_ids)
    return str(tokenizer.decode(ids[limit - 1 :], skip_special_tokens=True)) if len(ids) > limit else ""
