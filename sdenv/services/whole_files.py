"""Files that appear whole or not at all: written under a hidden name beside their place, synced, renamed."""

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from sdenv.core.errors import DiskFull, FailedError, NotWritable, SdenvError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}
)


def write_whole(path: Path, data: bytes, *, replace: bool, mode: int = 0o666, hint: str = "") -> None:
    """Writes a file so that nobody ever sees a part of it, not even after a crash.

    Args:
        path: Where; the folder exists.
        data: The whole content.
        replace: Whether a file that is there may be replaced.
        mode: Permission bits before the umask.
        hint: What to do when it cannot be written, for the error.

    Raises:
        FileExistsError: The path is taken and `replace` is false, even if it was taken only a moment ago.
        DiskFull: No space, quota or size limit left; nothing remains of the file.
        NotWritable: The folder or the name does not allow it.
    """
    hidden = hidden_sibling(path)
    try:
        _write_synced(hidden, data, mode)
        if replace:
            hidden.replace(path)
        else:
            _place_new(hidden, path)
        sync_folder(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise write_error(path, error, hint) from error
    finally:
        remove_quietly(hidden)


def make_private_folder(folder: Path) -> None:
    """Makes a folder that only its owner may look into, with its parents; one that is there stays as it is.

    Raises:
        DiskFull: There is no room even for that.
        NotWritable: It cannot be made.
    """
    try:
        _make_private(folder)
    except OSError as error:
        raise write_error(folder, error) from error


def _make_private(folder: Path) -> None:
    if not folder.is_dir():
        if folder.parent != folder:
            _make_private(folder.parent)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)  # another thread may make it in this moment
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
        with suppress(PermissionError):  # a folder that one may write to and not read
            sync_folder(folder.parent)


def hidden_sibling(path: Path) -> Path:
    """A name in the same folder that nobody else uses; short, since names are limited."""
    return path.with_name(f".sdenv-{secrets.token_hex(8)}.part")


def remove_quietly(path: Path) -> None:
    """Removes a file that may not be there; on a read-only disk even that question is an error."""
    with suppress(OSError):
        path.unlink()


def write_error(path: Path | str, error: OSError, hint: str = "") -> SdenvError:
    """The operating system's refusal to write, as an error that a person can act on."""
    reason = f"{os.strerror(error.errno)}." if error.errno else f"{error}."
    if error.errno in _FULL:
        kept = " No partial file is left." if isinstance(path, Path) else ""
        return DiskFull(
            f"The disk is full: {str(path)!r} could not be written.", why=reason + kept, hint=hint
        )
    if error.errno in _FORBIDDEN:
        return NotWritable(f"Cannot write {str(path)!r}.", why=reason, hint=hint)
    return FailedError(f"Writing {str(path)!r} failed.", why=reason, hint=hint)


def _write_synced(path: Path, data: bytes, mode: int) -> None:
    path.touch(mode, exist_ok=False)
    with path.open("r+b") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _place_new(hidden: Path, path: Path) -> None:
    """Gives the file its name only if nobody else has taken it; two processes never both succeed."""
    try:
        path.hardlink_to(hidden)
    except OSError as error:
        if error.errno == errno.EEXIST or error.errno in _FULL:
            raise
        # FAT and some network file systems have no hard links: there an empty file takes the name first.
        path.touch(exist_ok=False)
        hidden.replace(path)


def sync_folder(folder: Path) -> None:
    """Makes the new name survive a power cut, where the system can sync a folder."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(descriptor)
