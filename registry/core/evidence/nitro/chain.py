"""The certificate chain of a Nitro document: from the pinned root to the key of one enclave.

AWS issues five levels: root, region, zone, instance, enclave. All keys are on P-384. The lower a
certificate stands, the shorter it lives: 30 years, 20 days, 6 days, a day, three hours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import SignatureAlgorithmOID

from registry.core.certificates.chain import check_critical, find, load
from registry.core.evidence.checks import CheckError
from registry.core.evidence.nitro.document import Document
from registry.core.evidence.nitro.findings import NitroFinding
from registry.core.evidence.roots import Roots, Vendor
from registry.core.evidence.validity import Validity
from registry.errors import MalformedError

MIN_CABUNDLE: Final = 2
"""Certificates above the leaf: the root signs no enclave by itself."""

MAX_DISTRIBUTION_POINTS: Final = 4
"""Addresses of revocation lists in one certificate; AWS writes one."""


@dataclass(frozen=True, slots=True)
class Link:
    """One certificate of a chain.

    Attributes:
        der: Its bytes.
        certificate: What it says.
        window: When it is valid.
        distribution_points: Where its issuer publishes what it revoked, it says.
    """

    der: bytes
    certificate: x509.Certificate
    window: Validity
    distribution_points: tuple[str, ...]

    @property
    def name(self) -> str:
        """Whose certificate it is."""
        return self.certificate.subject.rfc4514_string()[:200] or "a certificate without a name"


def read(document: Document) -> tuple[Link, ...]:
    """Read the chain, the root first and the leaf last.

    Raises:
        CheckError: ``CERTIFICATE``.
    """
    # Others' certificates come again with every document of their enclaves; the leaf does not.
    return (*(_cached(der) for der in document.cabundle), _link(document.certificate))


def verify(chain: Sequence[Link], roots: Roots) -> bool:
    """Check a chain, its windows aside; True if its root was only named.

    Raises:
        CheckError: A finding of N3.
    """
    named = _accept(chain, roots)
    if len(chain) <= MIN_CABUNDLE:
        raise CheckError(
            NitroFinding.CHAIN_TOO_SHORT,
            "the root signed the enclave's certificate by itself",
            expected=f"at least {MIN_CABUNDLE} authorities",
            actual=str(len(chain) - 1),
        )
    for below, authority in enumerate(reversed(chain[:-1])):
        _check_authority(authority, below)
    _check_leaf(chain[-1])
    for parent, child in pairwise(chain[:-1]):
        _cached_issue(child.der, parent.der)
    _check_issued(chain[-1].certificate, chain[-2].certificate)
    return named


def verify_signature(leaf: Link, message: bytes, signature: bytes) -> None:
    """Check the signature of a document, r and s big-endian, by the key of its leaf.

    Raises:
        CheckError: ``BAD_SIGNATURE`` or ``KEY_KIND``.
    """
    half = len(signature) // 2
    r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
    key = _key(leaf)
    try:
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA384()))
    except (InvalidSignature, ValueError) as error:
        raise CheckError(
            NitroFinding.BAD_SIGNATURE, "the signature of the document does not verify"
        ) from error


def _accept(chain: Sequence[Link], roots: Roots) -> bool:
    try:
        return roots.accept(Vendor.AWS_NITRO, chain[0].der)
    except CheckError:
        for link in chain[1:]:
            if _accepted(link, roots):
                raise CheckError(
                    NitroFinding.ROOT_NOT_FIRST,
                    "the root is in the chain, but not where it belongs",
                    expected="the root first, then each certificate after its issuer",
                ) from None
        raise


def _accepted(link: Link, roots: Roots) -> bool:
    try:
        roots.accept(Vendor.AWS_NITRO, link.der)
    except CheckError:
        return False
    return True


def _link(der: bytes) -> Link:
    try:
        certificate = load(der)
        check_critical(certificate)
        points = find(certificate, x509.CRLDistributionPoints)
    except (MalformedError, ValueError) as error:
        said = error.what if isinstance(error, MalformedError) else str(error)
        more = error.actual if isinstance(error, MalformedError) else ""
        raise CheckError(
            NitroFinding.CERTIFICATE,
            "a certificate of the chain is not accepted",
            actual=f"{said} {more}".strip(),
        ) from error
    window = Validity.closed(certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    return Link(der, certificate, window, _addresses(points))


_cached = lru_cache(maxsize=1024)(_link)


def _addresses(points: x509.CRLDistributionPoints | None) -> tuple[str, ...]:
    found = [
        name.value
        for point in points or ()
        for name in point.full_name or ()
        if isinstance(name, x509.UniformResourceIdentifier)
    ]
    return tuple(dict.fromkeys(found))[:MAX_DISTRIBUTION_POINTS]


def _key(link: Link) -> ec.EllipticCurvePublicKey:
    key = link.certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise CheckError(
            NitroFinding.KEY_KIND, "a key of the chain is not on P-384", where=link.name
        )
    return key


def _check_authority(link: Link, below: int) -> None:
    _key(link)
    constraints = find(link.certificate, x509.BasicConstraints)
    usage = find(link.certificate, x509.KeyUsage)
    if constraints is None or not constraints.ca or usage is None or not usage.key_cert_sign:
        raise CheckError(
            NitroFinding.NOT_AN_AUTHORITY,
            "a certificate above the leaf is not for an authority",
            where=link.name,
        )
    if constraints.path_length is not None and constraints.path_length < below:
        raise CheckError(
            NitroFinding.PATH_LENGTH,
            "the chain is longer than an authority allows",
            where=link.name,
            expected=f"at most {constraints.path_length} authorities below",
            actual=str(below),
        )


def _check_leaf(link: Link) -> None:
    _key(link)
    constraints = find(link.certificate, x509.BasicConstraints)
    usage = find(link.certificate, x509.KeyUsage)
    if (constraints is not None and constraints.ca) or usage is None or not usage.digital_signature:
        raise CheckError(
            NitroFinding.KEY_USAGE, "the leaf's key is not for signatures", where=link.name
        )


def _check_issued(child: x509.Certificate, parent: x509.Certificate) -> None:
    name = child.subject.rfc4514_string()[:200]
    if child.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA384:
        raise CheckError(
            NitroFinding.KEY_KIND,
            "a certificate is not signed with ECDSA and SHA-384",
            where=name,
            actual=child.signature_algorithm_oid.dotted_string,
        )
    claimed = find(child, x509.AuthorityKeyIdentifier)
    actual = find(parent, x509.SubjectKeyIdentifier)
    named = claimed.key_identifier if claimed is not None else None
    try:
        if named is not None and actual is not None and named != actual.digest:
            message = "it names another issuer's key"
            raise ValueError(message)  # noqa: TRY301 - one refusal for all of them
        child.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise CheckError(
            NitroFinding.NOT_ISSUED,
            "a certificate was not issued by the one before it",
            where=name,
            actual=str(error)[:200],
        ) from error


@lru_cache(maxsize=1024)
def _cached_issue(child: bytes, parent: bytes) -> None:
    _check_issued(_cached(child).certificate, _cached(parent).certificate)
