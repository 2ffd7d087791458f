"""A witness over HTTP: the table of statuses, and what nobody can make it forget."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.merkle import verify_consistency
from registry.core.tlog.note import Note, VerifierKey
from registry.core.tlog.policy import NONE, Policy
from registry.core.tlog.witnessing import MAX_REQUEST_BYTES, AddCheckpoint, log_id, read_answer
from registry.server.http.routing import Routes
from registry.server.http.witness import Witnessing
from registry.services.witnessing import Witness
from registry.signing.cosigner import Cosigner
from registry.signing.file import LogSigner
from registry.storage.sql.engine import Database
from tests.growing import AT, GrowingLog
from tests.server.http.facing import Address, Answer, ask, facing

LOG = GrowingLog()
COSIGNER = Cosigner.generate("witness.example")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'witness.sqlite3'}")
    yield database
    database.close()


@pytest.fixture
def witness(database: Database) -> Witness:
    policy = Policy.parse(f"log {LOG.key}\n".encode(), quorum=NONE)
    return Witness(database, policy, [COSIGNER], lambda: AT)


@pytest.fixture
def address(witness: Witness) -> Iterator[Address]:
    with facing(Routes(Witnessing(witness).routes())) as address:
        yield address


def post(address: Address, body: bytes) -> Answer:
    return ask(address, "POST", "/add-checkpoint", body)


def latest(address: Address, origin: str = "log.example") -> Answer:
    return ask(address, "GET", f"/{log_id(origin)}/checkpoint")


def test_200_a_growing_log_is_cosigned(address: Address) -> None:
    for old, new in ((0, 3), (3, 8), (8, 8), (8, 21)):
        answer = post(address, LOG.asking(old, new))
        assert answer.status == 200
        assert len(read_answer(answer.body, LOG.head(new), [COSIGNER.key])) == 1
        # Nothing but signature lines.
        assert answer.body.count(b"\n") == 1


def test_the_newest_cosigned_checkpoint_can_be_read(address: Address) -> None:
    assert latest(address).status == 404
    post(address, LOG.asking(0, 3))
    post(address, LOG.asking(3, 8))
    shown = latest(address)
    assert shown.status == 200
    assert Note.parse(shown.body).verify([LOG.key, COSIGNER.key]) == (LOG.key, COSIGNER.key)
    assert SignedCheckpoint.parse(shown.body).checkpoint == LOG.head(8).checkpoint
    assert latest(address, "other.example").status == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old x\n\n" + LOG.head(2).note,
        b"old 0\n\nno note",
        AddCheckpoint(0, (b"h" * 32,) * 64, LOG.head(2).note).to_bytes(),
        AddCheckpoint(5, (), LOG.head(2).note).to_bytes(),
    ],
)
def test_400_what_is_malformed(address: Address, body: bytes) -> None:
    assert post(address, body).status == 400


def test_403_no_signature_by_a_trusted_key(address: Address) -> None:
    forger = GrowingLog(LogSigner.generate("log.example"))
    assert post(address, forger.asking(0, 2)).status == 403
    wrong = LOG.head(2).note.replace(b"\n2\n", b"\n3\n")
    assert post(address, AddCheckpoint(0, (), wrong).to_bytes()).status == 403
    assert latest(address).status == 404


def test_404_an_unknown_log(address: Address) -> None:
    stranger = GrowingLog(LogSigner.generate("other.example"))
    assert post(address, stranger.asking(0, 2)).status == 404


@pytest.mark.parametrize("old", [0, 4, 6])
def test_409_says_what_was_cosigned_last(address: Address, old: int) -> None:
    post(address, LOG.asking(0, 5))
    answer = post(address, LOG.asking(old, 9))
    assert answer.status == 409
    assert answer.headers["content-type"] == "text/x.tlog.size"
    assert answer.body == b"5\n"


def test_409_comes_before_the_proof_is_looked_at(address: Address) -> None:
    post(address, LOG.asking(0, 5))
    nonsense = AddCheckpoint(3, (b"h" * 32,), LOG.head(9).note).to_bytes()
    assert post(address, nonsense).status == 409


def test_422_what_does_not_extend_the_tree(address: Address) -> None:
    empty = LOG.signer.sign(Checkpoint("log.example", 0, b"r" * 32))
    assert post(address, AddCheckpoint(0, (), empty.note).to_bytes()).status == 422
    assert post(address, AddCheckpoint(0, (b"h" * 32,), LOG.head(5).note).to_bytes()).status == 422
    assert post(address, LOG.asking(0, 5)).status == 200
    fork = GrowingLog(LOG.signer, b"other")
    assert post(address, fork.asking(5, 9)).status == 422
    assert post(address, fork.asking(5, 5)).status == 422
    assert post(address, AddCheckpoint(5, (), LOG.head(9).note).to_bytes()).status == 422
    # None of it was remembered.
    assert SignedCheckpoint.parse(latest(address).body).checkpoint.size == 5
    assert post(address, LOG.asking(5, 9)).status == 200


def test_413_a_body_that_is_too_long(address: Address) -> None:
    assert post(address, b"x" * (MAX_REQUEST_BYTES + 1)).status == 413


def test_a_forged_line_cannot_poison_what_is_remembered(address: Address) -> None:
    forged = Cosigner.generate("witness.example").cosign(LOG.head(3).checkpoint, AT)
    replayed = COSIGNER.cosign(LOG.head(2).checkpoint, AT)
    junk = "— other.example AAAAAAAAAAAA\n"
    note = LOG.head(3).note + f"{forged}{replayed}{junk}".encode()
    assert post(address, AddCheckpoint(0, (), note).to_bytes()).status == 200
    shown = Note.parse(latest(address).body)
    assert [line.key_id for line in shown.signatures] == [LOG.key.key_id, COSIGNER.key.key_id]
    assert shown.verify([LOG.key, COSIGNER.key])
    assert post(address, LOG.asking(3, 4)).status == 200


def test_what_is_not_durable_is_not_cosigned(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(address, LOG.asking(0, 3))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("registry.storage.sql.witness.put", full)
    answer = post(address, LOG.asking(3, 4))
    assert answer.status == 503
    assert b"witness.example" not in answer.body
    monkeypatch.undo()
    assert SignedCheckpoint.parse(latest(address).body).checkpoint.size == 3
    assert post(address, LOG.asking(3, 4)).status == 200


def test_a_slow_request_never_overwrites_a_larger_tree(
    witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race of the specification: N is checked, N + K is stored, N is stored."""
    witness.add_checkpoint(LOG.asking(0, 1))
    at_the_clock, go_on = threading.Event(), threading.Event()

    def slow() -> object:
        at_the_clock.set()
        go_on.wait(1)
        return AT

    monkeypatch.setattr(witness, "_now", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(witness.add_checkpoint, LOG.asking(1, 5))
        assert at_the_clock.wait(5)
        second = pool.submit(witness.add_checkpoint, LOG.asking(1, 50))
        go_on.set()
        answers = [first.result(10), second.result(10)]
    # One of them was first; the other one was told so, and changed nothing.
    assert sum(isinstance(answer, bytes) for answer in answers) == 1
    shown = witness.latest(log_id("log.example"))
    assert shown is not None
    assert SignedCheckpoint.parse(shown).checkpoint.size == 5


def test_whatever_many_logs_in_a_hurry_ask_the_tree_only_grows(address: Address) -> None:
    """Everything that was cosigned is of one history, in one order."""
    cosigned: list[Checkpoint] = []
    lock = threading.Lock()

    def hurry(seed: int) -> None:
        size = 1
        for step in range(12):
            new = size + 1 + (seed * 7 + step * 3) % 9
            answer = post(address, LOG.asking(size if step else 0, new))
            if answer.status == 200:
                with lock:
                    cosigned.append(LOG.head(new).checkpoint)
                size = new
            else:
                assert answer.status == 409
                size = int(answer.body)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(hurry, range(6)))
    sizes = sorted(head.size for head in cosigned)
    assert len(set(sizes)) == len(sizes)
    last = SignedCheckpoint.parse(latest(address).body).checkpoint
    assert last.size == sizes[-1]
    for head in cosigned:
        verify_consistency(
            head.size, last.size, LOG.proof(head.size, last.size), head.root, last.root
        )


