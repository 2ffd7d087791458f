"""What is derived can be thrown away: a rebuild ends with the same answers."""

from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from registry.config import ServerSettings
from registry.core.digest import DigestSet
from registry.core.records import batch
from registry.core.records.landmarks import Landmarks
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.errors import DamagedError, Reason, RefusedError
from registry.server.app import open_services
from registry.server.offline import Stopped, open_offline
from registry.services.audit import check_log
from registry.services.indexing import rebuild
from registry.services.lineage import Lineage
from registry.services.registration import submission
from registry.services.submission import BatchToStore
from registry.storage.sql import log, outputs, timestamps
from registry.storage.sql import tables as t
from registry.storage.sql.engine import Database
from registry.storage.sql.timestamps import StoredTimestamp
from tests import mint
from tests.authorities import NOON, Authority
from tests.contracts.registry_under_test import UnderTest

BATCHES = 9
"""More than one level of the outputs index holds."""

COMPARED = (t.tiles, t.blobs, t.statements, t.versions, t.batches)


def nobody(_what: str, _done: int) -> None:
    """Tell nobody."""


def rows(database: Database) -> dict[str, list[tuple[object, ...]]]:
    with database.read() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(select(table))), key=repr)
            for table in COMPARED
        }


def found(database: Database, digests: list[bytes]) -> list[list[int]]:
    with database.read() as connection:
        return [outputs.find(connection, digest) for digest in digests]


@pytest.fixture
def settings(tmp_path: Path, url: str) -> ServerSettings:
    return ServerSettings(tmp_path / "data", database=url)


@pytest.fixture
def digests(settings: ServerSettings) -> list[bytes]:
    """Fill a registry with 300 datasets and some batches; digests of their outputs."""
    from tools.bench.journal import Shim  # noqa: PLC0415 - it makes real batches quickly

    outputs_made: list[bytes] = []
    with open_services(settings) as (services, _):
        world = UnderTest(services, {})
        answers = [
            world.ask(mint.dataset_statement(name=f"acme/d{number}")) for number in range(300)
        ]
        for answer in answers:
            answer.result(30)
        shim = Shim(world.keys["node-1"])
        for _ in range(BATCHES):
            envelope, _body, records, made = shim.next_batch(16)
            services.registration.register_batch(envelope, records, world.callers["node-1"]).result(
                30
            )
            outputs_made += made
    return outputs_made


def test_a_rebuild_ends_with_the_same_rows_and_answers(
    settings: ServerSettings, digests: list[bytes]
) -> None:
    with open_offline(settings) as stopped:
        before = rows(stopped.database), found(stopped.database, digests)
        with stopped.database.write() as connection:
            for table in t.DERIVED:
                connection.execute(delete(table))
        rebuild(stopped.database, stopped.blobs, nobody)
        assert (rows(stopped.database), found(stopped.database, digests)) == before


def test_a_registry_goes_on_after_a_rebuild(settings: ServerSettings, digests: list[bytes]) -> None:
    with open_offline(settings) as stopped:
        rebuild(stopped.database, stopped.blobs, nobody)
    with open_services(settings) as (services, _):
        lineage: Lineage = services.lineage
        assert len(lineage.find(digests[:1])) == 1


def faults(stopped: Stopped) -> list[str]:
    with closing(stopped.folder.checkpoint_lock(None, stopped.key)) as lock:
        newest = lock.newest
    audited = check_log(stopped.database, stopped.blobs, stopped.key, newest, nobody)
    return [fault.where for fault in audited.faults]


def test_fsck_finds_nothing_wrong_with_good_timestamps(
    settings: ServerSettings, digests: list[bytes]
) -> None:
    assert digests
    with open_offline(settings) as stopped:
        stamp(stopped)
        assert faults(stopped) == []


@pytest.mark.parametrize(
    "members",
    [
        {"token": b"?"},
        {"note": b"?"},
        {"stamped_at": 0},
        {"size": 4},
        {"token": Authority().token(b"other bytes")},
    ],
    ids=["no token", "no note", "another time", "another size", "over other bytes"],
)
def test_fsck_names_a_timestamp_that_is_wrong(
    settings: ServerSettings, digests: list[bytes], members: dict[str, object]
) -> None:
    assert digests
    with open_offline(settings) as stopped:
        stamp(stopped)
        with stopped.database.write() as connection:
            connection.execute(update(t.timestamps).values(**members))
        [fault] = faults(stopped)
    assert fault.startswith("timestamp of ")


@pytest.mark.parametrize("size", [300, 10_000])
def test_fsck_names_a_timestamp_of_another_history(
    settings: ServerSettings, digests: list[bytes], size: int
) -> None:
    assert digests
    with open_offline(settings) as stopped:
        signer, _ = stopped.folder.keys(None)
        stamp(stopped, signer.sign(Checkpoint(stopped.key.name, size, bytes(32))))
        [fault] = faults(stopped)
    assert fault == f"timestamp of {size} entries"


def stamp(stopped: Stopped, head: SignedCheckpoint | None = None) -> None:
    """Store a token over a checkpoint of the log; the newest stored one if none is given."""
    authority = Authority()
    with stopped.database.write() as connection:
        if head is None:
            newest = log.newest_checkpoint(connection)
            assert newest is not None
            head = SignedCheckpoint.parse(newest[1])
        timestamps.add(
            connection,
            StoredTimestamp(
                head.checkpoint.size,
                authority.pinned().chain_digest,
                NOON,
                head.note,
                authority.token(head.note),
            ),
        )


def test_a_rebuild_refuses_a_damaged_blob_and_keeps_the_old_catalog(
    settings: ServerSettings, digests: list[bytes]
) -> None:
    with open_offline(settings) as stopped:
        before = rows(stopped.database), found(stopped.database, digests)
        path = stopped.blobs.path(next(iter(stopped.blobs)))
        path.write_bytes(b"?")
        with pytest.raises(DamagedError) as caught:
            rebuild(stopped.database, stopped.blobs, nobody)
        assert caught.value.reason is Reason.STORED_BYTES
        assert (rows(stopped.database), found(stopped.database, digests)) == before


def test_a_rebuild_refuses_leaves_with_another_sha512_than_the_batch_names(
    settings: ServerSettings,
) -> None:
    journal = mint.Journal()
    journal.boot()
    data = batch.join_leaves(journal.records)
    said = journal.batch_statement(
        leaves=DigestSet(sha256=DigestSet.of(data).sha256, sha512="0" * 128)
    )
    with open_services(settings) as (services, _):
        world = UnderTest(services, {})
        hashed = batch.hash_records(journal.records)
        # Past the registration policy, which would not let it in.
        stored = BatchToStore(
            said.predicate,
            hashed,
            (),
            services.artifacts.put(data).sha256,
            services.artifacts.put(hashed.hashes_file).sha256,
            Landmarks.of(journal.records, hashed),
        )
        envelope = world.keys["node-1"].sign(said).to_bytes()
        opened = services.registration.open(envelope, world.callers["node-1"])
        services.sequencer.submit(submission(opened, stored)).result(30)
    with open_offline(settings) as stopped, pytest.raises(RefusedError) as caught:
        rebuild(stopped.database, stopped.blobs, nobody)
    assert caught.value.reason is Reason.BATCH_CONTENT
