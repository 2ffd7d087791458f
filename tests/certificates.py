"""Certificates for servers on this machine."""

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from registry.core.digest import sha256

_PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class PrivateAuthority:
    """An authority of a closed network: nobody's system knows it.

    ::

        ours = PrivateAuthority(tmp_path)
        certificate, key = ours.certify("127.0.0.1")

    Attributes:
        folder: Where its files are put.
        key: Its private key.
    """

    folder: Path
    name: str = "a closed network"
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @cached_property
    def file(self) -> Path:
        """Its own certificate, in PEM."""
        own = self._certificate(self.name, self.key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        return self._put(own.sign(self.key, hashes.SHA256()).public_bytes(_PEM))

    def certify(self, host: str) -> tuple[Path, Path]:
        """A certificate for a host, given as a name or an address, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(host))]
        except ValueError:
            names = [x509.DNSName(host)]
        made = self._certificate("server", key).add_extension(
            x509.SubjectAlternativeName(names), critical=False
        )
        signed = made.sign(self.key, hashes.SHA256())
        return self._put(signed.public_bytes(_PEM)), self._put(_private_pem(key))

    def _certificate(
        self, subject: str, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(_named(subject))
            .issuer_name(_named(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
            )
        )

    def _put(self, data: bytes) -> Path:
        path = self.folder / f"{sha256(data).hex()[:12]}.pem"
        path.write_bytes(data)
        return path


def _named(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def certificate() -> tuple[bytes, bytes]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _named("registry")
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(_PEM), _private_pem(key)
