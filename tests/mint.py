"""A small world with real keys: an operator, a log, principals, and an output that can be traced.

::

    world = World()
    told = tell(world)                    # publisher, node, dataset, release, attribution, batch
    capsule = world.capsule(told)         # the output's capsule, as a registry would export it
    report = appraise(capsule, world.log.key)

Everything is signed and hashed for real; only storage and transport are missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from registry.core.attestation.dsse import PAYLOAD_TYPE, Envelope, pae
from registry.core.attestation.statement import STATEMENT_TYPE, Statement, Subject
from registry.core.capsule.build import build
from registry.core.capsule.container import Capsule
from registry.core.capsule.parts import LoggedEnvelope
from registry.core.digest import DigestSet, sha256
from registry.core.encoding import base64_text
from registry.core.records import attribution, batch, dataset, inference, key_event, release
from registry.core.records.manifest import File, Manifest
from registry.core.tlog import entry, merkle
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.signing.file import LogSigner, StatementSigner

ORIGIN = "log.example"
"""The origin of a world's log."""

AT = "2026-09-01T12:00:00Z"
"""The time that everybody claims, unless told otherwise."""

OUTPUT = b"the answer"
"""The output of the one call that a world records."""


def sign_bytes(signer: StatementSigner, payload: bytes) -> Envelope:
    """Sign any bytes, statement or not, into an envelope."""
    signature = signer._key.sign(pae(PAYLOAD_TYPE, payload), ec.ECDSA(hashes.SHA256()))
    return Envelope(payload, signature, signer.public_key.key_id)


def statement(predicate_type: str, subject: Subject, predicate: Any) -> Statement[Any]:
    """A statement with one subject."""
    return Statement(
        type_=STATEMENT_TYPE,
        predicate=predicate,
        predicate_type=predicate_type,
        subject=(subject,),
    )


def key_event_statement(
    key: StatementSigner,
    principal: str,
    *,
    action: str = "add",
    roles: Sequence[str] = (),
    namespaces: Sequence[str] = (),
    **members: Any,
) -> Statement[Any]:
    """A key event about the public half of ``key``."""
    public = key.public_key
    event = key_event.KeyEvent(
        action=action,  # type: ignore[arg-type]
        key=base64_text(public.der),
        principal=principal,
        roles=tuple(roles),  # type: ignore[arg-type]
        namespaces=tuple(namespaces),
        issued_at=AT,
        **members,
    )
    subject = Subject.named(principal, bytes.fromhex(public.key_id))
    return statement(key_event.PREDICATE_TYPE, subject, event)


def a_manifest(files: dict[str, bytes] | None = None) -> Manifest:
    """The manifest of a folder with these files."""
    content = {"config.json": b"{}", "model.onnx": b"weights"} if files is None else files
    return Manifest.build(
        File(path=path, size=len(data), digest=DigestSet.of(data)) for path, data in content.items()
    )


def release_statement(
    manifest: Manifest, *, name: str = "acme/x", version: str = "1.2.0", **members: Any
) -> Statement[Any]:
    """A release of ``manifest``."""
    said = release.Release(
        name=name,
        version=version,
        files_root=manifest.files_root.hex(),
        files=tuple(release.ReleaseFile(path=file.path, role="weights") for file in manifest.files),
        issued_at=AT,
        **members,
    )
    subject = Subject.of(f"{name}@{version}", DigestSet.of(manifest.to_bytes()))
    return statement(release.PREDICATE_TYPE, subject, said)


def dataset_statement(
    *,
    name: str = "acme/reviews",
    version: str = "2026-08",
    contributors: Sequence[tuple[str, int]] = (("alice", 5), ("bob", 3)),
    **members: Any,
) -> Statement[Any]:
    """A dataset of one file."""
    data = f"rows of {name}@{version}".encode()
    files = (dataset.DatasetFile(path="rows.csv", size=len(data), digest=DigestSet.of(data)),)
    said = dataset.Dataset(
        name=name,
        version=version,
        files=files,
        merkle_root=dataset.merkle_root(files).hex(),
        licence="CC-BY-4.0",
        contributors=tuple(dataset.Contributor(id=key, share=n) for key, n in contributors),
        issued_at=AT,
        **members,
    )
    subject = Subject.of(f"{name}@{version}", DigestSet.of(dataset.files_bytes(said)))
    return statement(dataset.PREDICATE_TYPE, subject, said)


