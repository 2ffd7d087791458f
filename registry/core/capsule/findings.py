"""Findings: what the walk could read on its way, and the facts that its links carry."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from registry.core.capsule import covering, foreign, replays
from registry.core.capsule.attestation import ATTESTATION, GPU, Environments
from registry.core.capsule.beside import Judged
from registry.core.capsule.bound import strongest
from registry.core.capsule.container import Capsule
from registry.core.capsule.covering import Covering
from registry.core.capsule.existence import Seen
from registry.core.capsule.facts import (
    TEE_NAMES,
    AttestationFact,
    AttributionFact,
    DatasetFact,
    Facts,
    FileFact,
    LogFact,
    OutputFact,
    ReleaseFact,
    TimeFact,
)
from registry.core.capsule.links import Link
from registry.core.capsule.signers import Read
from registry.core.evidence.validity import Validity
from registry.core.records import attribution, dataset, inference, release
from registry.core.records.manifest import Manifest
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.verdict import Verdict


@dataclass
class Findings:
    """What the walk could read on its way; mutable, and private to one walk.

    Attributes:
        principals: For whom the key of a statement spoke when it was logged, by part name.
    """

    head: Checkpoint | None = None
    seen: Seen | None = None
    batch: Read | None = None
    record: inference.Completion | None = None
    release: Read | None = None
    manifest: Manifest | None = None
    datasets: dict[str, Read | None] = field(default_factory=dict)
    attributions: dict[str, Read | None] = field(default_factory=dict)
    replays: dict[str, Read | None] = field(default_factory=dict)
    foreign: dict[str, Read | None] = field(default_factory=dict)
    other_batches: dict[str, Read | None] = field(default_factory=dict)
    beside: Judged = field(default_factory=Judged)
    environments: Environments = field(default_factory=Environments)
    principals: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, str]:
        """The paths of the version's files by their SHA-256; none if they are not listed."""
        listed = () if self.manifest is None else self.manifest.files
        return {file.digest.sha256: file.path for file in listed}


def gather(capsule: Capsule, findings: Findings, links: Mapping[str, Link]) -> Facts:
    """Everything that was said by links that held when they were logged."""

    def holding(items: Mapping[str, Read | None]) -> list[tuple[str, Read, str]]:
        return [
            (name, item, findings.principals.get(name, ""))
            for name, item in items.items()
            if item is not None and links[name].holds
        ]

    head, record, said = findings.head, findings.record, findings.release
    sure = {name for name, link in links.items() if link.sure}
    facts = Facts(
        log=None
        if head is None
        else LogFact(origin=head.origin, size=head.size, root=head.root.hex()),
        time=None if findings.seen is None else _time(findings.seen),
        output=None
        if record is None or not links["record"].holds
        else _output(record, capsule.batch.index, findings.principals.get("batch", "")),
        release=None
        if said is None or not links["release"].holds
        else _release(said, findings.principals.get("release", "")),
        files=()
        if said is None or findings.manifest is None or not links["manifest"].holds
        else _files(findings.manifest, said.statement.predicate),
        datasets=tuple(_dataset(*item) for item in holding(findings.datasets)),
        attributions=tuple(_attribution(*item) for item in holding(findings.attributions)),
        replays=tuple(replays.fact(item, who) for _, item, who in holding(findings.replays)),
        foreign=tuple(
            foreign.fact(item, who, capsule.foreign_parts, findings.environments.distrusted)
            for _, item, who in holding(findings.foreign)
        ),
        setup=findings.beside.setup,
        attached=tuple(findings.beside.attached),
        attestations=tuple(_attestations(findings.environments, links)),
        unattested=findings.environments.unattested,
    )
    return msgspec.structs.replace(facts, bound=strongest(facts, sure))


def _attestations(found: Environments, links: Mapping[str, Link]) -> Iterator[AttestationFact]:
    for name, cover in zip((ATTESTATION, GPU), found.covers, strict=False):
        if links[name].holds:
            yield _attestation(found, cover, name, links[name])


