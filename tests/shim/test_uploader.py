"""Batches on their way into the log: through bad days, lost answers and old copies."""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from registry.core.attestation.dsse import Envelope
from registry.core.records import inference
from registry.core.tlog import entry
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.receipt import Receipt
from registry.errors import (
    ConflictError,
    DamagedError,
    ForbiddenError,
    Reason,
    RefusedError,
    RegistryError,
    UnavailableError,
    VerificationError,
)
from registry.shim import uploader
from registry.shim.app import Shim, Timing
from registry.shim.health import Watched
from registry.shim.recorder.frames import frame
from registry.shim.recorder.journal import Journal
from registry.shim.uploader import Pace
from registry.signing.file import LogSigner, StatementSigner
from tests.shim.world import (
    DEPLOYMENT,
    PATIENT,
    MemoryRegistry,
    call,
    check_history,
    kinds,
    running,
    written,
)

SOON = 20.0
ABRUPT = Timing(heartbeat=3600, drain=0, farewell=0)


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry.build()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shim"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploader, "FIRST_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr(uploader, "MAX_PAUSE_SECONDS", 0.01)


def refusal(shim: Shim) -> RegistryError:
    """Why uploading stopped."""
    with pytest.raises(RegistryError) as caught:
        shim.flush(SOON)
    refused = shim.status().refused
    assert refused is not None
    assert caught.value is refused
    return refused


def test_every_record_arrives_once_and_in_order(folder: Path, registry: MemoryRegistry) -> None:
    with running(folder, registry) as shim:
        for i in range(30):
            call(shim.recorder, b"%d" % i)
        shim.flush(SOON)
        assert shim.status().registered_n == 61
    assert registry.of(shim.shim_id) == written(folder)
    check_history(registry.of(shim.shim_id))


def test_a_clean_end_leaves_nothing_behind(folder: Path, registry: MemoryRegistry) -> None:
    with running(folder, registry, pace=PATIENT) as shim:
        call(shim.recorder, b"x")
    assert kinds(registry.of(shim.shim_id)) == ["boot", "intent", "completion", "stop"]


def test_a_few_records_go_when_they_are_old_enough(folder: Path, registry: MemoryRegistry) -> None:
    with running(folder, registry, pace=Pace(records=1000, seconds=0.02)) as shim:
        call(shim.recorder, b"x")
        wait_for(lambda: shim.status().registered_n == 3)


def test_many_records_go_at_once(folder: Path, registry: MemoryRegistry) -> None:
    with running(folder, registry, pace=Pace(records=10, seconds=3600)) as shim:
        for i in range(5):
            call(shim.recorder, b"%d" % i)
        wait_for(lambda: shim.status().registered_n >= 10)
        assert len(registry.bodies) == 1


def test_what_piles_up_goes_in_larger_batches(folder: Path, registry: MemoryRegistry) -> None:
    registry.down.set()
    with running(folder, registry, pace=Pace(records=4, seconds=0.001)) as shim:
        for i in range(50):
            call(shim.recorder, b"%d" % i)
        registry.down.clear()
        shim.flush(SOON)
        assert shim.status().registered_n == 101
        assert len(registry.bodies) <= 3


def test_the_receipt_of_every_record_is_kept(folder: Path, registry: MemoryRegistry) -> None:
    with running(folder, registry) as shim:
        numbers = [call(shim.recorder, b"%d" % i) for i in range(20)]
        shim.flush(SOON)
        for n in numbers:
            stored = shim.batch_of(n)
            assert stored is not None
            assert stored.receipt is not None
            envelope = Envelope.parse(stored.envelope)
            key = registry.node.public_key
            body = entry.write(envelope.record_id, envelope.signature, key.der)
            Receipt.parse(stored.receipt).verify(body, registry.log.key)


def test_a_record_that_is_not_batched_yet_has_no_receipt(
    folder: Path, registry: MemoryRegistry
) -> None:
    with running(folder, registry, pace=PATIENT) as shim:
        assert shim.batch_of(call(shim.recorder, b"x")) is None


