"""Cosigning beside a real sequencer: quorums, slow and lying witnesses, and forks."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from registry.core.encoding import base64_text
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.note import COSIGNER_KEYS, Note, VerifierKey
from registry.core.tlog.policy import Policy
from registry.core.tlog.witnessing import SIZE_TYPE
from registry.errors import MalformedError, Reason, UnavailableError
from registry.server.http.routing import TEXT, Response
from registry.services import cosigning, holding
from registry.signing.file import LogSigner
from tests.certificates import certificate
from tests.contracts.registry_under_test import UnderTest
from tests.cosigned import SECONDS, Place, cosigned_size, eventually, has_quorum, register, said
from tests.growing import GrowingLog


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as resources:
        yield Place(tmp_path, f"sqlite:///{tmp_path / 'registry.sqlite3'}", resources)


def test_ingestion_does_not_wait_for_a_witness_that_hangs(place: Place) -> None:
    witness = place.witness()
    place.trust("w1", witness)
    witness.hang()
    with place.open() as registry:
        for number in range(20):
            register(registry, number)
        eventually(lambda: len(witness.asked) == 1)
        assert cosigned_size(registry) == 0
        assert registry.services.sequencer.head is registry.services.sequencer.heads.newest
        witness.go_on()
        eventually(lambda: has_quorum(registry))
        # Checkpoints in between were never asked for.
        assert len(witness.asked) <= 4


def test_two_of_three_are_enough_and_the_third_holds_nobody_up(place: Place) -> None:
    witnesses = [place.witness(name) for name in ("w1", "w2", "w3")]
    policy = place.trust("g", *witnesses, groups="group g 2 w1 w2 w3\n")
    witnesses[1].hang()
    with place.open() as registry:
        for number in range(3):
            register(registry, number)
            eventually(lambda: has_quorum(registry))
        head = registry.services.sequencer.head
        assert head is not None
        standing = policy.standing(Note.parse(head.note))
        assert set(standing.cosigned) == {"w1", "w3"}
        assert standing.missing == ("w2",)
        witnesses[1].go_on()
        register(registry, 4)
        eventually(lambda: has_quorum(registry) and len(witnesses[1].asked) > 1)


def test_a_line_that_comes_late_is_added(place: Place) -> None:
    witnesses = [place.witness(name) for name in ("w1", "w2")]
    policy = place.trust("g", *witnesses, groups="group g any w1 w2\n")
    witnesses[1].hang()
    with place.open() as registry:
        eventually(lambda: has_quorum(registry))
        witnesses[1].go_on()

        def both() -> bool:
            head = registry.services.sequencer.head
            assert head is not None
            return not policy.standing(Note.parse(head.note)).missing

        eventually(both)


def test_a_log_that_fails_closed_shows_only_what_the_quorum_has_seen(place: Place) -> None:
    witness = place.witness(post_quantum=True)
    policy = place.trust("w1", witness)
    with place.open(fail_closed=True) as registry:
        shown: list[SignedCheckpoint] = []
        registry.services.sequencer.observe(shown.append)
        receipt = registry.register(said())  # type: ignore[arg-type]
        policy.verify(receipt.head.note)
        registry.verify(receipt, said())  # type: ignore[arg-type]
        head = registry.services.sequencer.head
        assert head is not None
        policy.verify(head.note)
        eventually(lambda: bool(shown))
        for item in shown:
            policy.verify(item.note)


def test_answers_that_wait_are_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    witness = place.witness()
    place.trust("w1", witness)
    monkeypatch.setattr(holding, "MAX_HELD", 0)
    with place.open(fail_closed=True) as registry, pytest.raises(UnavailableError) as caught:
        registry.ask(said())  # type: ignore[arg-type]
    assert caught.value.reason is Reason.LOG_BUSY


def test_stopping_leaves_no_caller_waiting(place: Place) -> None:
    witness = place.witness()
    place.trust("w1", witness)
    with place.open(fail_closed=True) as registry:
        eventually(lambda: has_quorum(registry) and registry.size > 0)
        witness.hang()
        waiting = registry.ask(said(1))  # type: ignore[arg-type]
    with pytest.raises(UnavailableError) as caught:
        waiting.result(SECONDS)
    assert caught.value.reason in (Reason.QUORUM, Reason.LOG_BUSY)


def latched(registry: UnderTest) -> Reason:
    sequencer = registry.services.sequencer
    eventually(lambda: sequencer.latched is not None)
    with pytest.raises(UnavailableError) as caught:
        registry.ask(said(99))  # type: ignore[arg-type]
    assert caught.value.reason is Reason.LOG_LATCHED
    return Reason(caught.value.actual.partition(": ")[2].partition(":")[0])


@pytest.mark.parametrize(
    ("size", "reason"), [(1, Reason.FORK), (2, Reason.FORK), (500, Reason.LOG_ROLLBACK)]
)
def test_a_witness_that_saw_another_history_latches_the_log(
    place: Place, size: int, reason: Reason
) -> None:
    witness = place.witness()
    other = GrowingLog(place.signer, b"another history")
    assert isinstance(witness.witness.add_checkpoint(other.asking(0, size)), bytes)
    place.trust("w1", witness)
    with place.open() as registry:
        assert latched(registry) is reason


@pytest.mark.parametrize(
    "lie",
    [
        Response(409, b"1000000\n", SIZE_TYPE),
        Response(409, b"nonsense", SIZE_TYPE),
        Response(409, b"3\n", TEXT),
        Response(422, b"no\n", TEXT),
        Response(403, b"no\n", TEXT),
        Response(200, b"", TEXT),
        Response(200, "— w1 AAAAAAAAAAAAAAAA\n".encode(), TEXT),
        Response(200, b"x" * 100_000, TEXT),
        Response(500, b"", TEXT),
    ],
)
def test_a_witness_that_lies_changes_nothing(
    place: Place, lie: Response, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cosigning, "RETRY_SECONDS", 0.1)
    witness = place.witness()
    policy = place.trust("w1", witness)
    witness.lie = lie
    with place.open() as registry:
        eventually(lambda: len(witness.asked) >= 2)
        register(registry, 1)
        assert cosigned_size(registry) == 0
        assert registry.services.sequencer.latched is None
        witness.lie = None
        eventually(lambda: has_quorum(registry))
        head = registry.services.sequencer.head
        assert head is not None
        policy.verify(head.note)


def test_a_foreign_cosignature_beside_a_good_one_is_left_out(place: Place) -> None:
    witness = place.witness()
    place.trust("w1", witness)
    honest = witness._honest.add_checkpoint

    async def both(request: object) -> Response:
        answer = await honest(request)  # type: ignore[arg-type]
        stranger = f"— stranger {base64_text(b'k' * 76)}\n".encode()
        return Response(answer.status, answer.body + stranger, answer.media_type)

    witness._honest.add_checkpoint = both  # type: ignore[method-assign]
    with place.open() as registry:
        eventually(lambda: has_quorum(registry) and registry.size > 0)
        head = registry.services.sequencer.head
        assert head is not None
        names = [line.name for line in Note.parse(head.note).signatures]
        assert names == [place.signer.key.name, "w1"]


def test_a_policy_about_other_logs_is_refused(place: Place) -> None:
    other = LogSigner.generate(place.signer.key.name)
    place.policy.write_text(f"log {other.key}\nquorum none\n")
    with pytest.raises(MalformedError) as caught, place.open():
        pass
    assert caught.value.reason is Reason.BAD_SETTING


def test_a_witness_with_a_certificate_of_its_own_is_believed_if_that_is_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cosigning, "RETRY_SECONDS", 0.1)
    cert, key = place.folder / "cert.pem", place.folder / "key.pem"
    for path, data in zip((cert, key), certificate(), strict=True):
        path.write_bytes(data)
    place.trust("w1", place.witness(tls=(cert, key)))
    with place.open() as registry:
        beside = registry.services.cosigning
        assert beside is not None
        eventually(lambda: [state.reason for state in beside.states] == ["PEER_CERTIFICATE"])
    with place.open(witness_ca_file=cert) as registry:
        eventually(lambda: has_quorum(registry) and registry.size > 0)


def test_authorities_of_witnesses_need_witnesses(place: Place) -> None:
    with pytest.raises(MalformedError) as caught, place.open(witness_ca_file=place.folder / "x"):
        pass
    assert (caught.value.reason, caught.value.where) == (Reason.BAD_SETTING, "--witness-ca-file")


def test_failing_closed_needs_a_policy(place: Place) -> None:
    with pytest.raises(MalformedError) as caught, place.open(fail_closed=True):
        pass
    assert caught.value.reason is Reason.BAD_SETTING


def test_a_post_quantum_key_signs_for_good_once_it_is_made(place: Place) -> None:
    for settings in ({"post_quantum": True}, {}):
        with place.open(**settings) as registry:
            text = (place.folder / "data" / "log-mldsa.vkey").read_text().strip()
            key = VerifierKey.parse(text, COSIGNER_KEYS)
            receipt = registry.register(said(len(settings)))  # type: ignore[arg-type]
            main = registry.services.signer.key
            assert Note.parse(receipt.head.note).verify([main, key]) == (main, key)
            demanding = Policy.parse(f"witness pq {key}\nquorum pq\n".encode())
            demanding.verify(receipt.head.note)


def test_a_quorum_may_be_the_logs_own_post_quantum_signature(place: Place) -> None:
    with place.open(post_quantum=True):
        pass
    key = (place.folder / "data" / "log-mldsa.vkey").read_text().strip()
    place.policy.write_text(f"witness pq {key}\nquorum pq\n")
    with place.open(fail_closed=True) as registry:
        receipt = registry.register(said(1))  # type: ignore[arg-type]
        Policy.parse(place.policy.read_bytes()).verify(receipt.head.note)


def test_the_published_checkpoint_gets_its_cosignatures_without_growth(place: Place) -> None:
    policy = place.trust("w1", place.witness())
    with place.open() as registry:
        published = place.folder / "data" / "static" / "checkpoint"

        def has_it() -> bool:
            note = Note.parse(published.read_bytes()) if published.exists() else None
            return note is not None and policy.standing(note).met

        eventually(has_it)
        assert registry.services.publisher.wait(SECONDS)


def test_a_log_that_fails_closed_only_now_may_have_been_published_further(place: Place) -> None:
    with place.open() as registry:
        register(registry, 1)
        assert registry.services.publisher.wait(SECONDS)
        size = registry.size
    witness = place.witness()
    policy = place.trust("w1", witness)
    witness.hang()
    with place.open(fail_closed=True) as registry:
        assert registry.size == 0
        published = place.folder / "data" / "static" / "checkpoint"
        assert SignedCheckpoint.parse(published.read_bytes()).checkpoint.size == size
        witness.go_on()
        eventually(lambda: registry.size >= size)
        eventually(lambda: policy.standing(Note.parse(published.read_bytes())).met)


def test_each_witness_is_seen_to_fail_and_to_recover(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cosigning, "RETRY_SECONDS", 0.1)
    witness = place.witness()
    place.trust("w1", witness)
    witness.lie = Response(500, b"", TEXT)
    with place.open() as registry:
        beside = registry.services.cosigning
        assert beside is not None
        eventually(lambda: [state.reason for state in beside.states] == ["REMOTE_STATUS"])
        witness.lie = None
        eventually(lambda: [state.reason for state in beside.states] == [""])
        assert beside.states[0].size == registry.size


def test_a_log_that_does_not_grow_is_cosigned_again_after_a_while(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cosigning, "RENEW_SECONDS", 0.2)
    monkeypatch.setattr(cosigning, "RETRY_SECONDS", 0.1)
    witness = place.witness()
    policy = place.trust("w1", witness)
    with place.open() as registry:
        eventually(lambda: has_quorum(registry) and registry.size > 0)
        size = registry.size
        asked = len(witness.asked)
        eventually(lambda: len(witness.asked) >= asked + 2)
        head = registry.services.sequencer.head
        assert head is not None
        assert head.checkpoint.size == size
        policy.verify(head.note)
        # One line, the newest; not one more for each time.
        assert [line.name for line in Note.parse(head.note).signatures].count("w1") == 1
