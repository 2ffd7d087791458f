"""Building a capsule out of what a registry has, in the one order that a capsule has."""

from collections.abc import Iterable, Sequence

from registry.core.capsule.container import (
    MAX_CAPSULE_BYTES,
    MAX_INDEX_BYTES,
    MAX_PARTS,
    Capsule,
)
from registry.core.capsule.parts import Attested, Beside, LoggedEnvelope, Stamped, Verified
from registry.core.digest import sha256
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.note import VerifierKey
from registry.errors import LimitExceededError, Reason


def build(
    *,
    log: VerifierKey,
    head: SignedCheckpoint,
    record: bytes,
    position: int,
    path: Sequence[bytes],
    operator: LoggedEnvelope,
    batch: LoggedEnvelope,
    release: LoggedEnvelope | None = None,
    manifest: bytes | None = None,
    key_events: Iterable[LoggedEnvelope] = (),
    attributions: Iterable[LoggedEnvelope] = (),
    datasets: Iterable[LoggedEnvelope] = (),
    replays: Iterable[LoggedEnvelope] = (),
    foreign: Iterable[LoggedEnvelope] = (),
    foreign_parts: Iterable[bytes] = (),
    stamped: Stamped | None = None,
    verifications: Iterable[Verified] = (),
    trusted_roots: Iterable[bytes] = (),
    other_batches: Iterable[LoggedEnvelope] = (),
    setup: Beside | None = None,
    attached: Sequence[Beside] = (),
    attested: Attested | None = None,
) -> Capsule:
    """Sort what belongs into a capsule, drop what is there twice, and check the limits.

    Args:
        log: The key that signed ``head``.
        head: The checkpoint to which every inclusion proof leads.
        record: Leaf data of the inference record.
        position: Where the record stands in its batch.
        path: The record's inclusion proof in the batch.
        operator: Entry 0 of the log.
        batch: The batch statement.
        release: The release that the record names; None if the registry does not have it.
        manifest: The release's manifest; None leaves the list of files unproved.
        key_events: All key events of every key that signed something in the capsule; entry 0 may
            be among them.
        attributions: Attributions of the release.
        datasets: Datasets that the release or the attributions name.
        replays: What auditors say who ran the call again.
        foreign: What importers say of proofs of other systems.
        foreign_parts: What these proofs rest on.
        stamped: The smallest checkpoint with the batch that was stamped, with its timestamps.
        verifications: What the operator says of Sigstore bundles in which some of these came.
        trusted_roots: The trusted roots that the verifications name.
        other_batches: Batches with what stands beside the outcome; that of the outcome may be
            among them.
        setup: What ran, as the shim wrote it down before.
        attached: What became of the level that the caller asked for, in the order of the journal.
        attested: By what the node's key is attested; None if it is not.

    Raises:
        LimitExceededError: ``MALFORMED_CAPSULE``.
    """
    capsule = Capsule(
        log=log,
        checkpoint=head.note,
        record=record,
        position=position,
        path=tuple(path),
        operator=operator,
        batch=batch,
        release=release,
        manifest=manifest if release is not None else None,
        key_events=tuple(item for item in _ordered(key_events) if item.index != operator.index),
        attributions=_ordered(attributions),
        datasets=_ordered(datasets),
        replays=_ordered(replays),
        foreign=_ordered(foreign),
        foreign_parts=_blobs(foreign_parts),
        stamped=stamped,
        verifications=tuple(sorted(verifications, key=lambda item: item.said.index)),
        trusted_roots=_blobs(trusted_roots),
        other_batches=tuple(item for item in _ordered(other_batches) if item.index != batch.index),
        setup=setup,
        attached=tuple(attached),
        attested=Attested() if attested is None else _sorted(attested),
    )
    sizes = [len(data) for _, data in capsule.parts()]
    room = MAX_CAPSULE_BYTES - MAX_INDEX_BYTES
    if len(sizes) > MAX_PARTS or sum(sizes) > room:
        raise LimitExceededError(
            Reason.MALFORMED_CAPSULE,
            "this output has more behind it than a capsule takes",
            expected=f"at most {MAX_PARTS} parts and {room} bytes",
            actual=f"{len(sizes)} parts and {sum(sizes)} bytes",
            hint="leave out the manifest, or attributions and their datasets",
        )
    return capsule


def _ordered(items: Iterable[LoggedEnvelope]) -> tuple[LoggedEnvelope, ...]:
    by_index = {item.index: item for item in items}
    return tuple(by_index[index] for index in sorted(by_index))


def _blobs(items: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(sorted(set(items), key=sha256))


def _sorted(attested: Attested) -> Attested:
    return Attested(
        results=_ordered(attested.results),
        policies=_ordered(attested.policies),
        distrust=_ordered(attested.distrust),
        evidence=_blobs(attested.evidence),
        endorsements=_blobs(attested.endorsements),
    )
