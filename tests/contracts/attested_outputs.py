"""One output of a node that may be attested, from its release to the capsule that a reader judges.

::

    release = publish(world)
    keep_attested(world, release, family, mint)     # or not
    record(world, release)
    report, capsule = traced(world)
"""

from dataclasses import dataclass

from registry.core.attestation.dsse import Envelope
from registry.core.capsule.container import Capsule
from registry.core.capsule.report import Report
from registry.core.capsule.walk import appraise
from registry.core.digest import sha256
from registry.core.verdict import Verdict
from tests.attesting import Attesting
from tests.mint import OUTPUT, Journal, Logged, a_manifest, release_statement


@dataclass(frozen=True)
class Published:
    """A release in the log, and the manifest digest that evidence is bound to."""

    logged: Logged
    manifest: bytes


def publish(world: Attesting) -> Published:
    """Publish a model."""
    under = world.under
    files = {"notes.txt": b"what it is", "weights.bin": b"weights"}
    manifest = a_manifest(files)
    for data in (*files.values(), manifest.to_bytes()):
        under.services.artifacts.put(data)
    said = release_statement(manifest)
    index = under.register(said).index
    envelope: Envelope = under.keys["acme"].sign(said)
    return Published(Logged(said, envelope, index), sha256(manifest.to_bytes()))


def record(world: Attesting, published: Published | None = None) -> None:
    """Let the node record one output of a model."""
    release = published or publish(world)
    journal = Journal()
    journal.boot()
    journal.call(release.logged, OUTPUT)
    world.under.register_batch(journal.batch_statement(), journal.records)


def traced(world: Attesting) -> tuple[Report, Capsule]:
    """What a reader says who got the capsule, and knows the log's key from elsewhere."""
    services = world.under.services
    data, _, _ = services.lineage.trace([sha256(OUTPUT)], None)
    capsule = Capsule.parse(data)
    return appraise(capsule, services.signer.key, [sha256(OUTPUT)]), capsule


def verdicts(report: Report, link: str) -> tuple[Verdict, Verdict]:
    """As-then and as-now."""
    return (
        next(item.verdict for item in report.checks_then if item.link == link),
        next(item.verdict for item in report.checks_now if item.link == link),
    )
