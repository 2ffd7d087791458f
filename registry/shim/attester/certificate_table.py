"""The certificates that a host hands to an SNP guest (AMD publication 56421, GHCB, §4.1.8.1).

::

    { GUID 16 bytes | offset u32 | length u32 } …, all zeros, then the certificates, DER

The host can write into it whatever it likes: it is a convenience, and judged like any submission.
"""

import struct
from collections.abc import Iterator
from typing import Final
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from registry.core.evidence.endorsements import Role

VCEK: Final = UUID("63da758d-e664-4564-adc5-f4b93be8accd")
VLEK: Final = UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1")
ASK: Final = UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782")
ARK: Final = UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae")
CRL: Final = UUID("92f81bc3-5811-4d3d-97ff-d19f88dc67ea")

MAX_ENTRIES: Final = 16
"""Certificates in a table; four today."""

_ENTRY: Final = struct.Struct("<16sII")
_END: Final = bytes(16)


def entries(table: bytes) -> Iterator[tuple[UUID, bytes]]:
    """The certificates of a table with their names; it ends where it makes no sense."""
    for number in range(MAX_ENTRIES):
        start = number * _ENTRY.size
        if start + _ENTRY.size > len(table):
            return
        name, offset, length = _ENTRY.unpack_from(table, start)
        if name == _END or not length or offset + length > len(table):
            return
        yield UUID(bytes=name), table[offset : offset + length]


def endorsements(table: bytes) -> tuple[tuple[Role, bytes], ...]:
    """What an examination can use of a table."""
    named = dict(entries(table))
    found = [(Role.AMD_VEK, named[name]) for name in (VCEK, VLEK) if name in named]
    chain = [_pem(named[name]) for name in (ASK, ARK) if name in named]
    if len(chain) == 2 and all(chain):  # noqa: PLR2004 - intermediate and root
        found.append((Role.AMD_CHAIN, b"".join(chain)))
    if CRL in named:
        found.append((Role.AMD_CRL, named[CRL]))
    return tuple(found)


def _pem(certificate: bytes) -> bytes:
    try:
        return x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM)
    except ValueError:
        return b""
