"""What a capsule carries of its node's environment: results, policies, distrust, evidence.

The rule by which a result covers an output is the reader's own (:mod:`registry.core.capsule
.covering`); what does not cover it is left out, and the output is unattested.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from registry.core.attestation.dsse import Envelope
from registry.core.capsule import covering
from registry.core.capsule.covering import Covering, Signing
from registry.core.capsule.parts import MAX_DISTRUST, Attested, LoggedEnvelope
from registry.core.evidence.binding import GPU_FAMILIES
from registry.core.evidence.claims import MAX_EVIDENCE_BYTES, Family
from registry.core.evidence.distrust import Entry
from registry.core.evidence.endorsements import MAX_ENDORSEMENT_BYTES
from registry.core.evidence.result import AttestationResult, Environment, entry_digest
from registry.core.foreign.proof import ForeignProof
from registry.core.records import appraisal_policy, distrust_entry, predicate
from registry.errors import LimitExceededError, NotFoundError
from registry.services.sources import Sources
from registry.storage.blobs.port import BlobStore
from registry.storage.sql import attestations, catalog, log
from registry.storage.sql.attestations import StoredResult
from registry.storage.sql.engine import Connection

MAX_LOOKED_AT = 64
"""Results about one key or one piece of evidence that are looked at, newest first."""

MAX_DISTRUST_LOOKED_AT = 1000
"""Distrust entries that are looked at."""

MAX_MATERIAL_BYTES = 12 * 1024 * 1024
"""Bytes of evidence and endorsements in a capsule that is sent; the rest stays unproved."""


def gather(
    connection: Connection, blobs: BlobStore, sources: Sources, signing: Signing
) -> Attested:
    """Everything that a reader needs to judge the environment of an output; may be nothing.

    Args:
        connection: Where results are listed.
        blobs: Where their evidence is.
        sources: Proves statements.
        signing: What has to be covered.
    """
    cover = _cover(connection, signing)
    if cover is None:
        return Attested()
    covers = [cover, *_gpu(connection, cover, signing)]
    chosen = [*covers, *(item for each in covers for item in _later(connection, each, sources))]
    said = {item.index: item.said for item in chosen}
    environments = [each for result in said.values() for each in result.submods.values()]
    return Attested(
        results=tuple(sources.at(index) for index in sorted(said)),
        policies=tuple(_policies(connection, sources, environments)),
        distrust=tuple(_distrust(connection, sources, chosen)),
        **_material(blobs, environments),
    )


def _cover(connection: Connection, signing: Signing) -> Covering | None:
    listed = attestations.in_force(connection, signing.key_id, signing.at, signing.batch)
    found = None if listed is None else _covers(connection, [listed], signing)
    if found is not None:
        return found
    # The newest may be bound to another model that the same node serves.
    of_key = [
        item
        for item in attestations.of_key(connection, signing.key_id)
        if item.index < signing.batch and item.issued_at <= signing.at < item.expires_at
    ]
    return _covers(connection, of_key[-MAX_LOOKED_AT:], signing)


def _covers(
    connection: Connection, candidates: Sequence[StoredResult], signing: Signing
) -> Covering | None:
    again = [
        later
        for item in candidates
        for later in attestations.about(connection, item.evidence)
        if item.index < later.index < signing.batch
    ]
    found = covering.find(_load(connection, [*candidates, *again]), signing)
    return found if isinstance(found, Covering) else None


def _gpu(connection: Connection, cover: Covering, signing: Signing) -> Iterator[Covering]:
    gpu_id = covering.gpu_of(cover.environment)
    if gpu_id:
        listed = attestations.about(connection, bytes.fromhex(gpu_id))
        before = [item for item in listed if item.index < signing.batch]
        found = covering.find_gpu(_load(connection, before), signing, gpu_id)
        if isinstance(found, Covering):
            yield found


def _later(connection: Connection, cover: Covering, sources: Sources) -> Iterator[Covering]:
    """What was made last of the same evidence, of each question."""
    listed = attestations.about(connection, bytes.fromhex(cover.evidence))
    newer = [item for item in listed if cover.index < item.index < sources.size]
    newest = {
        item.environment.question: item
        for item in covering.environments(_load(connection, newer))
        if item.again(cover)
    }
    yield from newest.values()


def _load(
    connection: Connection, listed: Iterable[StoredResult]
) -> list[tuple[int, AttestationResult]]:
    indices = sorted({item.index for item in listed})[-MAX_LOOKED_AT:]
    stored = [log.entry(connection, index) for index in indices]
    return [
        (item.index, predicate.parse(Envelope.parse(item.envelope).payload).predicate)
        for item in stored
        if item is not None
    ]


def _policies(
    connection: Connection, sources: Sources, environments: Iterable[Environment]
) -> Iterator[LoggedEnvelope]:
    for name in sorted({environment.policy for environment in environments}):
        kind = appraisal_policy.PREDICATE_TYPE
        for _, stored in catalog.find(connection, kind, version=name, limit=1):
            if stored.index < sources.size:
                yield sources.entry(stored)


def _distrust(
    connection: Connection, sources: Sources, chosen: Sequence[Covering]
) -> list[LoggedEnvelope]:
    """The entries that results name, then those that may apply to them now."""
    named = {name for item in chosen for name in item.environment.distrusted}
    kind = distrust_entry.PREDICATE_TYPE
    found: list[tuple[bool, LoggedEnvelope]] = []
    for _, stored in catalog.find(connection, kind, limit=MAX_DISTRUST_LOOKED_AT):
        entry: Entry = predicate.parse(Envelope.parse(stored.envelope).payload).predicate
        applied = entry_digest(entry) in named
        if stored.index < sources.size and (applied or any(_may_hit(entry, e) for e in chosen)):
            found.append((applied, sources.entry(stored)))
    found.sort(key=lambda item: not item[0])
    return [item for _, item in found[:MAX_DISTRUST]]


def with_proofs(
    connection: Connection, sources: Sources, attested: Attested, proofs: Sequence[ForeignProof]
) -> Attested:
    """What is carried, with what may be distrusted of the evidence in other systems' proofs."""
    claims = [
        proof.environment.claims for proof in proofs if isinstance(proof.environment, Environment)
    ]
    if not claims:
        return attested
    found = list(attested.distrust)
    known = {item.index for item in found}
    kind = distrust_entry.PREDICATE_TYPE
    for _, stored in catalog.find(connection, kind, limit=MAX_DISTRUST_LOOKED_AT):
        if stored.index in known or stored.index >= sources.size:
            continue
        entry: Entry = predicate.parse(Envelope.parse(stored.envelope).payload).predicate
        # A proof names no family, and nothing of GPUs.
        of_gpu = entry.selector.family is Family.NVIDIA_SPDM
        if of_gpu or any(_selects(entry, each) for each in claims):
            found.append(sources.entry(stored))
    return replace(attested, distrust=tuple(found[:MAX_DISTRUST]))


