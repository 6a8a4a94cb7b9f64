"""What the server listens at: a TCP port, and a unix socket that only its owner can open."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sdenv.core.errors import PortInUse, UnavailableError
from sdenv.core.server import Address
from sdenv.servers.http.port_owner import owner_of
from sdenv.services.whole_files import make_private_folder

if TYPE_CHECKING:
    from filelock import FileLock

BACKLOG: Final = 512
_TAKEN: Final = frozenset({errno.EADDRINUSE, errno.EACCES, errno.EPERM})


def bound(address: Address, flag: str = "--port") -> socket.socket:
    """A TCP socket that listens.

    Args:
        address: Where.
        flag: What says another port.

    Raises:
        PortInUse: Another program has the port, or only the system's own programs may have it.
        UnavailableError: This machine has no such address.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(place[:2], family=family, backlog=BACKLOG)
        # Its connections inherit this. asyncio sets it only on sockets whose protocol is named, which it is
        # not here; without it an answer in two parts waits 40 ms for the client's acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise _cannot_listen(address, error, flag) from error


def _cannot_listen(address: Address, error: OSError, flag: str) -> PortInUse | UnavailableError:
    if error.errno not in _TAKEN:
        return UnavailableError(
            f"The server cannot listen at {address.host}:{address.port}.",
            why=f"{error.strerror or error}.",
            hint="Give --host an address of this machine.",
        )
    if error.errno != errno.EADDRINUSE:
        why = "Ports below 1024 belong to the system's own programs."
    else:
        owner = owner_of(address.port)
        why = f"It is used by {owner}." if owner else "Another program listens there."
    return PortInUse(
        f"The port {address.port} of {address.host} cannot be used.", why=why, hint=f"Give another {flag}."
    )


@contextmanager
def unix_socket(path: Path | None) -> Iterator[socket.socket | None]:
    """A unix socket that listens, with permissions for its owner only; it is removed at the end.

    What a server has left that was killed is replaced. Of two servers the first has it, and the other serves
    without: None.

    Args:
        path: Where; its folder is made, for its owner only. None = none is wanted.
    """
    lock = _lock_beside(path) if path is not None else None
    if path is None or lock is None:
        yield None
        return
    listener = socket.socket(socket.AF_UNIX)
    try:
        _listen(listener, path)
        yield listener
    finally:
        listener.close()
        with suppress(OSError):
            path.unlink()
        lock.release()


def _listen(listener: socket.socket, path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
        listener.bind(os.fspath(path))
        path.chmod(0o600)  # before anybody can connect
        listener.listen(BACKLOG)
    except OSError as error:
        what = f"The server cannot listen at the socket {str(path)!r}."
        raise UnavailableError(what, why=f"{error.strerror or error}.") from error


def _lock_beside(path: Path) -> "FileLock | None":
    """The lock of a socket, held as long as its server lives, whatever ends it; None = another has it."""
    from filelock import FileLock, Timeout

    make_private_folder(path.parent)
    lock = FileLock(path.with_name(f"{path.name}.lock"), timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock
