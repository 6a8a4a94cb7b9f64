"""The short hash that names a model's weights in pictures, computed once per file.

As AUTOMATIC1111 has it: the first 10 hex digits of the SHA-256 of the weights file; here of the part that
is run every step (UNet or transformer), shard after shard where there are several. Reading gigabytes takes
seconds, so the result is kept beside the user's other caches, by path, size and time of change.
"""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import platformdirs

from sdenv.checkpoints.folder import ModelFolder

_DIGITS: Final = 10
_CHUNK_BYTES: Final = 2**22


def model_hash(folder: ModelFolder) -> str:
    """The hash of a model; empty for one without a part that is run every step."""
    denoiser = folder.denoiser
    if denoiser is None or not denoiser.weights:
        return ""
    key = "|".join(_stamp(path) for path in denoiser.weights)
    known = _read()
    if key not in known:
        known[key] = _computed(denoiser.weights)
        _write(known)
    return known[key]


def _stamp(path: Path) -> str:
    state = path.stat()
    return f"{path.resolve()}:{state.st_size}:{state.st_mtime_ns}"


def _computed(paths: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()[:_DIGITS]


def _store() -> Path:
    return Path(platformdirs.user_cache_dir("sdenv", appauthor=False)) / "weight-hashes.json"


def _read() -> dict[str, str]:
    try:
        known = json.loads(_store().read_bytes())
    except (OSError, ValueError):  # not there yet, or damaged: computed again
        return {}
    return {str(key): str(value) for key, value in known.items()} if isinstance(known, dict) else {}


def _write(known: dict[str, str]) -> None:
    store = _store()
    temporary = store.with_suffix(f".{os.getpid()}.tmp")
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(known), "utf-8")
        temporary.replace(store)
    except OSError:  # a read-only or full home: the next process computes it again
        with suppress(OSError):
            temporary.unlink()
