"""Firmware identities in a device's leaf certificate (TCG DICE Attestation Architecture).

Hopper and switches state one, in the multi-component extension of RIoT (2.23.133.5.4.1); Blackwell
states several in ``DiceTcbInfo`` (2.23.133.5.4.1.1), unused places being zero.
"""

from typing import Annotated, Final

from cryptography import x509
from cryptography.hazmat import asn1

from registry.core import der
from registry.core.evidence.checks import CheckError, Severity
from registry.core.evidence.nvidia.findings import Found
from registry.errors import MalformedError

RIOT: Final = x509.ObjectIdentifier("2.23.133.5.4.1")
"""The extension of Hopper GPUs and LS10 switches."""

TCB_INFO: Final = x509.ObjectIdentifier("2.23.133.5.4.1.1")
"""The extension of Blackwell GPUs."""

FWID_BYTES: Final = 48
"""Bytes of a firmware identity, a SHA-384."""

_SHA384 = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.2")


@asn1.sequence
class FWID:
    """``FWID``: an algorithm and a digest."""

    algorithm: x509.ObjectIdentifier
    digest: bytes


@asn1.sequence
class CompositeDeviceID:
    """The value of 2.23.133.5.4.1: version 1, the device's key, its firmware."""

    version: int
    device_id: asn1.TLV
    fwid: FWID


@asn1.sequence
class TCBInfo:
    """``DiceTcbInfo``, as far as Blackwell fills it in."""

    vendor: Annotated[bytes | None, asn1.Implicit(0)] = None
    model: Annotated[bytes | None, asn1.Implicit(1)] = None
    version: Annotated[bytes | None, asn1.Implicit(2)] = None
    svn: Annotated[bytes | None, asn1.Implicit(3)] = None
    layer: Annotated[bytes | None, asn1.Implicit(4)] = None
    index: Annotated[bytes | None, asn1.Implicit(5)] = None
    fwids: Annotated[list[FWID] | None, asn1.Implicit(6)] = None
    flags: Annotated[bytes | None, asn1.Implicit(7)] = None
    vendor_info: Annotated[bytes | None, asn1.Implicit(8)] = None
    type_: Annotated[bytes | None, asn1.Implicit(9)] = None


def fwids(leaf: x509.Certificate) -> tuple[bytes, ...]:
    """Every firmware identity that a leaf certificate states.

    Raises:
        CheckError: ``FWID_MISSING`` if it states none, or in no form that is known.
    """
    stated: list[FWID] = []
    for extension in leaf.extensions:
        if extension.oid not in (RIOT, TCB_INFO):
            continue
        value = extension.value
        raw = value.value if isinstance(value, x509.UnrecognizedExtension) else b""
        try:
            if extension.oid == RIOT:
                stated.append(der.read(CompositeDeviceID, raw, what="DICE extension").fwid)
            else:
                stated += der.read(TCBInfo, raw, what="DICE extension").fwids or []
        except MalformedError as error:
            raise _missing("the DICE extension cannot be read", error.actual) from error
    found = tuple(item.digest for item in stated if any(item.digest))
    if not found or any(
        item.algorithm != _SHA384 or len(item.digest) != FWID_BYTES for item in stated
    ):
        raise _missing("the certificate states no firmware by SHA-384")
    return found


def _missing(what: str, actual: str = "") -> CheckError:
    return CheckError(Found.FWID_MISSING, what, severity=Severity.IDENTITY, actual=actual)
