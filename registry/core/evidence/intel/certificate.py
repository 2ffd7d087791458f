"""Intel's certificates: PEM chains, what each may sign, and who vouches for it.

Source: Intel SGX PCK Certificate and CRL Profile Specification. Every key is P-256, every signature
ECDSA with SHA-256. Windows are not judged here, so that what is read can be kept.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import NameOID

from registry.core import encoding
from registry.core.certificates import chain as paths
from registry.core.evidence.checks import CheckError
from registry.core.evidence.intel.findings import Found
from registry.core.evidence.validity import Validity
from registry.errors import MalformedError

MAX_PEM_BYTES: Final = 32 * 1024
"""Bytes of one PEM chain; a platform's takes about 3,700."""

MAX_PEM_CERTIFICATES: Final = 8
"""Certificates in one PEM chain; Intel's have two or three."""

PCK_NAME: Final = "Intel SGX PCK Certificate"
TCB_SIGNER_NAME: Final = "Intel SGX TCB Signing"
AUTHORITIES: Final = {
    "Intel SGX PCK Platform CA": "platform",
    "Intel SGX PCK Processor CA": "processor",
}
"""Common names of those who issue PCK certificates."""

_CACHED = 128
"""Chains of platforms and signers that are kept, verified; some 10 KiB each."""

_BEGIN = b"-----BEGIN CERTIFICATE-----\n"
_END = b"-----END CERTIFICATE-----"
_LINE_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Chain:
    """Certificates, each issued by the next one; the last is somebody's root.

    Attributes:
        ders: As DER, leaf first.
        certificates: As they were read.
        keys: The key of each.
        windows: A name for each, and when it is valid.
    """

    ders: tuple[bytes, ...]
    certificates: tuple[x509.Certificate, ...]
    keys: tuple[ec.EllipticCurvePublicKey, ...]
    windows: tuple[tuple[str, Validity], ...]

    @property
    def leaf(self) -> x509.Certificate:
        """Whose chain it is."""
        return self.certificates[0]

    @property
    def root(self) -> bytes:
        """The DER of its last certificate, which nobody vouches for."""
        return self.ders[-1]


@lru_cache(maxsize=_CACHED)
def read_pem(data: bytes) -> tuple[bytes, ...]:
    """Read PEM certificates in one spelling; quotes may end with a NUL.

    Lines have 64 characters and end with a line feed, nothing stands between the certificates, and
    the last line feed may be missing.

    Raises:
        CheckError: ``PEM``.
    """
    text = data.removesuffix(b"\0").removesuffix(b"\n") + b"\n"
    blocks = text.split(_BEGIN)
    if len(data) > MAX_PEM_BYTES or not 1 < len(blocks) <= MAX_PEM_CERTIFICATES + 1 or blocks[0]:
        raise CheckError(
            Found.PEM, "this is no PEM chain", expected=f"1 to {MAX_PEM_CERTIFICATES} certificates"
        )
    try:
        ders = tuple(
            encoding.base64_bytes(block.partition(_END)[0].replace(b"\n", b"").decode("ascii"))
            for block in blocks[1:]
        )
    except (MalformedError, UnicodeDecodeError) as error:
        raise CheckError(Found.PEM, "this is no PEM chain", actual=str(error)) from error
    if write_pem(ders) != text:
        raise CheckError(Found.PEM, "this PEM chain is spelled in another way than RFC 7468's")
    return ders


def write_pem(ders: Iterable[bytes]) -> bytes:
    """Certificates in the spelling that :func:`read_pem` reads."""
    return b"".join(_pem(item) for item in ders)


def _pem(data: bytes) -> bytes:
    text = encoding.base64_text(data)
    lines = [text[at : at + _LINE_CHARACTERS] for at in range(0, len(text), _LINE_CHARACTERS)]
    return _BEGIN + "".join(f"{line}\n" for line in lines).encode("ascii") + _END + b"\n"


