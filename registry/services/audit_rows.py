"""Compares the catalog, row by row, with what entries and blobs say it must be."""

import hashlib
from dataclasses import dataclass, replace

from registry.core.digest import DigestSet
from registry.core.digest import text as digest_text
from registry.core.evidence.result import AttestationResult
from registry.core.foreign.proof import ForeignProof
from registry.core.records import batch, release
from registry.core.records.key_event import KeyEvent
from registry.core.records.landmarks import Landmarks
from registry.core.records.manifest import MAX_MANIFEST_BYTES
from registry.errors import DamagedError, NotFoundError, RegistryError
from registry.services.attested import result_rows
from registry.services.faults import Findings, Kind, Mend
from registry.services.indexing import check_bare, open_entry
from registry.services.keyring import Keyring
from registry.services.registration import Opened, submission
from registry.services.submission import BatchToStore, batch_row, check_leaves, first_link
from registry.storage.blobs.port import BlobStore
from registry.storage.sql import attestations, catalog, mending, outputs
from registry.storage.sql.attestations import StoredResult
from registry.storage.sql.catalog import Listed, ShimHead, StoredBatch
from registry.storage.sql.engine import Connection
from registry.storage.sql.log import StoredEntry


@dataclass(slots=True)
class _Page:
    """The catalog rows of some entries, taken out one by one as they are compared."""

    start: int
    end: int
    listed: dict[int, Listed]
    results: dict[int, list[StoredResult]]


