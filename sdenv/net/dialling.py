"""Opens connections to one server: TCP or a unix socket, directly or through a proxy, plain or TLS."""

import base64
import socket
import ssl
from contextlib import suppress
from threading import Lock
from typing import Final, final
from urllib.parse import unquote, urlsplit

from sdenv.core.errors import ConnectionFailed
from sdenv.core.events import Notice
from sdenv.net.address import Access, Place
from sdenv.net.failures import no_handshake, not_reached
from sdenv.net.interrupt import Interrupt
from sdenv.net.trust import TrustStore, ssl_context_for
from sdenv.net.wire import dial_tcp, dial_unix, secured, through_proxy

_LOOK_S: Final = 2.0
"""How long it may take to see whether a server speaks TLS."""


@final
class Dialler:
    """Opens connections. May be used by several threads at once.

    Args:
        access: How the server may be reached.
        place: Its URL taken apart.
        url: What to call it in errors.
    """

    def __init__(self, access: Access, place: Place, url: str) -> None:
        self._access = access
        self._place = place
        self._url = url
        self._store = TrustStore(access.trust_file)
        self._lock = Lock()
        self._context: ssl.SSLContext | None = None
        self._notices: list[Notice] = []

    def take_notices(self) -> tuple[Notice, ...]:
        """What a person should know; each is handed out once."""
        with self._lock:
            taken, self._notices = tuple(self._notices), []
        return taken

    def dial(self, connect_s: float, interrupt: Interrupt) -> socket.socket:
        """A new connection, secured if the URL says so.

        Args:
            connect_s: Longest wait for the connection, and again for the handshake.
            interrupt: Ends it.

        Raises:
            ConnectionFailed: None can be made.
            CertificateChanged: The server shows another certificate than before.
            Cancelled: It was interrupted.
        """
        try:
            if not self._place.secure or self._access.socket_path is not None:
                return self._plain(connect_s, interrupt)
            return self._secure(connect_s, interrupt)
        except OSError as error:
            interrupt.check()
            raise not_reached(error, self._place, self._url) from error

    def wants_tls(self, interrupt: Interrupt) -> bool:
        """Whether the server, which was called without, speaks TLS."""
        if self._place.secure or self._access.socket_path is not None:
            return False
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with suppress(OSError, ConnectionFailed):
            connection = dial_tcp(self._place.host, self._place.port, _LOOK_S, interrupt)
            secured(connection, context, self._place.host, _LOOK_S, interrupt).close()
            return True
        return False

    def _plain(self, connect_s: float, interrupt: Interrupt) -> socket.socket:
        if self._access.socket_path is not None:
            return dial_unix(str(self._access.socket_path), connect_s)
        proxy = proxy_for(self._place)
        if proxy is None:
            return dial_tcp(self._place.host, self._place.port, connect_s, interrupt)
        connection = dial_tcp(proxy.host, proxy.port, connect_s, interrupt)
        try:
            with interrupt.holding(connection):
                return through_proxy(connection, self._place, _authorization(proxy), connect_s)
        except BaseException:
            connection.close()
            raise

    def _secure(self, connect_s: float, interrupt: Interrupt) -> socket.socket:
        def shake(context: ssl.SSLContext) -> ssl.SSLSocket:
            plain = self._plain(connect_s, interrupt)
            try:
                return secured(plain, context, self._place.host, connect_s, interrupt)
            except ssl.SSLError:
                raise
            except OSError as error:
                interrupt.check()
                raise no_handshake(error, self._url) from error

        with self._lock:
            context = self._context
        if context is not None:
            with suppress(ssl.SSLCertVerificationError):
                return shake(context)
        context = ssl_context_for(
            self._place.host,
            self._place.port,
            self._store,
            fingerprint=self._access.fingerprint,
            ca=self._access.ca,
            insecure=self._access.insecure,
            handshake=shake,
            tell=self._notices.append,
        )
        with self._lock:
            self._context = context
        return shake(context)


def proxy_for(place: Place) -> Place | None:
    """The proxy that the environment or the system names for a server; None = none, as for loopback."""
    if place.is_loopback:
        return None
    from urllib.request import getproxies, proxy_bypass

    named = getproxies()
    url = named.get("https" if place.secure else "http") or named.get("all")
    if not url or proxy_bypass(place.host):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        return None  # SOCKS and the like: sdenv goes directly
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Place(parts.hostname, parts.port or 80, user=user, password=password)


def _authorization(proxy: Place) -> dict[str, str]:
    if not proxy.user:
        return {}
    word = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode("ascii")
    return {"Proxy-Authorization": f"Basic {word}"}
