"""A model that is loaded already: a server of the same user on this machine, reached by its unix socket."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sdenv.core.events import Notice
from sdenv.net.native_client import NativeClient
from sdenv.services.choose import Chosen
from sdenv.services.settings import Settings

SOCKET_NAME: Final = "http.sock"
ANSWER_S: Final = 1.0
"""How long a server may take to say what it is: a model that loads by itself takes longer."""


@dataclass(frozen=True, slots=True)
class Warm:
    """A backend that has the model loaded.

    Attributes:
        chosen: To be used instead.
        notice: What to tell the user.
    """

    chosen: Chosen
    notice: Notice


def socket_path(settings: Settings) -> Path:
    """Where a server of this user listens for the programs of this user."""
    return runtime_folder(settings) / SOCKET_NAME


def runtime_folder(settings: Settings) -> Path:
    """`SDENV_RUNTIME_DIR`, else a folder of the system for such things, else one in `data_dir`."""
    raise NotImplementedError


def find_warm(chosen: Chosen, settings: Settings) -> Warm | None:
    """A warm server that makes the very same pictures as the local backend that was chosen; None = none.

    Args:
        chosen: What `-b local` means, models resolved.
        settings: Where the socket lies.
    """
    raise NotImplementedError


def warm_client(settings: Settings) -> NativeClient | None:
    """A client of the server that listens on this user's socket, whatever it serves; None = none does."""
    raise NotImplementedError
