"""A private certificate authority: short-lived certificates for P-256 keys, each with one SCT.

What stock Sigstore clients insist on, extension by extension, is written down here once. The
certificate is built twice: the CT key signs the first build's body, which has everything but the
SCT (RFC 6962 §3.2), and the second build carries that promise as its last extension. Before a
certificate leaves this room, it is read back and verified as a client would.

Whoever holds the authority's key can name anybody; whoever holds the CT key can promise that a
certificate is logged. Neither key signs anything else, and neither is the log's.
"""

from datetime import datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from registry.core.attestation.identity import Identity
from registry.core.certificates import chain
from registry.core.certificates.chain import Authority, Window
from registry.core.certificates.sct import CTKey, signed_bytes, verify_sct
from registry.core.certificates.signing import (
    ISSUER,
    ISSUER_RAW,
    SigningCertificate,
    utf8_string,
)
from registry.core.digest import sha256
from registry.core.keys import PublicKey
from registry.errors import DamagedError, MalformedError, Reason

CERTIFICATE_LIFETIME = timedelta(minutes=15)
"""From the beginning of a certificate to its end."""

BACKDATED = timedelta(minutes=1)
"""How long before its making a certificate begins: a timestamp authority's clock may be late."""

AUTHORITY_LIFETIME = timedelta(days=3650)
"""From the making of an authority to its end."""

# RFC 6979: nothing that we sign depends on the quality of a random number.
_ECDSA = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
_SIGNATURE_ONLY = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_AUTHORITY_ONLY = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
_OCTET_STRING = 0x04


