"""Coroutines that wait for the journal, and calls that a full disk lets pass unrecorded."""

import asyncio
import os
from pathlib import Path

import pytest

from registry.core import digest
from registry.core.records import inference
from registry.errors import DamagedError, MalformedError, UnavailableError
from registry.shim.recorder.awaiting import Awaiting
from registry.shim.recorder.outcomes import Answered, Sent
from registry.shim.recorder.recorder import Recorder
from registry.shim.recorder.request_key import RequestKey
from registry.shim.recorder.sequence import Sequence, Started
from registry.shim.recorder.unrecorded import Unrecorded
from tests.shim.world import (
    DEPLOYMENT,
    NOON,
    MemoryRegistry,
    check_history,
    kinds,
    response_to,
    running,
    written,
)

QUESTION = digest.sha256(b"question")


def test_many_coroutines_share_one_journal(tmp_path: Path) -> None:
    sequence = Sequence(tmp_path / "journal", lambda: NOON)
    sequence.boot(Started("test/1"))
    recorder = Recorder(sequence, RequestKey(tmp_path / "request.key"))

    async def one(awaiting: Awaiting, number: int) -> int:
        opened = await awaiting.durable(lambda after: recorder.begin(DEPLOYMENT, QUESTION, after))
        assert sequence.journal.durable_n > opened.n
        answer = Answered(response_to(b"%d" % number))
        ticket = await awaiting.durable(lambda after: recorder.answered(opened, answer, after))
        assert sequence.journal.durable_n > ticket.n
        return opened.n

    async def all_of_them() -> list[int]:
        awaiting = Awaiting(asyncio.get_running_loop())
        return await asyncio.gather(*(one(awaiting, number) for number in range(200)))

    numbers = asyncio.run(all_of_them())
    assert len(set(numbers)) == 200
    assert recorder.oldest_open() is None
    sequence.journal.close()
    check_history(written(tmp_path))


def test_a_coroutine_learns_that_its_record_was_not_written(tmp_path: Path) -> None:
    sequence = Sequence(tmp_path / "journal", lambda: NOON)
    sequence.boot(Started("test/1"))
    recorder = Recorder(sequence, RequestKey(tmp_path / "request.key"))

    async def one() -> None:
        # The journal's own file, taken away under it.
        os.close(sequence.journal._open._descriptor)
        awaiting = Awaiting(asyncio.get_running_loop())
        with pytest.raises(UnavailableError):
            await awaiting.durable(lambda after: recorder.begin(DEPLOYMENT, QUESTION, after))

    asyncio.run(one())
    assert recorder.oldest_open() is not None


def test_every_way_a_call_can_end_is_an_outcome(tmp_path: Path) -> None:
    with running(tmp_path, MemoryRegistry.build()) as shim:
        recorder = shim.recorder
        sent = Sent(3, digest.sha256(b"abc").hex())
        course = inference.Course(
            transport="sse", mode="stream", first_us=5, total_us=9, params={"temperature": "0.0"}
        )
        recorder.answered(
            recorder.intent(DEPLOYMENT, QUESTION),
            Answered(response_to(b"x"), "signed", course),
        ).wait()
        recorder.failed(recorder.intent(DEPLOYMENT, QUESTION), "UpstreamEof", sent).wait()
        recorder.abandoned(recorder.intent(DEPLOYMENT, QUESTION), sent).wait()
        recorder.refused(recorder.intent(DEPLOYMENT, QUESTION), "TOO_LARGE").wait()
        recorder.note(
            lambda place, at: inference.Attached(
                sequence=place, at=at, intent_n=1, level="attested", missed="deadline"
            )
        ).wait()
        assert recorder.oldest_open() is None
    records = written(tmp_path)
    check_history(records)
    completion, failure, gone, refused = records[2], records[4], records[6], records[8]
    assert isinstance(completion, inference.Completion)
    assert (completion.asked, completion.course) == ("signed", course)
    assert isinstance(failure, inference.Failure)
    assert isinstance(gone, inference.ClientGone)
    assert failure.sent_digest == gone.sent_digest == sent.sha256
    assert isinstance(refused, inference.NotForwarded)


@pytest.mark.parametrize("digits", ["AB" * 32, "g" * 64, " " * 64, "00" * 31 + " 0"])
def test_digests_of_every_kind_of_record_have_one_spelling(digits: str) -> None:
    place = inference.Sequence(
        shim_id="00" * 16, boot_id="00" * 16, n=0, prev_digest=inference.FIRST_PREVIOUS
    )
    at = "2026-01-01T00:00:00Z"
    setup = {
        "sequence": place,
        "at": at,
        "model": DEPLOYMENT.model,
        "binding": "name_only",
        "level": 1,
        "runtime": DEPLOYMENT.runtime,
    }
    for record in (
        inference.Failure(sequence=place, at=at, intent_n=0, error="", sent_digest=digits),
        inference.ClientGone(sequence=place, at=at, intent_n=0, sent_digest=digits),
        inference.Attached(sequence=place, at=at, intent_n=0, level="logged", proof=digits),
        inference.Setup(**setup, tokenizer=digits),  # type: ignore[arg-type]
        inference.Setup(**setup, adapters=(digits,)),  # type: ignore[arg-type]
    ):
        with pytest.raises(MalformedError):
            inference.parse(inference.write(record))
    good = inference.Setup(**setup, evidence="ab" * 32)  # type: ignore[arg-type]
    assert inference.parse(inference.write(good)) == good


def test_calls_that_went_out_unrecorded_are_told_by_a_last_heartbeat(tmp_path: Path) -> None:
    registry = MemoryRegistry.build()
    with running(tmp_path, registry) as shim:
        shim.unrecorded.add()
        shim.unrecorded.add()
        assert shim.unrecorded.count == 2
    assert kinds(written(tmp_path)) == ["boot", "heartbeat", "stop"]
    beat = written(tmp_path)[1]
    assert isinstance(beat, inference.Heartbeat)
    assert beat.unrecorded == 2
    assert Unrecorded(tmp_path / "unrecorded").count == 0


def test_calls_that_a_run_could_not_tell_of_are_told_by_the_next_boot(tmp_path: Path) -> None:
    registry = MemoryRegistry.build()
    count = Unrecorded(tmp_path / "unrecorded")
    count.add()
    count.close()
    for expected in (1, 0):
        with running(tmp_path, registry):
            pass
        boot = [item for item in written(tmp_path) if isinstance(item, inference.Boot)][-1]
        assert boot.unrecorded == expected


def test_a_call_that_is_lost_while_a_record_tells_is_told_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "unrecorded"
    count = Unrecorded(path)
    count.add()
    told = count.count
    count.add()
    count.told(told)
    count.close()
    again = Unrecorded(path)
    assert again.count == 1
    again.close()


def test_a_damaged_count_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "unrecorded").write_bytes(b"1234567")
    with pytest.raises(DamagedError):
        Unrecorded(tmp_path / "unrecorded")
