"""What a submission holds: reports of devices, each with its certificates.

A device is one JSON object in the one spelling of :mod:`registry.core.encoding`::

    {"chain":["<base64 DER, leaf first>",…],"report":"<base64 request ‖ response>",
     "type":"provreg/nvidia-spdm/v1"}

and a set of devices is ``{"devices":[…],"type":"provreg/nvidia-set/v1"}``, of the same objects
without a type. What NVIDIA's own tools write is read as it is: lists of ``arch``, ``evidence``,
``certificate`` and ``nonce``, the ``gpus`` of google's collector, a report alone as bytes,
hexadecimal or base64, and tokens, alone or as a detached EAT. Nothing in these wrappers is signed,
so nothing in them is believed; what contradicts the report is refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.utils import CryptographyDeprecationWarning

from registry.core.encoding import (
    Value,
    base64_bytes,
    base64_text,
    hex_bytes,
    read_foreign_json,
    read_json,
    write_json,
)
from registry.core.evidence.checks import CheckError
from registry.core.evidence.nvidia import chain, spdm
from registry.core.evidence.nvidia.findings import Found
from registry.errors import MalformedError

MAX_DEVICES: Final = 32
"""Devices of one machine; eight GPUs and four switches are usual."""

MAX_TOKENS: Final = 32
"""Devices of one detached EAT."""

MAX_PEM_BYTES: Final = 64 * 1024
"""Bytes of one PEM chain; five certificates take about 4,800."""

_TOKEN_PARTS = 2
_MAX_CHARACTERS = spdm.MAX_REPORT_BYTES * 2
_Base64 = Annotated[str, msgspec.Meta(max_length=_MAX_CHARACTERS)]
_Chain = Annotated[tuple[_Base64, ...], msgspec.Meta(max_length=chain.MAX_CERTIFICATES)]
_RAW_START = bytes([0x11, 0xE0])
_PEM_START = b"-----BEGIN CERTIFICATE-----\n"


class _Member(Value, frozen=True):
    chain: _Chain
    report: _Base64


class _Device(Value, frozen=True):
    chain: _Chain
    report: _Base64
    type_: Literal["provreg/nvidia-spdm/v1"] = msgspec.field(name="type")


class _Set(Value, frozen=True):
    devices: Annotated[tuple[_Member, ...], msgspec.Meta(min_length=1, max_length=MAX_DEVICES)]
    type_: Literal["provreg/nvidia-set/v1"] = msgspec.field(name="type")


@dataclass(frozen=True, slots=True)
class Device:
    """What one device said, and its certificates.

    Attributes:
        report: Request and response.
        chain: Its certificates, DER, leaf first; none if they were not at hand.
        architecture: What the wrapper says it is; empty if it says nothing.
        nonce: What the wrapper says it was asked with, in hexadecimal; empty if nothing.
    """

    report: bytes
    chain: tuple[bytes, ...]
    architecture: str = ""
    nonce: str = ""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A detached EAT (RFC 9711 §5): what a verifier of NVIDIA's says to have found out.

    Attributes:
        overall: The token about all devices.
        devices: The token about each, by the name that the overall one gives it.
    """

    overall: str
    devices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Submission:
    """What was submitted: devices or tokens.

    Attributes:
        devices: Reports with their certificates.
        as_set: Whether they are submitted as a set, of however many.
        tokens: What somebody else made of such reports; None if these are reports.
    """

    devices: tuple[Device, ...] = ()
    as_set: bool = False
    tokens: Tokens | None = None


def write_device(device: Device) -> bytes:
    """One device in our own form."""
    certificates = tuple(base64_text(item) for item in device.chain)
    return write_json(
        _Device(
            chain=certificates, report=base64_text(device.report), type_="provreg/nvidia-spdm/v1"
        )
    )


def write_set(devices: Iterable[Device]) -> bytes:
    """Several devices in our own form."""
    members = tuple(
        _Member(
            chain=tuple(base64_text(item) for item in device.chain),
            report=base64_text(device.report),
        )
        for device in devices
    )
    return write_json(_Set(devices=members, type_="provreg/nvidia-set/v1"))


def read(data: bytes) -> Submission:
    """Read a submission in our own form, or in one that NVIDIA's or google's tools write.

    Raises:
        CheckError: ``CONTAINER``.
    """
    try:
        return _read(data)
    except MalformedError as error:
        raise _unknown(error.what, error.actual or error.where) from error


