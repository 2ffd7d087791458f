"""What a witness makes of a request: the table of the protocol, row by row."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.encoding import base64_text
from registry.core.tlog import merkle
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.merkle import EMPTY_ROOT, MAX_PROOF_HASHES
from registry.core.tlog.note import Note
from registry.core.tlog.tree import consistency_proof
from registry.core.tlog.witnessing import (
    MAX_REQUEST_BYTES,
    AddCheckpoint,
    advance,
    is_stale,
    open_request,
    read_answer,
    read_size,
)
from registry.errors import MalformedError, NotFoundError, Reason, RegistryError, VerificationError
from registry.signing.cosigner import Cosigner
from registry.signing.file import LogSigner

LOG = LogSigner.generate("log.example")
LOGS = {"log.example": (LOG.key,)}
WITNESS = Cosigner.generate("witness.example")
AT = datetime(2026, 7, 1, 12, tzinfo=UTC)
LEAVES = [merkle.leaf_hash(bytes([n])) for n in range(40)]


def node(level: int, position: int) -> bytes:
    width = 1 << level
    return merkle.root(LEAVES[position * width : (position + 1) * width])


def head(size: int, root: bytes | None = None) -> SignedCheckpoint:
    return LOG.sign(Checkpoint("log.example", size, root or merkle.root(LEAVES[:size])))


def asking(old: int, size: int, **changes: object) -> AddCheckpoint:
    proof = consistency_proof(node, old, size) if 0 < old <= size else ()
    parts: dict[str, object] = {"old": old, "proof": proof, "note": head(size).note}
    return AddCheckpoint(**{**parts, **changes})  # type: ignore[arg-type]  # data of a test


def last(size: int) -> Checkpoint | None:
    return head(size).checkpoint if size else None


def refusal(data: bytes) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        open_request(data, LOGS)
    return caught.value


@pytest.mark.parametrize(
    ("old", "new"), [(0, 1), (0, 40), (1, 2), (5, 40), (32, 33), (7, 7), (0, 0)]
)
def test_a_tree_that_grows_is_cosigned(old: int, new: int) -> None:
    request = open_request(asking(old, new).to_bytes(), LOGS)
    assert not is_stale(request, last(old))
    advance(request, last(old))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"old 1\n",
        b"old 1\n\n",
        b"old 01\n\n" + head(2).note,
        b"old -1\n\n" + head(2).note,
        b"old 1 \n\n" + head(2).note,
        b"new 1\n\n" + head(2).note,
        b"old 1\nAAAA\n\n" + head(2).note,
        b"old 1\n" + base64_text(b"h" * 33).encode() + b"\n\n" + head(2).note,
        b"old 1\n\n\n" + head(2).note,
        b"old 1\r\n\n" + head(2).note,
        b"old \xc2\xb2\n\n" + head(2).note,
        asking(1, 2).to_bytes() + b"\n",
        asking(1, 2, note=head(2).note.replace(b"\n\n", b"\nextension\n\n")).to_bytes(),
        b"old 1\n" + b"A" * MAX_REQUEST_BYTES,
    ],
)
def test_what_is_not_a_request_is_malformed(data: bytes) -> None:
    assert isinstance(refusal(data), MalformedError)


def test_a_request_has_at_most_63_hashes() -> None:
    hashes = (b"h" * 32,) * MAX_PROOF_HASHES
    open_request(asking(1, 2, proof=hashes).to_bytes(), LOGS)
    longer = asking(1, 2, proof=(*hashes, b"h" * 32)).to_bytes()
    assert refusal(longer).reason is Reason.MALFORMED_REQUEST


def test_an_unknown_origin_comes_before_its_signature() -> None:
    stranger = LogSigner.generate("other.example").sign(Checkpoint("other.example", 1, LEAVES[0]))
    error = refusal(asking(0, 1, note=stranger.note).to_bytes())
    assert isinstance(error, NotFoundError)
    assert error.reason is Reason.UNKNOWN_LOG


def test_a_foreign_signature_is_not_enough_and_comes_before_the_old_size() -> None:
    forged = LogSigner.generate("log.example").sign(head(2).checkpoint)
    for old in (1, 3):
        error = refusal(AddCheckpoint(old, (), forged.note).to_bytes())
        assert isinstance(error, VerificationError)
        assert error.reason is Reason.WRONG_LOG


def test_a_known_key_with_a_wrong_signature_is_refused_beside_a_right_one() -> None:
    signed, other = Note.parse(head(2).note), Note.parse(head(3).note)
    note = str(Note(signed.text, (*signed.signatures, *other.signatures))).encode()
    assert refusal(asking(0, 2, note=note).to_bytes()).reason is Reason.LOG_SIGNATURE


def test_an_old_size_beyond_the_checkpoint_is_malformed() -> None:
    error = refusal(asking(3, 2).to_bytes())
    assert isinstance(error, MalformedError)
    assert error.reason is Reason.MALFORMED_REQUEST


@pytest.mark.parametrize(("old", "stored"), [(0, 5), (4, 5), (6, 5), (1, 0)])
def test_another_old_size_than_cosigned_last_is_stale(old: int, stored: int) -> None:
    assert is_stale(open_request(asking(old, 10).to_bytes(), LOGS), last(stored))


@pytest.mark.parametrize(
    ("request_", "stored"),
    [
        (asking(0, 0, note=head(0, b"r" * 32).note), 0),
        (asking(0, 2, proof=(b"h" * 32,)), 0),
        (asking(5, 10, proof=()), 5),
        (asking(5, 10, proof=(b"h" * 32,) * 4), 5),
        (asking(5, 10, note=head(10, b"r" * 32).note), 5),
        (asking(5, 5, note=head(5, b"r" * 32).note), 5),
        (asking(5, 5, proof=(b"h" * 32,)), 5),
    ],
)
def test_what_does_not_extend_the_tree_is_refused(request_: AddCheckpoint, stored: int) -> None:
    request = open_request(request_.to_bytes(), LOGS)
    assert not is_stale(request, last(stored))
    with pytest.raises(VerificationError) as caught:
        advance(request, last(stored))
    assert caught.value.reason is Reason.CONSISTENCY_PROOF


def test_the_empty_tree_counts_as_never_cosigned() -> None:
    empty = Checkpoint("log.example", 0, EMPTY_ROOT)
    request = open_request(asking(0, 3).to_bytes(), LOGS)
    assert not is_stale(request, empty)
    advance(request, empty)


def test_lines_of_strangers_are_not_passed_on() -> None:
    forged = Cosigner.generate("witness.example").cosign(head(2).checkpoint, AT)
    request = open_request(asking(0, 2, note=head(2).note + str(forged).encode()).to_bytes(), LOGS)
    ours = WITNESS.cosign(request.checkpoint, AT)
    kept = Note.parse(request.cosigned(ours))
    assert [line.key_id for line in kept.signatures] == [LOG.key.key_id, WITNESS.key.key_id]


@given(st.integers(0, 2**63 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=63))
def test_every_request_is_read_back(old: int, proof: list[bytes]) -> None:
    asked = AddCheckpoint(old, tuple(proof), head(2).note)
    assert AddCheckpoint.parse(asked.to_bytes()) == asked


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_crash(data: bytes) -> None:
    for candidate in (data, b"old 1\n" + data, data + b"\n\n" + head(2).note):
        with suppress(MalformedError):
            assert AddCheckpoint.parse(candidate).to_bytes() == candidate


def test_the_answer_is_kept_as_far_as_it_is_known() -> None:
    ours = WITNESS.cosign(head(2).checkpoint, AT)
    stranger = Cosigner.generate("other.example").cosign(head(2).checkpoint, AT)
    answer = f"{stranger}{ours}".encode()
    assert read_answer(answer, head(2), [WITNESS.key]) == (ours,)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"text\n",
        b"\n" + str(WITNESS.cosign(head(2).checkpoint, AT)).encode(),
        str(WITNESS.cosign(head(3).checkpoint, AT)).encode(),
        str(Cosigner.generate("witness.example").cosign(head(2).checkpoint, AT)).encode(),
    ],
)
def test_an_answer_without_the_witness_cosignature_is_refused(answer: bytes) -> None:
    with pytest.raises(RegistryError) as caught:
        read_answer(answer, head(2), [WITNESS.key])
    assert isinstance(caught.value, MalformedError | VerificationError)


def test_a_size_is_a_decimal_and_a_newline() -> None:
    assert read_size(b"20852163\n") == 20852163
    for text in (b"", b"5", b"05\n", b"5\n\n", b"-5\n", b"9" * 40 + b"\n", b"\xb2\n"):
        with pytest.raises(MalformedError):
            read_size(text)


@pytest.mark.parametrize("post_quantum", [False, True])
def test_an_answer_tells_when_it_was_cosigned(post_quantum: bool) -> None:
    witness = Cosigner.generate("witness.example", post_quantum=post_quantum)
    never = witness.cosign(head(2).checkpoint, datetime.fromtimestamp(0, UTC))
    with pytest.raises(VerificationError) as caught:
        read_answer(str(never).encode(), head(2), [witness.key])
    assert caught.value.reason is Reason.COSIGNATURE