def _attestation(found: Environments, cover: Covering, name: str, link: Link) -> AttestationFact:
    environment, said = cover.environment, cover.said
    again = found.reappraisals[cover.index]
    policy = again.policies.get(cover.family)
    bound = [GPU] if name == GPU else ["session key"]
    bound += ["model"] if covering.model_of(environment) else []
    bound += ["GPUs"] if covering.gpu_of(environment) else []
    return AttestationFact(
        part=again.name,
        index=cover.index,
        family=cover.family,
        tee=TEE_NAMES[cover.family],
        evidence_id=cover.evidence,
        tier=environment.status,
        tcb_status=environment.claims.get("tcb_status", ""),
        in_force_from=Validity.text(said.issued_at),
        in_force_until=Validity.text(said.expires_at),
        policy="" if policy is None else policy.name,
        policy_sha256=environment.policy,
        verifier=f"{said.verifier.build} of {said.verifier.developer}",
        bound_to=tuple(bound),
        findings=tuple(
            f"{item.check} {item.finding}: {item.detail}"
            for item in environment.checks
            if item.outcome == "fail"
        ),
        configured_roots=environment.configured_roots,
        refuted="" if link.now.verdict is Verdict.VALID else link.now.detail,
    )


def _time(seen: Seen) -> TimeFact:
    return TimeFact(at=seen.at_text, authorities=seen.authorities, size=seen.size)


def _output(record: inference.Completion, batch_index: int, node: str) -> OutputFact:
    response, model, sequence = record.response, record.model, record.sequence
    course = record.course
    return OutputFact(
        digest=f"sha256:{response.content_digest}",
        profile=response.profile,
        complete=response.complete,
        claimed_at=record.at,
        model=f"{model.name}@{model.version}",
        release=model.release,
        manifest=f"sha256:{model.manifest}",
        binding=record.binding,
        runtime=f"{record.runtime.engine} {record.runtime.version}".strip(),
        uncovered=record.uncovered,
        node=node,
        shim_id=sequence.shim_id,
        n=sequence.n,
        batch_index=batch_index,
        asked=_asked(record),
        params={} if course is msgspec.UNSET else course.params,
        added_us=None if course is msgspec.UNSET else course.added_us,
    )


def _asked(record: inference.Completion) -> str:
    if record.asked is msgspec.UNSET:
        return ""
    return f"{record.asked}, within {record.deadline_ms} ms"


def _release(item: Read, publisher: str) -> ReleaseFact:
    said: release.Release = item.statement.predicate
    return ReleaseFact(
        record_id=item.record_id,
        name=f"{said.name}@{said.version}",
        manifest=f"sha256:{item.statement.subject[0].digest.sha256}",
        publisher=publisher,
        index=item.index,
        claimed_at=said.issued_at,
        licence=said.licence,
        trained_on=said.trained_on,
        parents=said.parents,
    )


def _files(manifest: Manifest, said: release.Release) -> tuple[FileFact, ...]:
    return tuple(
        FileFact(
            path=file.path, size=file.size, digest=f"sha256:{file.digest.sha256}", role=known.role
        )
        for file, known in zip(manifest.files, said.files, strict=True)
    )


def _dataset(part: str, item: Read, publisher: str) -> DatasetFact:
    said: dataset.Dataset = item.statement.predicate
    return DatasetFact(
        part=part,
        record_id=item.record_id,
        name=f"{said.name}@{said.version}",
        publisher=publisher,
        index=item.index,
        licence=said.licence,
        files=len(said.files),
        contributors=said.contributors,
    )


def _attribution(part: str, item: Read, issuer: str) -> AttributionFact:
    said: attribution.Attribution = item.statement.predicate
    return AttributionFact(
        part=part,
        record_id=item.record_id,
        issuer=issuer,
        index=item.index,
        method=said.method,
        datasets=said.datasets,
    )
