"""X.509 chains of NVIDIA devices and manifests: P-384 and SHA-384 throughout, to a pinned root."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, NameOID

from registry.core.certificates.chain import find, load
from registry.core.evidence.checks import CheckError, Ledger
from registry.core.evidence.claims import ClaimValue
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.roots import Roots, Vendor
from registry.core.evidence.validity import Validity
from registry.errors import MalformedError

DEVICE_CERTIFICATES: Final = 5
"""Leaf, boot ROM, provisioner, chip family, root."""

MANIFEST_CERTIFICATES: Final = 4
"""Signer, two authorities, root."""

MAX_CERTIFICATES: Final = 8
"""Certificates of one chain that are looked at at all."""

MAX_CERTIFICATE_BYTES: Final = 4096
"""Bytes of one certificate; NVIDIA's take about 900."""

_CACHED_PAIRS = 1024
_CACHED_CERTIFICATES = 1024
_ECDSA = ec.ECDSA(hashes.SHA384())
_UNDERSTOOD = (
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
)
_LEAF = re.compile(r"(GH100|GB[12][0-9]{2}|LS_10) [A-Z][0-9]{2} (?:GSP|FSP) FMC LF")
_PDI_BYTES = 8


class Architecture(StrEnum):
    """Generations of devices, by the names that NVIDIA's tools write."""

    HOPPER = "HOPPER"
    BLACKWELL = "BLACKWELL"
    LS10 = "LS10"

    @property
    def is_switch(self) -> bool:
        """Whether it is an NVSwitch."""
        return self is Architecture.LS10


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose device it is, by its certificates.

    Attributes:
        chip: The chip, such as ``GH100``.
        architecture: Its generation.
        pdi: Eight bytes burnt into it, by which switches and GPUs name each other: the serial
            number of its boot ROM's certificate without its first byte.
    """

    chip: str
    architecture: Architecture
    pdi: bytes

    def claims(self) -> dict[str, ClaimValue]:
        """The same under stable names."""
        return {
            "product_line": self.chip,
            "architecture": self.architecture.value,
            "device_id": self.pdi,
            "device_kind": "switch" if self.architecture.is_switch else "gpu",
        }


@lru_cache(maxsize=_CACHED_CERTIFICATES)
def certificate(der: bytes) -> x509.Certificate:
    """Read one certificate of NVIDIA's hierarchies.

    Raises:
        CheckError: ``CHAIN_CERTIFICATE`` if it cannot be read, or its key is not P-384, or a
            critical extension is not understood.
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise _certificate("it is too long", f"{len(der)} bytes")
    try:
        read = load(der)
    except MalformedError as error:
        raise _certificate(error.what, error.actual) from error
    key = read.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise _certificate("its key is not on P-384", named(read))
    for extension in read.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise _certificate(
                "a critical extension is not understood", extension.oid.dotted_string
            )
    return read


def public_key(read: x509.Certificate) -> ec.EllipticCurvePublicKey:
    """The P-384 key of what :func:`certificate` has read."""
    key = read.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):  # pragma: no cover - certificate() says so
        raise _certificate("its key is not on P-384", named(read))
    return key


def named(read: x509.Certificate) -> str:
    """What a certificate calls its subject."""
    return read.subject.rfc4514_string()[:200]


def check_links(chain: Sequence[bytes], length: int, vendor: Vendor, roots: Roots) -> bool:
    """Check a chain, leaf first, but for its windows; True if its root is one only named.

    Raises:
        CheckError: ``UNTRUSTED_ROOT``, ``CHAIN_LENGTH``, ``CHAIN_CERTIFICATE`` or
            ``CHAIN_SIGNATURE``.
    """
    named_only = roots.accept(vendor, chain[-1]) if chain else False
    if len(chain) != length:
        raise CheckError(
            Found.CHAIN_LENGTH,
            "the chain has another length",
            expected=f"{length} certificates",
            actual=str(len(chain)),
        )
    check_leaf(certificate(chain[0]))
    for below, (child, parent) in enumerate(pairwise(chain)):
        check_issued(child, parent, below)
    return named_only


def check_windows(ledger: Ledger, chain: Sequence[bytes]) -> None:
    """Check that every certificate is valid at the ledger's moment.

    Raises:
        CheckError: ``NOT_YET_VALID`` or ``EXPIRED``.
    """
    for der in chain:
        check_window(ledger, der)


