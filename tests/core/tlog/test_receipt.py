"""Receipts: the offline proof that one entry is in the log."""

import pytest

from registry.core.encoding import base64_text
from registry.core.tlog import merkle
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.merkle import MAX_PROOF_HASHES
from registry.core.tlog.receipt import HEADER, MAX_RECEIPT_BYTES, Receipt
from registry.errors import MalformedError, Reason, RegistryError, VerificationError
from registry.signing.file import LogSigner

LOG = LogSigner.generate("log.example")
BODIES = [b"entry %d" % number for number in range(11)]
HASHES = [merkle.leaf_hash(body) for body in BODIES]
HEAD = LOG.sign(Checkpoint("log.example", len(BODIES), merkle.root(HASHES)))
RECEIPT = Receipt(3, merkle.inclusion_path(HASHES, 3), HEAD)
DATA = RECEIPT.to_bytes()


@pytest.mark.parametrize("index", range(len(BODIES)))
def test_the_receipt_of_every_entry_verifies_after_reading_it_back(index: int) -> None:
    receipt = Receipt(index, merkle.inclusion_path(HASHES, index), HEAD)
    assert Receipt.parse(receipt.to_bytes()) == receipt
    Receipt.parse(receipt.to_bytes()).verify(BODIES[index], LOG.key)


def test_a_receipt_is_spelled_as_the_specification_does() -> None:
    lines = DATA.decode().split("\n")
    assert lines[:3] == [HEADER, "index 3", base64_text(RECEIPT.proof[0])]
    assert DATA.endswith(b"\n\n" + HEAD.note)


def refusal_of_verify(receipt: Receipt, body: bytes, log: LogSigner = LOG) -> RegistryError:
    with pytest.raises(VerificationError) as caught:
        receipt.verify(body, log.key)
    return caught.value


def test_a_receipt_does_not_verify_another_entry() -> None:
    assert refusal_of_verify(RECEIPT, BODIES[4]).reason is Reason.INCLUSION_PROOF


def test_a_receipt_does_not_verify_at_another_index() -> None:
    moved = Receipt(2, RECEIPT.proof, HEAD)
    assert refusal_of_verify(moved, BODIES[3]).reason is Reason.INCLUSION_PROOF


def test_a_receipt_of_another_log_is_refused() -> None:
    other = LogSigner.generate("log.invalid")
    assert refusal_of_verify(RECEIPT, BODIES[3], other).reason is Reason.WRONG_LOG


def test_a_receipt_with_a_forged_checkpoint_is_refused() -> None:
    forger = LogSigner.generate("log.example")
    forged = Receipt(3, RECEIPT.proof, forger.sign(HEAD.checkpoint))
    assert refusal_of_verify(forged, BODIES[3]).reason is Reason.WRONG_LOG


@pytest.mark.parametrize(
    "data",
    [
        b"",
        DATA[1:],
        DATA.replace(b"@v1", b"@v2"),
        DATA.replace(b"index 3", b"index 03"),
        DATA.replace(b"index 3", b"index -3"),
        DATA.replace(b"index 3", b"index three"),
        DATA.replace(b"index 3", b"index  3"),
        DATA.replace(b"index 3\n", b""),
        DATA.replace(b"index 3\n", b"extra AAAA\nindex 3\n"),
        DATA.replace(b"index 3\n", b"index 3\n!!!!\n"),
        DATA.replace(b"\n\n", b"\n", 1),
        DATA.replace(b"\n\n", b"\n\n\n", 1),
        DATA.replace(b"\n", b"\r\n", 2),
        DATA.replace(b"index", "índex".encode()),
        DATA + b"\n",
        DATA[:-5],
        DATA.replace(b"index 3\n", b"index 3\n" + base64_text(b"h" * 32).encode() * 2000 + b"\n"),
        DATA.replace(b"index 3\n", b"index 3\n" + b"AAAA\n" * (MAX_PROOF_HASHES + 1)),
        b"x" * (MAX_RECEIPT_BYTES + 1),
    ],
)
def test_what_is_not_exactly_a_receipt_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        Receipt.parse(data)


def test_a_hash_of_64_bytes_is_refused_when_it_is_used() -> None:
    long = Receipt(3, (b"h" * 64, *RECEIPT.proof[1:]), HEAD)
    with pytest.raises(MalformedError):
        Receipt.parse(long.to_bytes()).verify(BODIES[3], LOG.key)
