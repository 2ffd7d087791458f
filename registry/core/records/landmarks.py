"""Landmarks of a batch: what finds and proves one record without looking at all the others.

For every ``STRIDE`` records of :mod:`~registry.core.records.batch`: where the first of them begins
in the leaves file, as a 32-bit big-endian number, and the RFC 6962 root over them. Derived from the
batch, and kept beside it.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from registry.core.digest import SHA256_SIZE
from registry.core.records import batch
from registry.core.tlog import merkle
from registry.errors import MalformedError, Reason

_LANDMARK: Final = struct.Struct(f">I{SHA256_SIZE}s")


@dataclass(frozen=True, slots=True)
class Landmarks:
    """The landmarks of one batch, in order.

    Attributes:
        offsets: Where the first record of each stride begins in the leaves file, in bytes.
        roots: The root over each stride.
    """

    offsets: tuple[int, ...]
    roots: tuple[bytes, ...]

    @classmethod
    def of(cls, records: Sequence[bytes], hashed: batch.Hashed) -> Self:
        """The landmarks of a batch with these records."""
        offsets, position = [], 0
        for start in range(0, len(records), batch.STRIDE):
            offsets.append(position)
            position += batch.framed_bytes(records[start : start + batch.STRIDE])
        return cls(tuple(offsets), hashed.stride_roots)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read landmarks.

        Raises:
            MalformedError: ``BATCH_CONTENT``.
        """
        if not data or len(data) % _LANDMARK.size:
            raise MalformedError(
                Reason.BATCH_CONTENT,
                "these are not the landmarks of a batch",
                expected=f"a multiple of {_LANDMARK.size} bytes",
                actual=f"{len(data)} bytes",
            )
        offsets, roots = zip(*_LANDMARK.iter_unpack(data), strict=True)
        return cls(offsets, roots)

    def to_bytes(self) -> bytes:
        """What :meth:`parse` reads."""
        return b"".join(map(_LANDMARK.pack, self.offsets, self.roots))

    def offset(self, stride: int) -> int:
        """Where the first record of a stride begins.

        Raises:
            MalformedError: ``BATCH_CONTENT`` if there is no such stride.
        """
        if stride >= len(self.offsets):
            raise MalformedError(
                Reason.BATCH_CONTENT,
                "the batch has no such landmark",
                expected=f"below {len(self.offsets)}",
                actual=str(stride),
            )
        return self.offsets[stride]

    def path(self, stride: int, leaf_hashes: Sequence[bytes], place: int) -> tuple[bytes, ...]:
        """The inclusion path of record ``place`` of a stride with these leaf hashes."""
        inside = merkle.inclusion_path(leaf_hashes, place)
        return (*inside, *merkle.inclusion_path(self.roots, stride))