def test_the_shim_works_while_the_registry_is_down(folder: Path, registry: MemoryRegistry) -> None:
    registry.down.set()
    with running(folder, registry) as shim:
        call(shim.recorder, b"x")
        wait_for(lambda: shim.status().attempts > 3)
        unavailable = shim.status().unavailable
        assert unavailable is not None
        assert unavailable.reason is Reason.UNREACHABLE
        registry.down.clear()
        shim.flush(SOON)
        assert shim.status().unavailable is None
        assert shim.status().attempts == 0
    check_history(registry.of(shim.shim_id))


def test_flushing_into_nothing_ends_in_time(folder: Path, registry: MemoryRegistry) -> None:
    registry.down.set()
    with running(folder, registry) as shim:
        with pytest.raises(UnavailableError) as caught:
            shim.flush(0.01)
        assert caught.value.reason is Reason.DEADLINE
        registry.down.clear()


def test_a_registry_that_comes_back_after_a_restart_gets_all(
    folder: Path, registry: MemoryRegistry
) -> None:
    registry.down.set()
    for _ in range(3):
        with running(folder, registry, timing=ABRUPT) as shim:
            call(shim.recorder, b"x")
    registry.down.clear()
    with running(folder, registry) as shim:
        shim.flush(SOON)
    assert registry.of(shim.shim_id) == written(folder)


def test_a_lost_answer_is_asked_for_again_with_the_same_bytes(
    folder: Path, registry: MemoryRegistry
) -> None:
    registry.lose_answers = 3
    with running(folder, registry, pace=PATIENT) as shim:
        shim.flush(SOON)
    assert len(set(registry.sent[:4])) == 1
    assert len(registry.bodies) == len(set(registry.sent))
    check_history(registry.of(shim.shim_id))


def test_a_batch_that_was_signed_is_sent_unchanged_after_a_restart(
    folder: Path, registry: MemoryRegistry
) -> None:
    # The answer is lost, and then the shim dies: nobody knows whether the log has the batch.
    registry.lose_answers = 10**6
    with running(folder, registry, timing=ABRUPT) as shim:
        wait_for(lambda: len(registry.sent) > 0)
    registry.lose_answers = 0
    with running(folder, registry) as shim:
        shim.flush(SOON)
    assert len(registry.bodies) == len(set(registry.sent))
    assert registry.of(shim.shim_id) == written(folder)


