"""Who may ask what: tokens, the names of this server, and web pages of other origins.

A server on loopback is reached by every web page that its user opens. So a request is let in only under a
name that is this server's (another name may be an attacker's that now resolves to 127.0.0.1), and a page of
another origin is turned away, whatever it asks for. Tokens are compared in constant time.
"""

import base64
import binascii
import hmac
import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Final, final
from urllib.parse import unquote, urlsplit

from sdenv.core.errors import Denied, OriginDenied
from sdenv.core.server import Address
from sdenv.servers.http.principal import Principal
from sdenv.servers.http.settings import HttpSettings

OPEN_PATHS: Final = frozenset({"/", "/health", "/ready", "/login"})
"""What anybody may ask for: whether the server lives, the page, and the form that takes the token."""
PAGE_FOLDER: Final = "/page/"
"""Below it lie the files of the page: the same for everybody, and public like the rest of sdenv's code."""
OPEN_FOLDER: Final = "/files/"
"""Below it every name is a secret of its own."""
COOKIE: Final = "sdenv_token"
_HOST: Final = re.compile(r"(\[(?P<address>[^\[\]]*)\]|(?P<name>[^:\[\]]*))(:[0-9]*)?")
"""What follows the bracket or the colon is a port or nothing: `[::1].evil.example` is a name of somebody."""


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """What decides about a request.

    Attributes:
        method: GET, POST, ...
        path: The path, decoded.
        headers: By name in lower case; of several of a name the last.
    """

    method: str
    path: str
    headers: Mapping[str, str]

    @property
    def is_open(self) -> bool:
        """Whether it needs no token."""
        return self.path in OPEN_PATHS or self.path.startswith((OPEN_FOLDER, PAGE_FOLDER))

    @property
    def is_by_script(self) -> bool:
        """Whether a script of the page asks, or an element of it, and not a person who opens an address.

        A browser that is challenged to HTTP Basic then asks its user for a password in a window of its own,
        in front of the page that could say it better.
        """
        if self.headers.get("sec-fetch-mode", "navigate") != "navigate":
            return True
        is_asked_by_us = "x-requested-with" in self.headers  # without TLS browsers do not say who asks
        return is_asked_by_us or self.headers.get("accept", "").startswith(("text/event-stream", "image/"))


@final
class Access:
    """The rules of one server.

    Args:
        settings: Tokens, names and origins.
        address: Where it listens.
    """

    def __init__(self, settings: HttpSettings, address: Address = Address()) -> None:  # noqa: B008 - frozen
        self._holders: list[tuple[bytes, Principal]] = []
        if settings.token is not None:
            self._holders.append((settings.token.get_secret_value().encode(), Principal()))
        for name, token in settings.tokens.items():
            self._holders.append((token.secret.get_secret_value().encode(), Principal(name, token.sees_all)))
        self._origins = frozenset(origin.rstrip("/").casefold() for origin in settings.cors_origins)
        own_names = ("localhost", address.host, socket.gethostname(), *settings.hosts)
        self._names = frozenset(name.casefold().rstrip(".") for name in own_names)

    @property
    def needs_token(self) -> bool:
        """Whether clients need one."""
        return bool(self._holders)

    def principal(self, asked: Asked) -> Principal:
        """Who asks.

        Raises:
            Denied: The token is missing or wrong.
            OriginDenied: A web page of another origin, or a name that is not this server's.
        """
        scheme, _, given = asked.headers.get("authorization", "").partition(" ")
        scheme = scheme.casefold()
        holder = self.holder(_secret_in(scheme, given.strip()))
        if (
            holder is None or scheme != "bearer"
        ):  # browsers repeat a password by themselves, a bearer token never
            self._check_origin(asked)
        if holder is None:
            self._check_host(asked.headers.get("host", ""))
            holder = self.holder(_cookie(asked.headers.get("cookie", "")))
        if holder is not None:
            return holder
        if not self._holders:
            return Principal()
        if asked.is_open or asked.method == "OPTIONS":
            return Principal("", sees_all=False)
        raise _no_token(bool(given))

    def holder(self, secret: str) -> Principal | None:
        """Whose token it is. Takes as long for a wrong one as for the right one."""
        found: Principal | None = None
        for known, principal in self._holders:
            if hmac.compare_digest(known, secret.encode("utf-8", "surrogateescape")):
                found = principal
        return found

    def cors_headers(self, origin: str) -> dict[str, str]:
        """What tells a browser that a page of this origin may read the answer; empty for any other."""
        if origin.casefold() not in self._origins:
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": "Location, Retry-After, X-Sdenv-Ignored, X-Sdenv-Model",
            "Vary": "Origin",
        }

    def _check_host(self, host: str) -> None:
        name = _name_of(host)
        if name in self._names or _is_address(name):
            return
        raise OriginDenied(
            "The server does not answer to this name.",
            why=f"It was asked as {host[:100]!r}: a web page may have made that name point here.",
            hint="Ask by its address, with a token, or start it with: --allow-host NAME",
        )

    def _check_origin(self, asked: Asked) -> None:
        origin = asked.headers.get("origin")
        if origin is None:
            if not self._origins and not asked.path.startswith(OPEN_FOLDER) and _from_elsewhere(asked):
                raise _foreign("a page of another site")
            return
        if origin.casefold() in self._origins or _is_same(origin, asked.headers.get("host", "")):
            return
        raise _foreign(f"a page of {origin[:100]!r}")


def _foreign(who: str) -> OriginDenied:
    return OriginDenied(
        "A web page of another origin may not use this server.",
        why=f"The request came from {who}.",
        hint="Allow it with: --cors-origin ORIGIN",
    )


def _no_token(given: bool) -> Denied:
    what = "The token is not one that this server knows." if given else "This server wants a token."
    return Denied(
        what,
        why="It is sent as `Authorization: Bearer TOKEN`, or as the password of HTTP Basic.",
        hint="sdenv generate -b URL -O token_file=FILE, or set SDENV_TOKEN.",
    )


def _secret_in(scheme: str, given: str) -> str:
    """The token in an Authorization header; "" = there is none."""
    if scheme == "bearer":
        return given
    if scheme != "basic":
        return ""
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return unquote(found.value) if found is not None else ""


def _name_of(host: str) -> str:
    """The name in a Host header, without its port; "" = it is not a name, then perhaps a port."""
    found = _HOST.fullmatch(host)
    return (found["address"] or found["name"] or "").casefold().rstrip(".") if found else ""


def _is_address(name: str) -> bool:
    """Whether it is an address and no name: nobody can make an address point elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_same(origin: str, host: str) -> bool:
    """Whether a page's origin is this server. A proxy may speak TLS for it, so the scheme is not compared."""
    try:
        parts, own = urlsplit(origin), urlsplit(f"//{host}")
        default = 443 if parts.scheme == "https" else 80
        theirs = (parts.hostname, parts.port or default)
        return parts.hostname is not None and theirs == (own.hostname, own.port or default)
    except ValueError:
        return False


def _from_elsewhere(asked: Asked) -> bool:
    """Whether a browser says that a page of another site asks; following a link to here is no asking."""
    site, mode = asked.headers.get("sec-fetch-site", ""), asked.headers.get("sec-fetch-mode", "")
    follows_link = mode == "navigate" and asked.method in ("GET", "HEAD")
    return site in ("cross-site", "same-site") and not follows_link
