"""Trust on first use: a certificate that the system does not know is remembered, and must not change.

A server's own certificate is as good as one that is bought, once its fingerprint is known. The first meeting
is trusted and remembered; from then on only this certificate is accepted, and another one is an error that
shows both. Nothing here knows HTTP: gRPC pins in the same way.
"""

import hashlib
import json
import os
import re
import socket
import ssl
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, final

from sdenv.core.errors import BadConfig, CertificateChanged, ConnectionFailed
from sdenv.core.events import Notice

TRUST_VERSION: Final = 1  # `v` of the file
HANDSHAKE_S: Final = 10.0

Handshake = Callable[[ssl.SSLContext], ssl.SSLSocket]
"""Connects and shakes hands; raises what `ssl` raises."""


@final
class TrustStore:
    """Which certificate each server showed when it was first met.

    Args:
        path: `trust.json` in the data folder; None = remembered in this process only.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, str] = {}

    def fingerprint(self, host: str, port: int) -> str | None:
        """SHA-256 of the certificate in hex; None = the server was never met.

        Raises:
            BadConfig: The file is damaged. Nothing is trusted anew then.
        """
        return {**self._read(), **self._known}.get(_key(host, port))

    def remember(self, host: str, port: int, fingerprint: str) -> str:
        """Keeps a fingerprint; returns why it could not be written, "" = it was."""
        self._known[_key(host, port)] = fingerprint
        if self._path is None:
            return "no file is kept"
        try:
            self._write({**self._read(), _key(host, port): fingerprint})
        except OSError as error:
            return f"{error}"
        return ""

    def _read(self) -> dict[str, str]:
        if self._path is None:
            return {}
        try:
            record = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(name): _checked(value) for name, value in record["fingerprints"].items()}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, BadConfig) as error:
            raise BadConfig(
                f"The file of trusted certificates {str(self._path)!r} cannot be read.",
                why=f"{type(error).__name__}: {error}.",
                hint="Mend it, or remove it to meet every server anew.",
            ) from error

    def _write(self, fingerprints: Mapping[str, str]) -> None:
        assert self._path is not None
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = json.dumps({"v": TRUST_VERSION, "fingerprints": dict(sorted(fingerprints.items()))}, indent=1)
        handle, hidden = tempfile.mkstemp(prefix=".sdenv-", suffix=".part", dir=self._path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text + "\n")
            Path(hidden).replace(self._path)
        except BaseException:
            Path(hidden).unlink(missing_ok=True)
            raise


def fingerprint_of(certificate: bytes) -> str:
    """SHA-256 of a certificate in DER, as 64 hex digits."""
    return hashlib.sha256(certificate).hexdigest()


def parse_fingerprint(text: str) -> str:
    """A fingerprint as 64 hex digits, however it was written: with colons, capitals or `sha256:`.

    Raises:
        BadConfig: It is not one.
    """
    plain = re.sub(r"[\s:]", "", re.sub(r"(?i)^\s*sha-?256[:=]", "", text)).casefold()
    if not re.fullmatch(r"[0-9a-f]{64}", plain):
        raise BadConfig(
            f"{text[:80]!r} is not the fingerprint of a certificate.",
            why="It is the SHA-256 in 64 hex digits, with or without colons.",
        )
    return plain


def ssl_context_for(
    host: str,
    port: int,
    store: TrustStore,
    *,
    fingerprint: str | None = None,
    ca: Path | None = None,
    insecure: bool = False,
    handshake: Handshake | None = None,
    tell: Callable[[Notice], None] | None = None,
) -> ssl.SSLContext:
    """A context that accepts this server and no other.

    A certificate that the system trusts just works, unless another one was remembered. Else the first
    certificate is remembered, and only exactly that one is accepted from then on.

    Args:
        host: Name or address.
        port: Its port.
        store: What was remembered.
        fingerprint: The only certificate to accept, which is remembered; None = as above.
        ca: Certificates (PEM) to trust instead of the system's.
        insecure: Accept whatever is shown. Whoever is between may read and change everything.
        handshake: Connects to the server; None = directly.
        tell: Is told what a person should know.

    Raises:
        CertificateChanged: It shows another certificate than the one that was trusted.
        ConnectionFailed: No secure connection can be made.
        BadConfig: The fingerprint, the file of certificates or the store cannot be read.
        OSError: Nothing listens there.
    """
    if insecure:
        return _accepting_anything()
    if ca is not None:
        return _trusting(ca)
    shake = handshake or (lambda context: _direct_handshake(host, port, context))
    wanted = None if fingerprint is None else parse_fingerprint(fingerprint)
    known = store.fingerprint(host, port)
    if wanted is None and known is None and _is_trusted_by_system(shake):
        return ssl.create_default_context()
    certificate = _shown_certificate(shake)
    shown = fingerprint_of(certificate)
    expected = wanted or known or shown
    if shown != expected:
        raise _changed(host, port, expected, shown, was_given=wanted is not None)
    if known != shown:
        notice = _first_met(host, port, shown, store.remember(host, port, shown))
        if tell is not None:
            tell(notice)
    return pinned(certificate)


def pinned(certificate: bytes) -> ssl.SSLContext:
    """A context that accepts exactly this certificate (DER), for any name, whoever has signed it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= (
        ssl.VERIFY_X509_PARTIAL_CHAIN
    )  # it need not be signed by itself, nor be an authority
    context.load_verify_locations(cadata=certificate)
    return context


def _accepting_anything() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _trusting(ca: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca.expanduser()))
    except (OSError, ssl.SSLError) as error:
        raise BadConfig(
            f"The file of certificates {str(ca)!r} cannot be read.", why=f"{error}.", hint="-O ca=FILE.pem"
        ) from error


def _is_trusted_by_system(shake: Handshake) -> bool:
    try:
        shake(ssl.create_default_context()).close()
    except ssl.SSLCertVerificationError:
        return False
    return True


def _shown_certificate(shake: Handshake) -> bytes:
    """The certificate that the server shows, in DER; nothing but the handshake is sent."""
    with shake(_accepting_anything()) as connection:
        certificate = connection.getpeercert(binary_form=True)
    if certificate is None:
        raise ConnectionFailed("The server shows no certificate.")
    return certificate


def _direct_handshake(host: str, port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    connection = socket.create_connection((host, port), HANDSHAKE_S)
    try:
        return context.wrap_socket(connection, server_hostname=host)
    except BaseException:
        connection.close()
        raise


def _changed(host: str, port: int, expected: str, shown: str, *, was_given: bool) -> CertificateChanged:
    how = "The one that was given" if was_given else "The one that was trusted before"
    return CertificateChanged(
        f"The server {_key(host, port)} shows another certificate than before."
        if not was_given
        else f"The server {_key(host, port)} shows another certificate than the one given.",
        why=f"{how}: {expected}; now: {shown}. Somebody may be between you and it.",
        hint=f"If its owner says that the new one is right: -O fingerprint={shown} (once; it is remembered)",
    )


def _first_met(host: str, port: int, shown: str, problem: str) -> Notice:
    kept = f"It could not be remembered ({problem})." if problem else "From now on only this one is accepted."
    return Notice(
        "certificate-trusted",
        f"{_key(host, port)} is met for the first time; its certificate is {shown}. {kept}",
    )


def _key(host: str, port: int) -> str:
    return f"{host.casefold()}:{port}"


def _checked(value: Any) -> str:
    return parse_fingerprint(str(value))
