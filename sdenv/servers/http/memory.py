"""How much memory this machine has, as AUTOMATIC1111 tells it."""

import os
from typing import Any


def memory_record() -> dict[str, Any]:
    """Main memory in bytes. Of the device nothing is told here: its process is another one."""
    names = {"free": "SC_AVPHYS_PAGES", "total": "SC_PHYS_PAGES"}
    known = os.sysconf_names if hasattr(os, "sysconf_names") else {}
    ram = {
        name: os.sysconf(key) * os.sysconf("SC_PAGE_SIZE") if key in known else 0
        for name, key in names.items()
    }
    return {"ram": {**ram, "used": ram["total"] - ram["free"]}, "cuda": {"error": "unavailable"}}
