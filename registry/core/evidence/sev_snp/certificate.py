"""Certificates of versioned endorsement keys: VCEK, the key of a chip, and VLEK, that of a cloud.

They are read by declarations of our own. Every one has the serial number 0, which RFC 5280
§4.1.2.2 forbids, which other readers have announced to refuse, and which means nothing here: these
certificates are never looked up by it. AMD's extensions are those of "Versioned Chip Endorsement
Key (VCEK) Certificate and KDS Interface Specification" (AMD 57230), table 8.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Final, Self, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from registry.core import der
from registry.core.certificates.chain import MAX_CERTIFICATE_BYTES
from registry.core.evidence.checks import CheckError, Severity
from registry.core.evidence.sev_snp.findings import SNPFinding
from registry.core.evidence.sev_snp.product import ProductLine
from registry.core.evidence.validity import Validity
from registry.errors import MalformedError

T = TypeVar("T")

PSS_SHA384: Final = bytes.fromhex(
    "304106092a864886f70d01010a3034"
    "a00f300d06096086480165030402020500"
    "a11c301a06092a864886f70d010108300d06096086480165030402020500"
    "a203020130"
)
"""RSASSA-PSS with SHA-384, MGF1 with SHA-384 and 48 bytes of salt (RFC 4055 §3.1)."""

PSS_SHA384_TRAILER: Final = bytes.fromhex(
    "304606092a864886f70d01010a3039"
    "a00f300d06096086480165030402020500"
    "a11c301a06092a864886f70d010108300d06096086480165030402020500"
    "a203020130"
    "a303020101"
)
"""The same with the default trailer field written out, as AMD did until 2024."""

_AMD: Final = "1.3.6.1.4.1.3704.1"
_STRUCT_VERSION: Final = f"{_AMD}.1"
_PRODUCT: Final = f"{_AMD}.2"
_HWID: Final = f"{_AMD}.4"
_CSP_ID: Final = f"{_AMD}.5"
_COMPONENTS: Final = {
    "bl": f"{_AMD}.3.1",
    "tee": f"{_AMD}.3.2",
    "snp": f"{_AMD}.3.3",
    "spl4": f"{_AMD}.3.4",
    "spl5": f"{_AMD}.3.5",
    "spl6": f"{_AMD}.3.6",
    "spl7": f"{_AMD}.3.7",
    "ucode": f"{_AMD}.3.8",
    "fmc": f"{_AMD}.3.9",
}
_COMMON_NAME: Final = "2.5.4.3"
_X509_V3 = 2
_CHIP_ID_BYTES = 64
_SHORT_HWID_BYTES = 8
_OCTET_STRING = 0x04
_BYTE = 255


class KeyKind(StrEnum):
    """Whose key an endorsement key is; the value is the common name in its certificate."""

    VCEK = "SEV-VCEK"
    VLEK = "SEV-VLEK"


@asn1.sequence
class Period:
    """Validity (RFC 5280 §4.1.2.5)."""

    not_before: asn1.UTCTime | asn1.GeneralizedTime
    not_after: asn1.UTCTime | asn1.GeneralizedTime


@asn1.sequence
class Attribute:
    """One part of a name (RFC 5280 §4.1.2.4)."""

    oid: x509.ObjectIdentifier
    value: asn1.TLV


@asn1.sequence
class Extension:
    """One extension (RFC 5280 §4.2)."""

    oid: x509.ObjectIdentifier
    critical: Annotated[bool, asn1.Default(value=False)]
    value: bytes


@asn1.sequence
class Signed:
    """The part of a certificate that is signed (RFC 5280 §4.1.2)."""

    version: Annotated[int, asn1.Explicit(0)]
    serial: int
    algorithm: asn1.TLV
    issuer: asn1.TLV
    period: Period
    subject: list[asn1.SetOf[Attribute]]
    key: asn1.TLV
    extensions: Annotated[list[Extension], asn1.Explicit(3)]


@asn1.sequence
class Certificate:
    """A certificate (RFC 5280 §4.1.1); AMD signs it as a TLV that stays as it came."""

    signed: asn1.TLV
    algorithm: asn1.TLV
    signature: asn1.BitString


@dataclass(frozen=True, slots=True)
class EndorsementKey:
    """A VCEK or VLEK as its certificate states it, not yet believed.

    Attributes:
        der: The certificate as it was issued.
        kind: Whose key it is, by its subject.
        issuer: DER of the issuer's name.
        key: The P-384 key.
        validity: The window of the certificate.
        signed: The bytes under the issuer's signature.
        signature: The issuer's signature.
        extensions: Object identifier and value of every extension, in their order.
    """

    der: bytes
    kind: KeyKind
    issuer: bytes
    key: ec.EllipticCurvePublicKey
    validity: Validity
    signed: bytes
    signature: bytes
    extensions: tuple[tuple[str, bytes], ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a certificate.

        Raises:
            CheckError: ``VEK_MALFORMED``, ``VEK_ALGORITHM`` or ``VEK_KEY``.
        """
        if len(data) > MAX_CERTIFICATE_BYTES:
            raise _malformed("it is too long", f"{len(data)} bytes")
        whole = _read(Certificate, data)
        inner = der.element(whole.signed)
        signed = _read(Signed, inner)
        algorithm = der.element(whole.algorithm)
        if algorithm not in (PSS_SHA384, PSS_SHA384_TRAILER) or algorithm != der.element(
            signed.algorithm
        ):
            raise CheckError(
                SNPFinding.VEK_ALGORITHM,
                "the certificate of the endorsement key is signed in another way than AMD signs",
                expected="RSASSA-PSS with SHA-384",
                actual=algorithm.hex(),
            )
        if signed.version != _X509_V3 or whole.signature.padding_bits():
            raise _malformed("it is no X.509 v3 certificate", f"version {signed.version + 1}")
        if any(extension.critical for extension in signed.extensions):
            raise _malformed("a critical extension is not understood")
        start, end = (
            moment.as_datetime() for moment in (signed.period.not_before, signed.period.not_after)
        )
        return cls(
            der=data,
            kind=_kind(signed.subject),
            issuer=der.element(signed.issuer),
            key=_key(der.element(signed.key)),
            validity=Validity.closed(start, end),
            signed=inner,
            signature=whole.signature.as_bytes(),
            extensions=tuple(
                (extension.oid.dotted_string, extension.value) for extension in signed.extensions
            ),
        )


