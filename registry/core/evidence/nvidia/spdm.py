"""SPDM measurements: the request a device was asked with, and its signed response (DSP0274).

``request ‖ response`` is what is signed and kept. The request, 37 bytes::

    version 0x11 · code 0xE0 · param1 · param2 · nonce (32) · slot

and the response::

    version 0x11 · code 0x60 · param1 · param2 · blocks (1) · record length (3) · record
    responder nonce (32) · opaque length (2) · opaque · signature r ‖ s (96)

Numbers are little-endian. A block of the record is ``index (1) · specification 1 (1) · size (2) ·
{type (1) · value size (2) · value}``; an item of the opaque data is ``type (2) · size (2) ·
value``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final, Self

from registry.core.evidence.checks import CheckError, Severity
from registry.core.evidence.nvidia.findings import Found

MAX_REPORT_BYTES: Final = 128 * 1024
"""Bytes of request and response; a GPU's take about 4,300."""

REQUEST_BYTES: Final = 37
"""Bytes of a GET_MEASUREMENTS request with a nonce."""

SIGNATURE_BYTES: Final = 96
"""Bytes of a P-384 signature, r ‖ s."""

NONCE_BYTES: Final = 32
"""Bytes of either side's nonce."""

_VERSION = 0x11
_GET_MEASUREMENTS = 0xE0
_MEASUREMENTS = 0x60
_SIGNED = 1
_ALL = 0xFF
_DMTF = 1
_HEAD = 8
_BLOCK_HEAD = 7
_ITEM_HEAD = 4


class Opaque(IntEnum):
    """Items of the opaque data that are read here; others are kept as they are."""

    DRIVER_VERSION = 3
    VBIOS_VERSION = 6
    NVDEC0_STATUS = 11
    CHIP_SKU = 15
    PROJECT = 17
    PROJECT_SKU = 18
    FWID = 20
    PROTECTED_PCIE = 21
    SWITCH_PDIS = 22
    GPU_PDIS = 26
    CHIP_INFO = 35
    FEATURE_FLAG = 36