def _may_hit(entry: Entry, item: Covering) -> bool:
    """Whether an entry may select evidence, as far as a result tells its claims."""
    selector = entry.selector
    if item.family in GPU_FAMILIES and selector.family is Family.NVIDIA_SPDM:
        # The claims of a set's members are not in its result.
        return True
    return selector.family is item.family and _selects(entry, item.environment.claims)


def _selects(entry: Entry, claims: Mapping[str, str]) -> bool:
    selector = entry.selector
    exactly = all(claims.get(name) == wanted for name, wanted in selector.claims.items())
    below = all(
        (text := claims.get(name, "")).isdecimal() and int(text) < limit
        for name, limit in selector.below.items()
    )
    return exactly and below


def _material(
    blobs: BlobStore, environments: Iterable[Environment]
) -> dict[str, tuple[bytes, ...]]:
    """Evidence and endorsements, as far as they are stored and there is room."""
    room = MAX_MATERIAL_BYTES
    held: dict[str, dict[str, bytes]] = {"evidence": {}, "endorsements": {}}
    for environment in environments:
        named = [("evidence", environment.raw_evidence, MAX_EVIDENCE_BYTES)]
        named += [
            ("endorsements", item.sha256, MAX_ENDORSEMENT_BYTES)
            for item in environment.endorsements
        ]
        for kind, name, most in named:
            if name in held[kind]:
                continue
            try:
                data = blobs.read(bytes.fromhex(name), min(most, room))
            except (NotFoundError, LimitExceededError):
                # The reader is told that something is missing; what is there still helps.
                continue
            held[kind][name] = data
            room -= len(data)
    return {kind: tuple(found.values()) for kind, found in held.items()}
