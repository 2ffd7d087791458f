"""From an output to its receipts, and all that is needed to judge one of them, in one capsule."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from registry.core import digest
from registry.core.attestation.bundle import MAX_BUNDLE_BYTES
from registry.core.attestation.dsse import Envelope
from registry.core.attestation.trusted_root import MAX_TRUSTED_ROOT_BYTES
from registry.core.capsule.build import build
from registry.core.capsule.container import Capsule
from registry.core.capsule.covering import Signing
from registry.core.capsule.parts import Attested, LoggedEnvelope, Verified
from registry.core.foreign.captured import MAX_PART_BYTES
from registry.core.foreign.proof import ForeignProof
from registry.core.records import (
    batch,
    inference,
    predicate,
)
from registry.core.tlog import merkle
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.note import VerifierKey
from registry.errors import (
    LimitExceededError,
    MalformedError,
    NotFoundError,
    Reason,
    VerificationError,
)
from registry.services import environments
from registry.services.artifacts import check_digest
from registry.services.beside import BesideRecords
from registry.services.journals import Journals
from registry.services.keyring import Keyring
from registry.services.sequencing import Sequencer
from registry.services.sources import Sources, damaged
from registry.services.stored_batches import StoredBatches
from registry.storage.blobs.port import BlobStore
from registry.storage.sql import catalog, log, outputs
from registry.storage.sql.catalog import StoredBatch
from registry.storage.sql.engine import Connection, Database

MAX_QUESTIONS = 8
"""Content digests in one question: one file may be read by several profiles."""

MAX_CANDIDATES = 64
"""Records of other outputs with the same key prefix that are compared; in practice none."""

MAX_FOREIGN_BYTES = 2 * 1024 * 1024
"""Bytes of what imported proofs rest on, in one capsule; a proof with collateral takes 50,000."""

MAX_SENT_BYTES = 15 * 1024 * 1024
"""Bytes of a capsule that can be sent: a message has 16 MiB, and a few more members."""

Location = tuple[int, int]
"""Log index of a batch, and a position in it."""


class Lineage:
    """Answers where an output comes from."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        keyring: Keyring,
        sequencer: Sequencer,
        key: VerifierKey,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._batches = StoredBatches(blobs)
        self._beside = BesideRecords(Journals(database, blobs))
        self._keyring = keyring
        self._sequencer = sequencer
        self._key = key

    def find(self, content_digests: Sequence[bytes]) -> list[Location]:
        """Every inference receipt of an output, oldest first.

        Raises:
            LimitExceededError: ``MESSAGE_TOO_LARGE``.
            MalformedError: ``MALFORMED_DIGEST``.
        """
        if len(content_digests) > MAX_QUESTIONS:
            raise LimitExceededError(
                Reason.MESSAGE_TOO_LARGE,
                "too many digests in one question",
                expected=f"at most {MAX_QUESTIONS}",
                actual=str(len(content_digests)),
            )
        values: list[int] = []
        with self._database.read() as connection:
            for item in content_digests:
                check_digest(item)
                values.extend(outputs.find(connection, item))
        return [outputs.split_locator(value) for value in sorted(values)[: outputs.MAX_MATCHES]]

    def trace(
        self, content_digests: Sequence[bytes], location: Location | None
    ) -> tuple[bytes, int, Location]:
        """A capsule of one receipt of this output, how many there are, and which one it is.

        Raises:
            NotFoundError: ``UNKNOWN_OUTPUT``.
            LimitExceededError, MalformedError: As :meth:`find`.
            DamagedError: ``STORED_BYTES``.
        """
        found = self.find(content_digests)
        wanted = set(content_digests)
        candidates = [item for item in found if location in (None, item)]
        with self._database.read() as connection:
            for candidate in candidates[:MAX_CANDIDATES]:
                capsule = self._capsule(connection, candidate, wanted)
                if capsule is not None:
                    return capsule, len(found), candidate
        raise NotFoundError(
            Reason.UNKNOWN_OUTPUT,
            "no inference receipt of this output is registered here",
            where=", ".join(digest.text(item) for item in content_digests[:2]),
            hint="was the output changed, or its receipt not uploaded yet?",
        )

    def _capsule(
        self, connection: Connection, location: Location, wanted: set[bytes]
    ) -> bytes | None:
        index, position = location
        stored = catalog.batch(connection, index)
        entry = log.entry(connection, index)
        if stored is None or entry is None:
            raise damaged(f"batch {index}")
        try:
            found = self._record(stored, position, wanted)
            if found is None:
                return None
            data, record, path = found
            envelope = Envelope.parse(entry.envelope)
            said: batch.Batch = predicate.parse(envelope.payload).predicate
            merkle.verify_inclusion(
                merkle.leaf_hash(data), position, said.count, path, bytes.fromhex(said.root)
            )
        except (MalformedError, VerificationError) as error:
            raise damaged(f"record {position} of batch {index}") from error

        def against(head: SignedCheckpoint) -> Capsule:
            sources = Sources(connection, self._keyring, self._sequencer, head)
            released = sources.statement(record.model.release)
            attributions, datasets = sources.data_of(released)
            said = sources.entry(entry)
            replays = sources.replays(merkle.leaf_hash(data))
            foreign = sources.foreign(record.response.content_digest)
            imported = [item for item, _ in foreign]
            beside = self._beside.gather(connection, sources, record, replays)
            batches = [item for item in beside.batches if item.index != index]
            statements = [said, released, *attributions, *datasets, *replays, *imported, *batches]
            verified, roots = self._verified(sources, statements)
            attested = self._attested(connection, sources, envelope.keyid, record, index)
            proofs = [proof for _, proof in foreign]
            attested = environments.with_proofs(connection, sources, attested, proofs)
            about_it = (*attested.results, *attested.policies, *attested.distrust)
            signed = (*statements, *(item.said for item in verified), *about_it)
            return build(
                log=self._key,
                head=head,
                record=data,
                position=position,
                path=path,
                operator=sources.at(0),
                batch=said,
                release=released,
                key_events=sources.key_events(signed),
                attributions=attributions,
                datasets=datasets,
                replays=replays,
                foreign=imported,
                foreign_parts=self._foreign_parts(proofs),
                stamped=sources.stamped(index),
                verifications=verified,
                trusted_roots=roots,
                other_batches=batches,
                setup=beside.setup,
                attached=beside.attached,
                attested=attested,
            )

        capsule = against(self._head())
        cosigned = self._sequencer.heads.cosigned
        # Only if nothing is left out for it: a key may have been ended after the quorum signed.
        if cosigned is not None and _least_size(capsule) <= cosigned.checkpoint.size:
            capsule = against(cosigned)
        manifest = None if capsule.release is None else self._manifest(record.model.manifest)
        if manifest is not None:
            complete = replace(capsule, manifest=manifest).to_bytes()
            if len(complete) <= MAX_SENT_BYTES:
                return complete
        return capsule.to_bytes()

    def _attested(
        self,
        connection: Connection,
        sources: Sources,
        key_id: str,
        record: inference.Completion,
        index: int,
    ) -> Attested:
        """What is known of the environment in which a batch's key signed."""
        try:
            signing = Signing.of(key_id, record.model.manifest, record.at, index)
        except MalformedError:
            # A time that no calendar has is covered by nothing.
            return Attested()
        return environments.gather(connection, self._blobs, sources, signing)

    def _foreign_parts(self, proofs: Sequence[ForeignProof]) -> list[bytes]:
        """What imported proofs rest on, the newest first, as far as there is room."""
        room, held = MAX_FOREIGN_BYTES, dict[bytes, bytes]()
        for name in (name for proof in reversed(proofs) for name in proof.kept):
            try:
                data = self._blobs.read(name, min(MAX_PART_BYTES, room))
            except (NotFoundError, LimitExceededError):
                # The reader is told that something is missing; what is there still helps.
                continue
            room -= 0 if name in held else len(data)
            held[name] = data
        return list(held.values())

    def _verified(
        self, sources: Sources, statements: Iterable[LoggedEnvelope | None]
    ) -> tuple[list[Verified], list[bytes]]:
        """What the operator verified of these statements, with the bundles and trusted roots."""
        verified, roots = [], {}
        for logged, said in sources.verifications(statements):
            bundle = self._blobs.read(bytes.fromhex(said.bundle), MAX_BUNDLE_BYTES)
            verified.append(Verified(logged, bundle))
            root = bytes.fromhex(said.trusted_root)
            roots[root] = self._blobs.read(root, MAX_TRUSTED_ROOT_BYTES)
        return verified, list(roots.values())

    def _record(
        self, stored: StoredBatch, position: int, wanted: set[bytes]
    ) -> tuple[bytes, inference.Completion, tuple[bytes, ...]] | None:
        """One record of a batch, if it is of a wanted output, and its path; neither is checked.

        Raises:
            MalformedError: What is stored cannot be read.
        """
        data = self._batches.record(stored, position)
        record = inference.parse(data)
        if (
            not isinstance(record, inference.Completion)
            or bytes.fromhex(record.response.content_digest) not in wanted
        ):
            return None
        return data, record, self._batches.path(stored, position)

    def _manifest(self, sha256: str) -> bytes | None:
        try:
            return self._blobs.read(bytes.fromhex(sha256), MAX_SENT_BYTES)
        except (NotFoundError, LimitExceededError):
            # The record may name a model that was never published here, or one of so many files
            # that their list is no part of an answer: the walk says what it could not judge.
            return None

    def _head(self) -> SignedCheckpoint:
        head = self._sequencer.head
        if head is None:
            raise NotFoundError(Reason.UNKNOWN_OUTPUT, "the log is empty")
        return head


def _least_size(capsule: Capsule) -> int:
    """The size of the smallest tree against which all of a capsule can be proved that must be.

    What a node attached to a receipt later may be left out: its reader is told that it is unknown.
    """
    needed = (item for name, item in capsule.statements() if not name.startswith("other-batch/"))
    items = [capsule.batch, capsule.release, *needed]
    entries = max(item.index for item in items if item is not None) + 1
    return entries if capsule.stamped is None else max(entries, capsule.stamped.size)
