"""Calls: an intent, exactly one outcome, and nothing given away before it is durable."""

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.core import digest
from registry.core.records import inference
from registry.errors import ConflictError, MalformedError, Reason, UnavailableError
from registry.shim.recorder.outcomes import Answered, Deployment
from registry.shim.recorder.recorder import Recorder
from registry.shim.recorder.request_key import RequestKey
from registry.shim.recorder.sequence import Sequence, Started
from tests.shim.world import (
    DEPLOYMENT,
    NOON,
    RELEASE,
    call,
    check_history,
    kinds,
    response_to,
    written,
)


@pytest.fixture
def sequence(tmp_path: Path) -> Iterator[Sequence]:
    sequence = Sequence(tmp_path / "journal", lambda: NOON)
    sequence.boot(Started("test/1"))
    yield sequence
    sequence.journal.close()


@pytest.fixture
def recorder(sequence: Sequence, tmp_path: Path) -> Recorder:
    return Recorder(sequence, RequestKey(tmp_path / "request.key"))


QUESTION = digest.sha256(b"question")


def test_a_call_is_an_intent_and_a_completion(recorder: Recorder, tmp_path: Path) -> None:
    n = call(recorder, b"answer")
    [boot, intent, completion] = written(tmp_path)
    assert isinstance(boot, inference.Boot)
    assert isinstance(intent, inference.Intent)
    assert isinstance(completion, inference.Completion)
    assert completion.sequence.n == n
    assert completion.intent_n == intent.sequence.n
    assert completion.request == intent.request
    assert completion.model == RELEASE.model
    assert intent.release == RELEASE.model.release
    assert completion.response == response_to(b"answer")


def test_the_intent_is_on_disk_before_the_model_may_run(recorder: Recorder, tmp_path: Path) -> None:
    recorder.intent(DEPLOYMENT, QUESTION)
    assert kinds(written(tmp_path)) == ["boot", "intent"]


def test_the_request_can_be_shown_with_its_salt_alone(
    recorder: Recorder, sequence: Sequence, tmp_path: Path
) -> None:
    opened = recorder.intent(DEPLOYMENT, QUESTION)
    salt = RequestKey(tmp_path / "request.key").salt(sequence.shim_id, opened.n)
    assert inference.commit_request(salt, QUESTION).hex() == opened.request


def test_the_public_salt_does_not_open_the_request(recorder: Recorder, tmp_path: Path) -> None:
    recorder.intent(DEPLOYMENT, QUESTION)
    intent = written(tmp_path)[1]
    assert isinstance(intent, inference.Intent)
    assert inference.commit_request(bytes.fromhex(intent.salt), QUESTION).hex() != intent.request


def test_equal_requests_look_different(recorder: Recorder) -> None:
    first = recorder.intent(DEPLOYMENT, QUESTION)
    second = recorder.intent(DEPLOYMENT, QUESTION)
    assert first.request != second.request


def test_a_failure_is_an_outcome(recorder: Recorder, tmp_path: Path) -> None:
    opened = recorder.intent(DEPLOYMENT, QUESTION)
    recorder.fail(opened, "Timeout")
    failure = written(tmp_path)[2]
    assert isinstance(failure, inference.Failure)
    assert (failure.intent_n, failure.error) == (opened.n, "Timeout")


def test_what_is_written_of_a_failure_is_short_and_plain(
    recorder: Recorder, tmp_path: Path
) -> None:
    recorder.fail(recorder.intent(DEPLOYMENT, QUESTION), "\ud800\n" + "é" * 10_000)
    failure = written(tmp_path)[2]
    assert isinstance(failure, inference.Failure)
    assert failure.error.startswith(r"\ud800\n\xe9")
    assert len(failure.error) == 500


def test_a_second_outcome_is_refused(recorder: Recorder, tmp_path: Path) -> None:
    opened = recorder.intent(DEPLOYMENT, QUESTION)
    recorder.complete(opened, response_to(b"one"))
    with pytest.raises(ConflictError) as caught:
        recorder.complete(opened, response_to(b"two"))
    assert caught.value.reason is Reason.INTENT_CLOSED
    with pytest.raises(ConflictError):
        recorder.fail(opened, "late")
    check_history(written(tmp_path))


def test_an_answer_may_be_written_down_after_it_went_out(
    recorder: Recorder, tmp_path: Path
) -> None:
    opened = recorder.intent(DEPLOYMENT, QUESTION)
    lost: list[str] = []
    recorder.answered_later(
        opened, lambda: Answered(response_to(b"answer")), lambda: lost.append("lost")
    )
    with pytest.raises(ConflictError):
        recorder.failed(opened, "late")
    assert recorder.close(timeout=20)
    assert lost == []
    records = written(tmp_path)
    assert kinds(records) == ["boot", "intent", "completion", "stop"]
    check_history(records)


