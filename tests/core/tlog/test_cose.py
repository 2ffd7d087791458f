"""COSE receipts: ours verify, also with a verifier that we did not write, and nothing else does."""

from dataclasses import replace
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import example, given
from hypothesis import strategies as st

from registry.core import digest
from registry.core.digest import sha256
from registry.core.tlog import cose, entry, merkle
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.cose import MAX_COSE_RECEIPT_BYTES, CoseReceipt
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.receipt import Receipt
from registry.errors import MalformedError, Reason, RegistryError, VerificationError
from registry.signing.file import LogSigner, StatementSigner

LOG = LogSigner.generate("log.example")
SIGNER = StatementSigner.generate()
BODIES = [
    entry.write(sha256(b"%d" % number), b"\x30\x06\x02\x01\x01\x02\x01\x01", SIGNER.public_key.der)
    for number in range(11)
]
HASHES = [merkle.leaf_hash(body) for body in BODIES]


def receipt(index: int, size: int = len(BODIES), log: LogSigner = LOG) -> CoseReceipt:
    head = log.sign(Checkpoint(log.key.name, size, merkle.root(HASHES[:size])))
    proof = merkle.inclusion_path(HASHES[:size], index)
    return log.sign_receipt(Receipt(index, proof, head), BODIES[index])


RECEIPT = receipt(3)
DATA = RECEIPT.to_bytes()


def refusal(signed: CoseReceipt, body: bytes, log: LogSigner = LOG) -> RegistryError:
    with pytest.raises(VerificationError) as caught:
        signed.verify(body, log.key)
    return caught.value


@pytest.mark.parametrize("size", [1, 2, 3, 8, 11])
def test_the_receipt_of_every_entry_verifies_after_reading_it_back(size: int) -> None:
    for index in range(size):
        signed = receipt(index, size)
        again = CoseReceipt.parse(signed.to_bytes())
        assert again == signed
        again.verify(BODIES[index], LOG.key)


def pem(key: VerifierKey) -> bytes:
    return Ed25519PublicKey.from_public_bytes(key.public_key).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.parametrize("size", [2, 3, 8, 11])
def test_another_implementation_verifies_our_receipts(size: int) -> None:
    foreign = pytest.importorskip("scitt_cose.receipt", reason="scitt-cose is not installed")
    for index in range(size):
        said = foreign.verify_receipt(
            receipt(index, size).to_bytes(),
            leaf_entry_hex=BODIES[index].hex(),
            log_public_key_pem=pem(LOG.key),
        )
        assert (said.errors, said.ok) == ([], True)
        assert (said.tree_size, said.leaf_index) == (size, index)
        assert said.issuer == "log.example"
        assert said.subject == digest.text(sha256(b"%d" % index))
        assert said.protected_header_ext == {4: cose.thumbprint(LOG.key)}


def test_another_implementation_refuses_what_we_refuse() -> None:
    foreign = pytest.importorskip("scitt_cose.receipt", reason="scitt-cose is not installed")
    for data, body in (
        (DATA, BODIES[4]),
        (replace(RECEIPT, index=2).to_bytes(), BODIES[3]),
        (receipt(3, log=LogSigner.generate("log.example")).to_bytes(), BODIES[3]),
        (DATA + b"\x00", BODIES[3]),
    ):
        said = foreign.verify_receipt(
            data, leaf_entry_hex=body.hex(), log_public_key_pem=pem(LOG.key)
        )
        assert not said.ok


def test_the_tree_is_the_one_of_other_peoples_receipts() -> None:
    # The facts of action-state-group/scitt-cose, test-vectors/v1/valid-eddsa/expected.json: there,
    # the entry is the SHA-256 of the signed statement.
    entry_bytes = bytes.fromhex("a6dd4523ffdda1754c234acf209bdde758db7d30438468700a7bf6c01e800e3a")
    path = (
        "d5790c062bb617c193f8dbedf90469ccf49525739238b6d1102df4d3424fbd44",
        "fb85d1461099612b0a34168f8f207bc9a761a91cd1173f39c5dd7ca4d1d92a6c",
        "b8e2ffb9ad6e45622e44393e6f58a747c4c5b3900d9676e3ecf50aab2ba266e4",
    )
    made = replace(RECEIPT, size=8, index=2, proof=tuple(map(bytes.fromhex, path)))
    root = "5c834b80c0b40ca993f0b4a3ef9d2e77a8a3e8113358e4f318866c02cd448362"
    assert made.root(entry_bytes).hex() == root


