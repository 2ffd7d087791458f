"""Incidents of other logs, as drills: flipped bits are never served, two histories never believed.

* One bit flipped in what is stored (DigiCert Yeti2022): whoever reads it gets an error and not a
  wrong proof, the log takes nothing new, and an examination names what was flipped.
* Heads that contradict each other (TrustAsia 2021): a monitor keeps both and goes no further.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from registry.api.v1 import log_service_pb2 as pb
from registry.api.v1 import statement_service_pb2 as statement_pb
from registry.client.following_state import StateFolder
from registry.client.monitor import Monitor
from registry.client.static_audit import check_static
from registry.client.tiled_log import TiledLog
from registry.config import ServerSettings
from registry.core.records import dataset
from registry.core.tlog.selection import Selection
from registry.errors import DamagedError, Reason, RegistryError, UnavailableError
from registry.remote.http import HTTPClient
from registry.server.offline import check_offline
from registry.services.faults import Kind
from registry.services.scrubbing import Scrubber
from registry.storage.sql import tables as t
from tests.mint import dataset_statement
from tests.server.served import SECONDS, Served, served

ENTRIES = 280
"""More than a tile holds."""

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


def grow(registry: Served, count: int, stem: str) -> None:
    """Register datasets, many at once."""
    principal = registry.services.access.authenticate(registry.acme.token)
    answers = [
        registry.services.registration.register(
            registry.acme.signer.sign(dataset_statement(name=f"acme/{stem}{n}")).to_bytes(),
            principal,
        )
        for n in range(count)
    ]
    for answer in answers:
        answer.result(SECONDS)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fill a registry once; it is stopped."""
    data = tmp_path_factory.mktemp("good") / "data"
    with served(data) as registry:
        grow(registry, ENTRIES, "d")
        registry.services.publisher.wait(SECONDS)
    return data


@contextmanager
def restored(good: Path, data: Path) -> Iterator[Served]:
    """Serve a copy of a registry, with new tokens for the same callers."""
    shutil.copytree(good, data)
    with served(data, prefix="again-") as registry:
        yield registry


@pytest.fixture
def registry(good: Path, tmp_path: Path) -> Iterator[Served]:
    with restored(good, tmp_path / "data") as registry:
        yield registry


