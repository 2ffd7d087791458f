"""The index from output digest to inference receipts: sorted runs, merged level by level.

A B-tree on digests would touch a random page for every output, and after a few million outputs each
of them costs a read and a write of a page that is no longer in memory. So every batch writes one
small sorted *run*; when a level holds ``FAN_OUT`` runs they are merged into one of the next level.
Writes stay sequential, an output is rewritten about three times on its way up, and a lookup asks
each of the few runs once. (O'Neil et al., "The Log-Structured Merge-Tree", 1996.)

A key is the first 8 bytes of the content digest: enough to find the few candidates, whose records
are then compared with the whole digest. A value is ``batch index << 16 | position``.
"""

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from registry.storage.sql import tables as t

FAN_OUT = 8
"""Runs of one level before they are merged."""

PAGE_ENTRIES = 2048
"""Outputs in one row of a run: 32 KiB."""

STEP_ENTRIES = 64 * 1024
"""Outputs that are merged in one transaction, about: a registration never waits for more."""

MAX_MATCHES = 1000
"""Receipts of one output that a lookup gives."""

_POSITION_BITS = 16
_KEY_BYTES = 8
_KEY_SPACE = 1 << 64

Pairs = npt.NDArray[np.uint64]
"""Rows of (key, value), sorted."""


def locator(batch_index: int, position: int) -> int:
    """The value that stands for one record of one batch."""
    return batch_index << _POSITION_BITS | position


def split_locator(value: int) -> tuple[int, int]:
    """Batch index and position of a value."""
    return value >> _POSITION_BITS, value & ((1 << _POSITION_BITS) - 1)


def _key(content_digest: bytes) -> int:
    return int.from_bytes(content_digest[:_KEY_BYTES], "big")


def _key_bytes(key: int) -> bytes:
    return key.to_bytes(_KEY_BYTES, "big")


def _sorted(pairs: Pairs) -> Pairs:
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _write_pages(connection: Connection, run_id: int, pairs: Pairs, first_page: int) -> int:
    rows = []
    for number, start in enumerate(range(0, len(pairs), PAGE_ENTRIES)):
        page = pairs[start : start + PAGE_ENTRIES]
        rows.append(
            {
                "run_id": run_id,
                "first_key": _key_bytes(int(page[0, 0])),
                "page": first_page + number,
                "last_key": _key_bytes(int(page[-1, 0])),
                "data": page.astype(">u8").tobytes(),
            }
        )
    if rows:
        connection.execute(insert(t.output_pages), rows)
    return first_page + len(rows)


def _read_page(data: bytes) -> Pairs:
    return np.frombuffer(data, dtype=">u8").reshape(-1, 2).astype(np.uint64)


def _next_run(connection: Connection) -> int:
    last = connection.execute(select(func.max(t.output_runs.c.run_id))).scalar()
    return 0 if last is None else int(last) + 1


def add(connection: Connection, batch_index: int, outputs: Sequence[tuple[bytes, int]]) -> None:
    """Add the outputs of one batch, each as (content digest, position)."""
    if not outputs:
        return
    pairs = np.array(
        [(_key(digest), locator(batch_index, position)) for digest, position in outputs],
        dtype=np.uint64,
    )
    run_id = _next_run(connection)
    connection.execute(
        insert(t.output_runs),
        {"run_id": run_id, "level": 0, "entries": len(pairs), "complete": 1},
    )
    _write_pages(connection, run_id, _sorted(pairs), 0)


# Built once: a lookup asks every run, and building a question costs more than its answer.
_RUNS = select(t.output_runs.c.run_id).where(t.output_runs.c.complete == 1)
_PAGE = (
    select(t.output_pages.c.first_key, t.output_pages.c.data)
    .where(
        t.output_pages.c.run_id == bindparam("run"), t.output_pages.c.first_key <= bindparam("key")
    )
    .order_by(t.output_pages.c.first_key.desc(), t.output_pages.c.page.desc())
    .limit(1)
    .offset(bindparam("skip"))
)


