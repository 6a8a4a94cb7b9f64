"""Keeps bars and advice of the libraries off stderr, which belongs to the person at the prompt."""

import importlib
import warnings
from typing import Any, Final

_LIBRARIES: Final = ("diffusers", "transformers")


def quieten() -> None:
    """Silences diffusers and transformers: progress bars, advice and warnings.

    Called before anything of them is imported, since they already talk while they are; and before each job,
    since who embeds sdenv may have turned them on again.
    """
    for name in _LIBRARIES:
        logging: Any = importlib.import_module(f"{name}.utils.logging")
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        warnings.filterwarnings("ignore", module=name)
    # diffusers hands torch tensors to numpy functions; numpy warns in its own name of its own future
    warnings.filterwarnings("ignore", message="__array", category=DeprecationWarning)
