"""Whatever is wrong with a stored registry is found by name, and mended if it is derived.

Each case breaks one thing of a good registry that has entries, batches, blobs and a published
folder. What is derived is as it was after a repair; what is primary is as it was broken.
"""

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from registry.config import ServerSettings
from registry.core.digest import DigestSet
from registry.core.tlog.checkpoint import Checkpoint
from registry.errors import DamagedError, Reason
from registry.server.app import open_services
from registry.server.offline import Stopped, check_offline, open_offline
from registry.services.audit import Audited
from registry.services.faults import Fault, Findings, Kind
from registry.signing.file import LogSigner
from registry.storage.sql import cosigned, outputs
from registry.storage.sql import tables as t
from tests import mint
from tests.contracts.registry_under_test import UnderTest

ENTRIES = 300
"""More than a tile holds."""

BATCHES = 9
"""More than one level of the outputs index holds."""


def nobody(_what: str, _done: int) -> None:
    """Tell nobody."""


@dataclass
class Broken:
    """A stopped registry that something is done to."""

    settings: ServerSettings
    stopped: Stopped

    def sql(self, statement: Any) -> None:
        with self.stopped.database.write() as connection:
            connection.execute(statement)

    def within(self, change: Callable[[Connection], None]) -> None:
        with self.stopped.database.write() as connection:
            change(connection)

    def blob(self, which: bytes | None = None) -> Path:
        return self.stopped.blobs.path(which or min(self.stopped.blobs))

    @property
    def static(self) -> Path:
        return self.settings.data / "static"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fill a registry once."""
    from tools.bench.journal import Shim  # noqa: PLC0415 - it makes real batches quickly

    folder = tmp_path_factory.mktemp("good") / "data"
    with open_services(ServerSettings(folder)) as (services, _):
        world = UnderTest(services, {})
        answers = [world.ask(mint.dataset_statement(name=f"acme/d{n}")) for n in range(ENTRIES)]
        for answer in answers:
            answer.result(30)
        shim = Shim(world.keys["node-1"])
        for _ in range(BATCHES):
            envelope, _body, records, _made = shim.next_batch(16)
            services.registration.register_batch(envelope, records, world.callers["node-1"]).result(
                30
            )
        manifest = mint.a_manifest({"config.json": b"{}"})
        services.artifacts.put(b"{}")
        services.artifacts.put(manifest.to_bytes())
        world.register(mint.release_statement(manifest))
    # The next start stores the newest checkpoint, which is then the published one, too.
    with open_services(ServerSettings(folder)) as (services, _):
        assert services.publisher.wait(30)
    return folder


@pytest.fixture(scope="module")
def whole(good: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is derived, and what is primary, as long as nothing is broken."""
    settings = ServerSettings(good)
    return derived(settings), primary(settings)


@pytest.fixture
def settings(good: Path, tmp_path: Path) -> ServerSettings:
    shutil.copytree(good, tmp_path / "data")
    return ServerSettings(tmp_path / "data")


def fsck(settings: ServerSettings, *, repair: bool = False) -> Audited:
    return check_offline(settings, nobody, repair=repair)


def kinds(audited: Audited) -> set[Kind]:
    return {fault.kind for fault in audited.faults}


def primary(settings: ServerSettings) -> dict[str, Any]:
    """Everything that a repair must not touch."""
    with open_offline(settings) as stopped, stopped.database.read() as connection:
        rows = {
            table.name: sorted(map(tuple, connection.execute(select(table))), key=repr)
            for table in (t.entries, t.attachments, t.checkpoints, t.principals, t.tokens)
        }
        blobs = {sha: stopped.blobs.path(sha).read_bytes() for sha in stopped.blobs}
    return {"rows": rows, "blobs": blobs}


