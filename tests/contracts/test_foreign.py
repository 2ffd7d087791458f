"""Imported proofs: what they rest on is here when they are logged, and missed if it is gone."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from registry.config import ServerSettings
from registry.core import encoding
from registry.core.access import Principal
from registry.core.attestation.statement import Statement
from registry.core.capsule import foreign
from registry.core.capsule.container import Capsule
from registry.core.capsule.walk import appraise
from registry.core.digest import sha256
from registry.core.evidence.claims import Family
from registry.core.evidence.distrust import Entry, Selector
from registry.core.foreign.captured import Asked, Captured, PartRole
from registry.core.foreign.proof import ForeignProof, System
from registry.core.foreign.systems import examine, redo
from registry.core.profiles import raw
from registry.core.records import foreign_proof, inference
from registry.core.verdict import Verdict
from registry.errors import ForbiddenError, NotFoundError, Reason, RefusedError
from registry.server.app import open_services
from registry.server.offline import Stopped, open_offline
from registry.services.audit import check_log
from registry.services.faults import Kind
from registry.services.indexing import rebuild
from registry.signing.file import StatementSigner
from registry.storage.sql import tables as t
from tests.contracts.registry_under_test import UnderTest, opened
from tests.mint import OUTPUT, Journal, Logged, a_manifest, release_statement
from tools.fake_vendor import air, near
from tools.fake_vendor.caught import NOON, Caught

CAUGHT = Captured.of(item for item in air.mint().parts if item[0] is not PartRole.EVIDENCE)
PARTS = {role: data for role, items in CAUGHT.parts.items() for data in items}


def nobody(_what: str, _done: int) -> None:
    """Tell nobody."""


@pytest.fixture
def settings(tmp_path: Path, url: str) -> ServerSettings:
    return ServerSettings(tmp_path / "data", database=url)


@pytest.fixture
def imported(settings: ServerSettings) -> str:
    """Import a proof whose request is withheld; under what it is listed."""
    asked = Asked(NOON, withheld=frozenset({PartRole.REQUEST}))
    examined = examine(System.AIR, CAUGHT, asked)
    statement = foreign_proof.build(examined.proof, examined.outputs)
    with open_services(settings) as (services, _):
        world = UnderTest(services, {})
        for role in (PartRole.RECEIPT, PartRole.KEY):
            services.artifacts.put(PARTS[role])
        with pytest.raises(RefusedError) as caught:
            world.ask(statement)
        assert caught.value.reason is Reason.MISSING_BLOB
        services.artifacts.put(PARTS[PartRole.RESPONSE])
        index = world.register(statement).index
        listed = services.registration.list(
            foreign_proof.PREDICATE_TYPE, examined.proof.output, "", 0, 10
        )
        assert [item.index for item, _ in listed] == [index]
        with pytest.raises(NotFoundError):
            services.artifacts.stat(sha256(PARTS[PartRole.REQUEST]))
    return examined.proof.output


def faults(stopped: Stopped) -> set[Kind]:
    with closing(stopped.folder.checkpoint_lock(None, stopped.key)) as lock:
        newest = lock.newest
    audited = check_log(stopped.database, stopped.blobs, stopped.key, newest, nobody)
    return {fault.kind for fault in audited.faults}


def test_a_proof_is_listed_again_after_a_rebuild(settings: ServerSettings, imported: str) -> None:
    with open_offline(settings) as stopped:
        with stopped.database.write() as connection:
            for table in t.DERIVED:
                connection.execute(delete(table))
        rebuild(stopped.database, stopped.blobs, nobody)
        with stopped.database.read() as connection:
            names = connection.execute(select(t.statements.c.name)).scalars().all()
        assert imported in names
        assert faults(stopped) == set()


def test_importing_again_after_a_crash_finds_what_is_there(
    settings: ServerSettings, imported: str
) -> None:
    asked = Asked(NOON, withheld=frozenset({PartRole.REQUEST}))
    examined = examine(System.AIR, CAUGHT, asked)
    statement = foreign_proof.build(examined.proof, examined.outputs)
    other = air.mint(air.Spec(claims=lambda claims: {**claims, -65545: 99}))
    receipt = dict(other.parts)[PartRole.RECEIPT]
    with open_services(settings) as (services, _):
        keys = {"acme": StatementSigner.generate()}
        public = [keys["acme"].public_key]
        services.access.add("again", ("publisher",), ("acme/*",), public, None)
        world = UnderTest(services, keys)
        world.callers["acme"] = Principal("again", ("publisher",), ("acme/*",))
        # Whoever else imports it signs for it, too.
        first = world.register(statement)
        size = world.stored()
        again = world.register(statement)
        assert (again.index, world.stored()) == (first.index, size)
        # It died after the first bytes: nothing is logged, and nothing is in the way.
        services.artifacts.put(receipt)
        listed = services.registration.list(
            foreign_proof.PREDICATE_TYPE, examined.proof.output, "", 0, 10
        )
        assert [item.index for item, _ in listed][-1] == first.index
    with open_offline(settings) as stopped:
        assert faults(stopped) == set()
    with open_services(settings) as (services, _):
        world = UnderTest(services, keys)
        world.callers["acme"] = Principal("again", ("publisher",), ("acme/*",))
        caught = other.without(PartRole.EVIDENCE)
        resumed = examine(System.AIR, caught, Asked(NOON))
        parts = [data for items in caught.parts.values() for data in items]
        for data in (*parts, *(item.data for item in caught.endorsements.items)):
            services.artifacts.put(data)
        said = foreign_proof.build(resumed.proof, resumed.outputs)
        assert world.register(said).index == size
    assert imported


def test_who_makes_answers_imports_none(recorded: UnderTest) -> None:
    statement, parts = bare(0)
    for data in parts:
        recorded.services.artifacts.put(data)
    size = recorded.stored()
    with pytest.raises(ForbiddenError) as caught:
        recorded.ask(statement, "node-1")
    assert caught.value.reason is Reason.ROLE
    assert recorded.stored() == size


@pytest.mark.parametrize("role", [PartRole.RECEIPT, PartRole.KEY, PartRole.RESPONSE])
def test_a_part_that_is_gone_is_missed(
    settings: ServerSettings, imported: str, role: PartRole
) -> None:
    assert imported
    with open_offline(settings) as stopped:
        stopped.blobs.path(sha256(PARTS[role])).unlink()
        with pytest.raises(NotFoundError) as caught:
            rebuild(stopped.database, stopped.blobs, nobody)
        assert caught.value.reason is Reason.UNKNOWN_BLOB
        assert Kind.BLOB_MISSING in faults(stopped)


@pytest.fixture
def recorded(tmp_path: Path, url: str) -> Iterator[UnderTest]:
    """A registry that has a receipt of an output that another system proves as well."""
    with opened(tmp_path / "recorded", url) as world:
        manifest = a_manifest({"weights.bin": b"weights"})
        for data in (b"weights", manifest.to_bytes()):
            world.services.artifacts.put(data)
        said = release_statement(manifest)
        index = world.register(said).index
        journal = Journal()
        journal.boot()
        response = inference.Response(
            profile="output/bytes/v1",
            content_digest=raw.content_digest(OUTPUT).hex(),
            wire_digest=sha256(OUTPUT).hex(),
            complete=True,
        )
        released = Logged(said, world.keys["acme"].sign(said), index)
        journal.call(released, OUTPUT, response=response)
        world.register_batch(journal.batch_statement(), journal.records)
        yield world


def bare(number: int) -> tuple[Statement[ForeignProof], list[bytes]]:
    """A proof of the output, without evidence, and what it rests on."""
    caught = near.mint(near.Spec(response=OUTPUT, request=str(number).encode()))
    kept = Captured.of(part for part in caught.parts if part[0] is not PartRole.REPORT)
    examined = examine(System.NEAR, kept, Asked(NOON))
    parts = [data for items in kept.parts.values() for data in items]
    return foreign_proof.build(examined.proof, examined.outputs), parts


def traced(world: UnderTest) -> Capsule:
    data, _, _ = world.services.lineage.trace([raw.content_digest(OUTPUT)], None)
    return Capsule.parse(data)


def test_a_capsule_carries_the_newest_proofs_of_an_output_with_their_parts(
    recorded: UnderTest,
) -> None:
    indexes = []
    for number in range(9):
        statement, parts = bare(number)
        for data in parts:
            recorded.services.artifacts.put(data)
        indexes.append(recorded.register(statement).index)
    capsule = traced(recorded)
    assert [item.index for item in capsule.foreign] == indexes[1:]
    report = appraise(capsule, recorded.services.signer.key, [raw.content_digest(OUTPUT)])
    assert report.verdict_now is Verdict.VALID
    assert {(item.here, item.reason) for item in report.facts.foreign} == {
        (Verdict.INDETERMINATE, "MISSING")
    }


def attested(number: int) -> tuple[Statement[ForeignProof], list[bytes], Caught]:
    """A proof of the output with evidence, what it rests on, and what was caught."""
    caught = near.mint(near.Spec(response=OUTPUT, request=str(number).encode()))
    examined = examine(System.NEAR, caught.captured, caught.asked())
    parts = [data for _, data in caught.parts]
    parts += [item.data for item in caught.endorsements.items]
    parts.append(encoding.write_json(examined.policy))
    return foreign_proof.build(examined.proof, examined.outputs), parts, caught


def no_longer_believed(**claims: str) -> bytes:
    selector = Selector(family=Family.INTEL_DCAP, claims=claims)
    since = "2099-01-01T00:00:00Z"
    return encoding.write_json(Entry(selector=selector, effective_from=since, reason="robbed"))


def test_a_capsule_carries_what_is_distrusted_of_the_hardware_behind_a_proof(
    recorded: UnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    statement, parts, caught = attested(0)
    for data in parts:
        recorded.services.artifacts.put(data)
    recorded.register(statement)
    assert traced(recorded).attested.distrust == ()
    policies = recorded.services.evidence.policies
    policies.put_distrust(no_longer_believed(tcb_status="Revoked"))
    entry = policies.put_distrust(no_longer_believed(tcb_status="UpToDate"))
    capsule = traced(recorded)
    assert [item.index for item in capsule.attested.distrust] == [entry.index]
    # As if the fake vendor were a vendor.
    monkeypatch.setattr(foreign, "redo", partial(redo, roots=caught.policy.roots))
    report = appraise(capsule, recorded.services.signer.key, [raw.content_digest(OUTPUT)])
    # Nothing is said of the record itself, which has a node and a key of its own.
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.VALID)
    assert report.facts.unattested
    [fact] = report.facts.foreign
    assert (fact.then, fact.here) == (Verdict.VALID, Verdict.INVALID)
    assert fact.reason == "EVIDENCE_DISTRUSTED"
    assert "VALID as it was then" in report.to_text()


def test_what_an_importer_said_whose_key_was_stolen_is_in_no_capsule(recorded: UnderTest) -> None:
    statement, parts = bare(0)
    for data in parts:
        recorded.services.artifacts.put(data)
    recorded.register(statement)
    assert len(traced(recorded).foreign) == 1
    recorded.services.access.revoke("acme", compromised=True)
    capsule = traced(recorded)
    assert (capsule.foreign, capsule.foreign_parts) == ((), ())
