"""Signed certificate timestamps: a CT log's promise to log a certificate (RFC 6962 §3.2).

Embedded in the certificate, which is therefore signed twice: as a precertificate by the log, and
whole by its issuer. Exactly one, by a P-256 key; its extensions (static CT) are signed with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.certificate_transparency import LogEntryType, SignedCertificateTimestamp

from registry.core.certificates.chain import Window, find, load
from registry.core.digest import sha256
from registry.core.keys import PublicKey
from registry.errors import MalformedError, Reason, VerificationError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CTKey:
    """The P-256 key of a certificate transparency log, and when it was in use."""

    key: PublicKey
    window: Window

    @property
    def log_id(self) -> bytes:
        """SHA-256 of the key (RFC 6962 §3.2)."""
        return sha256(self.key.der)


def verify_sct(leaf: bytes, issuer: bytes, keys: Sequence[CTKey]) -> None:
    """Check that a known CT log promised to log ``leaf`` (RFC 6962 §3.2): one embedded SCT.

    Raises:
        MalformedError: ``MALFORMED_CERTIFICATE``.
        VerificationError: ``SCT``.
    """
    certificate = load(leaf)
    embedded = find(certificate, x509.PrecertificateSignedCertificateTimestamps)
    scts = list(embedded) if embedded is not None else []
    if len(scts) != 1:
        raise _no_promise("exactly one is needed", f"{len(scts)} embedded")
    sct = scts[0]
    known = [key for key in keys if key.log_id == sct.log_id]
    if not known:
        raise _no_promise("its log is not a trusted one", f"log {sct.log_id.hex()}")
    made_at: datetime = sct.timestamp.replace(tzinfo=UTC)
    if not any(made_at in key.window for key in known):
        raise _no_promise("its log was not trusted at that time", made_at.isoformat())
    if not (
        sct.entry_type is LogEntryType.PRE_CERTIFICATE
        and isinstance(sct.signature_hash_algorithm, hashes.SHA256)
    ):
        raise _no_promise("it is of another kind than SHA-256 over a precertificate")
    try:
        known[0].key.verify(sct.signature, _promised(sct, certificate, load(issuer)))
    except (MalformedError, VerificationError) as error:
        raise _no_promise("its signature does not verify", str(error)) from error


def signed_bytes(made_at: datetime, issuer_spki: bytes, body: bytes, extensions: bytes) -> bytes:
    """What a CT log signs: version 1, certificate_timestamp, precert_entry (RFC 6962 §3.2).

    Args:
        made_at: The time of the promise, to the millisecond.
        issuer_spki: DER SubjectPublicKeyInfo of the certificate's issuer.
        body: The DER TBSCertificate without the SCT extension.
        extensions: The SCT's own extensions, which static CT uses.
    """
    milliseconds = (made_at - _EPOCH) // timedelta(milliseconds=1)
    return b"".join(
        (
            b"\x00\x00",
            milliseconds.to_bytes(8, "big"),
            b"\x00\x01",
            sha256(issuer_spki),
            len(body).to_bytes(3, "big"),
            body,
            len(extensions).to_bytes(2, "big"),
            extensions,
        )
    )


def _promised(
    sct: SignedCertificateTimestamp, certificate: x509.Certificate, issuer: x509.Certificate
) -> bytes:
    spki = issuer.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return signed_bytes(
        sct.timestamp.replace(tzinfo=UTC),
        spki,
        certificate.tbs_precertificate_bytes,
        sct.extension_bytes,
    )


def _no_promise(what: str, actual: str = "") -> VerificationError:
    return VerificationError(Reason.SCT, f"the certificate has no good SCT: {what}", actual=actual)
