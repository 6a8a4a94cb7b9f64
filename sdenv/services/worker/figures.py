"""How much memory this process holds, on the machine and on its devices."""

import os
import sys
from pathlib import Path
from typing import Any


def resident_bytes() -> int:
    """Memory of this process that lies in RAM; 0 where the system does not tell so easily (not Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def device_bytes() -> dict[str, int]:
    """What torch holds of each device's memory, by device; empty where it holds none or is not loaded."""
    torch: Any = sys.modules.get("torch")  # never imported for this: it would take seconds and memory
    if torch is None:
        return {}
    try:
        if torch.cuda.is_initialized():
            held = {f"cuda:{n}": int(torch.cuda.memory_reserved(n)) for n in range(torch.cuda.device_count())}
            return {name: size for name, size in held.items() if size}
        if torch.backends.mps.is_available():
            return {"mps": int(torch.mps.driver_allocated_memory())}
    except (AttributeError, RuntimeError):  # it is being imported in another thread; its driver has failed
        return {}
    return {}