class CertificateAuthority:
    """A P-256 key that issues certificates, and another that signs their SCTs."""

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        ct_key: ec.EllipticCurvePrivateKey,
        certificate: x509.Certificate,
    ) -> None:
        """Take the keys.

        Raises:
            DamagedError: ``STORED_BYTES`` if the certificate is of another key.
        """
        self._key = key
        self._ct_key = ct_key
        self._certificate = certificate
        self.ct_key = PublicKey(ct_key.public_key())
        spki = PublicKey(key.public_key())
        if PublicKey.parse(_spki(certificate)) != spki:
            raise DamagedError(
                Reason.STORED_BYTES,
                "the authority's certificate is not for the authority's key",
                hint="restore both files from the same backup",
            )
        self.certificate_der = certificate.public_bytes(serialization.Encoding.DER)

    @classmethod
    def generate(cls, name: str, at: datetime) -> Self:
        """A new authority, in memory."""
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(key, ec.generate_private_key(ec.SECP256R1()), self_signed(key, name, at))

    @classmethod
    def load(
        cls,
        key: ec.EllipticCurvePrivateKey,
        ct_key: ec.EllipticCurvePrivateKey,
        certificate_pem: bytes,
    ) -> Self:
        """An authority whose keys and certificate were made before.

        Raises:
            MalformedError: ``MALFORMED_CERTIFICATE``.
            DamagedError: ``STORED_BYTES`` if the certificate is of another key.
        """
        try:
            der = x509.load_pem_x509_certificate(certificate_pem).public_bytes(
                serialization.Encoding.DER
            )
        except ValueError as error:
            raise MalformedError(
                Reason.MALFORMED_CERTIFICATE, "this is not a PEM certificate"
            ) from error
        return cls(key, ct_key, chain.load(der))

    @property
    def authority(self) -> Authority:
        """What a verifier pins."""
        return Authority((self.certificate_der,), self._window)

    @property
    def promises(self) -> CTKey:
        """What a verifier of SCTs pins."""
        return CTKey(self.ct_key, self._window)

    @property
    def certificate_pem(self) -> str:
        """The authority's own certificate."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")

    def issue(self, key: PublicKey, identity: Identity, at: datetime) -> SigningCertificate:
        """Make a certificate: at the time ``at``, ``identity`` holds ``key``.

        The caller has authenticated the identity, and was shown that it holds the private key.

        Raises:
            VerificationError: If the certificate does not verify, ``CERTIFICATE_TIME`` when the
                authority itself has expired.
        """
        begins = at.replace(microsecond=0) - BACKDATED
        serial = x509.random_serial_number()
        builder = self._builder(key, identity, serial, begins)
        unpromised = builder.sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)
        promise = self._promise(unpromised.tbs_certificate_bytes, at)
        made = builder.add_extension(
            x509.UnrecognizedExtension(
                ExtensionOID.PRECERT_SIGNED_CERTIFICATE_TIMESTAMPS, _sct_list(promise)
            ),
            critical=False,
        ).sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)
        der = made.public_bytes(serialization.Encoding.DER)
        self._verify(der, at)
        return SigningCertificate.parse(der)

    @property
    def _window(self) -> Window:
        certificate = self._certificate
        return Window(certificate.not_valid_before_utc, certificate.not_valid_after_utc)

    def _verify(self, der: bytes, at: datetime) -> None:
        authority = chain.issuing_authority(der, [self.authority], at)
        verify_sct(der, authority.chain[0], [self.promises])

    def _builder(
        self, key: PublicKey, identity: Identity, serial: int, begins: datetime
    ) -> x509.CertificateBuilder:
        public = serialization.load_der_public_key(key.der)
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise MalformedError(Reason.KEY_ALGORITHM, "certificates are for P-256 keys")
        name: x509.GeneralName = (
            x509.RFC822Name(identity.name)
            if is_email(identity.name)
            else x509.UniformResourceIdentifier(identity.name)
        )
        issuer = identity.issuer.encode()
        # With an empty subject the alternative name is all there is, and must be critical
        # (RFC 5280 §4.2.1.6).
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number(serial)
            .not_valid_before(begins)
            .not_valid_after(begins + CERTIFICATE_LIFETIME)
            .add_extension(_SIGNATURE_ONLY, critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                    self._certificate.extensions.get_extension_for_class(
                        x509.SubjectKeyIdentifier
                    ).value
                ),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
            .add_extension(x509.UnrecognizedExtension(ISSUER_RAW, issuer), critical=False)
            .add_extension(
                x509.UnrecognizedExtension(ISSUER, utf8_string(issuer)),
                critical=False,
            )
        )

    def _promise(self, body: bytes, at: datetime) -> bytes:
        """One SCT over the body of a certificate that has none yet (RFC 6962 §3.2, §3.3)."""
        at = at.replace(microsecond=at.microsecond // 1000 * 1000)
        signed = signed_bytes(at, PublicKey(self._key.public_key()).der, body, b"")
        signature = self._ct_key.sign(signed, _ECDSA)
        return b"".join(
            (
                b"\x00",  # version 1
                sha256(self.ct_key.der),
                (int(at.timestamp()) * 1000 + at.microsecond // 1000).to_bytes(8, "big"),
                b"\x00\x00",  # no extensions
                b"\x04\x03",  # SHA-256, ECDSA
                len(signature).to_bytes(2, "big"),
                signature,
            )
        )


def is_email(name: str) -> bool:
    """Whether an identity is an e-mail address; otherwise it is a URI, which has a colon."""
    return ":" not in name


def self_signed(key: ec.EllipticCurvePrivateKey, name: str, at: datetime) -> x509.Certificate:
    """The certificate of a new authority, by itself: what its clients pin."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, name[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, "provreg certificate authority"),
        ]
    )
    begins = at.replace(microsecond=0) - BACKDATED
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_AUTHORITY_ONLY, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    )


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _sct_list(sct: bytes) -> bytes:
    """A list of one SCT, as the value of its extension: a DER OCTET STRING."""
    content = (len(sct) + 2).to_bytes(2, "big") + len(sct).to_bytes(2, "big") + sct
    # A list of one P-256 SCT has 121 to 124 bytes, fewer than need a length in two bytes.
    return bytes((_OCTET_STRING, len(content))) + content
