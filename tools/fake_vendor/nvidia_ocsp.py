"""OCSP answers of the fake vendor, by responders of every kind."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from tools.fake_vendor import pki
from tools.fake_vendor.pki import Holder

NOON: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
"""When evidence is judged if nobody says otherwise."""

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
        responder: ``delegated``, ``issuer``, ``stranger`` (issued by nobody known) or ``useless``
            (issued, but not for OCSP).
        responder_life: How long the responder's certificate lives.
        about: Another certificate and issuer than the one that is asked about.
        data: Edits the finished answer.
    """

    status: str = "good"
    reason: x509.ReasonFlags | None = None
    revoked_at: datetime = NOON - timedelta(days=10)
    this_update: datetime = NOON - timedelta(hours=1)
    life: timedelta | None = timedelta(days=1)
    responder: str = "delegated"
    responder_life: timedelta = timedelta(days=3 * 365)
    about: tuple[Holder, Holder] | None = None
    data: Callable[[bytes], bytes] = _same


GOOD: Final = Said()
"""An answer as one wants it."""


@cache
def _responder(issuer: Holder, kind: str, life: timedelta) -> Holder:
    name = pki.name(f"{kind} OCSP responder", O="NVIDIA Corporation", C="US")
    key = pki.p384(f"{kind} OCSP responder")
    extensions = () if kind == "useless" else ((_DELEGATED, True),)
    if kind == "stranger":
        issuer = pki.issue(issuer.certificate.subject, pki.p384("stranger"), None)
    return pki.issue(
        name,
        key,
        issuer,
        start=NOON - timedelta(days=365),
        life=life,
        ca=False,
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
        .responder_id(ocsp.OCSPResponderEncoding.HASH, responder.certificate)
    )
    if said.responder != "issuer":
        builder = builder.certificates([responder.certificate])
    signed = builder.sign(responder.key, hashes.SHA384())
    return said.data(signed.public_bytes(serialization.Encoding.DER))
