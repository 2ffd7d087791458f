"""The one path in: verify, registration policy, sequence, receipt.

Everything that does not depend on the state of the log is judged here, before a statement may wait
for the sequencer; what does (duplicates, versions, chains) is judged there, in one transaction.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.core import digest
from registry.core.access import Principal
from registry.core.attestation.dsse import Envelope
from registry.core.attestation.statement import Statement
from registry.core.evidence.policy import Policy
from registry.core.evidence.result import AttestationResult
from registry.core.foreign.proof import ForeignProof
from registry.core.formats.safetensors_index import MAX_INDEX_BYTES, check_indexes
from registry.core.formats.structure import parse_structure
from registry.core.keys import PublicKey
from registry.core.records import (
    appraisal_policy,
    attestation_result,
    attribution,
    batch,
    certificate,
    dataset,
    distrust_entry,
    identity_event,
    key_event,
    predicate,
    release,
    replay,
    verification,
)
from registry.core.records.landmarks import Landmarks
from registry.core.records.manifest import MAX_MANIFEST_BYTES, Manifest
from registry.core.records.predicate import KINDS
from registry.core.registration import admit, published_name
from registry.core.tlog import entry
from registry.core.tlog.merkle import leaf_hash
from registry.core.tlog.receipt import Receipt
from registry.errors import (
    ForbiddenError,
    NotFoundError,
    Reason,
    RefusedError,
)
from registry.inspection import sandbox
from registry.services.artifacts import Artifacts
from registry.services.attested import Attested, result_rows
from registry.services.challenges import Claim
from registry.services.journals import Journals
from registry.services.keyring import Keyring
from registry.services.replays import check_replayed
from registry.services.sequencing import Sequencer
from registry.services.submission import BatchToStore, Submission, check_leaves, first_link
from registry.storage.blobs.disk import DiskBlobStore
from registry.storage.blobs.port import BlobWriter
from registry.storage.sql import catalog, log
from registry.storage.sql.engine import Database

_OF_THE_REGISTRY = frozenset(
    {
        batch.PREDICATE_TYPE,
        key_event.PREDICATE_TYPE,
        certificate.PREDICATE_TYPE,
        identity_event.PREDICATE_TYPE,
        verification.PREDICATE_TYPE,
        appraisal_policy.PREDICATE_TYPE,
        distrust_entry.PREDICATE_TYPE,
        attestation_result.PREDICATE_TYPE,
    }
)
_UNIQUE = frozenset({release.PREDICATE_TYPE, dataset.PREDICATE_TYPE})


@dataclass(frozen=True, slots=True)
class Opened:
    """A statement whose form, signature and signer are in order."""

    data: bytes
    envelope: Envelope
    statement: Statement[Any]
    key: PublicKey
    principal: str

    @property
    def needs_disk(self) -> bool:
        """Whether :meth:`Registration.finish` may read files or wait for an inspection."""
        return not isinstance(self.statement.predicate, dataset.Dataset)


class Registration:
    """Admits statements to the log."""

    def __init__(
        self,
        database: Database,
        blobs: DiskBlobStore,
        artifacts: Artifacts,
        keyring: Keyring,
        sequencer: Sequencer,
        *,
        attested: Attested | None = None,
    ) -> None:
        """Admit what the registration policy admits; with ``attested``, only attested batches."""
        self._database = database
        self._blobs = blobs
        self._artifacts = artifacts
        self._keyring = keyring
        self._sequencer = sequencer
        self._attested = attested
        self._journals = Journals(database, blobs)

    def register(self, data: bytes, caller: Principal) -> "Future[Receipt]":
        """Admit one statement: :meth:`open`, then :meth:`finish`."""
        return self.finish(self.open(data, caller))

    def open(self, data: bytes, caller: Principal) -> "Opened":
        """The one order of checks: form, signer, signature, statement, policy, caller.

        Raises:
            MalformedError, LimitExceededError: What is wrong with the envelope or the statement.
            VerificationError: ``UNKNOWN_SIGNER``, ``KEY_REVOKED`` or ``BAD_SIGNATURE``.
            ForbiddenError: ``ROLE``, ``NAMESPACE`` or ``KEY_NOT_YOURS``.
        """
        envelope = Envelope.parse(data)
        key = self._keyring.key(envelope.keyid)
        envelope.verify(key)
        statement = predicate.parse(envelope.payload)
        granted = self._keyring.grant(key.key_id)
        if granted.principal != caller.name:
            raise ForbiddenError(
                Reason.KEY_NOT_YOURS,
                "the statement is signed by somebody else's key",
                expected=f"a key of {caller.name}",
                actual=f"a key of {granted.principal}",
            )
        admit(statement, granted)
        role = KINDS[statement.predicate_type].role
        if role not in caller.roles:
            raise ForbiddenError(
                Reason.ROLE,
                f"only a {role} may register this",
                expected=role,
                actual=", ".join(caller.roles) or "no role",
            )
        return Opened(data, envelope, statement, key, caller.name)

    def finish(self, opened: "Opened") -> "Future[Receipt]":
        """Check what a statement refers to, and let it wait for its place in the log.

        Reads blobs if ``opened.needs_disk``. The future is done when it is durable and proven.

        Raises:
            RefusedError: ``PREDICATE_NOT_ALLOWED``, ``MISSING_BLOB``, ``UNKNOWN_REFERENCE``,
                ``DIGEST_MISMATCH`` or ``STRUCTURE_MISMATCH``.
            MalformedError, LimitExceededError: What is wrong with a model file.
            UnavailableError: ``LOG_BUSY`` or ``LOG_LATCHED``.
        """
        self.check_references(opened.statement)
        return self._sequencer.submit(submission(opened))

    def check_references(self, statement: Statement[Any]) -> None:
        """Check that a statement may come this way, and that what it refers to is here.

        Raises:
            RefusedError, MalformedError, LimitExceededError: As :meth:`finish`.
        """
        if statement.predicate_type in _OF_THE_REGISTRY:
            raise RefusedError(
                Reason.PREDICATE_NOT_ALLOWED,
                f"a {predicate.noun(statement.predicate_type)} does not come this way",
                hint="batches come with their records; the rest is made by the registry itself",
            )
        if isinstance(statement.predicate, release.Release):
            self._check_release(statement)
        elif isinstance(statement.predicate, attribution.Attribution):
            self._check_attribution(statement.predicate)
        elif isinstance(statement.predicate, dataset.Dataset):
            self._require_records(statement.predicate.derived_from)
        elif isinstance(statement.predicate, replay.Replay):
            check_replayed(self._journals, statement.predicate)
        elif isinstance(statement.predicate, ForeignProof):
            self._require_blobs(statement.predicate.kept, "part of the proof")

    def register_batch(
        self, data: bytes, records: Sequence[bytes], caller: Principal
    ) -> "Future[Receipt]":
        """Admit a batch with its records, which become visible with it, or not at all.

        Raises:
            MalformedError, LimitExceededError: What is wrong with the batch or a record.
            RefusedError: ``UNATTESTED``, if keys of batches must be attested.
            VerificationError, ForbiddenError, UnavailableError: As :meth:`register`.
        """
        opened = self.open(data, caller)
        if self._attested is not None:
            self._attested.require(opened.key)
        statement = opened.statement
        predicate_ = statement.predicate
        if not isinstance(predicate_, batch.Batch):
            raise RefusedError(
                Reason.PREDICATE_NOT_ALLOWED,
                "only a batch comes with records",
                actual=predicate.noun(statement.predicate_type),
            )
        with self._database.read() as connection:
            head = catalog.shim_head(connection, bytes.fromhex(predicate_.shim_id))
        content = batch.open_content(
            statement.subject, predicate_, records, first_link(predicate_, head)
        )
        leaves = batch.join_leaves(records)
        hashes = content.hashed.hashes_file
        check_leaves(predicate_, digest.DigestSet.of(leaves))
        stored = BatchToStore(
            predicate_,
            content.hashed,
            content.outputs,
            digest.sha256(leaves),
            digest.sha256(hashes),
            Landmarks.of(records, content.hashed),
        )
        with ExitStack() as staged:
            blobs = []
            for content_ in (leaves, hashes):
                blobs.append(self._artifacts.stage(content_))
                staged.callback(blobs[-1].abort)
            answer = self._sequencer.submit(submission(opened, stored, tuple(blobs)))
            # From here on they are the sequencer's.
            staged.pop_all()
        return answer

    def _check_release(self, statement: Statement[Any]) -> None:
        """All bytes are here, the manifest is the one that is named, structures are as told."""
        said: release.Release = statement.predicate
        manifest_digest = bytes.fromhex(statement.subject[0].digest.sha256)
        self._require_blobs([manifest_digest], "manifest")
        manifest = release.validate_manifest(
            statement.subject, said, self._artifacts.read(manifest_digest, MAX_MANIFEST_BYTES)
        )
        self._require_files(manifest)
        self._require_records((*said.trained_on, *said.parents))
        self._check_structures(said, manifest)

    def _require_files(self, manifest: Manifest) -> None:
        digests = [file.digest.raw for file in manifest.files]
        self._require_blobs(digests, "file")
        stored = self._artifacts.stat_all(digests)
        for file in manifest.files:
            info = stored[file.digest.raw]
            if info.size != file.size or info.sha512.hex() != file.digest.sha512:
                raise RefusedError(
                    Reason.DIGEST_MISMATCH,
                    "the manifest says something else of a file than its bytes",
                    where=file.path,
                    expected=f"{info.size} bytes, sha512:{info.sha512.hex()[:16]}…",
                    actual=f"{file.size} bytes, sha512:{file.digest.sha512[:16]}…",
                )

    def _require_blobs(self, digests: Sequence[bytes], what: str) -> None:
        known = self._artifacts.stat_all(digests)
        missing = [item for item in digests if item not in known]
        if missing:
            raise RefusedError(
                Reason.MISSING_BLOB,
                f"a {what} has not been uploaded",
                where=digest.text(missing[0]),
                actual=f"{len(missing)} missing",
                hint="upload everything that the statement names before registering it",
            )

    def _check_structures(self, said: release.Release, manifest: Manifest) -> None:
        sizes = {file.path: file.size for file in manifest.files}
        structures: dict[str, bytes] = {}
        for told, file in zip(said.files, manifest.files, strict=True):
            path: Path = self._blobs.path(file.digest.raw)
            found = sandbox.inspect(path, file.path, sizes)
            expected = None if found is None else digest.DigestSet.of(found)
            actual = told.structure if isinstance(told.structure, digest.DigestSet) else None
            if expected != actual:
                raise RefusedError(
                    Reason.STRUCTURE_MISMATCH,
                    "the release describes a file in another way than its bytes do",
                    where=file.path,
                    expected="no structure" if expected is None else f"sha256:{expected.sha256}",
                    actual="no structure" if actual is None else f"sha256:{actual.sha256}",
                    hint="publish with the same version of provreg as the registry runs",
                )
            if found is not None:
                structures[file.path] = found
        stored = {file.path: file for file in manifest.files}
        check_indexes(
            {
                path: parse_structure(structures[path]) if path in structures else None
                for path in stored
            },
            lambda path: self._artifacts.read(stored[path].digest.raw, MAX_INDEX_BYTES),
        )
        # Only now: a release that is refused leaves nothing behind.
        for structure in structures.values():
            self._artifacts.put(structure)

    def _check_attribution(self, said: attribution.Attribution) -> None:
        self._require_records([said.release, *(item.dataset for item in said.datasets)])

    def _require_records(self, record_ids: Sequence[str]) -> None:
        if not record_ids:
            return
        with self._database.read() as connection:
            for record_id in record_ids:
                if log.entry_of_record(connection, digest.parse(record_id)) is None:
                    raise RefusedError(
                        Reason.UNKNOWN_REFERENCE,
                        "the statement names another one that is not registered here",
                        where=record_id,
                        hint="register the dataset or release first",
                    )

    def find(self, record_id: bytes) -> tuple[catalog.Listed, log.StoredEntry]:
        """One statement by record id.

        Raises:
            NotFoundError: ``UNKNOWN_RECORD``.
        """
        with self._database.read() as connection:
            stored = log.entry_of_record(connection, record_id)
            listed = None if stored is None else catalog.listed(connection, stored.index)
        if stored is None or listed is None:
            raise NotFoundError(
                Reason.UNKNOWN_RECORD,
                "no statement with this record id is registered",
                where=digest.text(record_id),
            )
        return listed, stored

    def list(
        self, predicate_type: str, name: str, version: str, start: int, limit: int
    ) -> "list[tuple[catalog.Listed, log.StoredEntry]]":
        """Statements of one predicate type from entry ``start`` on, oldest first."""
        with self._database.read() as connection:
            return catalog.find(
                connection, predicate_type, name=name, version=version, start=start, limit=limit
            )

    def shim_head(self, shim_id: bytes) -> catalog.ShimHead | None:
        """Where the journal of a shim stands."""
        with self._database.read() as connection:
            return catalog.shim_head(connection, shim_id)


def _listed_name(statement: Statement[Any]) -> str:
    """Under which name the catalog lists a statement; some under what they are about."""
    if isinstance(statement.predicate, (verification.Verification, replay.Replay)):
        return statement.subject[0].digest.sha256
    if isinstance(statement.predicate, (Policy, ForeignProof)):
        return statement.predicate.name
    return published_name(statement) or ""


def _listed_version(statement: Statement[Any]) -> str:
    """Which version it is; a policy's is its digest, by which results name it."""
    if isinstance(statement.predicate, Policy):
        return statement.subject[0].digest.sha256
    version: str = getattr(statement.predicate, "version", "")
    return version


def submission(
    opened: Opened,
    stored: BatchToStore | None = None,
    blobs: tuple[BlobWriter, ...] = (),
    claim: Claim | None = None,
) -> Submission:
    """What the sequencer needs to know of an admitted statement."""
    envelope, statement = opened.envelope, opened.statement
    record_id = envelope.record_id
    body = entry.write(record_id, envelope.signature, opened.key.der)
    said = statement.predicate
    return Submission(
        record_id=record_id,
        leaf_hash=leaf_hash(body),
        body=body,
        envelope=opened.data,
        predicate_type=statement.predicate_type,
        name=_listed_name(statement),
        version=_listed_version(statement),
        key_id=opened.key.key_id,
        principal=opened.principal,
        unique=statement.predicate_type in _UNIQUE,
        key_event=said if isinstance(said, key_event.KeyEvent) else None,
        batch=stored,
        blobs=blobs,
        results=result_rows(said) if isinstance(said, AttestationResult) else (),
        claim=claim,
    )