def test_a_receipt_is_laid_out_as_the_specification_says() -> None:
    message = cbor2.loads(DATA)
    assert message.tag == 18
    protected, unprotected, payload, signature = message.value
    assert cbor2.loads(protected) == {
        1: -8,
        4: cose.thumbprint(LOG.key),
        15: {1: "log.example", 2: digest.text(sha256(b"3"))},
        395: 1,
    }
    assert cbor2.dumps(unprotected) == cbor2.dumps(
        {396: {-1: [cbor2.dumps([11, 3, list(RECEIPT.proof)])]}}
    )
    assert payload is None
    to_be_signed = cbor2.dumps(["Signature1", protected, b"", merkle.root(HASHES)])
    Ed25519PublicKey.from_public_bytes(LOG.key.public_key).verify(signature, to_be_signed)


def test_a_key_is_named_by_its_thumbprint() -> None:
    # The COSE_Key of RFC 9679, with its three members in deterministic order.
    key = VerifierKey("log.example", bytes(range(32)))
    written = b"\xa3\x01\x01\x20\x06\x21\x58\x20" + bytes(range(32))
    assert cose.thumbprint(key) == sha256(written)


def test_a_receipt_is_about_one_entry() -> None:
    assert refusal(RECEIPT, BODIES[4]).reason is Reason.SUBJECT_MISMATCH
    renamed = replace(RECEIPT, subject=sha256(b"4"))
    assert refusal(renamed, BODIES[4]).reason is Reason.LOG_SIGNATURE


def test_another_signature_over_the_same_digest_is_another_entry() -> None:
    other = entry.write(sha256(b"3"), b"\x30\x06\x02\x01\x01\x02\x01\x02", SIGNER.public_key.der)
    assert refusal(RECEIPT, other).reason is Reason.LOG_SIGNATURE


@pytest.mark.parametrize(("index", "size"), [(2, 11), (1, 11), (11, 12)])
def test_a_receipt_does_not_verify_on_another_path(index: int, size: int) -> None:
    assert refusal(replace(RECEIPT, index=index, size=size), BODIES[3]).reason in {
        Reason.LOG_SIGNATURE,
        Reason.INCLUSION_PROOF,
    }


def test_the_position_is_claimed_where_two_positions_share_a_path() -> None:
    # Leaf 2 of 3 and leaf 1 of 2 both have one sibling, on the left. This is why a client takes
    # the position from the signed checkpoint.
    replace(receipt(2, 3), index=1, size=2, proof=receipt(2, 3).proof).verify(BODIES[2], LOG.key)


def test_a_receipt_of_another_log_is_refused() -> None:
    other = LogSigner.generate("log.invalid")
    assert refusal(RECEIPT, BODIES[3], other).reason is Reason.WRONG_LOG


def test_a_receipt_by_another_key_of_the_same_name_is_refused() -> None:
    other = LogSigner.generate("log.example")
    assert refusal(RECEIPT, BODIES[3], other).reason is Reason.WRONG_LOG
    posing = replace(RECEIPT, key_id=cose.thumbprint(other.key))
    assert refusal(posing, BODIES[3], other).reason is Reason.LOG_SIGNATURE


def test_the_key_signs_no_root_that_it_did_not_sign_in_a_checkpoint() -> None:
    forger = LogSigner.generate("log.example")
    head = forger.sign(Checkpoint("log.example", 11, merkle.root(HASHES)))
    unsigned = Receipt(3, merkle.inclusion_path(HASHES, 3), head)
    with pytest.raises(VerificationError) as caught:
        LOG.sign_receipt(unsigned, BODIES[3])
    assert caught.value.reason is Reason.WRONG_LOG
    unproven = Receipt(4, RECEIPT.proof, LOG.sign(head.checkpoint))
    with pytest.raises(VerificationError) as caught:
        LOG.sign_receipt(unproven, BODIES[3])
    assert caught.value.reason is Reason.INCLUSION_PROOF


# What is not exactly a receipt.


PROTECTED: dict[Any, Any] = cbor2.loads(cbor2.loads(DATA).value[0])
PROOF: list[Any] = [11, 3, list(RECEIPT.proof)]


def written(
    protected: object = PROTECTED,
    unprotected: object = None,
    payload: object = None,
    signature: object = RECEIPT.signature,
    *,
    proof: object = PROOF,
    tag: int = 18,
    canonical: bool = True,
) -> bytes:
    header = (
        {396: {-1: [cbor2.dumps(proof, canonical=True)]}} if unprotected is None else unprotected
    )
    message = [cbor2.dumps(protected, canonical=canonical), header, payload, signature]
    return cbor2.dumps(cbor2.CBORTag(tag, message), canonical=canonical)


def test_the_parts_that_are_changed_below_make_the_receipt() -> None:
    assert written() == DATA


