"""From the endorsement key to AMD's root: ARK → ASK or ASVK → VCEK or VLEK, all RSASSA-PSS."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID

from registry.core.certificates import pem
from registry.core.certificates.chain import check_critical, find, load
from registry.core.evidence.checks import CheckError, Severity, missing
from registry.core.evidence.endorsements import Role
from registry.core.evidence.sev_snp.certificate import EndorsementKey, KeyKind, endorsement_key
from registry.core.evidence.sev_snp.findings import SNPFinding
from registry.core.evidence.sev_snp.product import ProductLine
from registry.core.evidence.validity import Validity
from registry.errors import MalformedError, VerificationError

RSA_BITS: Final = 4096
"""Bits of an authority's modulus."""

_EXPONENT = 65537

_SALT_BYTES = 48


@dataclass(frozen=True, slots=True)
class Authority:
    """An ARK, ASK or ASVK as its certificate states it.

    Attributes:
        der: The certificate as it was issued.
        certificate: The same, read.
        name: Its common name, such as ``ARK-Milan``.
        subject: DER of its name.
        issuer: DER of the name of who issued it.
        key: Its RSA key.
        validity: Its window.
        serial: Its serial number.
    """

    der: bytes
    certificate: x509.Certificate
    name: str
    subject: bytes
    issuer: bytes
    key: rsa.RSAPublicKey
    validity: Validity
    serial: int


@dataclass(frozen=True, slots=True)
class Path:
    """Three certificates that follow from each other; whether the root counts is not asked here.

    Attributes:
        key: The endorsement key.
        signer: The ASK or ASVK.
        root: The ARK.
        line: The product line, by the name of the root.
    """

    key: EndorsementKey
    signer: Authority
    root: Authority
    line: ProductLine


@lru_cache(maxsize=64)
def authorities(chain: bytes) -> tuple[Authority, ...]:
    """The authorities in a PEM text.

    Raises:
        CheckError: ``CHAIN_MALFORMED``.
    """
    try:
        return tuple(_authority(data) for data in pem.certificates(chain))
    except (MalformedError, VerificationError) as error:
        if isinstance(error, CheckError):
            raise
        raise CheckError(
            SNPFinding.CHAIN_MALFORMED, "the vendor's chain cannot be read", actual=str(error)
        ) from error


def find_path(key: EndorsementKey, known: Iterable[Authority]) -> Path:
    """The path from an endorsement key to a root.

    Where several authorities have the name that is looked for, the path that holds counts.

    Raises:
        CheckError: ``MISSING``, ``ISSUER_MISMATCH``, ``CHAIN_MALFORMED``, ``ASK_SIGNATURE`` or
            ``VEK_SIGNATURE``.
    """
    candidates = tuple(known)
    if not candidates:
        raise missing("the vendor's chain", Role.AMD_CHAIN)
    refusal: CheckError | None = None
    for signer in candidates:
        if signer.subject != key.issuer:
            continue
        for root in candidates:
            if root.subject != signer.issuer:
                continue
            try:
                return _verified(key.der, signer.der, root.der)
            except CheckError as error:
                refusal = refusal or error
    if refusal is not None:
        raise refusal
    raise CheckError(
        SNPFinding.ISSUER_MISMATCH,
        "none of the vendor's chains at hand issued this endorsement key",
        severity=Severity.IDENTITY,
        actual=", ".join(sorted({item.name for item in candidates})),
    )


def signer_name(kind: KeyKind, line: ProductLine) -> str:
    """The common name of the authority that issues keys of a kind for a product line."""
    return f"SEV-{line}" if kind is KeyKind.VCEK else f"SEV-VLEK-{line}"


def verify_pss(key: rsa.RSAPublicKey, signature: bytes, signed: bytes) -> None:
    """Check a signature as AMD's authorities make them.

    Raises:
        InvalidSignature: It does not verify.
    """
    key.verify(
        signature, signed, padding.PSS(padding.MGF1(hashes.SHA384()), _SALT_BYTES), hashes.SHA384()
    )


@lru_cache(maxsize=256)
def _authority(data: bytes) -> Authority:
    certificate = load(data)
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size != RSA_BITS:
        raise _unusable("an authority's key is of another kind", "not RSA-4096")
    if key.public_numbers().e != _EXPONENT:
        raise _unusable("an authority's key has another exponent", str(key.public_numbers().e))
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Authority(
        der=data,
        certificate=certificate,
        name=str(names[0].value) if len(names) == 1 else "",
        subject=certificate.subject.public_bytes(),
        issuer=certificate.issuer.public_bytes(),
        key=key,
        validity=Validity.closed(certificate.not_valid_before_utc, certificate.not_valid_after_utc),
        serial=certificate.serial_number,
    )


@lru_cache(maxsize=1024)
def _verified(key_der: bytes, signer_der: bytes, root_der: bytes) -> Path:
    key, signer, root = endorsement_key(key_der), _authority(signer_der), _authority(root_der)
    line = next((line for line in ProductLine if root.name == f"ARK-{line}"), None)
    if line is None:
        raise _unusable("the chain ends in no root of a product line", root.name)
    for below, authority in enumerate((signer, root)):
        _check_may_issue(authority.certificate, below)
        _check_issued(authority.certificate, root)
    try:
        verify_pss(signer.key, key.signature, key.signed)
    except InvalidSignature as error:
        raise CheckError(
            SNPFinding.VEK_SIGNATURE,
            "the signature in the endorsement key's certificate does not verify",
            where=signer.name,
        ) from error
    return Path(key, signer, root, line)


def _check_may_issue(certificate: x509.Certificate, below: int) -> None:
    """RFC 5280 §4.2.1.3 and §4.2.1.9: an authority, over at least as many as it has below it."""
    try:
        check_critical(certificate)
    except MalformedError as error:
        raise _unusable("an authority's certificate is not understood", str(error)) from error
    constraints = find(certificate, x509.BasicConstraints)
    usage = find(certificate, x509.KeyUsage)
    if constraints is None or not constraints.ca or usage is None or not usage.key_cert_sign:
        raise _unusable("an authority may not issue", certificate.subject.rfc4514_string())
    if constraints.path_length is not None and constraints.path_length < below:
        raise _unusable(
            "an authority may not issue so far down", certificate.subject.rfc4514_string()
        )


def _check_issued(certificate: x509.Certificate, root: Authority) -> None:
    if certificate.signature_algorithm_oid != SignatureAlgorithmOID.RSASSA_PSS:
        raise _unusable(
            "an authority is certified in another way than AMD signs",
            certificate.signature_algorithm_oid.dotted_string,
        )
    try:
        verify_pss(root.key, certificate.signature, certificate.tbs_certificate_bytes)
    except InvalidSignature as error:
        raise CheckError(
            SNPFinding.ASK_SIGNATURE,
            "the signature in an authority's certificate does not verify",
            where=certificate.subject.rfc4514_string(),
        ) from error


def _unusable(what: str, actual: str) -> CheckError:
    return CheckError(SNPFinding.CHAIN_MALFORMED, what, actual=actual)
