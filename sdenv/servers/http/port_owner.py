"""Which program has a port: for the error that says so. Linux tells it in /proc, other systems do not."""

import re
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_LISTENING: Final = "0A"  # TCP_LISTEN in include/net/tcp_states.h


def owner_of(port: int) -> str:
    """The program that listens at a TCP port, as `name (process 123)`; "" = not known."""
    inodes = {inode for table in ("tcp", "tcp6") for inode in _inodes(_PROC / "net" / table, port)}
    if not inodes:
        return ""
    targets = {f"socket:[{inode}]" for inode in inodes}
    for process in _PROC.iterdir():
        if process.name.isdigit() and _has_one_of(process, targets):
            return f"{_name_of(process)} (process {process.name})"
    return ""


def _inodes(table: Path, port: int) -> list[str]:
    """The sockets that listen at a port; columns as in Documentation/networking/proc_net_tcp.rst."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return []
    rows = (line.split() for line in lines)
    return [row[9] for row in rows if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port]


def _has_one_of(process: Path, targets: set[str]) -> bool:
    try:
        return any(str(each.readlink()) in targets for each in (process / "fd").iterdir())
    except OSError:  # it belongs to another user, or has just ended
        return False


def _name_of(process: Path) -> str:
    """What was started, without its arguments: they may hold secrets."""
    try:
        return re.sub(r"[^\x20-\x7e]", "?", (process / "comm").read_text().strip()) or "a program"
    except OSError:
        return "a program"