def flip(registry: Served, table: Any, column: Any, where: Any) -> None:
    """Flip one bit in the middle of what is stored, and forget what was read before."""
    with registry.services.database.write() as connection:
        data = bytearray(connection.execute(select(column).where(where)).scalar_one())
        data[len(data) // 2] ^= 1
        connection.execute(update(table).where(where).values({column.name: bytes(data)}))
    registry.services.sequencer.tree._cache.clear()


def proof(registry: Served, index: int) -> pb.GetProofResponse:
    return registry.log.GetProof(
        pb.GetProofRequest(index=index), metadata=registry.auditor.metadata, timeout=SECONDS
    )


def watch(registry: Served) -> list[pb.WatchResponse]:
    request = pb.WatchRequest(until_newest=True)
    return list(registry.log.Watch(request, metadata=registry.auditor.metadata, timeout=SECONDS))


def statements(registry: Served) -> object:
    request = statement_pb.ListStatementsRequest(
        predicate_type=dataset.PREDICATE_TYPE, page_size=1000
    )
    return registry.statements.ListStatements(
        request, metadata=registry.auditor.metadata, timeout=SECONDS
    )


READS: dict[str, Callable[[Served], object]] = {
    "GetProof": lambda registry: proof(registry, 100),
    "GetConsistency": lambda registry: registry.log.GetConsistency(
        pb.GetConsistencyRequest(size=99), timeout=SECONDS
    ),
    "Watch": watch,
    "ListStatements": statements,
}

FLIPS: dict[str, tuple[Callable[[Served], None], Kind, tuple[str, ...]]] = {
    "tile": (
        lambda registry: flip(registry, t.tiles, t.tiles.c.data, t.tiles.c.level == 0),
        Kind.TILE_DAMAGED,
        ("GetProof", "GetConsistency", "Watch", "ListStatements"),
    ),
    "body": (
        lambda registry: flip(
            registry, t.entries, t.entries.c.body, t.entries.c.entry_index == 100
        ),
        Kind.ENTRY_DAMAGED,
        ("GetProof", "Watch", "ListStatements"),
    ),
    "statement": (
        lambda registry: flip(
            registry, t.entries, t.entries.c.envelope, t.entries.c.entry_index == 100
        ),
        Kind.ENTRY_DAMAGED,
        ("GetProof", "Watch", "ListStatements"),
    ),
    "leaf hash": (
        lambda registry: flip(
            registry, t.entries, t.entries.c.leaf_hash, t.entries.c.entry_index == 100
        ),
        Kind.ENTRY_DAMAGED,
        ("GetProof", "Watch", "ListStatements"),
    ),
}


@pytest.mark.parametrize(
    ("what", "how"), [(what, how) for what, (_, _, reads) in FLIPS.items() for how in reads]
)
def test_a_flipped_bit_is_never_served_and_stops_the_log(
    registry: Served, what: str, how: str
) -> None:
    READS[how](registry)
    FLIPS[what][0](registry)
    assert registry.refusal(lambda: READS[how](registry)).reason is Reason.STORED_BYTES
    refused = registry.refusal(
        lambda: registry.say(dataset_statement(name="acme/no"), registry.acme)
    )
    assert refused.reason is Reason.LOG_LATCHED


@pytest.mark.parametrize("what", FLIPS)
def test_a_flipped_bit_is_found_before_anybody_reads_it(registry: Served, what: str) -> None:
    services = registry.services
    scrubber = Scrubber(services.database, services.sequencer)
    for _ in range(4):
        # The last piece is not full; the first one follows it.
        scrubber.step()
    FLIPS[what][0](registry)
    with pytest.raises(DamagedError) as caught:
        for _ in range(2):
            scrubber.step()
    assert caught.value.reason is Reason.STORED_BYTES
    assert services.sequencer.latched is not None


def test_a_log_that_grows_while_it_is_read_is_not_taken_for_damaged(registry: Served) -> None:
    services = registry.services
    scrubber = Scrubber(services.database, services.sequencer)
    for number in range(6):
        # Each piece but the first one begins and ends elsewhere than it would have before.
        scrubber.step()
        grow(registry, 50, f"grown{number}-")
    assert services.sequencer.latched is None


def test_a_tile_that_was_lost_is_found_although_it_is_known(registry: Served) -> None:
    services = registry.services
    with services.database.write() as connection:
        connection.execute(delete(t.tiles))
    with pytest.raises(DamagedError):
        Scrubber(services.database, services.sequencer).step()


def test_the_log_is_read_again_by_itself(registry: Served) -> None:
    services = registry.services
    scrubber = Scrubber(services.database, services.sequencer, pause_seconds=0.01)
    scrubber.start()
    FLIPS["body"][0](registry)
    until = time.monotonic() + SECONDS
    while services.sequencer.latched is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    scrubber.close()


@pytest.mark.parametrize(
    "fault", [UnavailableError(Reason.UNREACHABLE, "no database"), OSError(5, "no disk")], ids=type
)
def test_a_log_that_cannot_be_read_just_now_is_read_later(
    registry: Served, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    services = registry.services
    failing = iter([fault, fault])
    compare, read = Scrubber._compare, threading.Event()

    def fail_first(scrubber: Scrubber, start: int, end: int) -> None:
        for error in failing:
            raise error
        compare(scrubber, start, end)
        read.set()

    monkeypatch.setattr(Scrubber, "_compare", fail_first)
    scrubber = Scrubber(services.database, services.sequencer, pause_seconds=0.01)
    scrubber.start()
    try:
        assert read.wait(SECONDS)
    finally:
        scrubber.close()
    assert services.sequencer.latched is None


@pytest.mark.parametrize("what", FLIPS)
def test_a_flipped_bit_is_named_by_an_examination(good: Path, tmp_path: Path, what: str) -> None:
    with restored(good, tmp_path / "data") as registry:
        damage, kind, _ = FLIPS[what]
        damage(registry)
    found = check_offline(ServerSettings(tmp_path / "data"), lambda _w, _d: None, repair=False)
    assert kind in {fault.kind for fault in found.faults}


@pytest.mark.parametrize("what", ["tile", "body"])
def test_a_flipped_bit_is_not_served_over_http_either(registry: Served, what: str) -> None:
    key = registry.services.signer.key
    FLIPS[what][0](registry)
    with HTTPClient() as http:
        _, faults = check_static(TiledLog(registry.url, http), key, lambda _w, _d: None)
    # An answer that fails, and not one that is wrong.
    assert {fault.reason for fault in faults} == {Reason.REMOTE_STATUS}


def test_a_monitor_keeps_both_heads_of_a_log_that_was_restored_with_its_lock(
    good: Path, tmp_path: Path
) -> None:
    heads = []
    for stem in ("one", "two"):
        with restored(good, tmp_path / stem) as registry:
            grow(registry, 3, stem)
            head = registry.services.sequencer.head
            assert head is not None
            heads.append(head.note)
            key = registry.services.signer.key
            with StateFolder(tmp_path / "state", key) as state, HTTPClient() as http:
                monitor = Monitor(
                    TiledLog(registry.url, http),
                    key,
                    state,
                    Selection(),
                    started_at=NOON,
                    max_age=timedelta(hours=1),
                )
                if stem == "one":
                    monitor.round(NOON, lambda _: None)
                    continue
                with pytest.raises(RegistryError) as caught:
                    monitor.round(NOON, lambda _: None)
                assert caught.value.reason in (Reason.FORK, Reason.LOG_ROLLBACK)
    kept = sorted((tmp_path / "state").rglob("*.checkpoint"))
    assert [file.read_bytes() for file in kept] == heads
