"""Where a server is and how it may be reached: one value for every client."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final
from urllib.parse import SplitResult, unquote, urlsplit

from sdenv.core.errors import BadConfig
from sdenv.core.privacy import without_user

SCHEME_PORTS: Final = {"http": 80, "https": 443}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach a server.

    Attributes:
        url: `http://host:9090`, `https://...`; may name a user and password, and a path before all others.
        socket_path: A unix socket to use instead of TCP; the URL then only names the host for the header.
        token: What proves who asks; None = the one of the URL, of `token_file` or of `SDENV_TOKEN`.
        token_file: A file that holds it.
        fingerprint: SHA-256 of the only certificate to accept, in hex; None = trust on first use.
        ca: Certificates to trust instead, in PEM.
        insecure: Accept any certificate.
        trust_file: Where fingerprints are kept between runs; None = nowhere.
        connect_s: Longest wait for a connection.
        timeout_s: Longest silence while an answer is awaited or read.
    """

    url: str = "http://localhost"
    socket_path: Path | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    fingerprint: str | None = None
    ca: Path | None = None
    insecure: bool = False
    trust_file: Path | None = None
    connect_s: float = 5.0
    timeout_s: float = 30.0


@final
@dataclass(frozen=True, slots=True)
class Place:
    """A URL taken apart.

    Attributes:
        host: Name or address, without brackets.
        port: From 1 to 65535.
        prefix: What stands before every path; "" or `/something`.
        secure: Whether it is TLS.
        user: From the URL; "" = none.
        password: From the URL; "" = none.
    """

    host: str
    port: int
    prefix: str = ""
    secure: bool = False
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def netloc(self) -> str:
        """`host:port`, with brackets where the host is an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """What a person types, without user and password."""
        return f"{'https' if self.secure else 'http'}://{self.netloc}{self.prefix}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine, said so that nobody else can be meant."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def place_of(url: str) -> Place:
    """Takes a URL apart.

    Raises:
        BadConfig: It is not an http or https URL with a host.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _bad_url(url, f"{error}.") from error
    if parts.scheme not in SCHEME_PORTS:
        raise _bad_url(url, "It has to begin with http:// or https://.")
    if not parts.hostname:
        raise _bad_url(url, "It names no host.")
    if parts.query or parts.fragment:
        raise _bad_url(url, "It has a query or a fragment, which the address of a server has not.")
    return _place(parts, parts.hostname, SCHEME_PORTS[parts.scheme] if port is None else port)


def _place(parts: SplitResult, host: str, port: int) -> Place:
    return Place(
        host=host,
        port=port,
        prefix=parts.path.rstrip("/"),
        secure=parts.scheme == "https",
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def _bad_url(url: str, why: str) -> BadConfig:
    return BadConfig(
        f"{without_user(url)!r} is not the address of a server.", why=why, hint="-b http://host:9090"
    )