class RowAudit:
    """Follows the walk over the entries.

    Attributes:
        named_blobs: Digests of the blobs that statements need.
    """

    def __init__(self, connection: Connection, blobs: BlobStore, findings: Findings) -> None:
        self._connection = connection
        self._blobs = blobs
        self._findings = findings
        self._keyring = Keyring()
        self._page = _Page(0, 0, {}, {})
        self._heads: dict[bytes, ShimHead] = {}
        self._batch_rows = mending.batch_indices(connection)
        self._versions: dict[int, tuple[str, str, str]] = {}
        self._pairs: list[outputs.Pairs] = []
        self._unknown: set[int] = set()
        self.named_blobs: set[bytes] = set()

    def begin(self, start: int, end: int) -> None:
        """Read the rows of the next entries."""
        self._stray(self._page.listed)
        self._stray_results(self._page.results)
        self._page = _Page(
            start,
            end,
            mending.listed_between(self._connection, start, end),
            attestations.between(self._connection, start, end),
        )

    def entry(self, stored: StoredEntry) -> None:
        """Check an entry against itself, and compare its rows."""
        held = self._page.listed.pop(stored.index, None)
        try:
            opened = self._open(stored)
        except RegistryError as error:
            where = f"entry {stored.index}"
            self._findings.primary(Kind.ENTRY_DAMAGED, where, str(error))
            # Nobody knows what its rows should be.
            self._unknown.add(stored.index)
            self._batch_rows.discard(stored.index)
            self._page.results.pop(stored.index, None)
            return
        expected = None if opened is None else _listed(stored.index, opened)
        if held != expected:
            what = "missing" if held is None else "different" if expected else "about nothing"
            self._findings.derived(
                Kind.STATEMENT_ROW,
                f"entry {stored.index}",
                f"its catalog row is {what}",
                self._put_listed(stored.index, expected),
            )
        if opened is not None and expected is not None:
            self._rows_of(opened, expected, stored)

    def finish(self, size: int) -> None:
        """Compare what is left over, and the index of outputs."""
        self._stray(self._page.listed)
        self._stray(mending.listed_between(self._connection, size, None))
        self._stray_results(self._page.results)
        self._stray_results(attestations.between(self._connection, size, None))
        for version in mending.stray_versions(self._connection):
            if version[3] not in self._unknown and self._versions.get(version[3]) != version[:3]:
                self._findings.derived(
                    Kind.VERSION_ROW,
                    f"{version[1]}@{version[2]}",
                    f"taken by entry {version[3]}, which does not say so",
                    lambda version=version: mending.drop_version(  # type: ignore[misc]  # bound now
                        self._connection, version
                    ),
                )
        for index in sorted(self._batch_rows):
            self._findings.derived(
                Kind.BATCH_ROW,
                f"entry {index}",
                "has a batch row and is no batch",
                self._put_batch(index, None),
            )
        self._compare_outputs()

    def _open(self, stored: StoredEntry) -> Opened | None:
        if not stored.envelope:
            check_bare(stored)
            return None
        opened = open_entry(self._keyring, stored)
        said = opened.statement.predicate
        if isinstance(said, KeyEvent):
            self._keyring.add(stored.index, said)
        return opened

    def _rows_of(self, opened: Opened, row: Listed, stored: StoredEntry) -> None:
        said = opened.statement.predicate
        if submission(opened).unique:
            self._compare_version(row)
        if isinstance(said, release.Release):
            self._name_files(opened, said)
        if isinstance(said, batch.Batch):
            self._compare_batch(opened, said, stored)
        if isinstance(said, AttestationResult):
            self._compare_results(said, stored.index)
        if isinstance(said, ForeignProof):
            self.named_blobs.update(said.kept)

    def _compare_version(self, row: Listed) -> None:
        self._versions[row.index] = (row.predicate_type, row.name, row.version)
        held = catalog.version_index(self._connection, row.predicate_type, row.name, row.version)
        if held != row.index:
            what = "not taken" if held is None else f"taken by entry {held}"
            self._findings.derived(
                Kind.VERSION_ROW,
                f"{row.name}@{row.version}",
                f"{what}, instead of by entry {row.index}",
                lambda: mending.put_version(self._connection, row),
            )

    def _name_files(self, opened: Opened, said: release.Release) -> None:
        """Take a note of every blob that a release needs."""
        manifest = bytes.fromhex(opened.statement.subject[0].digest.sha256)
        self.named_blobs.add(manifest)
        self.named_blobs.update(
            told.structure.raw for told in said.files if isinstance(told.structure, DigestSet)
        )
        try:
            raw = self._blobs.read(manifest, MAX_MANIFEST_BYTES)
            listed = release.validate_manifest(opened.statement.subject, said, raw)
        except RegistryError:
            # Missing or damaged: found with the blobs.
            return
        self.named_blobs.update(file.digest.raw for file in listed.files)

    def _compare_batch(self, opened: Opened, said: batch.Batch, stored: StoredEntry) -> None:
        index = stored.index
        shim_id = bytes.fromhex(said.shim_id)
        self.named_blobs.add(said.leaves.raw)
        held = catalog.batch(self._connection, index)
        self._batch_rows.discard(index)
        try:
            leaves = self._blobs.read(said.leaves.raw, batch.MAX_LEAVES_BYTES)
            check_leaves(said, DigestSet.of(leaves))
            records = list(batch.split_leaves(leaves))
            link = first_link(said, self._heads.get(shim_id))
            content = batch.open_content(opened.statement.subject, said, records, link)
        except (NotFoundError, DamagedError):
            # Found with the blobs; what the row must be cannot be known without them.
            self._unknown.add(index)
            self._heads.pop(shim_id, None)
            return
        except RegistryError as error:
            self._findings.primary(Kind.ENTRY_DAMAGED, f"entry {index}", str(error))
            self._unknown.add(index)
            return
        hashed = content.hashed
        stored_batch = BatchToStore(
            said,
            hashed,
            content.outputs,
            said.leaves.raw,
            hashlib.sha256(hashed.hashes_file).digest(),
            Landmarks.of(records, hashed),
        )
        row = batch_row(index, submission(opened), stored_batch)
        if held is not None and held.landmarks is None:
            # Listed by an earlier release: found more slowly, and not wrong.
            row = replace(row, landmarks=None)
        self.named_blobs.add(row.hashes)
        self._heads[shim_id] = ShimHead(row.n_last, row.record_id, row.last_leaf, row.principal)
        if content.outputs:
            self._pairs.append(outputs.pairs_of(index, content.outputs))
        if held != row:
            what = "missing" if held is None else "different"
            self._findings.derived(
                Kind.BATCH_ROW,
                f"entry {index}",
                f"its batch row is {what} (shim {said.shim_id}, {digest_text(row.record_id)})",
                self._put_batch(index, row),
            )

    def _compare_results(self, said: AttestationResult, index: int) -> None:
        for environment in said.submods.values():
            self.named_blobs.add(bytes.fromhex(environment.raw_evidence))
            self.named_blobs.update(bytes.fromhex(item.sha256) for item in environment.endorsements)
        expected = result_rows(said, index)
        held = tuple(self._page.results.pop(index, ()))
        if held != expected:
            self._findings.derived(
                Kind.RESULT_ROW,
                f"entry {index}",
                "is listed as another attestation result" if held else "is not listed as a result",
                lambda: attestations.replace(self._connection, index, expected),
            )

    def _stray_results(self, rows: dict[int, list[StoredResult]]) -> None:
        for index in list(rows):
            self._findings.derived(
                Kind.RESULT_ROW,
                f"entry {index}",
                "is listed as an attestation result and is none",
                lambda index=index: attestations.replace(  # type: ignore[misc]  # bound now
                    self._connection, index, ()
                ),
            )
        rows.clear()

    def _compare_outputs(self) -> None:
        held, wrong = outputs.contents(self._connection)
        if outputs.differ(held, self._pairs, self._unknown):
            wrong.append("it holds other outputs than the batches")
        kept = outputs.of_batches(held, self._unknown)
        expected = [*self._pairs, kept] if len(kept) else self._pairs
        if wrong:
            self._findings.derived(
                Kind.OUTPUT_INDEX,
                "index of outputs",
                "; ".join(wrong[:3]),
                lambda: outputs.replace(self._connection, expected),
            )

    def _stray(self, rows: dict[int, Listed]) -> None:
        for index in rows:
            self._findings.derived(
                Kind.STATEMENT_ROW,
                f"entry {index}",
                "has a catalog row and is not in the log",
                self._put_listed(index, None),
            )
        rows.clear()

    def _put_listed(self, index: int, row: Listed | None) -> Mend:
        return lambda: mending.put_listed(self._connection, index, row)

    def _put_batch(self, index: int, row: StoredBatch | None) -> Mend:
        return lambda: mending.put_batch(self._connection, index, row)


def _listed(index: int, opened: Opened) -> Listed:
    waiting = submission(opened)
    return Listed(
        index,
        waiting.predicate_type,
        waiting.name,
        waiting.version,
        waiting.key_id,
        waiting.principal,
    )
