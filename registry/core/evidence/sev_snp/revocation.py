"""AMD's revocation lists: signed by the ARK, they name ASKs and ASVKs that are no longer good.

Endorsement keys cannot be on them: all have the serial number 0.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtensionOID, NameOID, SignatureAlgorithmOID

from registry.core.evidence.checks import CheckError, Finding, Ledger, Severity
from registry.core.evidence.sev_snp.chain import Authority, Path, verify_pss
from registry.core.evidence.sev_snp.findings import SNPFinding
from registry.core.evidence.sev_snp.product import ProductLine
from registry.core.evidence.validity import Validity, seconds

_KNOWN: Final = frozenset((ExtensionOID.CRL_NUMBER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER))
_AT_ONCE: Final = frozenset((x509.ReasonFlags.key_compromise, x509.ReasonFlags.ca_compromise))
_ROOTS: Final = frozenset(f"ARK-{line}" for line in ProductLine)


def check_revocation(ledger: Ledger, path: Path, lists: Sequence[bytes]) -> bytes:
    """Check that the signer of an endorsement key is not revoked, by the list that counts.

    Of several lists the one counts that was made last before the moment.

    Args:
        ledger: Its moment counts, and it learns the window.
        path: From the endorsement key to the root.
        lists: DER of the lists of this root, at least one.

    Returns:
        The list that counts.

    Raises:
        CheckError: ``CRL_MALFORMED``, ``CRL_ISSUER``, ``CRL_SIGNATURE``, ``NOT_YET_VALID``,
            ``EXPIRED`` or ``REVOKED``.
    """
    read = [(data, _verified(data, path.root)) for data in lists]
    read.sort(key=lambda item: (_window(item[1]).start <= ledger.at, _window(item[1]).start))
    data, chosen = read[-1]
    ledger.within("the revocation list", _window(chosen))
    entry = chosen.get_revoked_certificate_by_serial_number(path.signer.serial)
    if entry is None:
        return data
    since = entry.revocation_date_utc
    if seconds(since) <= ledger.at or _reason(entry) in _AT_ONCE:
        raise CheckError(
            Finding.REVOKED,
            "the authority that issued the endorsement key is revoked",
            severity=Severity.IDENTITY,
            where=path.signer.name,
            actual=f"since {since.isoformat()}",
        )
    return data


def concerns(data: bytes, root: Authority) -> bool:
    """Whether a list is to be looked at: not if it is the list of another product line."""
    try:
        names = _read(data).issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    except CheckError:
        return True
    name = str(names[0].value) if len(names) == 1 else ""
    return name == root.name or name not in _ROOTS


@lru_cache(maxsize=64)
def _read(data: bytes) -> x509.CertificateRevocationList:
    try:
        found = x509.load_der_x509_crl(data)
        _ = [_reason(entry) for entry in found]
        strange = [item.oid for item in found.extensions if item.oid not in _KNOWN]
        until: datetime | None = found.next_update_utc
        algorithm = found.signature_algorithm_oid
    except (ValueError, x509.DuplicateExtension, UnsupportedAlgorithm) as error:
        raise _malformed("it cannot be read", str(error)[:200]) from error
    if strange:
        # Such as an issuing distribution point, which makes the list speak of less than all.
        raise _malformed("it has an extension that AMD's lists do not have", str(strange[0]))
    if until is None or algorithm != SignatureAlgorithmOID.RSASSA_PSS:
        raise _malformed("it has no end, or is signed in another way than AMD signs")
    return found


def _reason(entry: x509.RevokedCertificate) -> x509.ReasonFlags | None:
    try:
        return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return None


def _verified(data: bytes, root: Authority) -> x509.CertificateRevocationList:
    found = _read(data)
    if found.issuer.public_bytes() != root.subject:
        raise CheckError(
            SNPFinding.CRL_ISSUER,
            "the revocation list is not the root's",
            severity=Severity.IDENTITY,
            expected=root.name,
            actual=found.issuer.rfc4514_string(),
        )
    try:
        verify_pss(root.key, found.signature, found.tbs_certlist_bytes)
    except InvalidSignature as error:
        raise CheckError(
            SNPFinding.CRL_SIGNATURE, "the signature of the revocation list does not verify"
        ) from error
    return found


def _window(found: x509.CertificateRevocationList) -> Validity:
    until = found.next_update_utc
    start = found.last_update_utc
    return Validity.until_next(start, until if until is not None else start)


def _malformed(what: str, actual: str = "") -> CheckError:
    return CheckError(
        SNPFinding.CRL_MALFORMED, f"the revocation list is not accepted: {what}", actual=actual
    )
