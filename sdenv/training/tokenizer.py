"""A small tokenizer of CLIP's kind, learnt from the captions that it will read."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tokenizers import Regex as TokenizersRegex
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

START: Final = "<|startoftext|>"
END: Final = "<|endoftext|>"  # also fills up short texts, as in Stable Diffusion 1
WORD_END: Final = "</w>"

# Words, single digits, runs of anything else: the rule in transformers' tokenization_clip.py, without the
# contractions that it finds first; those still fall apart into pieces that exist here.
PIECES: Final = r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def train_tokenizer(
    texts: Iterable[str], vocabulary_size: int, max_tokens: int, folder: Path
) -> CLIPTokenizer:
    """Learns byte pair merges and writes them as a CLIP tokenizer.

    Every byte is in the vocabulary, alone and at the end of a word, so that no text is unknown.

    Args:
        texts: What to learn from.
        vocabulary_size: Entries at most; 514 of them are bytes and special tokens.
        max_tokens: Longest text the model takes, start and end included.
        folder: Where `tokenizer.json` goes.
    """
    learner = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    learner.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(TokenizersRegex(PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    learner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - 2,
        initial_alphabet=alphabet,
        end_of_word_suffix=WORD_END,
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    merges: list[tuple[str, str]] = [
        (left, right) for left, right in json.loads(learner.to_str())["model"]["merges"]
    ]
    entries = [*alphabet, *(each + WORD_END for each in alphabet), *("".join(pair) for pair in merges)]
    kept = list(dict.fromkeys(entries))[: vocabulary_size - 2]
    usable = [pair for pair in merges if {*pair, "".join(pair)} <= set(kept)]
    vocabulary = {entry: number for number, entry in enumerate([*kept, START, END])}

    folder.mkdir(parents=True, exist_ok=True)
    # transformers' annotation says text, its code hands pairs to the BPE model
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=usable, model_max_length=max_tokens)  # type: ignore[arg-type]
    tokenizer.save_pretrained(folder)
    return tokenizer