def test_records_that_are_not_those_of_a_signed_batch_are_not_sent(
    folder: Path, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.lose_answers = 10**6
    pace = Pace(records=3, seconds=SOON)
    with running(folder, registry, pace=pace, timing=ABRUPT) as shim:
        call(shim.recorder, b"x")
        wait_for(lambda: len(registry.sent) > 0)
    registry.lose_answers = 0
    sent = len(registry.sent)
    read = Journal.read

    def decayed(self: Journal, first: int, max_records: int, max_bytes: int) -> list[bytes]:
        records = read(self, first, max_records, max_bytes)
        # Whoever asks for one alone compares the last one with the registry's.
        return records if max_records == 1 else [records[0] + b" ", *records[1:]]

    monkeypatch.setattr(Journal, "read", decayed)
    with running(folder, registry, timing=ABRUPT) as shim:
        assert refusal(shim).reason is Reason.JOURNAL_DAMAGED
    assert len(registry.sent) == sent


def test_acknowledged_segments_are_deleted(folder: Path, registry: MemoryRegistry) -> None:
    with running(folder, registry, segment_bytes=4096) as shim:
        for i in range(40):
            call(shim.recorder, b"%d" % i)
        shim.flush(SOON)
        shim.uploader.stop()
        assert len(list((folder / "journal").glob("*.segment"))) <= 2
    with running(folder, registry, segment_bytes=4096) as again:
        again.flush(SOON)
        assert again.shim_id == shim.shim_id
    check_history(registry.of(shim.shim_id))


def test_the_segment_of_an_open_call_is_kept(folder: Path, registry: MemoryRegistry) -> None:
    with running(folder, registry, segment_bytes=4096, timing=ABRUPT) as shim:
        opened = shim.recorder.intent(DEPLOYMENT, bytes(32))
        for i in range(40):
            call(shim.recorder, b"%d" % i)
        shim.flush(SOON)
    with running(folder, registry, segment_bytes=4096) as shim:
        shim.flush(SOON)
    interrupted = [r for r in registry.of(shim.shim_id) if isinstance(r, inference.Interrupted)]
    assert [record.intent_n for record in interrupted] == [opened.n]


def test_a_journal_that_waits_too_long_takes_no_more_calls_until_the_registry_is_back(
    folder: Path, registry: MemoryRegistry
) -> None:
    registry.down.set()
    room = 32 * 1024
    brief = Timing(heartbeat=3600, drain=5, farewell=0.05)
    with running(
        folder, registry, timing=brief, segment_bytes=4096, max_journal_bytes=room
    ) as shim:
        under_way = shim.recorder.intent(DEPLOYMENT, bytes(32))
        with pytest.raises(UnavailableError) as caught:
            for i in range(1000):
                call(shim.recorder, b"%d" % i)
        assert caught.value.reason is Reason.JOURNAL_FULL
        # What is under way is ended in good order.
        shim.recorder.fail(under_way, "it failed")
        shim.sequence.beat()
        on_disk = sum(path.stat().st_size for path in (folder / "journal").glob("*.segment"))
        assert room <= shim.sequence.journal.size <= on_disk < 2 * room
        next_n = shim.sequence.journal.next_n
        health = Watched(shim, "stream", {}).health
        assert health().troubles[0].reason == Reason.JOURNAL_FULL
    # A restart makes no room.
    with running(folder, registry, segment_bytes=4096, max_journal_bytes=room) as shim:
        with pytest.raises(UnavailableError) as caught:
            shim.recorder.intent(DEPLOYMENT, bytes(32))
        assert caught.value.reason is Reason.JOURNAL_FULL
        registry.down.clear()
        shim.flush(SOON)
        end = time.monotonic() + SOON
        while shim.sequence.journal.full and time.monotonic() < end:
            time.sleep(0.01)
        call(shim.recorder, b"again")
        assert Watched(shim, "stream", {}).health().status == "green"
    records = registry.of(shim.shim_id)
    check_history(records)
    assert len(records) > next_n
    assert not [record for record in records if isinstance(record, inference.Interrupted)]


class Meddler(MemoryRegistry):
    """A registry that answers with what ``meddle`` makes of the truth."""

    def register_batch(self, envelope: bytes, records: Sequence[bytes]) -> Receipt:
        return self.meddle(super().register_batch(envelope, records))

    def meddle(self, receipt: Receipt) -> Receipt:
        raise NotImplementedError


def test_a_refusal_stops_uploading_and_loses_nothing(
    folder: Path, registry: MemoryRegistry
) -> None:
    class Strict(Meddler):
        def meddle(self, receipt: Receipt) -> Receipt:
            assert receipt.index == 0
            raise ForbiddenError(Reason.ROLE, "you are no node")

    strict = Strict(registry.log, registry.node)
    with running(folder, registry, client=strict) as shim:
        assert refusal(shim).reason is Reason.ROLE
        call(shim.recorder, b"still recorded")
        assert len(strict.sent) == 1
    with running(folder, registry) as shim:
        shim.flush(SOON)
    assert registry.of(shim.shim_id) == written(folder)


def test_a_registry_that_wants_an_attested_key_gets_the_batches_once_it_is(
    folder: Path, registry: MemoryRegistry
) -> None:
    class Demanding(MemoryRegistry):
        refused = 0

        def register_batch(self, envelope: bytes, records: Sequence[bytes]) -> Receipt:
            if self.refused < 3:
                self.refused += 1
                raise RefusedError(Reason.UNATTESTED, "this key is not attested")
            return super().register_batch(envelope, records)

    demanding = Demanding(registry.log, registry.node)
    with running(folder, registry, client=demanding) as shim:
        call(shim.recorder, b"made before")
        shim.flush(SOON)
        assert shim.status().refused is None
    assert demanding.refused == 3
    assert demanding.of(shim.shim_id) == written(folder)


def test_a_receipt_of_another_log_is_not_believed(folder: Path, registry: MemoryRegistry) -> None:
    other = MemoryRegistry(LogSigner.generate("log.example"), registry.node)
    with running(folder, registry, client=other) as shim:
        assert refusal(shim).reason in (Reason.WRONG_LOG, Reason.LOG_SIGNATURE)


def test_a_receipt_for_another_entry_is_not_believed(
    folder: Path, registry: MemoryRegistry
) -> None:
    class Careless(Meddler):
        def meddle(self, receipt: Receipt) -> Receipt:
            return Receipt(receipt.index, (bytes(32),), receipt.head)

    with running(folder, registry, client=Careless(registry.log, registry.node)) as shim:
        assert refusal(shim).reason is Reason.INCLUSION_PROOF


def test_a_log_that_forgets_is_found_out(folder: Path, registry: MemoryRegistry) -> None:
    with running(folder, registry) as shim:
        shim.flush(SOON)
        registry.bodies.insert(0, b"another past")
        call(shim.recorder, b"x")
        assert isinstance(refusal(shim), VerificationError)


def test_two_trees_of_one_size_are_found_out(folder: Path, registry: MemoryRegistry) -> None:
    class Forked(MemoryRegistry):
        """Shows every caller of ``consistency`` a tree of its own."""

        def consistency(self, before: Checkpoint) -> SignedCheckpoint:
            size = max(before.size, len(self.bodies))
            return self.log.sign(Checkpoint(self.log.key.name, size, b"\1" * 32))

    forked = Forked(registry.log, registry.node)
    with running(folder, registry, client=forked, pace=PATIENT) as shim:
        shim.flush(SOON)
        call(shim.recorder, b"x")
        assert refusal(shim).reason is Reason.FORK


def test_an_old_copy_of_the_whole_folder_is_refused(folder: Path, registry: MemoryRegistry) -> None:
    with running(folder, registry):
        pass
    shutil.copytree(folder, folder.with_name("old"))
    with running(folder, registry) as shim:
        call(shim.recorder, b"x")
    with running(folder.with_name("old"), registry) as shim:
        refused = refusal(shim)
        assert isinstance(refused, ConflictError)
        assert refused.reason is Reason.JOURNAL_ROLLBACK


def test_what_the_registry_has_is_known_before_anybody_is_served(
    folder: Path, registry: MemoryRegistry
) -> None:
    with running(folder, registry) as shim:
        shim.uploader.settle(SOON)
        shim.uploader.require_taken()
    shutil.copytree(folder, folder.with_name("old"))
    with running(folder, registry) as shim:
        call(shim.recorder, b"x")
    with running(folder.with_name("old"), registry) as shim:
        with pytest.raises(ConflictError) as caught:
            shim.uploader.settle(SOON)
        assert caught.value.reason is Reason.JOURNAL_ROLLBACK
        with pytest.raises(UnavailableError) as refused:
            shim.uploader.require_taken()
        assert refused.value.reason is Reason.JOURNAL_ROLLBACK


def test_a_registry_that_is_down_is_not_waited_for(folder: Path, registry: MemoryRegistry) -> None:
    registry.down.set()
    with running(folder, registry, timing=ABRUPT) as shim:
        began = time.monotonic()
        shim.uploader.settle(SOON)
        assert time.monotonic() - began < SOON / 2
        shim.uploader.require_taken()


def test_an_old_copy_of_the_journal_alone_is_refused_before_it_is_written_to(
    folder: Path, registry: MemoryRegistry
) -> None:
    with running(folder, registry):
        pass
    shutil.copytree(folder / "journal", folder / "old")
    with running(folder, registry) as shim:
        call(shim.recorder, b"x")
    shutil.rmtree(folder / "journal")
    (folder / "old").rename(folder / "journal")
    before = written(folder)
    with pytest.raises(DamagedError) as caught, running(folder, registry):
        pass
    assert caught.value.reason is Reason.JOURNAL_DAMAGED
    assert written(folder) == before


def test_lost_batches_are_refused_by_the_registrys_memory(
    folder: Path, registry: MemoryRegistry
) -> None:
    with running(folder, registry):
        pass
    shutil.rmtree(folder / "batches")
    with running(folder, registry) as shim:
        assert refusal(shim).reason is Reason.JOURNAL_ROLLBACK


def test_a_registry_that_lost_its_data_is_not_filled_again(
    folder: Path, registry: MemoryRegistry
) -> None:
    with running(folder, registry):
        pass
    empty = MemoryRegistry(registry.log, registry.node)
    with running(folder, registry, client=empty) as shim:
        assert refusal(shim).reason is Reason.JOURNAL_ROLLBACK


def test_a_batch_by_another_key_is_refused(folder: Path, registry: MemoryRegistry) -> None:
    with running(folder, registry):
        pass
    registry.node = StatementSigner.generate()
    with pytest.raises(VerificationError) as caught, running(folder, registry):
        pass
    assert caught.value.reason is Reason.UNKNOWN_SIGNER


def test_a_folder_that_cannot_be_written_stops_uploading(
    folder: Path, registry: MemoryRegistry
) -> None:
    with running(folder, registry, pace=PATIENT) as shim:
        batches = folder / "batches"
        shutil.rmtree(batches)
        batches.write_text("in the way")
        assert refusal(shim).reason is Reason.STORAGE_FAILED
        batches.unlink()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something that happens in another thread has happened."""
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_batches_that_are_gone_leave_a_journal_that_nobody_goes_on_with(
    folder: Path, registry: MemoryRegistry
) -> None:
    with running(folder, registry, segment_bytes=2048) as shim:
        for _ in range(8):
            call(shim.recorder, b"x")
        shim.flush(SOON)
    # What was registered was forgotten, and now nobody here knows that it was.
    assert written(folder)[0].sequence.n > 0
    shutil.rmtree(folder / "batches")
    before = written(folder)
    registry.down.set()
    with pytest.raises(DamagedError) as caught, running(folder, registry):
        pass
    assert caught.value.reason is Reason.JOURNAL_DAMAGED
    assert written(folder) == before


def test_a_stored_receipt_of_another_batch_proves_nothing(
    folder: Path, registry: MemoryRegistry
) -> None:
    for _ in range(2):
        with running(folder, registry) as shim:
            call(shim.recorder, b"x")
            shim.flush(SOON)
    receipts = sorted((folder / "batches").glob("*/*/*.receipt"))
    receipts[-1].write_bytes(receipts[0].read_bytes())
    with pytest.raises(VerificationError), running(folder, registry):
        pass


def test_a_last_record_that_was_rewritten_is_not_gone_on_from(
    folder: Path, registry: MemoryRegistry
) -> None:
    with running(folder, registry) as shim:
        call(shim.recorder, b"x")
    [segment] = (folder / "journal").glob("*.segment")
    records = written(folder)
    records[-1] = msgspec.structs.replace(records[-1], at="2020-01-01T00:00:00.000000Z")
    # Nothing in the journal contradicts it; but the registry has another one.
    segment.write_bytes(b"".join(frame(inference.write(item)) for item in records))
    with running(folder, registry, timing=ABRUPT) as shim:
        assert refusal(shim).reason is Reason.JOURNAL_ROLLBACK
