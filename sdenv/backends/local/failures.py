"""Foreign exceptions become sdenv's own in one place, the most specific first."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from sdenv.core.errors import FailedError, ModelIncomplete, OutOfMemory

_OUT_OF_MEMORY: Final = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
)
"""What the allocators of torch say where they raise a plain RuntimeError: CPU, MPS, cuDNN."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that an allocation failed."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).casefold() for words in _OUT_OF_MEMORY)


@contextmanager
def failures_of(what: str, *, loading: bool = False) -> Iterator[None]:
    """Translates what torch, diffusers and transformers raise.

    The frames of a failed allocation are cleared, because they hold the tensors that filled the memory.

    Args:
        what: What was being done, as the subject of a sentence: "The pipeline StableDiffusionPipeline".
        loading: Whether a model was being loaded; a failure then means that the model is at fault.

    Raises:
        OutOfMemory: An allocation failed.
        ModelIncomplete: A model could not be loaded.
        FailedError: Anything else that torch or diffusers refuse at run time.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            traceback.clear_frames(error.__traceback__)
            raise OutOfMemory(
                f"{what} ran out of memory.",
                why=_first_line(error),
                hint="Ask for a smaller --size or --batch 1, or close other programs.",
            ) from error
        raise _failure(what, loading, error) from error
    except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
        raise _failure(what, loading, error) from error


@contextmanager
def numbers_checked(vae: Any, precision: str) -> Iterator[None]:
    """Makes an error of overflown numbers, where diffusers would hand over a black picture.

    Args:
        vae: The autoencoder; looked at through a hook that is gone afterwards.
        precision: What it runs in, for the error.

    Raises:
        FailedError: The decoder gave numbers that are none.
    """

    def look(_module: Any, _inputs: Any, output: Any) -> None:
        if not bool(torch.isfinite(output).all()):
            raise FailedError(
                "The picture came out as numbers that are none (NaN).",
                why=f"The model overflows in {precision}.",
                hint="-O precision=float32",
            )

    decoder = getattr(vae, "decoder", None)
    if decoder is None:
        yield
        return
    hook = decoder.register_forward_hook(look)
    try:
        yield
    finally:
        hook.remove()


def _failure(what: str, loading: bool, error: Exception) -> FailedError | ModelIncomplete:
    why = f"{type(error).__name__}: {_first_line(error)}"
    if loading:
        return ModelIncomplete(f"{what} cannot be loaded.", why=why, hint="Copy or download the model again.")
    return FailedError(f"{what} failed.", why=why)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
