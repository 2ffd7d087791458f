"""Cosigner keys in files."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.core.tlog.checkpoint import Checkpoint
from registry.core.tlog.note import Note
from registry.errors import ConflictError, MalformedError, NotFoundError, Reason
from registry.signing.cosigner import Cosigner
from registry.signing.file import StatementSigner

HEAD = Checkpoint("log.example", 5, b"r" * 32)
AT = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("post_quantum", [False, True])
def test_a_key_is_the_same_after_it_was_saved(tmp_path: Path, post_quantum: bool) -> None:
    made = Cosigner.generate("w.example", post_quantum=post_quantum)
    made.save(tmp_path / "key.pem")
    loaded = Cosigner.load("w.example", tmp_path / "key.pem")
    assert loaded.key == made.key
    note = Note.parse(f"{HEAD}\n{loaded.cosign(HEAD, AT)}".encode())
    assert note.verify([made.key])
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    Cosigner.generate("w.example").save(tmp_path / "key.pem")
    with pytest.raises(ConflictError) as caught:
        Cosigner.generate("w.example").save(tmp_path / "key.pem")
    assert caught.value.reason is Reason.TARGET_EXISTS


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    StatementSigner.generate().save(tmp_path / "key.pem")
    with pytest.raises(MalformedError) as caught:
        Cosigner.load("w.example", tmp_path / "key.pem")
    assert caught.value.reason is Reason.KEY_ALGORITHM
    with pytest.raises(NotFoundError):
        Cosigner.load("w.example", tmp_path / "absent.pem")


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    Cosigner.generate("w.example").save(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(MalformedError) as caught:
        Cosigner.load("w.example", tmp_path / "key.pem")
    assert caught.value.reason is Reason.MALFORMED_KEY
