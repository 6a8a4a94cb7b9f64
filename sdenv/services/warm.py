"""A model that is loaded already: a server of the same user on this machine, reached by its unix socket."""

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Final

from sdenv import __version__
from sdenv.backends import BACKENDS
from sdenv.core.backend import IDENTITY, Backend, BackendSettings, BackendStatus
from sdenv.core.errors import SdenvError
from sdenv.net.address import Access
from sdenv.net.native_client import NativeClient, ServerStatus, SpeaksNative
from sdenv.net.session import Session
from sdenv.services.choose import Chosen
from sdenv.services.settings import DEFAULT, Settings

SOCKET_NAME: Final = "http.sock"
LOCAL: Final = "local"
ANSWER_S: Final = 1.0
"""How long a server may take to say what it is: loading the model takes longer."""

GREETING: Final = "Made by your server on this machine, which has the model loaded (--no-warm: load it here)."

_LONGEST_PATH_BYTES: Final = 100
"""The system's limit for the path of a unix socket is 104 on macOS and 108 on Linux, its end included."""


def socket_path(settings: Settings) -> Path | None:
    """Where a server listens for the other programs of its user; None = this system has no such place."""
    if os.name != "posix":
        return None
    path = runtime_folder(settings) / SOCKET_NAME
    return path if len(os.fsencode(path)) <= _LONGEST_PATH_BYTES else None


def runtime_folder(settings: Settings) -> Path:
    """`runtime_dir`; else `sdenv` in the folder that the system makes for a session; else in `data_dir`.

    Never a folder in `/tmp`, where another user could have put a socket of his own before.
    """
    if settings.runtime_dir is not None:
        return settings.runtime_dir
    session_folder = os.environ.get("XDG_RUNTIME_DIR", "")
    if session_folder and settings.source_of("data_dir") == DEFAULT:
        return Path(session_folder) / "sdenv"
    return settings.data_dir / "runtime"


def find_warm(chosen: Chosen, settings: Settings) -> Chosen | None:
    """A server that makes the very same pictures as the local backend that was chosen; None = there is none.

    It must be of this version, serve the backend `local`, and make with each model that is asked for the same
    pixels: `core.backend.IDENTITY` says so.

    Args:
        chosen: What `-b local` means, its models resolved.
        settings: Where the socket lies.
    """
    path = socket_path(settings)
    if chosen.kind != LOCAL or path is None or not _is_ours(path):
        return None
    backend = BACKENDS.load("http")(_http_settings(path))
    status = _status(backend)
    if status is None or not _makes_the_same(chosen, status):
        backend.close()
        return None
    chosen.backend.close()
    return replace(chosen, backend=backend)


def warm_client(settings: Settings) -> NativeClient | None:
    """A client of the server that listens on this user's socket, whatever it serves; None = none does."""
    path = socket_path(settings)
    if path is None or not _is_ours(path):
        return None
    client = NativeClient(Session(Access(socket_path=path)))
    try:
        client.ping(ANSWER_S)
    except SdenvError:
        client.close()
        return None
    return client


def _is_ours(path: Path) -> bool:
    """Whether there is a socket that only this user can have made; a stale one is found by connecting."""
    try:
        found, folder = path.lstat(), path.parent.stat()
    except OSError:
        return False
    mine = found.st_uid == folder.st_uid == os.geteuid()
    return mine and stat.S_ISSOCK(found.st_mode) and not folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _http_settings(path: Path) -> BackendSettings:
    return BACKENDS.load("http").Settings.model_validate(
        {"socket": path, "shown_as": LOCAL, "forget": True, "greeting": GREETING}
    )


def _status(backend: Backend) -> ServerStatus | None:
    assert isinstance(backend, SpeaksNative)
    try:
        return backend.client().status(timeout_s=ANSWER_S)
    except SdenvError:
        return None


def _makes_the_same(chosen: Chosen, there: ServerStatus) -> bool:
    """Whether each model that is asked for makes the same pixels there as it would here."""
    if there.version != __version__ or there.kind != LOCAL or there.queue.draining:
        return False
    try:
        here = chosen.backend.probe()
        names = set(chosen.names.values())
        return all(_identity(here, name) == _identity(there.backend, name) != "" for name in names)
    except SdenvError:  # it does not have the model; or the model is broken, which the local backend will say
        return False


def _identity(status: BackendStatus, name: str | None) -> str:
    model = status.model(name)
    return "" if model is None else model.detail.get(IDENTITY, "")