def attribution_statement(
    released: "Logged", datasets: Sequence["Logged"], **members: Any
) -> Statement[Any]:
    """An attribution of a release to datasets, in equal shares."""
    about = released.statement
    said = attribution.Attribution(
        release=released.record_id,
        name=about.predicate.name,
        version=about.predicate.version,
        scope="model",
        method="declared",
        datasets=tuple(
            attribution.DatasetShare(dataset=record_id, share=1)
            for record_id in sorted(item.record_id for item in datasets)
        ),
        issued_at=AT,
        **members,
    )
    subject = Subject.named(
        f"{said.name}@{said.version}", bytes.fromhex(about.subject[0].digest.sha256)
    )
    return statement(attribution.PREDICATE_TYPE, subject, said)


SHIM = "5" * 32
"""The id of a world's shim."""

BOOT = "b" * 32
"""The boot id of a world's shim."""


@dataclass
class Journal:
    """A shim's journal: records with the right numbers and chain."""

    shim_id: str = SHIM
    boot_id: str = BOOT
    records: list[bytes] = field(default_factory=list)

    def sequence(self) -> inference.Sequence:
        """Where the next record stands."""
        previous = inference.FIRST_PREVIOUS
        if self.records:
            previous = merkle.leaf_hash(self.records[-1]).hex()
        return inference.Sequence(
            shim_id=self.shim_id, boot_id=self.boot_id, n=len(self.records), prev_digest=previous
        )

    def append(self, record: inference.Record) -> bytes:
        """Write a record down."""
        self.records.append(inference.write(record))
        return self.records[-1]

    def boot(self) -> bytes:
        """Record the start of the shim."""
        return self.append(
            inference.Boot(sequence=self.sequence(), at=AT, prev_stop="first", software="mint 1")
        )

    def call(self, released: "Logged", output: bytes = OUTPUT, **members: Any) -> bytes:
        """Record a call: its intent and its completion. Returns the completion."""
        about = released.statement
        salt, request = sha256(b"salt" + output).hex(), sha256(b"request" + output).hex()
        intent = inference.Intent(
            sequence=self.sequence(),
            at=AT,
            release=released.record_id,
            request=request,
            salt=salt,
        )
        self.append(intent)
        completion: dict[str, Any] = {
            "sequence": self.sequence(),
            "at": AT,
            "intent_n": intent.sequence.n,
            "model": inference.Model(
                release=released.record_id,
                manifest=about.subject[0].digest.sha256,
                name=about.predicate.name,
                version=about.predicate.version,
            ),
            "binding": "artifact_verified",
            "request": request,
            "response": inference.Response(
                profile="output/bytes/v1",
                content_digest=sha256(output).hex(),
                wire_digest=sha256(output).hex(),
                complete=True,
            ),
            "runtime": inference.Runtime(engine="onnxruntime", version="1.22.0"),
            "uncovered": (),
            "salt": salt,
        }
        return self.append(inference.Completion(**(completion | members)))

    def batch_statement(self, first: int = 0, **members: Any) -> Statement[Any]:
        """A batch of the records from number ``first`` on."""
        records = self.records[first:]
        hashed = batch.hash_records(records)
        values: dict[str, Any] = {
            "shim_id": self.shim_id,
            "boot_id": self.boot_id,
            "n_first": first,
            "n_last": first + len(records) - 1,
            "count": len(records),
            "tree": "rfc6962-sha256",
            "root": hashed.root.hex(),
            "root_sha512": hashed.root_sha512.hex(),
            "leaves": DigestSet.of(batch.join_leaves(records)),
            "closed_at": AT,
        }
        subject = Subject.of(batch.SUBJECT_NAME, DigestSet.of(hashed.hashes_file))
        return statement(batch.PREDICATE_TYPE, subject, batch.Batch(**(values | members)))


@dataclass(frozen=True)
class Logged:
    """A statement that a world has registered."""

    statement: Statement[Any]
    envelope: Envelope
    index: int

    @property
    def record_id(self) -> str:
        """How other statements name it."""
        return f"sha256:{self.envelope.record_id.hex()}"


