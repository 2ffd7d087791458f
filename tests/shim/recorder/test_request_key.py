"""The secret salts of request commitments."""

import hashlib
import hmac
from pathlib import Path

import pytest

from registry.core.records.inference import commit_request
from registry.errors import MalformedError, Reason
from registry.shim.recorder.request_key import RequestKey

SHIM = "0f" * 16
OTHER = "f0" * 16


def test_salts_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "request.key"
    assert RequestKey(path).salt(SHIM, 7) == RequestKey(path).salt(SHIM, 7)


def test_every_request_has_a_salt_of_its_own(tmp_path: Path) -> None:
    key = RequestKey(tmp_path / "request.key")
    other = RequestKey(tmp_path / "other.key")
    salts = {key.salt(SHIM, 1), key.salt(SHIM, 2), key.salt(OTHER, 1), other.salt(SHIM, 1)}
    assert len(salts) == 4


def test_a_salt_is_what_the_docstring_says(tmp_path: Path) -> None:
    path = tmp_path / "request.key"
    salt = RequestKey(path).salt(SHIM, 258)
    message = b"request-salt/v1\0" + b"\x0f" * 16 + bytes(6) + b"\x01\x02"
    assert salt == hmac.digest(path.read_bytes(), message, "sha256")


def test_a_commitment_is_what_the_docstring_says() -> None:
    salt, digest = b"s" * 32, b"d" * 32
    expected = hashlib.sha256(b"request-commitment/v1\0" + salt + digest).digest()
    assert commit_request(salt, digest) == expected


def test_the_key_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "request.key"
    RequestKey(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "request.key"
    RequestKey(path)
    path.chmod(0o640)
    with pytest.raises(MalformedError) as caught:
        RequestKey(path)
    assert caught.value.reason is Reason.MALFORMED_KEY


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_size_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "request.key"
    path.write_bytes(bytes(size))
    path.chmod(0o600)
    with pytest.raises(MalformedError) as caught:
        RequestKey(path)
    assert caught.value.reason is Reason.MALFORMED_KEY
