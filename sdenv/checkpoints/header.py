"""What is inside a weights file, from its first bytes: never from its name, and without reading a weight.

The safetensors format (huggingface/safetensors, README "Format"): 8 bytes little-endian length N, N bytes of
JSON {"name": {"dtype", "shape", "data_offsets": [begin, end]}}, then the tensors without a gap.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sdenv.core.errors import ModelIncomplete, UnsafeWeights

MAX_HEADER_BYTES: Final = 100 * 2**20  # the limit of the format's own reader (safetensors, `MAX_HEADER_SIZE`)
_LENGTH_BYTES: Final = 8

PICKLE_SUFFIXES: Final = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle"})

_PICKLE_MAGIC: Final = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""Protocols 2 to 5 begin with the opcode PROTO (Python `pickletools`)."""
_ZIP_MAGIC: Final = b"PK\x03\x04"  # torch.save since 1.6 writes a zip of a pickle
_LFS_MAGIC: Final = b"version https://git-lfs"

_BITS: Final = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
}
"""Size of an element by the format's name of its type; a type that is not here has its size unchecked."""


@dataclass(frozen=True, slots=True)
class TensorFact:
    """One tensor: its element type, its shape and its size in bytes."""

    dtype: str
    shape: tuple[int, ...]
    size_bytes: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def read_header(path: Path) -> Mapping[str, TensorFact]:
    """The tensors of a safetensors file, by name; the file is checked to be whole.

    Raises:
        UnsafeWeights: It is a pickle, whatever its name says.
        ModelIncomplete: It is missing, truncated or damaged.
    """
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(_LENGTH_BYTES)
            _refuse_pickle(path, start)
            if len(start) < _LENGTH_BYTES:
                raise _damaged(path, f"it has only {size_bytes} bytes")
            length = int.from_bytes(start, "little")
            if length > MAX_HEADER_BYTES or _LENGTH_BYTES + length > size_bytes:
                raise _not_safetensors(path, start + file.read(len(_LFS_MAGIC)), length, size_bytes)
            header = file.read(length)
    except OSError as error:
        raise ModelIncomplete(f"The weights file {path} cannot be read.", why=f"{error}.") from error
    return _facts(path, header, size_bytes - _LENGTH_BYTES - length)


def _refuse_pickle(path: Path, start: bytes) -> None:
    if start.startswith((*_PICKLE_MAGIC, _ZIP_MAGIC)):
        raise unsafe_weights(path, "Its first bytes are those of a pickle.")


def unsafe_weights(path: Path, why: str = "") -> UnsafeWeights:
    """The error for weights that are a pickle."""
    return UnsafeWeights(
        f"The weights {path.name} in {path.parent} are a pickle, which can run code when it is loaded.",
        why=why,
        hint="Get the safetensors version of this model, or convert the file on a machine that you can lose.",
    )


def _damaged(path: Path, why: str) -> ModelIncomplete:
    return ModelIncomplete(f"The weights file {path} is damaged: {why}.", hint="Copy or download it again.")


def _not_safetensors(path: Path, start: bytes, length: int, size_bytes: int) -> ModelIncomplete:
    if start.startswith(_LFS_MAGIC):
        why = "It is the pointer that git leaves in place of a large file."
        return ModelIncomplete(f"The weights file {path} is not there.", why=why, hint="git lfs pull")
    return _damaged(path, f"its header claims {length} bytes, and the file has {size_bytes}")


def _facts(path: Path, header: bytes, data_bytes: int) -> Mapping[str, TensorFact]:
    try:
        table = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is not JSON") from error
    if not isinstance(table, dict):
        raise _damaged(path, "its header is not a table of tensors")
    facts = {
        name: _fact(path, name, row, data_bytes) for name, row in table.items() if name != "__metadata__"
    }
    if sum(fact.size_bytes for fact in facts.values()) != data_bytes:
        raise _damaged(path, f"its tensors do not fill the {data_bytes} bytes behind the header")
    return facts


def _fact(path: Path, name: str, row: object, data_bytes: int) -> TensorFact:
    match row:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
            pass
        case _:
            raise _damaged(path, f"the entry of the tensor {name!r} is not one")
    if not all(isinstance(side, int) and side >= 0 for side in shape) or not 0 <= begin <= end <= data_bytes:
        raise _damaged(path, f"the tensor {name!r} lies outside of the file")
    fact = TensorFact(dtype, tuple(shape), end - begin)
    bits = _BITS.get(dtype)
    if bits is not None and fact.elements * bits != 8 * fact.size_bytes:
        raise _damaged(path, f"the tensor {name!r} has {fact.size_bytes} bytes, its shape says otherwise")
    return fact
