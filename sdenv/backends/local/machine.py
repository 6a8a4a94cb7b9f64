"""What this machine has for making pictures, and what would be chosen, for `sdenv probe local`."""

import importlib.metadata
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch

from sdenv.backends.local.device import (
    DTYPES,
    Choice,
    DeviceName,
    Precision,
    available_devices,
    best_precision,
    choose,
)
from sdenv.backends.local.memory import free_bytes, total_bytes

_PACKAGES: Final = ("torch", "diffusers", "transformers", "safetensors", "accelerate", "numpy", "scipy")
_TRIAL_SIDE: Final = 8  # enough for a matrix product to be refused where a precision is not there
MEMORY_FORMAT: Final = "channels-last"


@dataclass(frozen=True, slots=True)
class PrecisionFact:
    """Whether a device runs in a precision, and what speaks for or against it."""

    name: str
    usable: bool
    why: str


@dataclass(frozen=True, slots=True)
class DeviceFact:
    """A device that torch can use here; memory in bytes."""

    name: str
    title: str
    memory_total_bytes: int
    memory_free_bytes: int
    precisions: tuple[PrecisionFact, ...]


@dataclass(frozen=True, slots=True)
class MachineReport:
    """The facts of this machine.

    Attributes:
        devices: The best first.
        chosen_device: Which of them would be used.
        chosen_precision: In which precision.
        chosen_memory_format: In which order convolutions keep their numbers.
        reason: Why this precision.
        threads: Threads that torch computes with on the CPU.
        attention: Kernels of `scaled_dot_product_attention` that are enabled.
        versions: Of Python and of the packages that make the pictures; "missing" where one is not installed.
    """

    devices: tuple[DeviceFact, ...]
    chosen_device: str
    chosen_precision: str
    chosen_memory_format: str
    reason: str
    threads: int
    attention: tuple[str, ...]
    versions: dict[str, str]

    def as_record(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


def describe_machine(device: DeviceName = "auto", precision: Precision = "auto") -> MachineReport:
    """Looks at this machine; takes as long as importing torch.

    Args:
        device: Which device is asked for.
        precision: Which precision is asked for.

    Raises:
        UnsupportedError: The device is not there.
    """
    choice: Choice = choose(device, precision)
    return MachineReport(
        devices=tuple(_device(name) for name in available_devices()),
        chosen_device=choice.device,
        chosen_precision=choice.precision,
        chosen_memory_format=MEMORY_FORMAT,
        reason=choice.reason,
        threads=torch.get_num_threads(),
        attention=_attention(choice.device),
        versions={"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
    )


def _device(name: str) -> DeviceFact:
    precisions = tuple(_precision(name, each) for each in DTYPES)
    if name == "cuda":
        free, total = torch.cuda.mem_get_info()
        return DeviceFact(name, torch.cuda.get_device_name(), total, free, precisions)
    title = platform.processor() or platform.machine()
    if name == "cpu":
        title = str(_cpu_name() or title)
        title += f", {os.cpu_count()} cores"
    return DeviceFact(name, title, total_bytes(), free_bytes("cpu"), precisions)


def _cpu_name() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as lines:
            return next(
                (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), ""
            )
    except OSError:  # not Linux
        return ""


def _precision(device: str, name: str) -> PrecisionFact:
    best, why = best_precision(device)
    trial = _trial(device, DTYPES[name])
    if trial:
        return PrecisionFact(name, False, trial)
    if name == best:
        return PrecisionFact(name, True, why)
    return PrecisionFact(
        name, True, "exact, and the slowest" if name == "float32" else "runs; not the fastest here"
    )


def _trial(device: str, dtype: torch.dtype) -> str:
    """Why a matrix product in a precision is refused by a device; empty when it is not."""
    try:
        square = torch.ones(_TRIAL_SIDE, _TRIAL_SIDE, device=device, dtype=dtype)
        finite = bool(torch.isfinite(square @ square).all())
    except (RuntimeError, TypeError) as error:
        return str(error).splitlines()[0]
    return "" if finite else "a matrix product overflows"


def _attention(device: str) -> tuple[str, ...]:
    if device != "cuda":
        return ("flash", "math") if device == "cpu" else ("math",)
    cuda: Any = torch.backends.cuda
    enabled = {
        "flash": cuda.flash_sdp_enabled(),
        "memory-efficient": cuda.mem_efficient_sdp_enabled(),
        "cudnn": cuda.cudnn_sdp_enabled(),
        "math": cuda.math_sdp_enabled(),
    }
    return tuple(name for name, on in enabled.items() if on)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
