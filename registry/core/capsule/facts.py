"""Facts: what a capsule says, as far as the link that carries it holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from registry.core.capsule.container import Capsule
from registry.core.capsule.existence import Seen
from registry.core.capsule.links import Link
from registry.core.capsule.report import (
    AttributionFact,
    DatasetFact,
    Facts,
    FileFact,
    LogFact,
    OutputFact,
    ReleaseFact,
    TimeFact,
)
from registry.core.capsule.signers import Read
from registry.core.records import attribution, dataset, inference, release
from registry.core.records.manifest import Manifest
from registry.core.tlog.checkpoint import Checkpoint


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
    principals: dict[str, str] = field(default_factory=dict)


def gather(capsule: Capsule, findings: Findings, links: Mapping[str, Link]) -> Facts:
    """Everything that was said by links that held when they were logged."""

    def holding(items: Mapping[str, Read | None]) -> list[tuple[str, Read, str]]:
        return [
            (name, item, findings.principals.get(name, ""))
            for name, item in items.items()
            if item is not None and links[name].holds
        ]

    head, record, said = findings.head, findings.record, findings.release
    return Facts(
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
    )


def _time(seen: Seen) -> TimeFact:
    return TimeFact(at=seen.at_text, authorities=seen.authorities, size=seen.size)


def _output(record: inference.Completion, batch_index: int, node: str) -> OutputFact:
    response, model, sequence = record.response, record.model, record.sequence
    return OutputFact(
        digest=f"sha256:{response.content_digest}",
        profile=response.profile,
        complete=response.complete,
        claimed_at=record.at,
        model=f"{model.name}@{model.version}",
        release=model.release,
        manifest=f"sha256:{model.manifest}",
        binding=record.binding,
        runtime=f"{record.runtime.engine} {record.runtime.version}",
        uncovered=record.uncovered,
        node=node,
        shim_id=sequence.shim_id,
        n=sequence.n,
        batch_index=batch_index,
    )


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
