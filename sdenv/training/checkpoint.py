"""Checkpoints that are whole or not there, and a moving average of weights."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from sdenv.core.errors import BadTrainingData

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CHECKPOINT_NAME: Final = "checkpoint.pt"


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file through a temporary one beside it: after a crash there is the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Saves what a run needs to go on, replacing the last checkpoint in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{CHECKPOINT_NAME}.tmp"
    try:
        torch.save(dict(state), temporary)
        temporary.replace(folder / CHECKPOINT_NAME)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The state of the last checkpoint, or None; reads nothing but tensors and plain values."""
    path = folder / CHECKPOINT_NAME
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError) as error:
        raise BadTrainingData(
            f"The checkpoint {path} is damaged.", why=str(error)[:200], hint=f"Delete {path} to start again."
        ) from error
    return state


def swap_folder(new: Path, target: Path) -> None:
    """Puts a finished folder in place of an old one; there is no moment with half of either."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.replace(old)
    new.replace(target)
    shutil.rmtree(old, ignore_errors=True)


def fingerprint_of(config: "DataclassInstance", free: frozenset[str]) -> str:
    """What two configurations must share for a run to go on: all keys but the free ones."""
    fixed = {key: value for key, value in asdict(config).items() if key not in free}
    return hashlib.sha256(repr(fixed).encode()).hexdigest()


def check_same_run(state: Mapping[str, Any], fingerprint: str, folder: Path) -> None:
    """Refuses to go on from a checkpoint that another configuration made.

    Raises:
        BadTrainingData: The fingerprints differ.
    """
    if state["fingerprint"] != fingerprint:
        raise BadTrainingData(
            f"The checkpoint in {folder} was made with another configuration.",
            why="Resuming would mix two runs.",
            hint="Choose another output folder, or start from its weights with --set init_from=FOLDER.",
        )


class MovingAverage:
    """An exponential moving average of parameters in float32.

    The decay warms up as (1 + n) / (10 + n), so that the first steps are not remembered for ever.

    Args:
        modules: Whose parameters are averaged.
        decay: Share of the old average that stays at each update, 0..1.
    """

    def __init__(self, modules: Iterable[nn.Module], decay: float) -> None:
        self._parameters: list[Tensor] = [each for module in modules for each in module.parameters()]
        self._decay = decay
        self.average: list[Tensor] = [each.detach().clone() for each in self._parameters]
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Takes the present parameters in."""
        self.updates += 1
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.average, self._parameters, 1.0 - decay)

    @torch.no_grad()
    def copy_to_modules(self) -> list[Tensor]:
        """Puts the average into the modules; returns what was there, for `restore`."""
        before = [each.detach().clone() for each in self._parameters]
        torch._foreach_copy_(self._parameters, self.average)
        return before

    @torch.no_grad()
    def restore(self, before: list[Tensor]) -> None:
        """Undoes `copy_to_modules`."""
        torch._foreach_copy_(self._parameters, before)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"average": self.average, "updates": self.updates}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.updates = state["updates"]
        torch._foreach_copy_(self.average, state["average"])
