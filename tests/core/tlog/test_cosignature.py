"""Cosignatures of both kinds, also by keys and signatures that other implementations made."""

from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
from hypothesis import given
from hypothesis import strategies as st

from registry.core import encoding
from registry.core.tlog import cosignature
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.note import COSIGNER_KEYS, ML_DSA_44, Note, SignatureLine, VerifierKey
from registry.errors import MalformedError, Reason, VerificationError
from registry.signing.cosigner import Cosigner
from registry.signing.file import LogSigner
from tests.core.tlog import public_cosignatures as public

AT = datetime(2026, 7, 1, 12, tzinfo=UTC)
HEAD = Checkpoint("log.example", 5, b"r" * 32)
KINDS = pytest.mark.parametrize("post_quantum", [False, True])


def cosigner(*, post_quantum: bool, name: str = "witness.example") -> Cosigner:
    return Cosigner.generate(name, post_quantum=post_quantum)


def note(*lines: SignatureLine, text: str = str(HEAD)) -> Note:
    return Note.parse(str(Note(text, lines)).encode())


def test_a_cosignature_of_another_implementation_verifies() -> None:
    key = VerifierKey.parse(public.TORCHWOOD_VKEY, COSIGNER_KEYS)
    line = Note.parse(f"x\n\n{public.TORCHWOOD_LINE}\n".encode()).signatures[0]
    assert (line.name, line.key_id) == (key.name, key.key_id)
    timestamp, signature = cosignature.split(line.signature)
    root = encoding.base64_bytes(public.TORCHWOOD_ROOT)
    first, end = public.TORCHWOOD_LEAVES
    verify = MLDSA44PublicKey.from_public_bytes(key.public_key).verify
    verify(
        signature,
        cosignature.subtree_message(
            key.name, timestamp, public.TORCHWOOD_ORIGIN, (first, end), root
        ),
    )
    with pytest.raises(InvalidSignature):
        verify(
            signature,
            cosignature.subtree_message(
                key.name, timestamp, public.TORCHWOOD_ORIGIN, (first, end + 1), root
            ),
        )


@pytest.mark.parametrize("vkey", [public.TORCHWOOD_VKEY, public.REMORA_VKEY])
def test_a_key_of_another_implementation_is_written_back(vkey: str) -> None:
    assert str(VerifierKey.parse(vkey, COSIGNER_KEYS)) == vkey


def test_the_time_of_a_published_cosignature_is_read() -> None:
    timestamp, _ = cosignature.split(encoding.base64_bytes(public.TIMED)[4:])
    assert timestamp == public.TIMED_AT


