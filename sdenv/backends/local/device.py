"""Which device, which precision and which memory format, and the reason, said in words."""

import platform
from dataclasses import dataclass
from typing import Final, Literal

import torch

from sdenv.core.errors import UnsupportedError

DeviceName = Literal["auto", "cuda", "mps", "cpu"]
Precision = Literal["auto", "float32", "float16", "bfloat16"]

DTYPES: Final[dict[str, torch.dtype]] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}

_AMPERE: Final = (
    8,
    0,
)  # first compute capability with bfloat16 units (CUDA C Programming Guide, "Arithmetic")
_TURING: Final = (7, 5)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a model is loaded for.

    Attributes:
        device: `cuda`, `mps` or `cpu`.
        precision: Name of the element type of weights and activations.
        reason: Why this precision.
    """

    device: str
    precision: str
    reason: str

    @property
    def dtype(self) -> torch.dtype:
        """The element type."""
        return DTYPES[self.precision]


def available_devices() -> tuple[str, ...]:
    """The devices that torch can use here, the best first."""
    found = [
        name for name, there in (("cuda", _has_cuda()), ("mps", torch.backends.mps.is_available())) if there
    ]
    return (*found, "cpu")


def _has_cuda() -> bool:
    return torch.cuda.is_available() and torch.cuda.device_count() > 0


def choose(device: DeviceName = "auto", precision: Precision = "auto") -> Choice:
    """The device and precision for what was asked.

    Raises:
        UnsupportedError: The device is not there; the error names those that are.
    """
    there = available_devices()
    if device != "auto" and device not in there:
        why = f"torch {torch.__version__} sees: {', '.join(there)}."
        raise UnsupportedError(f"This machine has no device {device!r}.", why=why, hint="sdenv probe local")
    name = there[0] if device == "auto" else device
    if precision != "auto":
        return Choice(name, precision, "asked for")
    return Choice(name, *best_precision(name))


def best_precision(device: str) -> tuple[str, str]:
    """The precision that is fast on a device without spoiling pictures, and why."""
    if device == "cuda":
        return _on_cuda()
    if device == "mps":
        return "float16", "half precision halves the memory that the GPU shares with everything else"
    return _on_cpu()


def _on_cpu() -> tuple[str, str]:
    if torch.cpu._is_amx_tile_supported():
        return "bfloat16", "this CPU multiplies bfloat16 matrices in its AMX tiles"
    if torch.cpu._is_avx512_bf16_supported():
        return "bfloat16", "this CPU has AVX512-BF16"
    if platform.machine() in ("arm64", "aarch64"):
        return "float32", "bfloat16 units are not detected on ARM CPUs"
    return "float32", "this CPU has neither AMX nor AVX512-BF16, so half precision would only be emulated"


def _on_cuda() -> tuple[str, str]:
    capability = torch.cuda.get_device_capability()
    title = torch.cuda.get_device_name()
    if capability >= _AMPERE:
        return "bfloat16", f"{title} has bfloat16 units, which cannot overflow where float16 does"
    if capability == _TURING and "GTX 16" in title:
        return "float32", f"{title}: the GTX 16 series gives NaN in float16 convolutions (pytorch#58123)"
    if capability >= (7, 0):
        return "float16", f"{title} has float16 units and no bfloat16"
    return "float32", f"{title} is slow in half precision"
