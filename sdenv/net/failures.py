"""What the operating system, TLS and HTTP report, as errors that a person can act on."""

import errno
import socket
import ssl
from http.client import BadStatusLine, HTTPException, RemoteDisconnected
from typing import Final

from sdenv.core.errors import ConnectionFailed
from sdenv.net.address import SCHEME_PORTS, Place

OUR_PORT: Final = 9090
"""Where `sdenv serve http` listens when nobody says otherwise."""


class ConnectionLost(ConnectionFailed):
    """The connection broke after a request was sent: it may have been carried out."""


def not_reached(error: OSError, place: Place, url: str) -> ConnectionFailed:
    """The error for a connection that was not made.

    Args:
        error: What the system says.
        place: Where it should have led.
        url: What to call it.
    """
    if isinstance(error, ssl.SSLError):
        return _no_tls(error, place, url)
    if isinstance(error, socket.gaierror):
        return ConnectionFailed(
            f"No machine named {place.host!r} is known.", why=f"{error.strerror}.", hint="Check the name."
        )
    if isinstance(error, TimeoutError):
        return ConnectionFailed(
            f"{url} does not answer.",
            why="No connection was made in time: the machine is off, or a firewall drops what is sent to it.",
            hint=f"ping {place.host}",
        )
    if isinstance(error, (ConnectionRefusedError, FileNotFoundError)):
        return ConnectionFailed(
            f"Nothing listens at {url}.",
            why=_other_port(place),
            hint="There: sdenv serve http" + ("" if url.startswith("unix:") else f" --port {place.port}"),
        )
    return ConnectionFailed(f"{url} cannot be reached.", why=f"{_reason(error)}.", hint=_other_port(place))


def no_handshake(error: OSError, url: str) -> ConnectionFailed:
    """The error for a connection that was made, and then broke or stayed silent instead of becoming secure.

    Args:
        error: What the system says.
        url: What to call the server.
    """
    silent = isinstance(error, TimeoutError)
    return ConnectionFailed(
        f"No secure connection to {url} can be made.",
        why="It accepts connections, but does not answer." if silent else f"{_reason(error)}.",
        hint="If it does not speak TLS, its URL begins with http://.",
    )


def lost(error: OSError | HTTPException, url: str, silence_s: float) -> ConnectionLost:
    """The error for a connection that broke while an answer was awaited or read.

    Args:
        error: What the system or `http.client` says.
        url: What to call the server.
        silence_s: How long it could be silent.
    """
    if isinstance(error, TimeoutError):
        return ConnectionLost(
            f"{url} has sent nothing for {silence_s:g} s.",
            why="It accepts connections, but does not answer.",
            hint="Give it longer with -O timeout_s=SECONDS, or start it anew.",
        )
    if isinstance(error, RemoteDisconnected):
        return ConnectionLost(f"{url} has hung up without an answer.")
    if isinstance(error, BadStatusLine):
        return ConnectionLost(
            f"What listens at {url} does not speak HTTP.",
            why=f"It says {str(error).strip()[:60]!r}.",
            hint="Check the port.",
        )
    return ConnectionLost(f"The connection to {url} broke.", why=f"{_reason(error)}.")


def speaks_tls(place: Place) -> ConnectionFailed:
    """The error for a plain connection to a server that wants TLS."""
    secure = Place(place.host, place.port, place.prefix, secure=True)
    return ConnectionFailed(
        f"{place.url} is not answered.", why="The server at this port speaks TLS.", hint=f"-b {secure.url}"
    )


def _no_tls(error: ssl.SSLError, place: Place, url: str) -> ConnectionFailed:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectionFailed(
            f"The certificate of {url} is not accepted.",
            why=f"{error.verify_message}.",
            hint="Check -O ca=FILE.",
        )
    if error.reason in _PLAIN_REASONS:
        plain = Place(place.host, place.port, place.prefix)
        return ConnectionFailed(
            f"No secure connection to {url} can be made.",
            why="The server at this port does not speak TLS.",
            hint=f"-b {plain.url}",
        )
    return ConnectionFailed(
        f"No secure connection to {url} can be made.",
        why=f"{error.reason or error}.",
        hint="If it does not speak TLS, its URL begins with http://.",
    )


_PLAIN_REASONS: Final = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "RECORD_LAYER_FAILURE",
        "HTTP_REQUEST",
        "UNKNOWN_PROTOCOL",
        "PACKET_LENGTH_TOO_LONG",
    }
)
"""What OpenSSL says of an answer that is not TLS; its versions differ."""


def _other_port(place: Place) -> str:
    if place.port in SCHEME_PORTS.values():
        return f"sdenv's own port is {OUR_PORT}: {Place(place.host, OUR_PORT, secure=place.secure).url}."
    return ""


def _reason(error: OSError | HTTPException) -> str:
    if isinstance(error, OSError) and error.errno:
        return f"{errno.errorcode.get(error.errno, 'error')}: {error.strerror}"
    return f"{type(error).__name__}: {error}".rstrip(": ")
