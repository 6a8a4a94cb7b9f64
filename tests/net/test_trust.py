"""Trust on first use: the first certificate is remembered, another one is an error that shows both."""

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sdenv.core.errors import BadConfig, CertificateChanged
from sdenv.core.events import Notice
from sdenv.net.trust import TrustStore, parse_fingerprint, ssl_context_for
from tests.support.certificates import Certificate, make_certificate
from tests.support.raw_servers import raw_server


def greet(connection: socket.socket) -> None:
    connection.sendall(b"hello")


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


@pytest.fixture
def port(certificate: Certificate) -> Iterator[int]:
    """Of a TLS server that shows the certificate and says hello."""
    with raw_server(greet, certificate.server_context()) as port:
        yield port


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    return TrustStore(tmp_path / "data" / "trust.json")


def said_by(port: int, context: ssl.SSLContext) -> bytes:
    plain = socket.create_connection(("127.0.0.1", port))
    with plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
        return secured.recv(100)


def trust(port: int, store: TrustStore, **options: Any) -> tuple[bytes, list[Notice]]:
    """What the server says over the context that is chosen for it, and what the user is told."""
    told: list[Notice] = []
    context = ssl_context_for("127.0.0.1", port, store, tell=told.append, **options)
    return said_by(port, context), told


def test_the_first_certificate_is_remembered_and_shown(
    port: int, store: TrustStore, certificate: Certificate, tmp_path: Path
) -> None:
    said, told = trust(port, store)
    assert said == b"hello"
    assert [notice.code for notice in told] == ["certificate-trusted"]
    assert certificate.fingerprint in told[0].message
    kept = json.loads((tmp_path / "data" / "trust.json").read_text())
    assert kept["fingerprints"] == {f"127.0.0.1:{port}": certificate.fingerprint}


def test_the_second_time_it_just_works(port: int, store: TrustStore) -> None:
    trust(port, store)
    assert trust(port, store) == (b"hello", [])


def test_another_certificate_is_refused_and_both_are_shown(
    store: TrustStore, tmp_path: Path, certificate: Certificate
) -> None:
    other = make_certificate(tmp_path)
    with raw_server(greet, other.server_context()) as port:
        store.remember("127.0.0.1", port, certificate.fingerprint)
        with pytest.raises(CertificateChanged) as refused:
            trust(port, store)
    assert certificate.fingerprint in refused.value.why
    assert other.fingerprint in refused.value.why
    assert f"-O fingerprint={other.fingerprint}" in refused.value.hint


def test_a_context_accepts_no_other_certificate_later(port: int, store: TrustStore, tmp_path: Path) -> None:
    context = ssl_context_for("127.0.0.1", port, store)
    other = make_certificate(tmp_path).server_context()
    with raw_server(greet, other) as other_port, pytest.raises(ssl.SSLCertVerificationError):
        said_by(other_port, context)


def test_a_new_certificate_that_its_owner_vouches_for_takes_the_place_of_the_old(
    port: int, store: TrustStore, certificate: Certificate
) -> None:
    store.remember("127.0.0.1", port, "0" * 64)
    assert trust(port, store, fingerprint=certificate.fingerprint.upper())[0] == b"hello"
    assert trust(port, store) == (b"hello", [])


def test_a_fingerprint_that_was_given_is_the_only_one_accepted(port: int, store: TrustStore) -> None:
    with pytest.raises(CertificateChanged, match="another certificate than the one given"):
        trust(port, store, fingerprint="ab" * 32)


def test_a_certificate_that_the_system_trusts_just_works_and_is_not_remembered(
    store: TrustStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make_certificate(tmp_path, authority=True)
    bought = make_certificate(tmp_path, authority)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.pem))
    with raw_server(greet, bought.server_context()) as port:
        assert trust(port, store) == (b"hello", [])
        assert store.fingerprint("127.0.0.1", port) is None


def test_an_authority_of_ones_own_can_be_named(store: TrustStore, tmp_path: Path) -> None:
    authority = make_certificate(tmp_path, authority=True)
    with raw_server(greet, make_certificate(tmp_path, authority).server_context()) as port:
        assert trust(port, store, ca=authority.pem) == (b"hello", [])
    stranger = make_certificate(tmp_path).server_context()
    with raw_server(greet, stranger) as port, pytest.raises(ssl.SSLCertVerificationError):
        trust(port, store, ca=authority.pem)


def test_insecure_accepts_anything_and_remembers_nothing(port: int, store: TrustStore) -> None:
    store.remember("127.0.0.1", port, "0" * 64)
    assert trust(port, store, insecure=True) == (b"hello", [])
    assert store.fingerprint("127.0.0.1", port) == "0" * 64


@pytest.mark.parametrize("damage", [b"", b"[]", b"not json", b'{"fingerprints": {"gpu:1": "abc"}}', b"\xff"])
def test_a_damaged_store_trusts_nobody_anew(port: int, tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "trust.json"
    path.write_bytes(damage)
    with pytest.raises(BadConfig, match=r"trust\.json"):
        trust(port, TrustStore(path))
    assert path.read_bytes() == damage


def test_what_cannot_be_remembered_is_said(port: int, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    _, told = trust(port, TrustStore(tmp_path / "file" / "trust.json"))
    assert "could not be remembered" in told[0].message


def test_two_stores_of_one_file_keep_what_the_other_has_learnt(tmp_path: Path) -> None:
    one, other = (TrustStore(tmp_path / "trust.json") for _ in range(2))
    one.remember("GPU", 9090, "1" * 64)
    other.remember("gpu", 9091, "2" * 64)
    assert (one.fingerprint("gpu", 9091), other.fingerprint("gpu", 9090)) == ("2" * 64, "1" * 64)


WRITINGS: list[Callable[[str], str]] = [
    str,
    str.upper,
    lambda text: ":".join(text[at : at + 2] for at in range(0, 64, 2)),
    lambda text: f"sha256:{text}",
    lambda text: f" SHA256={text.upper()}\n",
]


@pytest.mark.parametrize("writing", WRITINGS)
def test_a_fingerprint_is_read_however_it_is_written(writing: Callable[[str], str]) -> None:
    plain = "0123456789abcdef" * 4
    assert parse_fingerprint(writing(plain)) == plain


@pytest.mark.parametrize("text", ["", "abc", "g" * 64, "a" * 63, "a" * 65])
def test_what_is_no_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(BadConfig, match="64 hex digits"):
        parse_fingerprint(text)
