"""Checkpoints: three lines, one spelling, one log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.encoding import base64_text
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.note import Note
from registry.errors import MalformedError, Reason, VerificationError
from registry.signing.file import LogSigner

ROOT = bytes(range(32))
TEXT = f"log.example\n42\n{base64_text(ROOT)}\n"

ORIGINS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Z"], exclude_characters="+"),
    min_size=1,
    max_size=20,
)


@given(ORIGINS, st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_every_checkpoint_is_read_back(origin: str, size: int, root: bytes) -> None:
    checkpoint = Checkpoint(origin, size, root)
    assert Checkpoint.parse(str(checkpoint)) == checkpoint


def test_a_checkpoint_is_written_in_three_lines() -> None:
    assert str(Checkpoint("log.example", 42, ROOT)) == TEXT


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT[:-1],
        TEXT + "extension\n",
        TEXT + "\n",
        "log.example\n42\n",
        TEXT.replace("log.example", ""),
        TEXT.replace("log.example", "log example"),
        TEXT.replace("log.example", "log+example"),
        TEXT.replace("42", "042"),
        TEXT.replace("42", "-1"),
        TEXT.replace("42", "+42"),
        TEXT.replace("42", "4_2"),
        TEXT.replace("42", " 42"),
        TEXT.replace("42", "٤٢"),
        TEXT.replace("42", str(2**63)),
        TEXT.replace("42", "four"),
        TEXT.replace("\n42", "\r\n42"),
        TEXT.replace(base64_text(ROOT), base64_text(ROOT[:31])),
        TEXT.replace(base64_text(ROOT), base64_text(ROOT * 2)),
        TEXT.replace("Hh8=", "Hh9="),
        TEXT.replace("Hh8=", "Hh8"),
        TEXT.replace("Hh8=", "!!8="),
    ],
)
def test_what_is_not_exactly_a_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        Checkpoint.parse(text)
    assert caught.value.reason is Reason.MALFORMED_CHECKPOINT


def test_a_signed_checkpoint_is_opened_with_the_logs_key() -> None:
    log = LogSigner.generate("log.example")
    signed = log.sign(Checkpoint("log.example", 42, ROOT))
    assert SignedCheckpoint.open(signed.note, log.key) == signed
    assert SignedCheckpoint.parse(signed.note) == signed


def test_a_checkpoint_of_another_log_is_refused() -> None:
    log, other = LogSigner.generate("log.example"), LogSigner.generate("log.invalid")
    signed = log.sign(Checkpoint("log.example", 42, ROOT))
    with pytest.raises(VerificationError) as caught:
        SignedCheckpoint.open(signed.note, other.key)
    assert caught.value.reason is Reason.WRONG_LOG


def test_a_checkpoint_that_names_one_log_and_is_signed_by_another_is_refused() -> None:
    log = LogSigner.generate("log.example")
    signed = log.sign(Checkpoint("log.invalid", 42, ROOT))
    with pytest.raises(VerificationError) as caught:
        SignedCheckpoint.open(signed.note, log.key)
    assert caught.value.reason is Reason.WRONG_LOG


def test_a_checkpoint_with_another_size_than_was_signed_is_refused() -> None:
    log = LogSigner.generate("log.example")
    signed = log.sign(Checkpoint("log.example", 42, ROOT))
    with pytest.raises(VerificationError) as caught:
        SignedCheckpoint.open(signed.note.replace(b"\n42\n", b"\n43\n"), log.key)
    assert caught.value.reason is Reason.LOG_SIGNATURE


def test_a_signed_note_that_is_no_checkpoint_is_refused() -> None:
    log = LogSigner.generate("log.example")
    signed = log.sign(Checkpoint("log.example", 42, ROOT))
    lines = Note.parse(signed.note).signatures
    with pytest.raises(MalformedError):
        SignedCheckpoint.parse(str(Note("no checkpoint\n", lines)).encode())