def find(connection: Connection, content_digest: bytes) -> list[int]:
    """Values that may be receipts of this output, oldest first, at most ``MAX_MATCHES``."""
    key = _key(content_digest)
    key_bytes = _key_bytes(key)
    # A plain integer would be compared as a float, which cannot tell such keys apart.
    wanted = np.uint64(key)
    found: list[int] = []
    for run_id in connection.execute(_RUNS).scalars().all():
        skip = 0
        while len(found) <= MAX_MATCHES:
            asked = {"run": run_id, "key": key_bytes, "skip": skip}
            row = connection.execute(_PAGE, asked).first()
            if row is None:
                break
            pairs = _read_page(row.data)
            start = np.searchsorted(pairs[:, 0], wanted, side="left")
            end = np.searchsorted(pairs[:, 0], wanted, side="right")
            found.extend(int(value) for value in pairs[start:end, 1])
            # Only a page that starts with this very key can continue one before it.
            if bytes(row.first_key) != key_bytes:
                break
            skip += 1
    return sorted(found)[:MAX_MATCHES]


class Compaction:
    """Merges runs in small steps, one transaction each, so that nobody waits for a whole merge.

    The new run is invisible until its last step. One that a crash left unfinished is dropped at
    the next start.
    """

    def __init__(self) -> None:
        self._sources: list[int] = []
        self._target = 0
        self._level = 0
        self._entries = 0
        self._next_key = 0
        self._page = 0

    @staticmethod
    def drop_unfinished(connection: Connection) -> None:
        """Forget runs that were being written when the process died."""
        unfinished = select(t.output_runs.c.run_id).where(t.output_runs.c.complete == 0)
        connection.execute(delete(t.output_pages).where(t.output_pages.c.run_id.in_(unfinished)))
        connection.execute(delete(t.output_runs).where(t.output_runs.c.complete == 0))

    def step(self, connection: Connection) -> bool:
        """Do one step, if there is anything to do; whether there is more to do at once."""
        if not self._sources and not self._start(connection):
            return False
        self._merge_slice(connection)
        if self._next_key >= _KEY_SPACE:
            self._finish(connection)
        return True

    def _start(self, connection: Connection) -> bool:
        runs = t.output_runs
        full = connection.execute(
            select(runs.c.level)
            .where(runs.c.complete == 1)
            .group_by(runs.c.level)
            .having(func.count() >= FAN_OUT)
            .order_by(runs.c.level)
            .limit(1)
        ).scalar()
        if full is None:
            return False
        chosen = connection.execute(
            select(runs.c.run_id, runs.c.entries)
            .where(runs.c.complete == 1, runs.c.level == full)
            .order_by(runs.c.run_id)
            .limit(FAN_OUT)
        ).all()
        self._sources = [row.run_id for row in chosen]
        self._entries = sum(row.entries for row in chosen)
        self._level = full + 1
        self._target = _next_run(connection)
        self._next_key = 0
        self._page = 0
        connection.execute(
            insert(runs),
            {
                "run_id": self._target,
                "level": self._level,
                "entries": self._entries,
                "complete": 0,
            },
        )
        return True

    def _merge_slice(self, connection: Connection) -> None:
        # Keys are digests, so equal shares of the key space hold about equally many of them.
        slices = max(1, -(-self._entries // STEP_ENTRIES))
        low = self._next_key
        high = min(_KEY_SPACE, low + -(-_KEY_SPACE // slices))
        pages = t.output_pages
        parts = []
        for run_id in self._sources:
            # The page before the slice may reach into it.
            # Not max(): PostgreSQL before 18 has none for bytes.
            start = connection.execute(
                select(pages.c.first_key)
                .where(pages.c.run_id == run_id, pages.c.first_key < _key_bytes(low))
                .order_by(pages.c.first_key.desc())
                .limit(1)
            ).scalar()
            query = select(pages.c.data).where(
                pages.c.run_id == run_id,
                pages.c.first_key >= (bytes(start) if start is not None else b""),
                pages.c.last_key >= _key_bytes(low),
            )
            if high < _KEY_SPACE:
                query = query.where(pages.c.first_key < _key_bytes(high))
            for data in connection.execute(query).scalars():
                pairs = _read_page(data)
                keep = pairs[:, 0] >= np.uint64(low)
                if high < _KEY_SPACE:
                    keep &= pairs[:, 0] < np.uint64(high)
                parts.append(pairs[keep])
        merged = np.concatenate(parts) if parts else np.empty((0, 2), dtype=np.uint64)
        self._page = _write_pages(connection, self._target, _sorted(merged), self._page)
        self._next_key = high

    def _finish(self, connection: Connection) -> None:
        connection.execute(
            update(t.output_runs).where(t.output_runs.c.run_id == self._target).values(complete=1)
        )
        connection.execute(delete(t.output_pages).where(t.output_pages.c.run_id.in_(self._sources)))
        connection.execute(delete(t.output_runs).where(t.output_runs.c.run_id.in_(self._sources)))
        self._sources = []


def pairs_of(batch_index: int, outputs: Sequence[tuple[bytes, int]]) -> Pairs:
    """What the index must hold of one batch, whose outputs are (content digest, position)."""
    return np.array(
        [(_key(digest), locator(batch_index, position)) for digest, position in outputs],
        dtype=np.uint64,
    ).reshape(-1, 2)


def contents(connection: Connection) -> tuple[Pairs, list[str]]:
    """Everything that the index holds, sorted, and what is wrong with its pages."""
    parts: list[Pairs] = []
    wrong = []
    runs = connection.execute(select(t.output_runs).where(t.output_runs.c.complete == 1)).all()
    for run in runs:
        last, entries = -1, 0
        pages = connection.execute(
            select(t.output_pages)
            .where(t.output_pages.c.run_id == run.run_id)
            .order_by(t.output_pages.c.first_key, t.output_pages.c.page)
        )
        for page in pages:
            where = f"run {run.run_id}, page {page.page}"
            if len(page.data) % (2 * _KEY_BYTES) or not page.data:
                wrong.append(f"{where}: not a page")
                continue
            pairs = _read_page(page.data)
            ends = (_key_bytes(int(pairs[0, 0])), _key_bytes(int(pairs[-1, 0])))
            if ends != (bytes(page.first_key), bytes(page.last_key)):
                wrong.append(f"{where}: its keys are not those that it is found by")
            # A plain comparison of neighbours: keys ascend within a page, and from page to page.
            if int(pairs[0, 0]) < last or bool(np.any(pairs[1:, 0] < pairs[:-1, 0])):
                wrong.append(f"{where}: not in order")
            last, entries = int(pairs[-1, 0]), entries + len(pairs)
            parts.append(pairs)
        if entries != run.entries:
            wrong.append(f"run {run.run_id}: holds {entries} outputs instead of {run.entries}")
    whole = np.concatenate(parts) if parts else np.empty((0, 2), dtype=np.uint64)
    return _sorted(whole), wrong


def replace(connection: Connection, batches: Sequence[Pairs]) -> None:
    """Let the index hold exactly this, batch by batch."""
    connection.execute(delete(t.output_pages))
    connection.execute(delete(t.output_runs))
    for run_id, pairs in enumerate(batches):
        connection.execute(
            insert(t.output_runs),
            {"run_id": run_id, "level": 0, "entries": len(pairs), "complete": 1},
        )
        _write_pages(connection, run_id, _sorted(pairs), 0)
    merging = Compaction()
    while merging.step(connection):
        pass


def of_batches(held: Pairs, batches: Collection[int]) -> Pairs:
    """The part of an index that is about these batches."""
    wanted = np.array(sorted(batches), dtype=np.uint64)
    return held[np.isin(held[:, 1] >> np.uint64(_POSITION_BITS), wanted)]


def differ(held: Pairs, batches: Sequence[Pairs], unknown: Collection[int]) -> bool:
    """Whether an index holds something else than these batches, leaving out unknown ones."""
    expected = np.concatenate(batches) if batches else np.empty((0, 2), dtype=np.uint64)
    others = np.array(sorted(unknown), dtype=np.uint64)
    known = held[~np.isin(held[:, 1] >> np.uint64(_POSITION_BITS), others)]
    return not np.array_equal(known, _sorted(expected))