@dataclass(frozen=True, slots=True)
class Report:
    """What a device was asked, and what it answered.

    Attributes:
        data: Request and response, as signed and sent.
        nonce: What it was asked with, from the signed request.
        responder_nonce: What the device added.
        measurements: Each value by its index, which begins at 1.
        opaque: Each item by its type.
    """

    data: bytes
    nonce: bytes
    responder_nonce: bytes
    measurements: Mapping[int, bytes]
    opaque: Mapping[int, bytes]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read ``request ‖ response`` to its last byte.

        Raises:
            CheckError: ``REPORT_LAYOUT``, ``REPORT_TRAILING_BYTES``, ``DUPLICATE_MEASUREMENT`` or
                ``DUPLICATE_OPAQUE``.
        """
        if len(data) > MAX_REPORT_BYTES:
            raise _layout("the report is too long", "", len(data))
        reader = _Reader(data)
        request = reader.take(REQUEST_BYTES, "request")
        if request[:4] != bytes([_VERSION, _GET_MEASUREMENTS, _SIGNED, _ALL]) or request[36]:
            raise CheckError(
                Found.REPORT_LAYOUT,
                "this is not a request for all measurements, signed, by slot 0",
                where="request",
                actual=request[:4].hex(),
            )
        head = reader.take(_HEAD, "response")
        if head[:4] != bytes([_VERSION, _MEASUREMENTS, 0, 0]):
            raise CheckError(
                Found.REPORT_LAYOUT,
                "this is not a measurements response of slot 0",
                where="response",
                actual=head[:4].hex(),
            )
        record = reader.take(int.from_bytes(head[5:], "little"), "measurement record")
        responder_nonce = reader.take(NONCE_BYTES, "responder nonce")
        size = int.from_bytes(reader.take(2, "opaque length"), "little")
        opaque = reader.take(size, "opaque data")
        reader.take(SIGNATURE_BYTES, "signature")
        reader.end()
        return cls(
            data=data,
            nonce=request[4:36],
            responder_nonce=responder_nonce,
            measurements=MappingProxyType(_blocks(record, head[4])),
            opaque=MappingProxyType(_items(opaque)),
        )

    @property
    def signed(self) -> bytes:
        """Request and response, without the signature."""
        return self.data[:-SIGNATURE_BYTES]

    @property
    def signature(self) -> bytes:
        """Signature, r ‖ s, over everything before it."""
        return self.data[-SIGNATURE_BYTES:]

    def text(self, kind: Opaque) -> str | None:
        """An item that is text, without the NUL bytes and spaces that firmware pads with.

        Raises:
            CheckError: ``REPORT_NAMES`` if it holds anything but letters, digits, ``.``, ``-`` and
                ``_``: it becomes part of a name.
        """
        value = self.opaque.get(kind)
        if value is None:
            return None
        trimmed = value.rstrip(b"\0 ")
        if not trimmed.translate(None, b".-_").isalnum() or b".." in trimmed:
            raise CheckError(
                Found.REPORT_NAMES,
                "the report names its firmware in characters that no name has",
                severity=Severity.IDENTITY,
                where=kind.name.lower(),
                actual=repr(value[:64]),
            )
        return trimmed.decode("ascii")

    def number(self, kind: Opaque) -> int | None:
        """An item that is a number."""
        value = self.opaque.get(kind)
        return None if value is None else int.from_bytes(value, "little")


class _Reader:
    """Cuts bytes from the front; what is not there is refused before anything is allocated."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int, where: str) -> bytes:
        """The next ``size`` bytes."""
        if size > len(self._data) - self._at:
            raise _layout("the report ends early", where, len(self._data) - self._at, size)
        piece = self._data[self._at : self._at + size]
        self._at += size
        return piece

    @property
    def left(self) -> int:
        """Bytes that have not been cut."""
        return len(self._data) - self._at

    def end(self) -> None:
        """Refuse what is left: nothing signs it."""
        if self.left:
            raise CheckError(
                Found.REPORT_TRAILING_BYTES,
                "bytes follow the signature of the report",
                expected="none",
                actual=str(self.left),
            )


def _blocks(record: bytes, count: int) -> dict[int, bytes]:
    reader = _Reader(record)
    found: dict[int, bytes] = {}
    for _ in range(count):
        head = reader.take(_BLOCK_HEAD, "measurement block")
        size, inner = (int.from_bytes(head[at : at + 2], "little") for at in (2, 5))
        if head[1] != _DMTF or size != inner + 3 or not head[0]:
            raise _layout("a measurement block is not of the DMTF form", f"block {head[0]}", size)
        value = reader.take(inner, "measurement")
        if head[0] in found:
            raise CheckError(
                Found.DUPLICATE_MEASUREMENT, "a measurement occurs twice", where=f"index {head[0]}"
            )
        found[head[0]] = value
    if reader.left:
        raise _layout("the record is longer than its blocks", "measurement record", reader.left, 0)
    return found


def _items(opaque: bytes) -> dict[int, bytes]:
    reader = _Reader(opaque)
    found: dict[int, bytes] = {}
    while reader.left:
        head = reader.take(_ITEM_HEAD, "opaque data")
        kind = int.from_bytes(head[:2], "little")
        value = reader.take(int.from_bytes(head[2:], "little"), f"opaque item {kind}")
        if kind in found:
            raise CheckError(
                Found.DUPLICATE_OPAQUE, "an opaque item occurs twice", where=f"type {kind}"
            )
        found[kind] = value
    return found


def _layout(what: str, where: str, actual: int, expected: int | None = None) -> CheckError:
    return CheckError(
        Found.REPORT_LAYOUT,
        what,
        where=where,
        expected="" if expected is None else f"{expected} bytes",
        actual=f"{actual} bytes",
    )