def test_a_log_may_have_two_keys(database: Database) -> None:
    log, beside = (
        LogSigner.generate("log.example"),
        Cosigner.generate("log.example", post_quantum=True),
    )
    log.also(lambda checkpoint: beside.cosign(checkpoint, AT))
    text = f"log {log.key}\nlog {beside.key}\n"
    witness = Witness(database, Policy.parse(text.encode(), quorum=NONE), [COSIGNER], lambda: AT)
    assert isinstance(witness.add_checkpoint(GrowingLog(log).asking(0, 2)), bytes)
    shown = witness.latest(log_id("log.example")) or b""
    keys: list[VerifierKey] = [log.key, beside.key, COSIGNER.key]
    assert Note.parse(shown).verify(keys) == tuple(keys)


def test_a_witness_may_sign_with_two_keys(database: Database) -> None:
    beside = Cosigner.generate("witness.example", post_quantum=True)
    policy = Policy.parse(f"log {LOG.key}\n".encode(), quorum=NONE)
    witness = Witness(database, policy, [COSIGNER, beside], lambda: AT)
    answer = witness.add_checkpoint(LOG.asking(0, 2))
    assert isinstance(answer, bytes)
    for key in (COSIGNER.key, beside.key):
        assert len(read_answer(answer, LOG.head(2), [key])) == 1
    shown = witness.latest(log_id("log.example")) or b""
    assert len(Note.parse(shown).verify([LOG.key, COSIGNER.key, beside.key])) == 3
