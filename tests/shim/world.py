"""A registry in memory that checks what a real one checks, and a release to run against it."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from registry.core import digest
from registry.core.attestation.dsse import Envelope
from registry.core.digest import DigestSet
from registry.core.profiles import raw
from registry.core.records import batch as batches
from registry.core.records import inference, predicate
from registry.core.records.manifest import File, Manifest
from registry.core.tlog import entry, merkle, tree
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.merkle import leaf_hash
from registry.core.tlog.receipt import Receipt
from registry.errors import ConflictError, NotFoundError, Reason, UnavailableError
from registry.shim.app import NOTHING_CHOSEN, Chosen, Shim, Timing, open_shim
from registry.shim.ports import Registry
from registry.shim.recorder.outcomes import Deployment
from registry.shim.recorder.recorder import Recorder
from registry.shim.release import PinnedRelease
from registry.shim.uploader import Pace
from registry.signing.file import LogSigner, StatementSigner

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
QUICK = Pace(records=8, seconds=0.01)
BRIEF = Timing(heartbeat=3600, drain=5, farewell=5)
PATIENT = Pace(records=4096, seconds=3600)
"""Nothing is registered unless somebody flushes."""


@dataclass(frozen=True)
class Head:
    """Where the journal of a shim stands."""

    next_n: int
    last_batch: bytes
    last_leaf: bytes


@dataclass
class MemoryRegistry:
    """A log of batches of any number of shims. ``down`` makes it unavailable."""

    log: LogSigner
    node: StatementSigner
    records: dict[str, list[bytes]] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    down: threading.Event = field(default_factory=threading.Event)
    lose_answers: int = 0
    _last_batch: dict[str, bytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def build(cls) -> "MemoryRegistry":
        return cls(LogSigner.generate("log.example"), StatementSigner.generate())

    def register_batch(self, envelope: bytes, records: Sequence[bytes]) -> Receipt:
        self._check_up()
        parsed = Envelope.parse(envelope)
        parsed.verify(self.node.public_key)
        statement = predicate.parse(parsed.payload)
        assert isinstance(statement.predicate, batches.Batch)
        batch = statement.predicate
        body = entry.write(parsed.record_id, parsed.signature, self.node.public_key.der)
        with self._lock:
            self.sent.append(envelope)
            if body not in self.bodies:
                known = self.records.setdefault(batch.shim_id, [])
                self._check_chain(batch, known)
                previous = leaf_hash(known[-1]).hex() if known else None
                batches.open_content(statement.subject, batch, records, previous)
                assert DigestSet.of(batches.join_leaves(records)) == batch.leaves
                known.extend(records)
                self._last_batch[batch.shim_id] = parsed.record_id
                self.bodies.append(body)
            if self.lose_answers:
                self.lose_answers -= 1
                raise UnavailableError(Reason.UNREACHABLE, "the connection broke")
            leaves = [leaf_hash(item) for item in self.bodies]
            index = self.bodies.index(body)
            return Receipt(index, merkle.inclusion_path(leaves, index), self._head())

    def shim_head(self, shim_id: bytes) -> Head:
        self._check_up()
        with self._lock:
            known = self.records.get(shim_id.hex(), [])
            if not known:
                return Head(0, b"", b"")
            return Head(len(known), self._last_batch[shim_id.hex()], leaf_hash(known[-1]))

    def consistency(self, before: Checkpoint) -> SignedCheckpoint:
        self._check_up()
        with self._lock:
            head = self._head()
            after = head.checkpoint
            if before.size > after.size:
                raise NotFoundError(Reason.BEYOND_TREE, "the log never had that size")
            leaves = [leaf_hash(item) for item in self.bodies]
        proof = tree.consistency_proof(
            lambda level, i: merkle.root(leaves[i << level : (i + 1) << level]),
            before.size,
            after.size,
        )
        merkle.verify_consistency(before.size, after.size, proof, before.root, after.root)
        return head

    def of(self, shim_id: str) -> list[inference.Record]:
        """The registered records of a shim."""
        return [inference.parse(data) for data in self.records.get(shim_id, [])]

    def _head(self) -> SignedCheckpoint:
        leaves = [leaf_hash(item) for item in self.bodies]
        origin = self.log.key.name
        return self.log.sign(Checkpoint(origin, len(leaves), merkle.root(leaves)))

    def _check_up(self) -> None:
        if self.down.is_set():
            raise UnavailableError(Reason.UNREACHABLE, "nobody answers")

    def _check_chain(self, batch: batches.Batch, known: list[bytes]) -> None:
        last = self._last_batch.get(batch.shim_id)
        previous = batch.prev_batch if isinstance(batch.prev_batch, str) else None
        if batch.n_first != len(known) or previous != (last and digest.text(last)):
            raise ConflictError(Reason.BATCH_CHAIN, "this batch does not follow the last one")


def release_of(files: dict[str, bytes]) -> PinnedRelease:
    """A release of these files, as if it had been fetched and verified."""
    manifest = Manifest.build(
        File(path=path, size=len(data), digest=DigestSet.of(data)) for path, data in files.items()
    )
    return PinnedRelease(digest.sha256(b"release"), "acme/x", "1.2.0", manifest)


FILES = {"model.bin": b"weights", "config.json": b"{}"}
RELEASE = release_of(FILES)
DEPLOYMENT = Deployment(
    RELEASE.model,
    "artifact_verified",
    inference.Runtime(engine="none", version="1"),
    ("request.params", "time"),
)


def lay_out(folder: Path, files: dict[str, bytes]) -> Path:
    """Write the files of a release into ``folder``."""
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder


@contextlib.contextmanager
def running(
    folder: Path,
    registry: MemoryRegistry,
    *,
    client: Registry | None = None,
    pace: Pace = QUICK,
    timing: Timing = BRIEF,
    segment_bytes: int = 1 << 20,
    max_journal_bytes: int = 1 << 30,
    chosen: Chosen = NOTHING_CHOSEN,
) -> Iterator[Shim]:
    """Run a shim of :data:`RELEASE` in ``folder``."""
    models = lay_out(folder.parent / "models", FILES)
    with open_shim(
        folder,
        registry.node,
        client or registry,
        RELEASE,
        models,
        log_key=registry.log.key,
        clock=lambda: NOON,
        pace=pace,
        timing=timing,
        segment_bytes=segment_bytes,
        max_journal_bytes=max_journal_bytes,
        chosen=chosen,
    ) as shim:
        yield shim


def response_to(output: bytes) -> inference.Response:
    """The response that says ``output``."""
    return inference.Response(
        profile=raw.NAME,
        content_digest=raw.content_digest(output).hex(),
        wire_digest=digest.sha256(output).hex(),
        complete=True,
    )


def call(recorder: Recorder, text: bytes) -> int:
    """One whole call that asks and answers ``text``."""
    opened = recorder.intent(DEPLOYMENT, digest.sha256(text))
    return recorder.complete(opened, response_to(text))


def kinds(records: Sequence[inference.Record]) -> list[str]:
    """What each record is."""
    return [type(record).__name__.lower() for record in records]


def check_history(records: Sequence[inference.Record]) -> None:
    """What must be true of every history: no hole, and exactly one outcome for every intent."""
    assert [record.sequence.n for record in records] == list(range(len(records)))
    intents: list[int] = []
    outcomes: list[int] = []
    for record in records:
        match record:
            case inference.Intent():
                intents.append(record.sequence.n)
            case (
                inference.Completion()
                | inference.Failure()
                | inference.ClientGone()
                | inference.NotForwarded()
                | inference.Interrupted()
            ):
                outcomes.append(record.intent_n)
                assert record.intent_n in intents
            case inference.Attached():
                assert record.intent_n in intents
            case inference.Boot() | inference.Setup() | inference.Heartbeat() | inference.Stop():
                pass
    assert sorted(outcomes) == intents


def written(folder: Path) -> list[inference.Record]:
    """The records in the journal of a shim that is not running."""
    records = []
    for segment in sorted((folder / "journal").glob("*.segment")):
        data = segment.read_bytes().rstrip(b"\0")
        position = 0
        while position < len(data):
            size = int.from_bytes(data[position : position + 4])
            records.append(inference.parse(data[position + 8 : position + 8 + size]))
            position += 8 + size
    return records


def leaf_of(record: inference.Record) -> str:
    """The leaf hash of a record in hexadecimal."""
    return leaf_hash(inference.write(record)).hex()