def read_pem(data: bytes) -> tuple[bytes, ...]:
    """Read PEM certificates, one after the other with nothing between them.

    Raises:
        CheckError: ``CONTAINER``.
    """
    if len(data) > MAX_PEM_BYTES or not data.startswith(_PEM_START):
        raise _unknown("this is not a chain of PEM certificates")
    try:
        read = x509.load_pem_x509_certificates(data)
        again = b"".join(item.public_bytes(serialization.Encoding.PEM) for item in read)
    except (ValueError, CryptographyDeprecationWarning) as error:
        raise _unknown("a PEM certificate cannot be read", str(error)[:200]) from error
    # Some tools leave the last line open.
    if data not in (again, again.removesuffix(b"\n")):
        raise _unknown("the PEM certificates are not spelled as RFC 7468 spells them")
    if len(read) > chain.MAX_CERTIFICATES:
        raise _unknown("the chain is too long", f"{len(read)} certificates")
    return tuple(item.public_bytes(serialization.Encoding.DER) for item in read)


def read_report(data: bytes) -> bytes:
    """A report as bytes, from bytes, hexadecimal or base64; a line may end after text.

    Raises:
        CheckError: ``CONTAINER``.
    """
    if data.startswith(_RAW_START):
        return data
    try:
        text = data.decode("ascii").removesuffix("\n")
        if text.startswith(_RAW_START.hex()):
            return hex_bytes(text, len(text) // 2)
        return base64_bytes(text)
    except (UnicodeDecodeError, MalformedError) as error:
        raise _unknown("this is no report, as bytes, hexadecimal or base64") from error


def _read(data: bytes) -> Submission:
    if data.startswith(b'{"chain":'):
        return Submission((_own(read_json(data, _Device, what="GPU evidence")),))
    if data.startswith(b'{"devices":'):
        members = read_json(data, _Set, what="set of GPU evidence").devices
        return Submission(tuple(_own(member) for member in members), as_set=True)
    if data[:1] in (b"{", b"["):
        return _foreign(read_foreign_json(data, what="GPU evidence"))
    if data.startswith(b"eyJ"):
        return Submission(tokens=Tokens(_ascii(data)))
    return Submission((Device(read_report(data), ()),))


def _own(value: _Device | _Member) -> Device:
    return Device(base64_bytes(value.report), tuple(base64_bytes(item) for item in value.chain))


def _foreign(value: object) -> Submission:
    if isinstance(value, list):
        if value and isinstance(value[0], list):
            return Submission(tokens=_tokens(value))
        return Submission(
            _bounded([_serialized(_object(item)) for item in value[: MAX_DEVICES + 1]])
        )
    members = _object(value)
    if "gpus" in members:
        gpus = _list(members["gpus"])
        return Submission(_bounded([_collected(_object(item)) for item in gpus[: MAX_DEVICES + 1]]))
    if "detached_eat" in members:
        return Submission(tokens=_tokens(_list(members["detached_eat"])))
    raise _unknown("this JSON is no GPU evidence", ", ".join(members)[:200])


def _serialized(item: Mapping[str, object]) -> Device:
    """What NVIDIA's attestation SDK and PPCIE verifier write."""
    return Device(
        base64_bytes(_text(item, "evidence")),
        read_pem(base64_bytes(_text(item, "certificate"))),
        _text(item, "arch"),
        _text(item, "nonce"),
    )


def _collected(item: Mapping[str, object]) -> Device:
    """What google's collector writes."""
    report = _text(_object(item.get("AttestationReport")), "py/b64")
    chains = _list(_object(item.get("CertificateChains")).get("GpuAttestationCertificateChain"))
    if len(chains) != 1:
        raise _unknown("a device has one chain of certificates", str(len(chains)))
    pem = base64_bytes(_text(_object(chains[0]), "pem"))
    return Device(base64_bytes(report), read_pem(pem), _text(item, "Arch"))


def _tokens(parts: Sequence[object]) -> Tokens:
    """``[["JWT", overall], {name: token, …}]``."""
    if len(parts) != _TOKEN_PARTS:
        raise _unknown("a detached EAT has two parts", str(len(parts)))
    overall, members = _list(parts[0]), _object(parts[1])
    if len(overall) != _TOKEN_PARTS or overall[0] != "JWT" or not isinstance(overall[1], str):
        raise _unknown("a detached EAT begins with a JWT")
    if not 1 <= len(members) <= MAX_TOKENS:
        raise _unknown("this detached EAT has no tokens, or too many", str(len(members)))
    return Tokens(overall[1], {name: _text(members, name) for name in sorted(members)})


def _bounded(devices: list[Device]) -> tuple[Device, ...]:
    if not 1 <= len(devices) <= MAX_DEVICES:
        raise _unknown("this many devices are in no machine", f"more than {MAX_DEVICES}, or none")
    return tuple(devices)


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _unknown("this JSON is no GPU evidence", type(value).__name__)
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise _unknown("this JSON is no GPU evidence", type(value).__name__)
    return value


def _text(item: Mapping[str, object], name: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise _unknown("a device lacks a member", name)
    return value


def _ascii(data: bytes) -> str:
    try:
        return data.decode("ascii").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise _unknown("this token is not ASCII") from error


def _unknown(what: str, actual: str = "") -> CheckError:
    return CheckError(Found.CONTAINER, what, actual=actual)