@lru_cache(maxsize=1024)
def endorsement_key(data: bytes) -> EndorsementKey:
    """Read a certificate, or remember it.

    Raises:
        CheckError: As :meth:`EndorsementKey.parse`.
    """
    return EndorsementKey.parse(data)


@dataclass(frozen=True, slots=True)
class Endorsed:
    """What AMD says of a chip or a cloud in the extensions of a certificate.

    Attributes:
        line: The product line.
        components: Security versions by name, of which the key is the key.
        hwid: The chip, 64 bytes, or the 8 of Turin filled up with zeros; None in a VLEK.
        csp_id: The cloud provider; None in a VCEK.
    """

    line: ProductLine
    components: tuple[tuple[str, int], ...]
    hwid: bytes | None
    csp_id: str | None


@lru_cache(maxsize=1024)
def endorsed(data: bytes) -> Endorsed:
    """Read AMD's extensions in a certificate that :func:`endorsement_key` reads.

    Raises:
        CheckError: ``EXTENSION_DUPLICATE``, ``EXTENSION_MISSING``, ``EXTENSION_MALFORMED``,
            ``EXTENSION_RANGE`` or ``EXTENSION_UNEXPECTED``.
    """
    key = endorsement_key(data)
    values = dict(key.extensions)
    if len(values) != len(key.extensions):
        names = [oid for oid, _ in key.extensions]
        twice = next(oid for oid in names if names.count(oid) > 1)
        raise _extension(SNPFinding.EXTENSION_DUPLICATE, "it is there twice", twice)
    line = _line(_needed(values, _PRODUCT))
    _integer(_needed(values, _STRUCT_VERSION), _STRUCT_VERSION)
    named = {"bl", "tee", "snp", "ucode"} | ({"fmc"} if line is ProductLine.TURIN else set())
    components: dict[str, int] = {}
    for name, oid in _COMPONENTS.items():
        if name in named or oid in values:
            components[name] = _integer(_needed(values, oid), oid)
    chip = key.kind is KeyKind.VCEK
    strange = _CSP_ID if chip else _HWID
    if strange in values:
        raise _extension(
            SNPFinding.EXTENSION_UNEXPECTED, f"it does not belong to a {key.kind}", strange
        )
    return Endorsed(
        line=line,
        components=tuple(components.items()),
        hwid=_hwid(_needed(values, _HWID), line) if chip else None,
        csp_id=None if chip else _text(_needed(values, _CSP_ID), _CSP_ID),
    )