@lru_cache(maxsize=_CACHED)
def read_chain(pem: bytes, length: int, *, authority: bool) -> Chain:
    """Read a PEM chain of exactly ``length`` certificates, and verify all but root and windows.

    Args:
        pem: The chain, leaf first.
        length: How many certificates it must have.
        authority: Whether the first one is itself an authority's.

    Raises:
        CheckError: ``PEM``, ``CHAIN_LENGTH``, ``CERTIFICATE``, ``NOT_AN_AUTHORITY`` or
            ``CHAIN_BROKEN``.
    """
    ders = read_pem(pem)
    if len(ders) != length:
        raise CheckError(
            Found.CHAIN_LENGTH,
            "the chain has another number of certificates",
            expected=str(length),
            actual=str(len(ders)),
        )
    certificates = tuple(load(item) for item in ders)
    keys = tuple(_key(item) for item in certificates)
    for depth, certificate in enumerate(certificates):
        _check_purpose(certificate, depth + authority)
    for child, parent in pairwise(certificates):
        _check_issued(child, parent)
    return Chain(ders, certificates, keys, tuple(_window(item) for item in certificates))


def common_name(name: x509.Name) -> str:
    """The only common name, or nothing."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if len(found) == 1 else ""


def verify_signature(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> bool:
    """Whether ``r ‖ s``, big-endian, is ``key``'s over ``data``; s may be of either half."""
    half = len(signature) // 2
    r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
    try:
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def public_key(point: bytes) -> ec.EllipticCurvePublicKey:
    """The P-256 key at x ‖ y.

    Raises:
        CheckError: ``ATTESTATION_KEY`` if that is no point of the curve.
    """
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + point)
    except ValueError as error:
        raise CheckError(
            Found.ATTESTATION_KEY, "the attestation key is no point of P-256", actual=point.hex()
        ) from error


def load(data: bytes) -> x509.Certificate:
    """Read one certificate, of which no critical extension may go unread.

    Raises:
        CheckError: ``CERTIFICATE``.
    """
    try:
        certificate = paths.load(data)
        paths.check_critical(certificate)
    except MalformedError as error:
        raise CheckError(Found.CERTIFICATE, error.what, actual=error.actual) from error
    return certificate


def _key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CheckError(
            Found.CERTIFICATE, "a certificate's key is not on P-256", where=_name(certificate)
        )
    return key


def _check_purpose(certificate: x509.Certificate, depth: int) -> None:
    constraints = paths.find(certificate, x509.BasicConstraints)
    usage = paths.find(certificate, x509.KeyUsage)
    if depth == 0:
        fits = usage is not None and usage.digital_signature
        fits = fits and (constraints is None or not constraints.ca)
    else:
        fits = usage is not None and usage.key_cert_sign and usage.crl_sign
        fits = fits and constraints is not None and constraints.ca
        length = constraints.path_length if constraints is not None else None
        fits = fits and (length is None or length >= depth - 1)
    if not fits:
        role = "an authority" if depth else "a signer"
        raise CheckError(
            Found.NOT_AN_AUTHORITY,
            f"a certificate of the chain is not for {role}",
            where=_name(certificate),
        )


def _check_issued(child: x509.Certificate, parent: x509.Certificate) -> None:
    claimed = paths.find(child, x509.AuthorityKeyIdentifier)
    actual = paths.find(parent, x509.SubjectKeyIdentifier)
    named = claimed.key_identifier if claimed is not None else None
    issued = named is None or actual is None or named == actual.digest
    issued = issued and isinstance(child.signature_hash_algorithm, hashes.SHA256)
    try:
        child.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        issued = False
    if not issued:
        raise CheckError(
            Found.CHAIN_BROKEN, "a certificate was not issued by the next one", where=_name(child)
        )


def _window(certificate: x509.Certificate) -> tuple[str, Validity]:
    window = Validity.closed(certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    return f"the certificate of {_name(certificate)}", window


def _name(certificate: x509.Certificate) -> str:
    return common_name(certificate.subject) or f"serial {certificate.serial_number:x}"