def test_the_messages_are_those_of_the_specification() -> None:
    text = b"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    assert cosignature.ed25519_message(1679315147, text) == (
        b"cosignature/v1\ntime 1679315147\n" + text
    )
    root = encoding.base64_bytes("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
    assert cosignature.checkpoint_message("w.example", 1679315147, text.decode()) == (
        b"subtree/v1\n\x00"
        b"\x09w.example"
        b"\x00\x00\x00\x00\x64\x18\x50\xcb"
        b"\x1bexample.com/behind-the-sofa"
        b"\x00\x00\x00\x00\x00\x00\x00\x00"
        b"\x00\x00\x00\x00\x01\x3e\x2d\xc3" + root
    )


@KINDS
def test_a_cosignature_verifies_and_tells_its_time(post_quantum: bool) -> None:
    signer = cosigner(post_quantum=post_quantum)
    line = signer.cosign(HEAD, AT)
    assert note(line).verify([signer.key]) == (signer.key,)
    assert cosignature.split(line.signature)[0] == int(AT.timestamp())


@KINDS
@pytest.mark.parametrize(
    "other",
    [
        Checkpoint("other.example", 5, b"r" * 32),
        Checkpoint("log.example", 6, b"r" * 32),
        Checkpoint("log.example", 5, b"s" * 32),
    ],
)
def test_a_cosignature_of_another_checkpoint_refuses_the_note(
    post_quantum: bool, other: Checkpoint
) -> None:
    signer = cosigner(post_quantum=post_quantum)
    with pytest.raises(VerificationError) as caught:
        note(signer.cosign(other, AT)).verify([signer.key])
    assert caught.value.reason is Reason.COSIGNATURE


@KINDS
def test_a_cosignature_with_another_time_is_refused(post_quantum: bool) -> None:
    signer = cosigner(post_quantum=post_quantum)
    line = signer.cosign(HEAD, AT)
    timestamp, signature = cosignature.split(line.signature)
    moved = SignatureLine(line.name, line.key_id, cosignature.join(timestamp + 1, signature))
    with pytest.raises(VerificationError) as caught:
        note(moved).verify([signer.key])
    assert caught.value.reason is Reason.COSIGNATURE


@KINDS
def test_a_cosignature_is_not_taken_for_a_signature_of_the_log(post_quantum: bool) -> None:
    signer = cosigner(post_quantum=post_quantum)
    posing = VerifierKey(signer.key.name, signer.key.public_key)
    with pytest.raises(VerificationError) as caught:
        note(signer.cosign(HEAD, AT)).verify([posing])
    assert caught.value.reason is Reason.WRONG_LOG


def test_only_the_post_quantum_message_holds_the_cosigners_name() -> None:
    for post_quantum in (False, True):
        signer = cosigner(post_quantum=post_quantum)
        renamed = VerifierKey("other.example", signer.key.public_key, signer.key.kind)
        line = signer.cosign(HEAD, AT)
        moved = SignatureLine(renamed.name, renamed.key_id, line.signature)
        if post_quantum:
            with pytest.raises(VerificationError):
                note(moved).verify([renamed])
        else:
            note(moved).verify([renamed])


def test_a_post_quantum_cosignature_fits_only_a_checkpoint() -> None:
    signer = cosigner(post_quantum=True)
    line = signer.cosign(HEAD, AT)
    for text in ("a\nb\n", "log.example\nfive\nAAAA\n", "log.example\n5\nAAAA\n"):
        with pytest.raises(VerificationError) as caught:
            note(line, text=text).verify([signer.key])
        assert caught.value.reason is Reason.COSIGNATURE


@pytest.mark.parametrize("data", [b"", b"\0" * 8, b"\x80" + b"\0" * 71])
def test_what_is_no_cosignature_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        cosignature.split(data)
    assert caught.value.reason is Reason.MALFORMED_SIGNATURE


@given(st.integers(0, cosignature.MAX_TIMESTAMP), st.binary(min_size=1, max_size=80))
def test_every_cosignature_is_read_back(timestamp: int, signature: bytes) -> None:
    assert cosignature.split(cosignature.join(timestamp, signature)) == (timestamp, signature)


@pytest.mark.parametrize(
    ("cosigner_name", "origin", "leaves", "timestamp", "root"),
    [
        ("", "log", (0, 1), 1, b"r" * 32),
        ("w" * 256, "log", (0, 1), 1, b"r" * 32),
        ("w", "l" * 256, (0, 1), 1, b"r" * 32),
        ("w", "ü" * 128, (0, 1), 1, b"r" * 32),
        ("w", "log", (8, 13), 1, b"r" * 32),
        ("w", "log", (8, 7), 0, b"r" * 32),
        ("w", "log", (0, 1), 1, b"r" * 31),
    ],
)
def test_what_the_post_quantum_message_cannot_hold_is_refused(
    cosigner_name: str, origin: str, leaves: tuple[int, int], timestamp: int, root: bytes
) -> None:
    with pytest.raises(MalformedError) as caught:
        cosignature.subtree_message(cosigner_name, timestamp, origin, leaves, root)
    assert caught.value.reason is Reason.MALFORMED_CHECKPOINT


def test_a_cosigner_has_a_name_that_fits() -> None:
    with pytest.raises(MalformedError) as caught:
        cosigner(post_quantum=True, name="w" * 256)
    assert caught.value.reason is Reason.MALFORMED_NAME


def test_a_log_can_cosign_its_own_checkpoints() -> None:
    log, beside = (
        LogSigner.generate("log.example"),
        Cosigner.generate("log.example", post_quantum=True),
    )
    log.also(lambda checkpoint: beside.cosign(checkpoint, AT))
    signed = Note.parse(log.sign(HEAD).note)
    assert beside.key.kind == ML_DSA_44
    assert signed.verify([log.key, beside.key]) == (log.key, beside.key)
    # Whoever knows only the main key reads on as before.
    assert signed.verify([log.key]) == (log.key,)