def _read(kind: type[T], data: bytes) -> T:
    try:
        return der.read(kind, data, what="certificate")
    except MalformedError as error:
        raise _malformed("it is not DER as DER is written", str(error)) from error


def _kind(subject: list[asn1.SetOf[Attribute]]) -> KeyKind:
    names = [
        bytes(attribute.value.data)
        for part in subject
        for attribute in part.as_list()
        if attribute.oid.dotted_string == _COMMON_NAME
    ]
    for kind in KeyKind:
        if names == [kind.encode("ascii")]:
            return kind
    raise _malformed("it names neither a VCEK nor a VLEK", str(names))


def _key(spki: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CheckError(
            SNPFinding.VEK_KEY, "the endorsement key cannot be read", actual=str(error)[:200]
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise CheckError(
            SNPFinding.VEK_KEY, "the endorsement key is of another kind", expected="ECDSA P-384"
        )
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    if key.public_bytes(serialization.Encoding.DER, form) != spki:
        raise CheckError(
            SNPFinding.VEK_KEY, "the endorsement key is not spelled as RFC 5480 spells it"
        )
    return key


def _needed(values: dict[str, bytes], oid: str) -> bytes:
    if oid not in values:
        raise _extension(SNPFinding.EXTENSION_MISSING, "it is missing", oid)
    return values[oid]


def _integer(value: bytes, oid: str) -> int:
    try:
        number = der.read(int, value, what="number")
    except MalformedError as error:
        raise _extension(SNPFinding.EXTENSION_MALFORMED, "it is no DER number", oid) from error
    if not 0 <= number <= _BYTE:
        raise _extension(SNPFinding.EXTENSION_RANGE, f"{str(number)[:40]} is not a byte", oid)
    return number


def _text(value: bytes, oid: str) -> str:
    try:
        return der.read(asn1.IA5String, value, what="text").as_str()
    except MalformedError as error:
        raise _extension(SNPFinding.EXTENSION_MALFORMED, "it is no DER IA5String", oid) from error


def _line(value: bytes) -> ProductLine:
    """The product name is the line, and in some certificates the stepping: ``Milan-B0``."""
    name = _text(value, _PRODUCT)
    for line in ProductLine:
        if name.partition("-")[0] == line:
            return line
    raise _extension(SNPFinding.EXTENSION_MALFORMED, f"{name[:40]!r} is no product line", _PRODUCT)


def _hwid(value: bytes, line: ProductLine) -> bytes:
    """The chip, in bare bytes as AMD writes it or in a DER OCTET STRING as AMD specifies it."""
    size = _SHORT_HWID_BYTES if line is ProductLine.TURIN else _CHIP_ID_BYTES
    if len(value) == size + 2 and value[:2] == bytes((_OCTET_STRING, size)):
        value = value[2:]
    if len(value) != size:
        raise _extension(
            SNPFinding.EXTENSION_MALFORMED, f"{len(value)} bytes are not {size}", _HWID
        )
    return value.ljust(_CHIP_ID_BYTES, b"\0")


def _malformed(what: str, actual: str = "") -> CheckError:
    return CheckError(
        SNPFinding.VEK_MALFORMED,
        f"the certificate of the endorsement key is not accepted: {what}",
        actual=actual,
    )


def _extension(finding: SNPFinding, what: str, oid: str) -> CheckError:
    return CheckError(
        finding,
        f"an extension of the endorsement key's certificate is not accepted: {what}",
        severity=Severity.IDENTITY,
        where=oid,
    )
