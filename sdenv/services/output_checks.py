"""What can be known to fail before a picture is made: names, folders, permissions, space."""

import os
import shutil
from pathlib import Path
from typing import Final

from sdenv.core.errors import DiskFull, InvalidRequest, NotWritable
from sdenv.services.whole_files import hidden_sibling, remove_quietly, write_error

ELSEWHERE: Final = "Give another place with -o."

_MIN_FREE_BYTES_A_PICTURE: Final = 2**20  # about two 512 px PNGs: refuses only a disk that is nearly full
_NUMBER_SPARE_BYTES: Final = 5  # room for "-9999" when a name is taken
_USUAL_NAME_BYTES: Final = 255  # where the system does not tell


def is_folder(path: Path | str) -> bool:
    """Whether a folder is there; false for names that cannot be (`Path.is_dir` raises for a too long one)."""
    return os.path.isdir(path)  # noqa: PTH112


def check_name(path: Path) -> None:
    """Refuses a file name that is longer than its folder's file system takes, numbers included."""
    try:
        longest = os.pathconf(_existing(path.parent), "PC_NAME_MAX")
    except (OSError, ValueError, AttributeError):
        longest = _USUAL_NAME_BYTES
    length = len(os.fsencode(path.name))
    if length + _NUMBER_SPARE_BYTES > longest:
        raise InvalidRequest(
            f"The file name {path.name[:40]!r}... would be too long.",
            why=f"It has {length} bytes; the limit here is {longest - _NUMBER_SPARE_BYTES}.",
        )


def _existing(folder: Path) -> Path:
    """The folder itself, or the nearest above it that exists."""
    for each in (folder, *folder.absolute().parents):
        if os.path.lexists(each):
            return each
    return Path("/")


def check_folder(folder: Path, pictures: int) -> None:
    """Refuses a folder that pictures could not be saved in; if it is not there yet, asks the one above it.

    An empty file is written and removed: permission bits say nothing to root and on read-only disks.

    Raises:
        NotWritable: It is no folder, or does not allow new files.
        DiskFull: There is less space than so many pictures may need.
    """
    needed_bytes = _MIN_FREE_BYTES_A_PICTURE * pictures
    existing = _existing(folder)
    if not is_folder(existing):
        raise NotWritable(f"{str(existing)!r} is not a folder.", hint=ELSEWHERE)
    probe = hidden_sibling(existing / "probe")
    try:
        probe.touch(exist_ok=False)
    except OSError as error:
        raise write_error(folder.absolute(), error, ELSEWHERE) from error
    finally:
        remove_quietly(probe)
    space = shutil.disk_usage(existing)
    if space.total and space.free < needed_bytes:
        raise DiskFull(
            f"The disk of {str(existing.absolute())!r} is full.",
            why=f"{space.free} bytes are free; the pictures may need {needed_bytes}.",
            hint=ELSEWHERE,
        )


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error, ELSEWHERE) from error
