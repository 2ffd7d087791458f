"""The platform: what Intel says of it in the SGX extension of its PCK certificate.

Source: Intel SGX PCK Certificate and CRL Profile Specification §1.3.5. The extension is a sequence
of (object id, value), some values being such sequences again.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat import asn1

from registry.core import der
from registry.core.evidence.checks import CheckError
from registry.core.evidence.intel.certificate import load
from registry.core.evidence.intel.findings import Found
from registry.errors import MalformedError

COMPONENTS: Final = 16
"""Components of a TCB, SGX's and TDX's alike."""

_CACHED = 256
"""Platforms that are kept."""

T = TypeVar("T")

_SGX = "1.2.840.113741.1.13.1"
_OBJECT_ID = x509.ObjectIdentifier(_SGX)
_ENUMERATED = b"\x0a"
_MAX_SVN = 0xFF
_MAX_PCE_SVN = 0xFFFF


@asn1.sequence
class _Item:
    id: x509.ObjectIdentifier
    value: asn1.TLV


@asn1.sequence
class _Items:
    items: list[_Item]


@asn1.sequence
class _Any:
    value: asn1.TLV


@dataclass(frozen=True, slots=True)
class Platform:
    """What a PCK certificate says of the platform (extension 1.2.840.113741.1.13.1).

    Attributes:
        ppid: Platform provisioning id.
        components: The 16 SGX component SVNs of its TCB.
        pce_svn: SVN of the provisioning certification enclave.
        cpu_svn: The components as the processor writes them.
        pce_id: Id of the provisioning certification enclave.
        fmspc: Family, model, stepping, platform, custom SKU.
        sgx_type: 0 standard, 1 scalable, 2 scalable with integrity.
        piid: Platform instance id; None on single-package platforms.
        dynamic_platform: Whether packages may be added; None if it is not said.
        cached_keys: Whether Intel keeps the platform's root keys.
        smt: Whether simultaneous multithreading was on.
    """

    ppid: bytes
    components: tuple[int, ...]
    pce_svn: int
    cpu_svn: bytes
    pce_id: bytes
    fmspc: bytes
    sgx_type: int
    piid: bytes | None
    dynamic_platform: bool | None
    cached_keys: bool | None
    smt: bool | None


@lru_cache(maxsize=_CACHED)
def read_platform(leaf: bytes) -> Platform:
    """Read the extension of a PCK certificate; of each thing that matters there is exactly one.

    Raises:
        CheckError: ``PCK_EXTENSION``.
    """
    certificate = load(leaf)
    try:
        extension = certificate.extensions.get_extension_for_oid(_OBJECT_ID).value
    except x509.ExtensionNotFound as error:
        raise _malformed("it has none") from error
    raw = extension.value if isinstance(extension, x509.UnrecognizedExtension) else b""
    top = _members(raw, _SGX)
    tcb = _members(_needed(top, 2), f"{_SGX}.2")
    if set(tcb) != set(range(1, COMPONENTS + 3)):
        raise _malformed(f"its TCB has {len(tcb)} members")
    instance, configured = top.get(6), top.get(7)
    configuration = {} if configured is None else _members(configured, f"{_SGX}.7")
    return Platform(
        ppid=_octets(_needed(top, 1), 16),
        components=tuple(_integer(tcb[number], _MAX_SVN) for number in range(1, COMPONENTS + 1)),
        pce_svn=_integer(tcb[17], _MAX_PCE_SVN),
        cpu_svn=_octets(tcb[18], COMPONENTS),
        pce_id=_octets(_needed(top, 3), 2),
        fmspc=_octets(_needed(top, 4), 6),
        sgx_type=_enumerated(_needed(top, 5)),
        piid=None if instance is None else _octets(instance, 16),
        dynamic_platform=_boolean(configuration, 1),
        cached_keys=_boolean(configuration, 2),
        smt=_boolean(configuration, 3),
    )


def _members(data: bytes, prefix: str) -> dict[int, bytes]:
    """The elements of a sequence of (object id, value), by the last number of the id."""
    try:
        # A sequence around it, since a bare list is no class that could be read.
        whole = asn1.decode_der(asn1.TLV, data)
        items = der.read(_Items, der.write(_Any(value=whole)), what="PCK extension").items
    except (MalformedError, ValueError) as error:
        raise _malformed(str(error)) from error
    found: dict[int, bytes] = {}
    for item in items:
        start, _, last = item.id.dotted_string.rpartition(".")
        if start != prefix:
            raise _malformed(f"{item.id.dotted_string} does not belong there")
        if int(last) in found:
            raise _malformed(f"{item.id.dotted_string} occurs twice")
        found[int(last)] = der.element(item.value)
    return found


def _needed(members: dict[int, bytes], number: int) -> bytes:
    if number not in members:
        raise _malformed(f"{_SGX}.{number} is missing")
    return members[number]


def _read(kind: type[T], data: bytes) -> T:
    try:
        return der.read(kind, data, what="member of the PCK extension")
    except MalformedError as error:
        raise _malformed(error.actual or error.what) from error


def _octets(data: bytes, size: int) -> bytes:
    value = _read(bytes, data)
    if len(value) != size:
        raise _malformed(f"{len(value)} bytes where {size} belong")
    return value


def _integer(data: bytes, limit: int) -> int:
    value = _read(int, data)
    if not 0 <= value <= limit:
        raise _malformed(f"the number {value} is not of 0 to {limit}")
    return value


def _enumerated(data: bytes) -> int:
    if len(data) != 3 or data[:1] != _ENUMERATED or data[2] > 2:  # noqa: PLR2004 - tag, length, value
        raise _malformed("its SGX type is none of 0, 1, 2")
    return data[2]


def _boolean(members: dict[int, bytes], number: int) -> bool | None:
    return _read(bool, members[number]) if number in members else None


def _malformed(what: str) -> CheckError:
    return CheckError(
        Found.PCK_EXTENSION,
        "the SGX extension of the PCK certificate is not as it should be",
        actual=what,
    )