BLOB = cbor2.dumps(PROOF, canonical=True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        DATA[:-1],
        DATA[1:],
        DATA + b"\x00",
        DATA * 2,
        b"\xd8\x12" + DATA[1:],
        b"\xd2" + DATA,
        written(tag=17),
        written(tag=98),
        written(PROTECTED | {1: -7}),
        written(PROTECTED | {1: -50}),
        written(PROTECTED | {395: 2}),
        written(PROTECTED | {395: True}),
        written(PROTECTED | {2: [395]}),
        written(PROTECTED | {4: b"short"}),
        written(PROTECTED | {4: "k" * 32}),
        written(PROTECTED | {15: {1: "log.example"}}),
        written(PROTECTED | {15: {1: "log example", 2: PROTECTED[15][2]}}),
        written(PROTECTED | {15: {1: "", 2: PROTECTED[15][2]}}),
        written(PROTECTED | {15: PROTECTED[15] | {6: 1}}),
        written(PROTECTED | {15: PROTECTED[15] | {2: "sha256:00"}}),
        written(PROTECTED | {15: []}),
        written(PROTECTED | {-65537: "grade"}),
        written({key: value for key, value in PROTECTED.items() if key != 4}),
        written(dict(reversed(PROTECTED.items())), canonical=False),
        written([]),
        written(unprotected={}),
        written(unprotected={396: {-1: []}}),
        written(unprotected={396: {-1: [BLOB, BLOB]}}),
        written(unprotected={396: {-1: [b""]}}),
        written(unprotected={396: {-1: [BLOB + b"\x00"]}}),
        written(unprotected={396: {-1: [PROOF]}}),
        written(unprotected={396: {-1: [10**9]}}),
        written(unprotected={396: {-2: [BLOB]}}),
        written(unprotected={396: {-1: [BLOB]}, 1: -8}),
        written(payload=merkle.root(HASHES)),
        written(payload=b""),
        written(signature=b"s" * 63),
        written(signature=b"s" * 65),
        written(signature=None),
        written(proof=[11, 11, PROOF[2]]),
        written(proof=[0, 0, []]),
        written(proof=[-1, -2, []]),
        written(proof=[2**63, 3, PROOF[2]]),
        written(proof=[2**70, 3, PROOF[2]]),
        written(proof=[11.0, 3, PROOF[2]]),
        written(proof=[True, False, []]),
        written(proof=[11, 3]),
        written(proof=[11, 3, [], []]),
        written(proof=[11, 3, PROOF[2][0]]),
        written(proof=[11, 3, [b"h" * 31]]),
        written(proof=[11, 3, [b"h" * 64]]),
        written(proof=[11, 3, [b"h" * 32] * 64]),
        written(proof={"a": 1}),
        DATA.replace(b"\x84\x58", b"\x98\x04\x58", 1),
        DATA.replace(b"\x84", b"\x9f", 1) + b"\xff",
        written(unprotected={396: {-1: [BLOB.replace(b"\x83\x0b", b"\x83\x18\x0b")]}}),
        b"\xd2" + b"\x81" * 3000 + b"\x00",
        b"\xd2\x5b" + b"\x7f" * 8,
        b"\xd2\x9b" + b"\x7f" * 8,
        b"\xd2\x84\xd8\x23\x61(" + b"\x00" * 8,
        DATA + b"\x00" * MAX_COSE_RECEIPT_BYTES,
    ],
)
def test_what_is_not_exactly_a_receipt_is_refused(data: bytes) -> None:
    assert data != DATA
    with pytest.raises(MalformedError) as caught:
        CoseReceipt.parse(data)
    assert caught.value.reason is Reason.MALFORMED_COSE


HASH = st.binary(min_size=32, max_size=32)
ORIGINS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Z"], exclude_characters="+"),
    min_size=1,
    max_size=300,
)


RECEIPTS = st.builds(
    lambda origin, named, size, index, proof, signature: CoseReceipt(
        origin, named[0], named[1], size, index % size, tuple(proof), signature
    ),
    ORIGINS,
    st.tuples(HASH, HASH),
    st.integers(1, 2**63 - 1),
    st.integers(0, 2**63 - 2),
    st.lists(HASH, max_size=63),
    st.binary(min_size=64, max_size=64),
)
LONGEST = CoseReceipt(
    "o" * 255, b"h" * 32, b"k" * 32, 2**63 - 1, 2**63 - 2, (b"p" * 32,) * 63, b"s" * 64
)


@given(RECEIPTS)
@example(LONGEST)
def test_every_receipt_is_read_back(made: CoseReceipt) -> None:
    assert CoseReceipt.parse(made.to_bytes()) == made
