"""How much memory a picture takes, by arithmetic, before anything is allocated. No torch in here.

    bytes = (weights + RUNTIME + pixels * batch * per pixel) * MARGIN

- weights: elements of all tensors in the file headers, times the bytes of an element on the device. - per
pixel: the larger of two peaks, which do not come together. The denoiser takes DENOISER_WIDTHS times its
first
  width per latent cell, twice with guidance; the decoder DECODER_MAPS feature maps of its second width at
  full resolution. Attention is fused, so nothing grows with the square of the pixels.

Measured on the CPU with random weights of the true Stable Diffusion 1.5 shape (growth of the process's
peak): decoder at 512 px 410 MB in bfloat16 and 804 MB in float32, 3.0 maps; UNet with guidance 239 MB at
512 px and 1007 MB at 1024 px in bfloat16, 46 and 48 widths. Coarse, but what is refused here would at best
have been swapped.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sdenv.checkpoints.facts import ModelFacts
from sdenv.checkpoints.folder import ModelFolder

ELEMENT_BYTES: Final = {"float32": 4, "float16": 2, "bfloat16": 2}
RUNTIME_BYTES: Final = 500_000_000
"""What Python with torch and diffusers takes before any weight (370 MB on Linux), and some room to work."""
MARGIN: Final = 1.05
"""Fragments of freed memory that do not fit what is asked for next."""
DENOISER_WIDTHS: Final = 48
TRANSFORMER_WIDTHS: Final = 24
"""A diffusion transformer keeps no skips, but queries, keys, values and feed-forward at full width."""
DECODER_MAPS: Final = 3.3
_UNKNOWN_WIDTH: Final = 1280  # where a configuration names none: the widest level of Stable Diffusion


def weight_bytes(folder: ModelFolder, element_bytes: int) -> int:
    """Bytes of all weights on the device."""
    return sum(part.elements * element_bytes for part in folder.components.values())


def bytes_per_pixel(folder: ModelFolder, facts: ModelFacts, element_bytes: int) -> float:
    """Bytes that each pixel of a picture takes at the peak, weights not counted."""
    cells = 1 / facts.vae_factor**2
    denoiser = 2 * cells * _denoiser_channels(folder) * element_bytes  # 2: with and without the prompt
    decoder = DECODER_MAPS * _decoder_channels(folder.config("vae")) * element_bytes
    return max(denoiser, decoder)


def _denoiser_channels(folder: ModelFolder) -> float:
    unet, transformer = folder.config("unet"), folder.config("transformer")
    if unet:
        return DENOISER_WIDTHS * float(_first(unet.get("block_out_channels"), _UNKNOWN_WIDTH))
    heads, size = transformer.get("num_attention_heads"), transformer.get("attention_head_dim")
    width = heads * size if isinstance(heads, int) and isinstance(size, int) else _UNKNOWN_WIDTH
    patch = transformer.get("patch_size") or 1
    return TRANSFORMER_WIDTHS * width / (patch if isinstance(patch, int) else 1) ** 2


def _decoder_channels(vae: Mapping[str, Any]) -> int:
    widths = vae.get("decoder_block_out_channels") or vae.get("block_out_channels") or (_UNKNOWN_WIDTH,)
    return int(widths[min(1, len(widths) - 1)])


def _first(values: Any, otherwise: int) -> int:
    return int(values[0]) if isinstance(values, (list, tuple)) and values else otherwise


def max_pixels(folder: ModelFolder, facts: ModelFacts, element_bytes: int, free_bytes: int) -> int:
    """The largest area that fits, in pixels of all pictures of a batch; 0 when not even the weights fit.

    Args:
        folder: The model.
        facts: What it can do.
        element_bytes: Bytes of an element on the device.
        free_bytes: Memory that can be had, that of the loaded model included.
    """
    room = free_bytes / MARGIN - RUNTIME_BYTES - weight_bytes(folder, element_bytes)
    return max(0, int(room / bytes_per_pixel(folder, facts, element_bytes)))


def free_bytes(device: str = "auto") -> int:
    """Memory of the device that this process can still have, with what it holds already.

    On a machine with a GPU, torch is asked for the memory of the first one; elsewhere main memory counts.
    Linux: MemAvailable of /proc/meminfo, which counts caches that can be dropped, and the limit of the
    control group; elsewhere the memory that the machine has.
    """
    if device in ("auto", "cuda") and has_cuda_device():
        import torch

        if torch.cuda.is_available():
            return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
    held = _resident_bytes()
    limits = [each for each in (_available_bytes(), _group_bytes()) if each is not None]
    return held + min(limits) if limits else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def total_bytes() -> int:
    """Main memory of the machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _available_bytes() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:  # not Linux
        return None
    kilobytes = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if kilobytes is None else int(kilobytes) * 1024


def _group_bytes() -> int | None:
    """What the control group of a container leaves; None where there is no limit (cgroup version 2)."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text("ascii").strip()
        used = int((group / "memory.current").read_text("ascii"))
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - used)


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def has_cuda_device() -> bool:
    """Whether there may be a GPU for torch, by its device files; only then is torch imported to ask."""
    return any(Path(each).exists() for each in ("/dev/nvidia0", "/dev/kfd", "/dev/dxg"))


def likely_element_bytes(precision: str) -> int:
    """Bytes of an element in a precision; for `auto`, in the one that will be chosen, by the CPU's flags."""
    if precision in ELEMENT_BYTES:
        return ELEMENT_BYTES[precision]
    if has_cuda_device():
        return ELEMENT_BYTES["float16"]
    try:
        flags = Path("/proc/cpuinfo").read_text("ascii", errors="replace")
    except OSError:
        return ELEMENT_BYTES["float32"]
    quick = any(f" {flag}" in flags for flag in ("amx_bf16", "avx512_bf16"))
    return ELEMENT_BYTES["bfloat16" if quick else "float32"]