def check_window(ledger: Ledger, der: bytes) -> None:
    """Check that a certificate is valid at the ledger's moment.

    Raises:
        CheckError: ``NOT_YET_VALID`` or ``EXPIRED``.
    """
    read = certificate(der)
    window = Validity.closed(read.not_valid_before_utc, read.not_valid_after_utc)
    ledger.within(f"the certificate of {named(read)}", window)


def check_leaf(leaf: x509.Certificate) -> None:
    """Check that a certificate is for signatures, and is no authority.

    Raises:
        CheckError: ``CHAIN_CERTIFICATE``.
    """
    usage = find(leaf, x509.KeyUsage)
    constraints = find(leaf, x509.BasicConstraints)
    if usage is None or not usage.digital_signature or usage.key_cert_sign:
        raise _certificate("the first key of the chain is not for signatures", named(leaf))
    if constraints is not None and constraints.ca:
        raise _certificate("the first certificate of the chain is an authority's", named(leaf))


@lru_cache(maxsize=_CACHED_PAIRS)
def check_issued(child_der: bytes, parent_der: bytes, below: int) -> None:
    """Check that one certificate was issued by the next; remembered, since time does not matter.

    Args:
        child_der: What was issued.
        parent_der: The authority.
        below: Authorities between the authority and the leaf.

    Raises:
        CheckError: ``CHAIN_CERTIFICATE`` or ``CHAIN_SIGNATURE``.
    """
    child, parent = certificate(child_der), certificate(parent_der)
    constraints = find(parent, x509.BasicConstraints)
    usage = find(parent, x509.KeyUsage)
    if constraints is None or not constraints.ca or usage is None or not usage.key_cert_sign:
        raise _certificate("an issuer is not an authority", named(parent))
    if constraints.path_length is not None and constraints.path_length < below:
        raise _certificate("the chain is longer than an authority allows", named(parent))
    claimed = find(child, x509.AuthorityKeyIdentifier)
    actual = find(parent, x509.SubjectKeyIdentifier)
    wanted = claimed.key_identifier if claimed is not None else None
    if child.issuer != parent.subject or (
        wanted is not None and actual is not None and wanted != actual.digest
    ):
        raise CheckError(
            Found.CHAIN_SIGNATURE,
            "a certificate names another issuer",
            where=named(child),
            expected=child.issuer.rfc4514_string()[:200],
            actual=named(parent),
        )
    if not isinstance(child.signature_hash_algorithm, hashes.SHA384):
        raise _certificate("it is not signed with SHA-384", named(child))
    try:
        public_key(parent).verify(child.signature, child.tbs_certificate_bytes, _ECDSA)
    except (InvalidSignature, ValueError, UnsupportedAlgorithm) as error:
        raise CheckError(
            Found.CHAIN_SIGNATURE,
            "a certificate was not signed by the next one",
            where=named(child),
        ) from error


def identity(chain: Sequence[bytes]) -> Identity:
    """Whose device it is, by the leaf's name and the boot ROM's serial number.

    Raises:
        CheckError: ``LEAF_NAME``, or ``CHAIN_CERTIFICATE`` if there is no boot ROM.
    """
    leaf = certificate(chain[0])
    names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    common = str(names[0].value) if len(names) == 1 else ""
    matched = _LEAF.fullmatch(common)
    if matched is None:
        raise CheckError(
            Found.LEAF_NAME,
            "the first certificate is not that of a device's firmware",
            expected="such as GH100 A01 GSP FMC LF",
            actual=common[:80],
        )
    if len(chain) < 2:  # noqa: PLR2004 - the leaf and its issuer
        raise _certificate("the leaf's issuer is missing", common)
    serial = certificate(chain[1]).serial_number
    pdi = (serial % (1 << 8 * _PDI_BYTES)).to_bytes(_PDI_BYTES, "big")
    chip = matched[1].replace("_", "")
    if chip.startswith("GH"):
        return Identity(chip, Architecture.HOPPER, pdi)
    return Identity(
        chip, Architecture.LS10 if chip.startswith("LS") else Architecture.BLACKWELL, pdi
    )


def _certificate(what: str, actual: str) -> CheckError:
    return CheckError(Found.CHAIN_CERTIFICATE, what, actual=actual)
