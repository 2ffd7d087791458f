"""Lineage: an output leads to a capsule in which everything holds, or says what does not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.core.attestation.dsse import Envelope
from registry.core.capsule.container import Capsule
from registry.core.capsule.report import Report
from registry.core.capsule.walk import appraise
from registry.core.digest import sha256
from registry.core.verdict import Verdict
from registry.errors import NotFoundError, Reason
from tests.contracts.registry_under_test import UnderTest, opened
from tests.mint import (
    OUTPUT,
    Journal,
    Logged,
    a_manifest,
    attribution_statement,
    dataset_statement,
    release_statement,
)


@pytest.fixture
def registry(tmp_path: Path, url: str) -> Iterator[UnderTest]:
    """A registry on either database, that has recorded ``OUTPUT``."""
    with opened(tmp_path / "data", url) as registry:
        files = {"notes.txt": b"what it is", "weights.bin": b"weights"}
        manifest = a_manifest(files)
        for data in (*files.values(), manifest.to_bytes()):
            registry.services.artifacts.put(data)
        said = dataset_statement()
        dataset = logged(registry, said, registry.register(said).index)
        said = release_statement(manifest, trained_on=(dataset.record_id,))
        release = logged(registry, said, registry.register(said).index)
        registry.register(attribution_statement(release, [dataset]))
        journal = Journal()
        journal.boot()
        journal.call(release, OUTPUT)
        registry.register_batch(journal.batch_statement(), journal.records)
        yield registry


def logged(registry: UnderTest, said: object, index: int) -> Logged:
    envelope: Envelope = registry.keys["acme"].sign(said)  # type: ignore[arg-type]
    return Logged(said, envelope, index)  # type: ignore[arg-type]


def traced(registry: UnderTest, output: bytes = OUTPUT) -> Report:
    """What a reader says who got the capsule, and knows the log's key from elsewhere."""
    data, _, _ = registry.services.lineage.trace([sha256(output)], None)
    return appraise(Capsule.parse(data), registry.services.signer.key, [sha256(output)])


def test_a_recorded_output_leads_to_a_capsule_that_holds(registry: UnderTest) -> None:
    report = traced(registry)
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.VALID)


def test_the_capsule_leads_back_to_publisher_and_contributors(registry: UnderTest) -> None:
    facts = traced(registry).facts
    assert facts.output is not None
    assert facts.release is not None
    assert (facts.output.node, facts.release.publisher) == ("node-1", "acme")
    assert [item.path for item in facts.files] == ["notes.txt", "weights.bin"]
    [dataset] = facts.datasets
    assert [item.id for item in dataset.contributors] == ["alice", "bob"]
    assert len(facts.attributions) == 1


def test_an_output_that_nobody_recorded_is_unknown(registry: UnderTest) -> None:
    with pytest.raises(NotFoundError) as caught:
        traced(registry, b"nobody said this")
    assert caught.value.reason is Reason.UNKNOWN_OUTPUT


def test_a_node_that_left_in_good_order_stays_believable(registry: UnderTest) -> None:
    registry.services.access.revoke("node-1", compromised=False)
    assert traced(registry).verdict_now is Verdict.VALID


def test_a_node_whose_key_was_compromised_later_is_open_as_now(registry: UnderTest) -> None:
    registry.services.access.revoke("node-1", compromised=True)
    report = traced(registry)
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.INDETERMINATE)


def test_the_capsule_holds_what_became_of_the_operators_key(registry: UnderTest) -> None:
    access = registry.services.access
    key = access._operator.public_key
    access._log_key("compromise", key, "operator", ("operator",), ())
    report = traced(registry)
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.INDETERMINATE)
