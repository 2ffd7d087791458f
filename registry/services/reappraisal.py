"""Judges known evidence again, as of now, and says what that changes.

Each piece of evidence gets one more result; earlier ones stay as they are. What is judged is a
snapshot: the distrust list is read once for a whole run, the newest endorsements for each piece.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import msgspec

from registry.core.attestation.dsse import Envelope
from registry.core.capsule.covering import gpu_of
from registry.core.evidence.appraisal import Question
from registry.core.evidence.binding import GPU_FAMILIES, Binding
from registry.core.evidence.claims import MAX_EVIDENCE_BYTES, Family
from registry.core.evidence.distrust import Entry
from registry.core.evidence.effect import Effect, effect_of
from registry.core.evidence.endorsements import MAX_ENDORSEMENT_BYTES, Endorsements, Role
from registry.core.evidence.families import rules_of
from registry.core.evidence.result import Environment, Material
from registry.core.records import batch, inference, predicate, release
from registry.errors import NotFoundError, Reason, RegistryError, UnavailableError
from registry.services.appraisal import Appraisals, environment_of
from registry.services.appraisal_policies import AppraisalPolicies
from registry.services.attested import of_batch
from registry.services.challenges import LIFE, Clock
from registry.services.keyring import Keyring
from registry.storage.blobs.port import BlobStore
from registry.storage.sql import attestations, catalog, log
from registry.storage.sql.attestations import StoredResult
from registry.storage.sql.catalog import StoredBatch
from registry.storage.sql.engine import Database
from registry.storage.sql.log import StoredEntry

PAGE = 100
"""Pieces of evidence that are looked up at a time."""

MAX_RELEASES = 100_000
"""Releases among which the versions of a model digest are looked for."""

MAX_AFFECTED = 10_000
"""Batches that one changed verdict is told to affect."""


MAX_BETWEEN = 10_000
"""Results of others between those about GPUs and that of the CPU that vouches for them."""


@dataclass(frozen=True, slots=True)
class AffectedBatch:
    """A batch that a key signed while a result was in force that no longer holds."""

    index: int
    shim_id: bytes
    n_first: int
    n_last: int
    outputs: int


@dataclass(frozen=True, slots=True)
class Change:
    """What judging one piece of evidence again came to.

    Attributes:
        entry: The new result.
        evidence_id: The evidence.
        before: The verdict of the newest result before.
        now: The verdict of the new one.
        effect: What is other than before, and why.
        principal: Whose session key it is about, or the evidence of the CPU that vouches for
            these GPUs; empty if nobody's.
        key_id: That key; empty if it is bound to none.
        versions: Names and versions of the model that it is bound to.
        batches: Unless all is as before: what the key signed while an earlier result was in force.
    """

    entry: StoredEntry
    evidence_id: bytes
    before: str
    now: str
    effect: Effect
    principal: str
    key_id: str
    versions: tuple[str, ...]
    batches: tuple[AffectedBatch, ...]


@dataclass(frozen=True, slots=True)
class _Run:
    """What all evidence of one run is judged and told by."""

    distrusted: Sequence[Entry]
    releases: Callable[[], dict[str, tuple[str, ...]]]


class Reappraisal:
    """Adds results as of now."""

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        keyring: Keyring,
        appraisals: Appraisals,
        policies: AppraisalPolicies,
        clock: Clock,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._keyring = keyring
        self._appraisals = appraisals
        self._policies = policies
        self._clock = clock

    def run(self, evidence_id: bytes = b"") -> Iterator[Change]:
        """Judge one piece of evidence again, or all; each change comes as soon as it is logged.

        Raises:
            NotFoundError: ``UNKNOWN_EVIDENCE``.
            UnavailableError: Why nothing more can be judged or logged; what was before it stays.
            RegistryError: Why some evidence cannot be judged, such as that its bytes are lost; it
                comes after the changes of all the rest.
        """
        run = _Run(self._policies.distrusted(), cache(self._releases))
        if evidence_id:
            rows = self._appraisals.about(evidence_id)
            if not rows:
                raise NotFoundError(
                    Reason.UNKNOWN_EVIDENCE,
                    "no attestation result of this evidence is registered",
                    where=evidence_id.hex()[:64],
                )
            authentic = [row for row in rows if row.is_authentic]
            yield self._again((authentic or rows)[0], run)
            return
        start = 0
        failed: list[tuple[bytes, RegistryError]] = []
        while page := self._page(start):
            for row in page:
                try:
                    change = self._again(row, run)
                except UnavailableError:
                    raise
                except RegistryError as error:
                    # One lost blob must not keep an advisory from everything behind it.
                    failed.append((row.evidence, error))
                else:
                    yield change
            start = page[-1].index + 1
        if failed:
            raise _left_out(failed)

    def _page(self, start: int) -> list[StoredResult]:
        with self._database.read() as connection:
            return attestations.firsts(connection, start, PAGE)

    def _again(self, first: StoredResult, run: "_Run") -> Change:
        distrusted = run.distrusted
        family = Family(first.family)
        with self._database.read() as connection:
            known = attestations.about(connection, first.evidence)
            newest = [row for row in known if row.family == family][-1]
            entries = [log.entry(connection, row.index) for row in (first, newest)]
        original, latest = (environment_of(_there(entry), family) for entry in entries)
        at = self._clock()
        material = self._material(family, original, latest, distrusted, at)
        stated = _stated(original)
        question = Question(
            now=True, stated=stated, expected=stated or Binding(), distrusted=distrusted
        )
        result, material = self._appraisals.judge(family, material, question, at)
        holder, bound = self._holder(first, stated)
        model = None if bound is None or bound.model is None else bound.model.hex()
        entry = self._appraisals.record(result, material)
        made = result.submods[family]
        effect = effect_of(latest, made, material.policy, rules_of(family))
        return Change(
            entry=entry,
            evidence_id=first.evidence,
            before=newest.verdict,
            now=made.verdict.value,
            effect=effect,
            principal=self._principal(holder.key_id),
            key_id=holder.key_id,
            versions=() if model is None else run.releases().get(model, ()),
            batches=() if effect is Effect.UNCHANGED else self._affected(holder),
        )

    def _holder(
        self, first: StoredResult, stated: Binding | None
    ) -> tuple[StoredResult, Binding | None]:
        """The result that is bound to a key, and to what: of GPUs, that of their CPU."""
        if first.family not in GPU_FAMILIES:
            return first, stated
        # The CPU answers the same challenge, after them.
        latest = first.issued_at + int(LIFE.total_seconds())
        with self._database.read() as connection:
            for row in attestations.after(connection, first.index, MAX_BETWEEN):
                if row.issued_at > latest:
                    break
                if row.family in GPU_FAMILIES or row.question != "then":
                    continue
                environment = environment_of(_there(log.entry(connection, row.index)), row.family)
                if gpu_of(environment) == first.evidence.hex():
                    return row, _stated(environment)
        return first, stated

    def _material(
        self,
        family: Family,
        original: Environment,
        latest: Environment,
        distrusted: Sequence[Entry],
        at: datetime,
    ) -> Material:
        """The evidence, with fetched endorsements instead of the archived ones of their role."""
        evidence = self._blobs.read(bytes.fromhex(original.raw_evidence), MAX_EVIDENCE_BYTES)
        fetched = self._appraisals.fetch(family, evidence, at)
        newer = {role for role, _ in fetched}
        archived: list[tuple[Role, bytes]] = [
            (item.role, self._blobs.read(bytes.fromhex(item.sha256), MAX_ENDORSEMENT_BYTES))
            for item in latest.endorsements
            if item.role not in newer
        ]
        endorsements = Endorsements.of([*archived, *fetched])
        policy = self._policies.of_digest(original.policy)
        return Material(evidence, endorsements, policy, distrusted)

    def _principal(self, key_id: str) -> str:
        events = self._keyring.events(key_id)
        return events[-1].event.principal if events else ""

    def _releases(self) -> dict[str, tuple[str, ...]]:
        """Names and versions of every model digest."""
        with self._database.read() as connection:
            found = catalog.find(connection, release.PREDICATE_TYPE, limit=MAX_RELEASES)
        named: dict[str, tuple[str, ...]] = {}
        for listed, entry in found:
            manifest = _manifest(entry)
            named[manifest] = (*named.get(manifest, ()), f"{listed.name}@{listed.version}")
        return named

    def _affected(self, first: StoredResult) -> tuple[AffectedBatch, ...]:
        if not first.key_id:
            return ()
        with self._database.read() as connection:
            signed = catalog.batches_of_key(connection, first.key_id, first.index)
            touched = []
            for stored in signed:
                found = of_batch(connection, stored.index)
                if found is not None and found.listed.evidence == first.evidence:
                    touched.append(stored)
        return tuple(
            AffectedBatch(
                stored.index, stored.shim_id, stored.n_first, stored.n_last, self._outputs(stored)
            )
            for stored in touched[:MAX_AFFECTED]
        )

    def _outputs(self, stored: StoredBatch) -> int:
        leaves = self._blobs.read(stored.leaves, batch.MAX_LEAVES_BYTES)
        records = (inference.parse(item) for item in batch.split_leaves(leaves))
        return sum(isinstance(record, inference.Completion) for record in records)


def _left_out(failed: Sequence[tuple[bytes, RegistryError]]) -> RegistryError:
    evidence, first = failed[0]
    return type(first)(
        first.reason,
        f"{len(failed)} pieces of evidence could not be judged again, all others were",
        where=", ".join(name.hex() for name, _ in failed[:4]),
        actual=f"{evidence.hex()}: {first}"[:400],
        hint="run: provreg log fsck",
    )


def _manifest(entry: StoredEntry) -> str:
    statement = predicate.parse(Envelope.parse(entry.envelope).payload)
    return statement.subject[0].digest.sha256


def _stated(environment: Environment) -> Binding | None:
    said = environment.stated
    return None if isinstance(said, msgspec.UnsetType) else said.binding()


def _there(entry: StoredEntry | None) -> StoredEntry:
    if entry is None:
        raise AssertionError("what is listed is in the log")
    return entry