class World:
    """A log, its operator, and whoever was given a key.

    Attributes:
        log: Signs checkpoints.
        operator: Signs key events; admitted by entry 0.
        keys: The key of each principal.
        leaves: Leaf hashes, in log order.
        key_events: All key events, entry 0 included.
    """

    def __init__(self, origin: str = ORIGIN) -> None:
        self.log = LogSigner.generate(origin)
        self.operator = StatementSigner.generate()
        self.keys: dict[str, StatementSigner] = {"operator": self.operator}
        self.leaves: list[bytes] = []
        self.key_events: list[Logged] = []
        self.key_event("operator", roles=["operator"])

    def register(self, said: Statement[Any], signer: str | StatementSigner) -> Logged:
        """Sign a statement with a principal's key and append it to the log, unchecked."""
        key = self.keys[signer] if isinstance(signer, str) else signer
        return self.append(said, key.sign(said), key)

    def append(self, said: Statement[Any], envelope: Envelope, key: StatementSigner) -> Logged:
        """Append a signed statement to the log, unchecked."""
        body = entry.write(envelope.record_id, envelope.signature, key.public_key.der)
        self.leaves.append(merkle.leaf_hash(body))
        return Logged(said, envelope, len(self.leaves) - 1)

    def key_event(self, principal: str, *, signer: str = "operator", **members: Any) -> Logged:
        """Log a key event about a principal's key, which is created at its first mention."""
        key = self.keys.setdefault(principal, StatementSigner.generate())
        logged = self.register(key_event_statement(key, principal, **members), signer)
        self.key_events.append(logged)
        return logged

    def head(self) -> SignedCheckpoint:
        """A checkpoint over the whole log."""
        return self.log.sign(
            Checkpoint(self.log.key.name, len(self.leaves), merkle.root(self.leaves))
        )

    def proved(self, logged: Logged) -> LoggedEnvelope:
        """A statement with its proof in the log as it is now."""
        return LoggedEnvelope(
            logged.envelope.to_bytes(),
            logged.index,
            merkle.inclusion_path(self.leaves, logged.index),
        )

    def fill(self, size: int) -> None:
        """Let the log grow to ``size`` entries that nobody asks about."""
        self.leaves += [sha256(b"filler %d" % n) for n in range(len(self.leaves), size)]

    def capsule(self, told: "Told", **members: Any) -> Capsule:
        """The capsule of an output, as a registry would export it now.

        Keyword arguments replace what :func:`registry.core.capsule.build.build` is given.
        """
        parts: dict[str, Any] = {
            "log": self.log.key,
            "head": self.head(),
            "record": told.records[told.position],
            "position": told.position,
            "path": merkle.inclusion_path(
                [merkle.leaf_hash(data) for data in told.records], told.position
            ),
            "operator": self.proved(self.key_events[0]),
            "batch": self.proved(told.batch),
            "release": self.proved(told.release),
            "manifest": told.manifest.to_bytes(),
            "key_events": [self.proved(item) for item in self.key_events],
            "attributions": [self.proved(item) for item in told.attributions],
            "datasets": [self.proved(item) for item in told.datasets],
        }
        return build(**(parts | members))


@dataclass(frozen=True)
class Told:
    """Everything behind one output of a world.

    Attributes:
        records: The records of the batch.
        position: Which of them is about the output.
    """

    manifest: Manifest
    release: Logged
    batch: Logged
    records: tuple[bytes, ...]
    position: int
    datasets: tuple[Logged, ...] = ()
    attributions: tuple[Logged, ...] = ()

    def but(self, **members: Any) -> "Told":
        """The same story with something replaced."""
        return replace(self, **members)


def tell(world: World, *, calls: int = 3, output: bytes = OUTPUT) -> Told:
    """Let a world's log hold a whole story; ``output`` comes from the last call."""
    world.key_event("acme", roles=["publisher"], namespaces=["acme/*"])
    world.key_event("node-1", roles=["node"])
    data = world.register(dataset_statement(), "acme")
    manifest = a_manifest()
    released = world.register(
        release_statement(manifest, trained_on=(data.record_id,), licence="Apache-2.0"), "acme"
    )
    claim = world.register(attribution_statement(released, [data]), "acme")
    journal = Journal()
    journal.boot()
    for number in range(calls - 1):
        journal.call(released, b"another answer %d" % number)
    journal.call(released, output)
    batched = world.register(journal.batch_statement(), "node-1")
    return Told(
        manifest=manifest,
        release=released,
        batch=batched,
        records=tuple(journal.records),
        position=len(journal.records) - 1,
        datasets=(data,),
        attributions=(claim,),
    )
