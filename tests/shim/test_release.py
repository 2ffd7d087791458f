"""The bytes on this host, compared with the release."""

import os
from pathlib import Path

import pytest

from registry.core import digest
from registry.errors import NotFoundError, Reason, RegistryError, VerificationError
from tests.shim.world import FILES, RELEASE, lay_out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return lay_out(tmp_path, FILES)


def test_the_registered_files_are_accepted(folder: Path) -> None:
    RELEASE.verify_folder(folder)


def test_files_that_do_not_belong_to_it_do_not_matter(folder: Path) -> None:
    (folder / "README").write_text("hello")
    RELEASE.verify_folder(folder)


def test_a_swapped_file_is_named_with_both_digests(folder: Path) -> None:
    (folder / "model.bin").write_bytes(b"Weights")
    with pytest.raises(VerificationError) as caught:
        RELEASE.verify_folder(folder)
    error = caught.value
    assert error.reason is Reason.WRONG_MODEL_FILE
    assert error.where == str(folder / "model.bin")
    assert digest.text(digest.sha256(b"weights")) in error.expected
    assert digest.text(digest.sha256(b"Weights")) in error.actual


@pytest.mark.parametrize("data", [b"", b"weight", b"weights "])
def test_a_file_of_another_size_is_refused(folder: Path, data: bytes) -> None:
    (folder / "model.bin").write_bytes(data)
    with pytest.raises(VerificationError) as caught:
        RELEASE.read_verified(folder, "model.bin")
    assert f"{len(data)} bytes" in caught.value.actual


def refused(folder: Path) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        RELEASE.verify_folder(folder)
    assert caught.value.reason is Reason.WRONG_MODEL_FILE
    return caught.value


def test_a_missing_file_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert isinstance(refused(folder), NotFoundError)


def test_a_named_pipe_does_not_stop_the_check_for_ever(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    refused(folder)


def test_a_folder_in_the_place_of_a_file_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    refused(folder)


def test_what_is_read_is_what_was_compared(folder: Path) -> None:
    assert RELEASE.read_verified(folder, "model.bin") == b"weights"


def test_a_file_outside_the_release_is_not_read(folder: Path) -> None:
    (folder / "other.bin").write_bytes(b"weights")
    with pytest.raises(NotFoundError) as caught:
        RELEASE.read_verified(folder, "other.bin")
    assert caught.value.reason is Reason.WRONG_MODEL_FILE
