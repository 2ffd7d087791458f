"""Cosigning on either database: what is kept, and what a log that fails closed waits for."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from registry.core import digest
from registry.core.capsule.container import Capsule
from registry.core.digest import sha256
from registry.core.records import inference
from registry.errors import DamagedError, Reason, RegistryError, UnavailableError
from registry.storage.sql import cosigned
from registry.storage.sql.engine import Database
from tests.cosigned import Place, eventually, has_quorum, register, said
from tests.growing import GrowingLog
from tests.mint import AT, OUTPUT, Journal, Logged, a_manifest, release_statement


@pytest.fixture
def place(tmp_path: Path, url: str) -> Iterator[Place]:
    with ExitStack() as resources:
        yield Place(tmp_path, url, resources)


def test_the_newest_checkpoint_gets_its_quorum_and_keeps_it(place: Place) -> None:
    witness = place.witness()
    policy = place.trust("w1", witness)
    with place.open() as registry:
        index = register(registry, 0)
        eventually(lambda: has_quorum(registry))
        # Whatever is shown or proved now carries it.
        for head in (
            registry.services.sequencer.head,
            registry.services.sequencer.receipt(index).head,
        ):
            assert head is not None
            policy.verify(head.note)
    # Also after a restart, while the witness says nothing.
    witness.hang()
    with place.open() as registry:
        head = registry.services.sequencer.heads.cosigned
        assert head is not None
        assert head.checkpoint.size > index
        policy.verify(head.note)
        witness.go_on()


def test_a_log_that_fails_closed_waits_for_a_bounded_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = place.witness()
    policy = place.trust("w1", witness)
    with place.open(fail_closed=True) as registry:
        eventually(lambda: has_quorum(registry) and registry.size > 0)
        size = registry.size
        witness.hang()
        held = registry.services.sequencer._gate
        assert held is not None
        monkeypatch.setattr(held.__self__, "_answer_seconds", 0.3)  # type: ignore[attr-defined]
        with pytest.raises(UnavailableError) as caught:
            register(registry, 1)
        assert caught.value.reason is Reason.QUORUM
        # It is in the log, and nobody is shown it.
        assert registry.size == size
        assert registry.stored() == size + 1
        with pytest.raises(RegistryError) as beyond:
            registry.services.sequencer.receipt(size)
        assert beyond.value.reason is Reason.BEYOND_TREE
        witness.go_on()
        eventually(lambda: registry.size == size + 1)
        receipt = registry.register(said(1))  # type: ignore[arg-type]
        assert receipt.index == size
        policy.verify(receipt.head.note)


def test_a_slot_that_is_not_of_the_logs_history_keeps_it_from_starting(place: Place) -> None:
    place.trust("w1", place.witness())
    forged = GrowingLog(place.signer, b"other").head(1)
    database = Database(place.url)
    with database.write() as connection:
        cosigned.put(connection, 1, forged.note)
    database.close()
    with pytest.raises(DamagedError) as caught, place.open():
        pass
    assert caught.value.reason is Reason.FORK


def test_the_slot_only_grows(database: Database) -> None:
    with database.write() as connection:
        assert cosigned.newest(connection) is None
        for size, note in ((5, b"five"), (3, b"three"), (5, b"five again"), (4, b"four")):
            cosigned.put(connection, size, note)
    with database.read() as connection:
        assert cosigned.newest(connection) == b"five again"


def test_a_capsule_carries_the_cosigned_checkpoint(place: Place) -> None:
    witness = place.witness()
    policy = place.trust("w1", witness)
    with place.open() as registry:
        manifest = a_manifest({"weights.bin": b"weights"})
        for data in (b"weights", manifest.to_bytes()):
            registry.services.artifacts.put(data)
        release = release_statement(manifest)
        envelope = registry.keys["acme"].sign(release)
        index = registry.register(release).index
        journal = Journal()
        journal.boot()
        journal.call(Logged(release, envelope, index), OUTPUT, asked="signed", deadline_ms=0)
        first = journal.batch_statement()
        registry.register_batch(first, journal.records)
        eventually(lambda: has_quorum(registry))
        witness.hang()
        register(registry, 1)
        # Nor is it waited for until a quorum has seen what was attached to the receipt later.
        previous = registry.keys["node-1"].sign(first).record_id
        count = len(journal.records)
        journal.append(
            inference.Attached(
                sequence=journal.sequence(),
                at=AT,
                intent_n=1,
                level="signed",
                proof=previous.hex(),
            )
        )
        later = journal.batch_statement(count, prev_batch=digest.text(previous))
        registry.register_batch(later, journal.records[count:])
        # The log has grown, but nothing in the capsule is younger than the quorum.
        data, _, _ = registry.services.lineage.trace([sha256(OUTPUT)], None)
        capsule = Capsule.parse(data)
        policy.verify(capsule.checkpoint)
        assert capsule.attached == ()
        # A key event that no quorum has seen must not be left out of a capsule.
        registry.services.access.revoke("node-1", compromised=False)
        data, _, _ = registry.services.lineage.trace([sha256(OUTPUT)], None)
        with pytest.raises(RegistryError) as caught:
            policy.verify(Capsule.parse(data).checkpoint)
        assert caught.value.reason is Reason.QUORUM
        witness.go_on()
