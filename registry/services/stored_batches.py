"""The records of registered batches, read one by one out of the files that hold them.

A batch may have thousands of records, and a question is about one. Landmarks say where to look;
batches that an earlier release listed have none, and are read from their beginning. Nothing is
checked here: whoever gives a record away has compared it with the root that was signed.
"""

import mmap
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager

from registry.core import digest
from registry.core.records import batch
from registry.core.records.batch import STRIDE
from registry.core.records.landmarks import Landmarks
from registry.core.tlog import merkle
from registry.storage.blobs.port import BlobStore
from registry.storage.sql.catalog import StoredBatch

HASHES_BYTES = batch.MAX_RECORDS * digest.SHA256_SIZE
"""Bytes of a hashes file, at most."""


class StoredBatches:
    """Reads records of batches; every method may find that what is stored cannot be read."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    def record(self, stored: StoredBatch, position: int) -> bytes:
        """Record ``position`` of a batch, not reading the others.

        Raises:
            MalformedError: ``BATCH_CONTENT``.
        """
        marks = _marks(stored)
        stride, place = divmod(position, STRIDE) if marks is not None else (0, position)
        start = 0 if marks is None else marks.offset(stride)
        with self._leaves(stored) as (_, leaves), leaves[start:] as view:
            return batch.nth_leaf(view, place)

    def path(self, stored: StoredBatch, position: int) -> tuple[bytes, ...]:
        """The inclusion path of a record to the root of its batch.

        Raises:
            MalformedError: ``BATCH_CONTENT``.
        """
        marks = _marks(stored)
        if marks is None:
            hashes = batch.split_hashes(self._blobs.read(stored.hashes, HASHES_BYTES))
            return merkle.inclusion_path(hashes, position)
        stride, place = divmod(position, STRIDE)
        with self._blobs.open(stored.hashes) as file:
            file.seek(stride * STRIDE * digest.SHA256_SIZE)
            hashes = batch.split_hashes(file.read(STRIDE * digest.SHA256_SIZE))
        return marks.path(stride, hashes, place)

    def holding(self, stored: StoredBatch, text: bytes) -> Iterator[tuple[int, bytes]]:
        """The records of a batch in which ``text`` stands somewhere, with their positions.

        Raises:
            MalformedError: ``BATCH_CONTENT``.
        """
        marks = _marks(stored)
        offsets = (0,) if marks is None else marks.offsets
        with self._leaves(stored) as (mapped, leaves):
            found = mapped.find(text)
            while found >= 0:
                stride = bisect_right(offsets, found) - 1
                position, end, record = stride * STRIDE, offsets[stride], b""
                while end <= found:
                    with leaves[end:] as view:
                        record = batch.nth_leaf(view, 0)
                    end += batch.framed_bytes([record])
                    position += 1
                yield position - 1, record
                found = mapped.find(text, end)

    @contextmanager
    def _leaves(self, stored: StoredBatch) -> Iterator[tuple[mmap.mmap, memoryview]]:
        with (
            self._blobs.open(stored.leaves) as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as whole,
        ):
            yield mapped, whole


def _marks(stored: StoredBatch) -> Landmarks | None:
    return None if stored.landmarks is None else Landmarks.parse(stored.landmarks)