@pytest.mark.parametrize("before", [True, False], ids=["latched before", "latched after"])
def test_who_leaves_an_answer_to_be_written_down_learns_if_it_is_not(
    recorder: Recorder, sequence: Sequence, *, before: bool
) -> None:
    opened = recorder.intent(DEPLOYMENT, QUESTION)
    lost = threading.Event()
    held = threading.Event()

    def hold() -> None:
        held.wait(20)

    sequence.journal.later(hold)
    if before:
        sequence.journal._latch("the disk is full", [])
    recorder.answered_later(opened, lambda: Answered(response_to(b"answer")), lost.set)
    if not before:
        assert not lost.is_set()
        sequence.journal._latch("the disk is full", [])
    held.set()
    assert lost.wait(20)
    assert recorder.oldest_open() == opened.n


def test_a_response_without_a_digest_leaves_the_call_open(recorder: Recorder) -> None:
    opened = recorder.intent(DEPLOYMENT, QUESTION)
    wrong = inference.Response(
        profile="output/bytes/v1", content_digest="AB" * 32, wire_digest="00" * 32, complete=True
    )
    with pytest.raises(MalformedError):
        recorder.complete(opened, wrong)
    recorder.complete(opened, response_to(b"right"))


def test_a_request_without_a_digest_is_refused(recorder: Recorder, tmp_path: Path) -> None:
    with pytest.raises(MalformedError):
        recorder.intent(DEPLOYMENT, b"short")
    assert kinds(written(tmp_path)) == ["boot"]


def test_a_deployment_that_no_record_could_hold_is_refused_at_once() -> None:
    with pytest.raises(MalformedError):
        Deployment(RELEASE.model, "artifact_verified", DEPLOYMENT.runtime, ("x" * 5000,))


def test_many_callers_at_once(recorder: Recorder, tmp_path: Path) -> None:
    def many(name: int) -> None:
        for i in range(20):
            call(recorder, b"%d of %d" % (i, name))

    threads = [threading.Thread(target=many, args=(name,)) for name in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = written(tmp_path)
    assert len(records) == 1 + 2 * 320
    check_history(records)


def test_too_many_open_calls_are_refused(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "MAX_OPEN_INTENTS", 2)
    opened = [recorder.intent(DEPLOYMENT, QUESTION) for _ in range(2)]
    with pytest.raises(UnavailableError) as caught:
        recorder.intent(DEPLOYMENT, QUESTION)
    assert caught.value.reason is Reason.JOURNAL_BUSY
    recorder.fail(opened[0], "x")
    recorder.intent(DEPLOYMENT, QUESTION)


def test_the_oldest_open_call_is_known(recorder: Recorder) -> None:
    assert recorder.oldest_open() is None
    first, second = (recorder.intent(DEPLOYMENT, QUESTION) for _ in range(2))
    assert recorder.oldest_open() == first.n
    recorder.fail(first, "x")
    assert recorder.oldest_open() == second.n


def test_a_call_whose_outcome_the_disk_refused_is_still_open(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = recorder.intent(DEPLOYMENT, QUESTION)

    def refuse(_: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(recorder._sequence.journal._open, "append", refuse)
    with pytest.raises(UnavailableError):
        recorder.complete(opened, response_to(b"x"))
    # Its segment is kept, and its next start strikes it.
    assert recorder.oldest_open() == opened.n


def test_closing_writes_a_stop_record(recorder: Recorder, tmp_path: Path) -> None:
    call(recorder, b"x")
    assert recorder.close(0)
    assert kinds(written(tmp_path)) == ["boot", "intent", "completion", "stop"]


def test_closing_waits_for_calls_under_way(recorder: Recorder, tmp_path: Path) -> None:
    opened = recorder.intent(DEPLOYMENT, QUESTION)
    threading.Timer(0.05, lambda: recorder.fail(opened, "x")).start()
    assert recorder.close(10)
    assert kinds(written(tmp_path)) == ["boot", "intent", "failure", "stop"]


def test_a_call_that_does_not_end_leaves_no_stop_record(recorder: Recorder, tmp_path: Path) -> None:
    recorder.intent(DEPLOYMENT, QUESTION)
    assert not recorder.close(0.01)
    assert kinds(written(tmp_path)) == ["boot", "intent"]


def test_nothing_begins_after_closing(recorder: Recorder, tmp_path: Path) -> None:
    recorder.close(0)
    with pytest.raises(UnavailableError):
        recorder.intent(DEPLOYMENT, QUESTION)
    assert kinds(written(tmp_path)) == ["boot", "stop"]
