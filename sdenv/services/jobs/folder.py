"""One server for one data folder, on a disk where SQLite can keep its promises."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from sdenv.core.errors import ExtraMissing, FolderInUse
from sdenv.services.whole_files import remove_quietly

_LOCK: Final = "server.lock"
_HOLDER: Final = "server.json"
_MOUNTS: Final = Path("/proc/self/mounts")
_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "beegfs", "9p"}
    | {"fuse.sshfs", "fuse.glusterfs"}
)
"""Types of file systems that other machines may use too. SQLite's locks and its shared memory (WAL) hold
within one machine only: sqlite.org/wal.html, "all processes using a database must be on the same host"."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """While the context is open, no other server uses the folder; a killed one holds it no longer.

    Raises:
        FolderInUse: Another server does, or the folder lies on a network disk.
        ExtraMissing: The server's extra is not installed.
    """
    try:
        import filelock
    except ImportError as error:
        raise ExtraMissing(
            "The job queue needs the package filelock.", hint="pip install 'sdenv[serve]'"
        ) from error
    refuse_network_disk(folder)
    lock = filelock.FileLock(folder / _LOCK, mode=0o600)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        raise FolderInUse(
            f"Another server keeps its jobs in {str(folder)!r}.",
            why=_holder(folder),
            hint="Stop it, or give this one a folder of its own: --data-dir FOLDER",
        ) from error
    try:
        _say_who(folder)
        yield
    finally:
        remove_quietly(folder / _HOLDER)
        lock.release()


def _say_who(folder: Path) -> None:
    with suppress(OSError):  # it only makes an error text better
        (folder / _HOLDER).touch(mode=0o600)
        (folder / _HOLDER).write_text(json.dumps({"pid": os.getpid()}), encoding="utf-8")


def _holder(folder: Path) -> str:
    try:
        process = int(json.loads((folder / _HOLDER).read_text(encoding="utf-8"))["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f"It is the process {process}."


def refuse_network_disk(folder: Path, mounts: Path = _MOUNTS) -> None:
    """Refuses a folder on a network disk, where the system says what it is (Linux).

    Args:
        folder: It exists.
        mounts: The system's list of what is mounted where.

    Raises:
        FolderInUse: It does.
    """
    kind = _file_system(folder.resolve(), mounts)
    if kind in _NETWORK:
        raise FolderInUse(
            f"{str(folder)!r} lies on a network disk ({kind}).",
            why="SQLite cannot keep jobs safely there: its locks hold within one machine only.",
            hint="Give a folder on a local disk: --data-dir FOLDER",
        )


def _file_system(folder: Path, mounts: Path) -> str:
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    found = ""
    longest = -1
    for line in lines:  # later mounts hide earlier ones
        _, place, kind, *_ = (*line.split(" "), "", "", "")
        where = Path(place.replace("\\040", " "))
        if folder.is_relative_to(where) and len(where.parts) >= longest:
            found, longest = kind, len(where.parts)
    return found
