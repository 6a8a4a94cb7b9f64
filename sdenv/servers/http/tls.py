"""A certificate of our own, made at the first start and kept: clients remember it (trust on first use)."""

import ipaddress
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sdenv.core.errors import BadConfig
from sdenv.services.whole_files import make_private_folder, write_whole

if TYPE_CHECKING:
    from cryptography import x509

CERTIFICATE: Final = "cert.pem"
KEY: Final = "key.pem"
_YEARS: Final = 10  # nobody renews it, and a new one is an alarm at every client
_NOT_BEFORE: Final = timedelta(days=1)  # clocks differ


def own_certificate(folder: Path, names: tuple[str, ...]) -> tuple[Path, Path]:
    """Certificate and key in this folder, made if they are not there.

    Args:
        folder: Where they are kept; made with permissions for its owner only.
        names: Names and addresses under which the server is reached, for those who check them.
    """
    make_private_folder(folder)
    certificate, key = folder / CERTIFICATE, folder / KEY
    if not (certificate.exists() and key.exists()):
        certificate_pem, key_pem = _made(names)
        write_whole(key, key_pem, replace=True, mode=0o600)
        write_whole(certificate, certificate_pem, replace=True)
    return certificate, key


def _made(names: tuple[str, ...]) -> tuple[bytes, bytes]:
    """A self-signed certificate on P-256, and its key, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sdenv")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _NOT_BEFORE)
        .not_valid_after(now + timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key_pem


def _general_name(name: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def own_names(*more: str) -> tuple[str, ...]:
    """Names and addresses of this machine that are certain, and those given, without repetition."""
    found = ("localhost", "127.0.0.1", "::1", socket.gethostname(), *more)
    return tuple(dict.fromkeys(name for name in found if name and name not in ("0.0.0.0", "::")))


def fingerprint_of(certificate: Path) -> str:
    """SHA-256 of the first certificate in a PEM file, in hex, as clients of sdenv show it."""
    import hashlib

    text = certificate.read_text(encoding="ascii")
    first = text[: text.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")]
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first[first.index("-----BEGIN") :])).hexdigest()


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What the port speaks TLS with: version 1.2 or newer.

    Raises:
        BadConfig: The files are not a certificate and its key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise BadConfig(
            f"{str(certificate)!r} and {str(key)!r} are not a certificate and its key.",
            why=f"{error.strerror}." if error.filename else "They are not PEM, or do not belong together.",
        ) from error
    return context
