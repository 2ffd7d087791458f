"""OCSP answers of the fake vendor, by responders of every kind."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from tools.fake_vendor import pki
from tools.fake_vendor.pki import Holder, PrivateKey

NOON: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
"""When evidence is judged if nobody says otherwise."""

_ALGORITHMS = {
    "sha256": bytes.fromhex("300a06082a8648ce3d040302"),
    "sha384": bytes.fromhex("300a06082a8648ce3d040303"),
}
"""Identifiers of ECDSA with a hash."""

_BASIC = bytes.fromhex("06092b0601050507300101")
"""The type of a basic response (RFC 6960 §4.2.1)."""

_OTHER_PURPOSE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
_DELEGATED = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Said:
    """One OCSP answer. What is not stated is as NVIDIA's have it.

    Attributes:
        status: ``good``, ``revoked`` or ``unknown``.
        reason: Why it is revoked.
        revoked_at: Since when.
        this_update: When it was true.
        life: Until the next one; None says nothing of a next one.
        responder: ``delegated``, ``issuer``, ``stranger`` (issued by nobody known), ``useless``
            (issued, but for nothing stated), ``purpose`` (for another purpose) or ``authority``
            (that may issue, too).
        by_name: Whether it names its responder rather than the responder's key.
        responder_life: How long the responder's certificate lives.
        about: Another certificate and issuer than the one that is asked about.
        nonce_critical: Whether it has a nonce that nobody may overlook.
        signed: Edits what the responder signs.
        sha256: Whether it signs with SHA-256 instead of SHA-384.
        certificates: Edits the certificates that come with it.
        data: Edits the finished answer.
    """

    status: str = "good"
    reason: x509.ReasonFlags | None = None
    revoked_at: datetime = NOON - timedelta(days=10)
    this_update: datetime = NOON - timedelta(hours=1)
    life: timedelta | None = timedelta(days=1)
    responder: str = "delegated"
    by_name: bool = False
    responder_life: timedelta = timedelta(days=3 * 365)
    about: tuple[Holder, Holder] | None = None
    nonce_critical: bool = False
    signed: Callable[[bytes], bytes] = _same
    sha256: bool = False
    certificates: Callable[[list[x509.Certificate]], list[x509.Certificate]] = _same
    data: Callable[[bytes], bytes] = _same


GOOD: Final = Said()
"""An answer as one wants it."""


@cache
def _responder(issuer: Holder, kind: str, life: timedelta) -> Holder:
    name = pki.name(f"{kind} OCSP responder", O="NVIDIA Corporation", C="US")
    key = pki.p384(f"{kind} OCSP responder")
    purpose = _OTHER_PURPOSE if kind == "purpose" else _DELEGATED
    extensions = () if kind == "useless" else ((purpose, True),)
    if kind == "stranger":
        issuer = pki.issue(issuer.certificate.subject, pki.p384("stranger"), None)
    return pki.issue(
        name,
        key,
        issuer,
        start=NOON - timedelta(days=365),
        life=life,
        ca=kind == "authority",
        extensions=extensions,
    )


_STATUS: Final = {
    "good": ocsp.OCSPCertStatus.GOOD,
    "revoked": ocsp.OCSPCertStatus.REVOKED,
    "unknown": ocsp.OCSPCertStatus.UNKNOWN,
}
_MINTED: dict[tuple[bytes, bytes, Said], bytes] = {}


def answer(subject: Holder, issuer: Holder, said: Said = GOOD) -> bytes:
    """An OCSP answer; the same one if nothing differs, as a responder's cache gives it."""
    known = (subject.der, issuer.der, said)
    if known not in _MINTED:
        _MINTED[known] = _answer(subject, issuer, said)
    return _MINTED[known]


def _answer(subject: Holder, issuer: Holder, said: Said) -> bytes:
    about, by = said.about or (subject, issuer)
    revoked = said.status == "revoked"
    responder = (
        issuer
        if said.responder == "issuer"
        else _responder(issuer, said.responder, said.responder_life)
    )
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            cert=about.certificate,
            issuer=by.certificate,
            algorithm=hashes.SHA384(),
            cert_status=_STATUS[said.status],
            this_update=said.this_update,
            next_update=None if said.life is None else said.this_update + said.life,
            revocation_time=said.revoked_at if revoked else None,
            revocation_reason=said.reason if revoked else None,
        )
        .responder_id(
            ocsp.OCSPResponderEncoding.NAME if said.by_name else ocsp.OCSPResponderEncoding.HASH,
            responder.certificate,
        )
    )
    if said.responder != "issuer":
        certificates = said.certificates([responder.certificate])
        builder = builder.certificates(certificates) if certificates else builder
    if said.nonce_critical:
        builder = builder.add_extension(x509.OCSPNonce(bytes(16)), critical=True)
    response = builder.sign(responder.key, hashes.SHA384())
    return said.data(_produced(response, responder.key, said))


def _produced(response: ocsp.OCSPResponse, key: PrivateKey, said: Said) -> bytes:
    """The response, signed at a chosen time; the library takes that of the clock."""
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        message = "responders sign with P-384"
        raise TypeError(message)
    stated = said.this_update.strftime("%Y%m%d%H%M%SZ").encode()
    clock = response.produced_at_utc.strftime("%Y%m%d%H%M%SZ").encode()
    # The first time in the response is the one when it was made.
    signed = said.signed(response.tbs_response_bytes.replace(clock, stated, 1))
    chosen = hashes.SHA256() if said.sha256 else hashes.SHA384()
    signature = key.sign(signed, ec.ECDSA(chosen, deterministic_signing=True))
    certificates = b"".join(
        item.public_bytes(serialization.Encoding.DER) for item in response.certificates
    )
    basic = signed + _ALGORITHMS[chosen.name] + element(0x03, b"\0" + signature)
    if certificates:
        basic += element(0xA0, element(0x30, certificates))
    body = _BASIC + element(0x04, element(0x30, basic))
    return element(0x30, b"\x0a\x01\x00" + element(0xA0, element(0x30, body)))


def element(tag: int, content: bytes) -> bytes:
    """One element in DER (X.690 §8.1.3)."""
    size = len(content)
    if size < 0x80:  # noqa: PLR2004 - the short form
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content