def derived(settings: ServerSettings) -> dict[str, Any]:
    with open_offline(settings) as stopped, stopped.database.read() as connection:
        rows: dict[str, Any] = {
            table.name: sorted(map(tuple, connection.execute(select(table))), key=repr)
            for table in (t.tiles, t.blobs, t.statements, t.versions, t.batches)
        }
        pairs, wrong = outputs.contents(connection)
        rows["outputs"] = pairs.tolist(), wrong
    static = settings.data / "static"
    rows["static"] = {
        str(file.relative_to(static)): file.read_bytes()
        for file in static.rglob("*")
        if file.is_file()
    }
    return rows


def test_nothing_is_wrong_with_a_good_registry(settings: ServerSettings) -> None:
    audited = fsck(settings)
    assert (audited.faults, audited.trusted) == ((), True)
    assert audited.entries > ENTRIES + BATCHES


def flip(data: bytes, at: int = -1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def flip_tile(broken: Broken) -> None:
    def change(connection: Connection) -> None:
        data = connection.execute(select(t.tiles.c.data)).scalar_one()
        connection.execute(update(t.tiles).values(data=flip(data)))

    broken.within(change)


def flip_page(broken: Broken, at: int) -> None:
    def change(connection: Connection) -> None:
        page = connection.execute(select(t.output_pages)).first()
        assert page is not None
        here = (t.output_pages.c.run_id == page.run_id) & (t.output_pages.c.page == page.page)
        connection.execute(update(t.output_pages).where(here).values(data=flip(page.data, at)))

    broken.within(change)


def extra_batch(connection: Connection) -> None:
    row = connection.execute(select(t.batches)).mappings().first()
    assert row is not None
    changed = dict(row) | {"entry_index": 1, "n_first": 10**6}
    connection.execute(insert(t.batches), changed)


def at(number: int) -> Any:
    return t.statements.c.entry_index == number


DERIVED: dict[str, tuple[Kind, Callable[[Broken], object]]] = {
    "missing tile": (Kind.TILE_MISSING, lambda b: b.sql(delete(t.tiles))),
    "flipped tile": (Kind.TILE_DAMAGED, flip_tile),
    "short tile": (Kind.TILE_DAMAGED, lambda b: b.sql(update(t.tiles).values(data=b"?"))),
    "extra tile": (
        Kind.TILE_EXTRA,
        lambda b: b.sql(insert(t.tiles).values(level=1, tile_index=0, data=b"x" * 8192)),
    ),
    "missing statement": (Kind.STATEMENT_ROW, lambda b: b.sql(delete(t.statements).where(at(7)))),
    "changed statement": (
        Kind.STATEMENT_ROW,
        lambda b: b.sql(update(t.statements).where(at(7)).values(name="acme/other")),
    ),
    "extra statement": (
        Kind.STATEMENT_ROW,
        lambda b: b.sql(
            insert(t.statements).values(
                entry_index=10**6,
                predicate_type="x",
                name="x",
                version="1",
                key_id="",
                principal="",
            )
        ),
    ),
    "missing version": (
        Kind.VERSION_ROW,
        lambda b: b.sql(delete(t.versions).where(t.versions.c.name == "acme/d7")),
    ),
    "changed version": (
        Kind.VERSION_ROW,
        lambda b: b.sql(
            update(t.versions).where(t.versions.c.name == "acme/d7").values(version="2099")
        ),
    ),
    "version of another entry": (
        Kind.VERSION_ROW,
        lambda b: b.sql(
            update(t.versions).where(t.versions.c.name == "acme/d7").values(entry_index=9)
        ),
    ),
    "extra version": (
        Kind.VERSION_ROW,
        lambda b: b.sql(
            insert(t.versions).values(predicate_type="x", name="x", version="1", entry_index=3)
        ),
    ),
    "missing batches": (Kind.BATCH_ROW, lambda b: b.sql(delete(t.batches))),
    "changed batch": (
        Kind.BATCH_ROW,
        lambda b: b.sql(
            update(t.batches).where(t.batches.c.n_first == 0).values(last_leaf=b"x" * 32)
        ),
    ),
    "changed landmarks": (
        Kind.BATCH_ROW,
        lambda b: b.sql(update(t.batches).values(landmarks=b"?")),
    ),
    "extra batch": (Kind.BATCH_ROW, lambda b: b.within(extra_batch)),
    "missing blob row": (Kind.BLOB_ROW, lambda b: b.sql(delete(t.blobs))),
    "wrong blob size": (Kind.BLOB_ROW, lambda b: b.sql(update(t.blobs).values(size=1))),
    "wrong twin": (Kind.BLOB_ROW, lambda b: b.sql(update(t.blobs).values(sha512=b"x" * 64))),
    "flipped key in the index": (Kind.OUTPUT_INDEX, lambda b: flip_page(b, 0)),
    "flipped value in the index": (Kind.OUTPUT_INDEX, lambda b: flip_page(b, -1)),
    "cut page": (
        Kind.OUTPUT_INDEX,
        lambda b: b.sql(update(t.output_pages).values(data=b"?" * 15)),
    ),
    "missing page": (Kind.OUTPUT_INDEX, lambda b: b.sql(delete(t.output_pages))),
    "missing run": (Kind.OUTPUT_INDEX, lambda b: b.sql(delete(t.output_runs))),
    "page under another key": (
        Kind.OUTPUT_INDEX,
        lambda b: b.sql(update(t.output_pages).values(last_key=b"\0" * 8)),
    ),
    "lost published tile": (
        Kind.PUBLISHED_MISSING,
        lambda b: (b.static / "tile" / "0" / "000").unlink(),
    ),
    "flipped published bundle": (
        Kind.PUBLISHED_DAMAGED,
        lambda b: (b.static / "tile" / "entries" / "000").write_bytes(b"?"),
    ),
    "lost published checkpoint": (
        Kind.PUBLISHED_MISSING,
        lambda b: (b.static / "checkpoint").unlink(),
    ),
    "damaged published checkpoint": (
        Kind.PUBLISHED_DAMAGED,
        lambda b: (b.static / "checkpoint").write_bytes(b"?"),
    ),
}


@pytest.mark.parametrize("case", DERIVED)
def test_what_is_derived_is_found_and_made_again(
    settings: ServerSettings, whole: tuple[dict[str, Any], dict[str, Any]], case: str
) -> None:
    kind, damage = DERIVED[case]
    with open_offline(settings) as stopped:
        damage(Broken(settings, stopped))
    assert derived(settings) != whole[0]
    repaired = fsck(settings, repair=True)
    assert kinds(repaired) == {kind}
    assert all(fault.mended for fault in repaired.faults)
    assert fsck(settings).faults == ()
    assert (derived(settings), primary(settings)) == whole


def test_without_being_asked_nothing_is_made_again(settings: ServerSettings) -> None:
    with open_offline(settings) as stopped:
        flip_tile(Broken(settings, stopped))
    broken = derived(settings)
    found = fsck(settings)
    assert [fault.kind for fault in found.faults] == [Kind.TILE_DAMAGED]
    assert "--repair" in found.faults[0].hint
    assert derived(settings) == broken


def test_a_registry_that_does_not_start_with_a_damaged_tile_does_after_a_repair(
    settings: ServerSettings,
) -> None:
    with open_offline(settings) as stopped:
        flip_tile(Broken(settings, stopped))
    with pytest.raises(DamagedError) as caught, open_services(settings):
        pass
    assert caught.value.reason is Reason.STORED_BYTES
    fsck(settings, repair=True)
    with open_services(settings) as (services, _):
        assert services.sequencer.latched is None


def of_batch(broken: Broken, column: Any) -> bytes:
    with broken.stopped.database.read() as connection:
        return bytes(connection.execute(select(column)).scalars().first() or b"")


def flip_entry(column: Any) -> Callable[[Broken], None]:
    def act(broken: Broken) -> None:
        def change(connection: Connection) -> None:
            here = t.entries.c.entry_index == 7
            data = bytes(connection.execute(select(column).where(here)).scalar_one())
            connection.execute(
                update(t.entries).where(here).values({column.name: flip(data, len(data) // 2)})
            )

        broken.within(change)

    return act


def other_note(broken: Broken, *, root: bytes | None) -> None:
    def change(connection: Connection) -> None:
        size = connection.execute(select(t.checkpoints.c.size)).scalars().first() or 0
        signer, _ = broken.stopped.folder.keys(None)
        chosen = signer if root else LogSigner.generate(signer.key.name)
        note = chosen.sign(Checkpoint(signer.key.name, size, root or b"x" * 32)).note
        connection.execute(
            update(t.checkpoints).where(t.checkpoints.c.size == size).values(note=note)
        )

    broken.within(change)


def beyond(broken: Broken) -> None:
    signer, _ = broken.stopped.folder.keys(None)
    note = signer.sign(Checkpoint(signer.key.name, 10**6, b"x" * 32)).note
    broken.sql(insert(t.checkpoints).values(size=10**6, note=note))


def cosigned_note(broken: Broken, size: int) -> None:
    signer, _ = broken.stopped.folder.keys(None)
    note = signer.sign(Checkpoint(signer.key.name, size, b"x" * 32)).note
    broken.within(lambda connection: cosigned.put(connection, size, note))


def published_fork(broken: Broken) -> None:
    signer, _ = broken.stopped.folder.keys(None)
    note = signer.sign(Checkpoint(signer.key.name, 200, b"x" * 32)).note
    (broken.static / "checkpoint").write_bytes(note)


def lock_root(broken: Broken) -> None:
    with closing(broken.stopped.folder.checkpoint_lock(None, broken.stopped.key)) as lock:
        newest = lock.newest
        lock.take()
        lock.replace(Checkpoint(newest.origin, newest.size, b"x" * 32))


def last_entry(connection: Connection) -> None:
    last = max(connection.execute(select(t.entries.c.entry_index)).scalars())
    connection.execute(delete(t.entries).where(t.entries.c.entry_index == last))


PRIMARY: dict[str, tuple[Kind, Callable[[Broken], object]]] = {
    "flipped body": (Kind.ENTRY_DAMAGED, flip_entry(t.entries.c.body)),
    "flipped envelope": (Kind.ENTRY_DAMAGED, flip_entry(t.entries.c.envelope)),
    "flipped record id": (Kind.ENTRY_DAMAGED, flip_entry(t.entries.c.record_id)),
    "flipped leaf hash": (Kind.ENTRY_DAMAGED, flip_entry(t.entries.c.leaf_hash)),
    "missing entry": (
        Kind.ENTRY_MISSING,
        lambda b: b.sql(delete(t.entries).where(t.entries.c.entry_index == 7)),
    ),
    "missing last entry": (Kind.LOCK_AHEAD, lambda b: b.within(last_entry)),
    "checkpoint of somebody else": (Kind.CHECKPOINT_NOTE, lambda b: other_note(b, root=None)),
    "checkpoint of another root": (Kind.CHECKPOINT_ROOT, lambda b: other_note(b, root=b"y" * 32)),
    "no checkpoint": (
        Kind.CHECKPOINT_NOTE,
        lambda b: b.sql(update(t.checkpoints).values(note=b"?")),
    ),
    "checkpoint beyond": (Kind.CHECKPOINT_BEYOND, beyond),
    "cosigned beyond": (Kind.CHECKPOINT_BEYOND, lambda b: cosigned_note(b, 10**6)),
    "cosigned of another root": (Kind.CHECKPOINT_ROOT, lambda b: cosigned_note(b, 200)),
    "cosigned nonsense": (
        Kind.CHECKPOINT_NOTE,
        lambda b: b.within(lambda connection: cosigned.put(connection, 5, b"?")),
    ),
    "lock of another root": (Kind.LOCK_ROOT, lock_root),
    "flipped blob": (
        Kind.BLOB_DAMAGED,
        lambda b: b.blob().write_bytes(flip(b.blob().read_bytes())),
    ),
    "missing leaves": (
        Kind.BLOB_MISSING,
        lambda b: b.blob(of_batch(b, t.batches.c.leaves)).unlink(),
    ),
    "missing hashes": (
        Kind.BLOB_MISSING,
        lambda b: b.blob(of_batch(b, t.batches.c.hashes)).unlink(),
    ),
    "missing file of a model": (
        Kind.BLOB_MISSING,
        lambda b: b.blob(DigestSet.of(b"{}").raw).unlink(),
    ),
    "published fork": (Kind.PUBLISHED_FORK, published_fork),
}


@pytest.mark.parametrize("case", PRIMARY)
def test_what_is_primary_is_found_and_left_alone(settings: ServerSettings, case: str) -> None:
    kind, damage = PRIMARY[case]
    with open_offline(settings) as stopped:
        damage(Broken(settings, stopped))
    truth, broken = primary(settings), derived(settings)
    repaired = fsck(settings, repair=True)
    left = [fault for fault in repaired.faults if fault.kind is kind]
    assert left
    assert not any(fault.mended for fault in left)
    assert all("backup" in fault.hint for fault in left)
    assert primary(settings) == truth
    if not repaired.trusted:
        assert derived(settings) == broken


def test_nothing_is_derived_from_entries_that_lead_to_another_root(
    settings: ServerSettings,
) -> None:
    with open_offline(settings) as stopped:
        broken = Broken(settings, stopped)
        flip_entry(t.entries.c.leaf_hash)(broken)
        broken.sql(delete(t.tiles))
    tiles = [
        fault for fault in fsck(settings, repair=True).faults if fault.kind is Kind.TILE_MISSING
    ]
    assert tiles
    assert not any(fault.mended for fault in tiles)
    with open_offline(settings) as stopped, stopped.database.read() as connection:
        assert connection.execute(select(t.tiles)).first() is None


def test_what_can_be_mended_beside_a_primary_loss_is_mended(settings: ServerSettings) -> None:
    with open_offline(settings) as stopped:
        broken = Broken(settings, stopped)
        flip_entry(t.entries.c.envelope)(broken)
        broken.blob(of_batch(broken, t.batches.c.leaves)).unlink()
        broken.sql(delete(t.tiles))
        broken.sql(delete(t.statements).where(at(9)))
    assert kinds(fsck(settings)) == {
        Kind.ENTRY_DAMAGED,
        Kind.BLOB_MISSING,
        Kind.TILE_MISSING,
        Kind.STATEMENT_ROW,
    }
    fsck(settings, repair=True)
    assert kinds(fsck(settings)) == {Kind.ENTRY_DAMAGED, Kind.BLOB_MISSING}


def test_faults_that_nobody_could_read_are_counted() -> None:
    findings = Findings(repair=True)
    for number in range(10_005):
        findings.primary(Kind.ENTRY_DAMAGED, str(number), "?")
    settled = findings.settle(trusted=True)
    assert (len(settled), settled[-1].kind) == (10_001, Kind.TOO_MANY)
    assert findings.count == 10_005


@pytest.fixture
def filled(tmp_path: Path, url: str) -> ServerSettings:
    """Fill a registry on any database."""
    settings = ServerSettings(tmp_path / "data", database=url)
    with open_services(settings) as (services, _):
        world = UnderTest(services, {})
        answers = [world.ask(mint.dataset_statement(name=f"acme/d{n}")) for n in range(ENTRIES)]
        for answer in answers:
            answer.result(30)
        journal = mint.Journal()
        journal.boot()
        world.register_batch(journal.batch_statement(), journal.records)
        assert services.publisher.wait(30)
    return settings


def test_every_database_is_mended(filled: ServerSettings) -> None:
    before = derived(filled)
    with open_offline(filled) as stopped:
        broken = Broken(filled, stopped)
        for table in t.DERIVED:
            broken.sql(delete(table))
    found = fsck(filled)
    assert kinds(found) == {
        Kind.TILE_MISSING,
        Kind.STATEMENT_ROW,
        Kind.VERSION_ROW,
        Kind.BATCH_ROW,
        Kind.BLOB_ROW,
    }
    assert all(isinstance(fault, Fault) for fault in found.faults)
    assert all(fault.mended for fault in fsck(filled, repair=True).faults)
    assert fsck(filled).faults == ()
    assert derived(filled) == before
