"""Batches of unattested keys may be refused; what is derived of results can be made again."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, update

from registry.config import ServerSettings
from registry.core.digest import sha256
from registry.errors import DamagedError, NotFoundError, Reason, RefusedError
from registry.inspection.appraisal_pool import AppraisalPool
from registry.server.offline import Stopped, open_offline
from registry.services.audit import check_log
from registry.services.faults import Fault, Kind
from registry.services.indexing import rebuild
from registry.signing.file import StatementSigner
from registry.storage.sql import tables as t
from registry.storage.sql.engine import Database
from tests.attesting import Clock, attesting, distrust, document
from tests.contracts.registry_under_test import opened
from tests.mint import Journal


def nobody(_what: str, _done: int) -> None:
    """Tell nobody."""


@pytest.fixture(scope="module")
def pool() -> Iterator[AppraisalPool]:
    opened_pool = AppraisalPool(1)
    yield opened_pool
    opened_pool.close()


@pytest.fixture
def settings(tmp_path: Path, url: str) -> ServerSettings:
    return ServerSettings(tmp_path / "data", database=url)


@pytest.fixture
def evidence(settings: ServerSettings, url: str, pool: AppraisalPool) -> bytes:
    """Fill a registry with results of both kinds; evidence that it knows."""
    with attesting(settings.data, pool, url) as world:
        binding = world.binding()
        minted = document(binding)
        lists = [(item.role, item.data) for item in minted.endorsements.items]
        world.present(minted.evidence, binding, endorsements=lists)
        world.attest("node-2")
        world.distrust(distrust())
        assert len(list(world.evidence.reappraisal.run())) == 2
    return minted.evidence


def rows(database: Database) -> list[tuple[object, ...]]:
    with database.read() as connection:
        return [
            tuple(row)
            for table in (t.results, t.statements, t.versions)
            for row in sorted(connection.execute(select(table)), key=repr)
        ]


def fsck(stopped: Stopped, *, repair: bool = False) -> tuple[Fault, ...]:
    with closing(stopped.folder.checkpoint_lock(None, stopped.key)) as lock:
        newest = lock.newest
    audited = check_log(stopped.database, stopped.blobs, stopped.key, newest, nobody, repair=repair)
    return tuple(audited.faults)


def test_results_policies_and_distrust_are_made_again_from_log_and_blobs(
    settings: ServerSettings, evidence: bytes, pool: AppraisalPool
) -> None:
    with open_offline(settings) as stopped:
        before = rows(stopped.database)
        with stopped.database.write() as connection:
            for table in t.DERIVED:
                connection.execute(delete(table))
        rebuild(stopped.database, stopped.blobs, nobody)
        assert rows(stopped.database) == before
        assert fsck(stopped) == ()
    assert settings.database is not None
    with attesting(settings.data, pool, settings.database) as world:
        known = world.evidence.appraisals.find(evidence_id=sha256(evidence))
        assert [world.environment(entry).question for entry in known] == ["then", "now"]
        assert len(world.evidence.policies.distrusted()) == 1


@pytest.mark.parametrize("which", ["evidence", "endorsement"])
def test_a_rebuild_notices_what_a_result_rests_on_and_is_gone(
    settings: ServerSettings, evidence: bytes, which: str
) -> None:
    with open_offline(settings) as stopped:
        with stopped.database.read() as connection:
            named = sha256(evidence)
            assert connection.execute(
                select(t.results.c.entry_index).where(t.results.c.raw_evidence == named)
            ).all()
        others = [name for name in stopped.blobs if name != named]
        for name in [named] if which == "evidence" else others:
            stopped.blobs.path(name).unlink()
        with pytest.raises(NotFoundError) as caught:
            rebuild(stopped.database, stopped.blobs, nobody)
        assert caught.value.reason is Reason.UNKNOWN_BLOB
        assert Kind.BLOB_MISSING in {fault.kind for fault in fsck(stopped)}


def test_a_rebuild_notices_evidence_with_other_bytes(
    settings: ServerSettings, evidence: bytes
) -> None:
    with open_offline(settings) as stopped:
        path = stopped.blobs.path(sha256(evidence))
        path.chmod(0o600)
        path.write_bytes(evidence[:-1] + b"?")
        with pytest.raises(DamagedError):
            rebuild(stopped.database, stopped.blobs, nobody)


def test_wrong_rows_of_results_are_found_and_made_again(
    settings: ServerSettings, evidence: bytes
) -> None:
    assert evidence
    with open_offline(settings) as stopped:
        before = rows(stopped.database)
        stray = {
            "entry_index": 0,
            "family": "aws-nitro",
            "evidence": bytes(32),
            "raw_evidence": bytes(32),
            "key_id": "",
            "question": "then",
            "verdict": "VALID",
            "is_authentic": 1,
            "issued_at": 0,
            "expires_at": 1 << 40,
            "verifier": "",
        }
        for damage in (
            delete(t.results),
            update(t.results).values(verdict="VALID", expires_at=1 << 40),
            insert(t.results).values(stray),
            insert(t.results).values({**stray, "entry_index": 10**6}),
        ):
            with stopped.database.write() as connection:
                connection.execute(damage)
            assert {fault.kind for fault in fsck(stopped)} == {Kind.RESULT_ROW}
            assert all(fault.mended for fault in fsck(stopped, repair=True))
            assert fsck(stopped) == ()
            assert rows(stopped.database) == before


def batch(key: StatementSigner) -> tuple[bytes, list[bytes]]:
    journal = Journal(shim_id=key.public_key.key_id[:32])
    journal.boot()
    return key.sign(journal.batch_statement()).to_bytes(), journal.records


def test_a_registry_that_demands_attestation_takes_attested_batches_only(
    settings: ServerSettings, url: str, pool: AppraisalPool
) -> None:
    keys: dict[str, StatementSigner] = {}
    now = Clock(datetime.now(UTC).replace(microsecond=0))
    with attesting(settings.data, pool, url, keys=keys, clock=now) as world:
        world.attest("node-1")
    with opened(settings.data, url, keys, require_attestation=True) as under:
        register = under.services.registration.register_batch
        before = under.stored(), set(under.services.blobs)
        with pytest.raises(RefusedError) as caught:
            register(*batch(keys["node-2"]), under.callers["node-2"])
        assert caught.value.reason is Reason.UNATTESTED
        assert (under.stored(), set(under.services.blobs)) == before
        assert register(*batch(keys["node-1"]), under.callers["node-1"]).result(30).index
    with opened(settings.data, url, keys) as under:
        taken = under.services.registration.register_batch(
            *batch(keys["node-2"]), under.callers["node-2"]
        ).result(30)
        # Taken, and marked as unattested.
        assert under.services.evidence.attested.of_batch(taken.index) is None
