"""Certificates for tests: signed by themselves, or by an authority of the test."""

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sdenv.net.trust import fingerprint_of


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key.

    Attributes:
        public: The certificate.
        private: Its key.
        folder: Where their files are written.
    """

    public: x509.Certificate
    private: ec.EllipticCurvePrivateKey
    folder: Path

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.public.public_bytes(serialization.Encoding.DER))

    @cached_property
    def pem(self) -> Path:
        path = self.folder / f"{self.fingerprint}.pem"
        path.write_bytes(self.public.public_bytes(serialization.Encoding.PEM))
        return path

    @cached_property
    def key(self) -> Path:
        path = self.folder / f"{self.fingerprint}.key"
        path.write_bytes(
            self.private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return path

    def server_context(self) -> ssl.SSLContext:
        """For a server that shows it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem, self.key)
        return context


def make_certificate(
    folder: Path, signed_by: Certificate | None = None, *, authority: bool = False
) -> Certificate:
    """A new certificate for this machine, by default signed by itself."""
    private = ec.generate_private_key(ec.SECP256R1())
    title = "sdenv test authority" if authority else "sdenv test"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    signer = signed_by.private if signed_by else private
    signer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(signed_by.public.subject if signed_by else name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .add_extension(signer_id, critical=False)
    )
    public = builder.sign(signer, hashes.SHA256())
    return Certificate(public, private, folder)
