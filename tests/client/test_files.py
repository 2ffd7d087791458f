"""Walking and hashing folders."""

import hashlib
import os
import socket
from pathlib import Path

import pytest

from registry.client.files import BUFFER_BYTES, hash_folder, role_of, walk
from registry.core.records.manifest import Manifest
from registry.errors import MalformedError, NotFoundError, Reason, RegistryError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_bytes(b"{}")
    (folder / "sub" / "weights.bin").write_bytes(b"weights")
    return folder


def manifest_of(folder: Path) -> Manifest:
    return hash_folder(walk(folder))


def refusal(folder: Path) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        manifest_of(folder)
    return caught.value


def test_a_manifest_lists_every_file_with_size_and_both_digests(folder: Path) -> None:
    listed = {
        file.path: (file.size, file.digest.sha256, file.digest.sha512)
        for file in manifest_of(folder).files
    }
    assert listed == {
        "config.json": (2, hashlib.sha256(b"{}").hexdigest(), hashlib.sha512(b"{}").hexdigest()),
        "sub/weights.bin": (
            7,
            hashlib.sha256(b"weights").hexdigest(),
            hashlib.sha512(b"weights").hexdigest(),
        ),
    }


@pytest.mark.parametrize("extra", [-1, 0, 1, BUFFER_BYTES, 3 * BUFFER_BYTES + 17])
def test_files_around_and_above_the_buffer_size_are_hashed_right(
    tmp_path: Path, extra: int
) -> None:
    data = os.urandom(BUFFER_BYTES + extra)
    (tmp_path / "weights").write_bytes(data)
    [file] = manifest_of(tmp_path).files
    assert (file.digest.sha256, file.digest.sha512) == (
        hashlib.sha256(data).hexdigest(),
        hashlib.sha512(data).hexdigest(),
    )


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert [file.size for file in manifest_of(tmp_path).files] == [0]


def test_progress_tells_every_byte(folder: Path) -> None:
    told: list[int] = []
    hash_folder(walk(folder), told.append)
    assert sum(told) == 9


def test_a_hard_link_is_a_file(folder: Path) -> None:
    (folder / "again").hardlink_to(folder / "config.json")
    assert len(manifest_of(folder).files) == 3


def test_a_link_to_the_folder_itself_may_be_named(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert manifest_of(link) == manifest_of(folder)


@pytest.mark.parametrize("target", ["config.json", "sub", "/etc/passwd", "nowhere"])
def test_a_symbolic_link_is_refused_wherever_it_leads(folder: Path, target: str) -> None:
    (folder / "link").symlink_to(target)
    error = refusal(folder)
    assert (error.reason, error.where) == (Reason.NOT_A_REGULAR_FILE, "link")
    assert "symbolic link" in error.actual


def test_a_pipe_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert refusal(folder).reason is Reason.NOT_A_REGULAR_FILE


def test_a_socket_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A relative name, since the path of a socket is short.
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert refusal(folder).reason is Reason.NOT_A_REGULAR_FILE


def test_a_device_is_refused(folder: Path) -> None:
    try:
        os.mknod(folder / "null", 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root can make devices")
    assert "device" in refusal(folder).actual


def test_a_name_that_is_no_utf8_is_refused(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9")).touch()
    assert refusal(folder).reason is Reason.UNSAFE_PATH


def test_a_folder_whose_name_is_no_utf8_is_refused(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9")).mkdir()
    assert refusal(folder).reason is Reason.UNSAFE_PATH


@pytest.mark.parametrize("name", ["back\\slash", "new\nline", "bell\x07"])
def test_a_name_that_other_systems_read_otherwise_is_refused(folder: Path, name: str) -> None:
    (folder / name).touch()
    assert refusal(folder).reason is Reason.UNSAFE_PATH


def test_a_name_that_is_not_in_normal_form_is_refused(folder: Path) -> None:
    (folder / "cafe\u0301").touch()
    assert refusal(folder).reason is Reason.PATH_NOT_NFC


def test_names_that_differ_in_case_only_are_refused(folder: Path) -> None:
    (folder / "Config.json").touch()
    assert refusal(folder).reason is Reason.PATH_COLLISION


def test_names_are_judged_before_anything_is_read(folder: Path) -> None:
    (folder / "Config.json").touch()
    told: list[int] = []
    with pytest.raises(MalformedError):
        hash_folder(walk(folder), told.append)
    assert told == []


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sub" / "sub").mkdir(parents=True)
    assert refusal(tmp_path).reason is Reason.EMPTY_MODEL


def test_a_folder_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    assert isinstance(refusal(tmp_path / "nowhere"), NotFoundError)


def test_a_file_that_grows_while_it_is_read_is_refused(folder: Path) -> None:
    def grow(_: int) -> None:
        with (folder / "config.json").open("ab") as file:
            file.write(b" ")

    with pytest.raises(MalformedError) as caught:
        hash_folder(walk(folder), grow)
    assert (caught.value.reason, caught.value.where) == (Reason.FILE_CHANGED, "config.json")


def test_a_file_that_is_written_in_place_while_it_is_read_is_refused(folder: Path) -> None:
    found = walk(folder)
    (folder / "config.json").write_bytes(b"[]")
    os.utime(folder / "config.json", ns=(0, 0))
    with pytest.raises(MalformedError) as caught:
        hash_folder(found)
    assert caught.value.reason is Reason.FILE_CHANGED


def test_a_file_that_was_replaced_by_another_is_refused(folder: Path) -> None:
    found = walk(folder)
    before = (folder / "config.json").stat()
    (folder / "new").write_bytes(b"[]")
    (folder / "new").replace(folder / "config.json")
    os.utime(folder / "config.json", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(MalformedError) as caught:
        hash_folder(found)
    assert caught.value.reason is Reason.FILE_CHANGED


def test_a_pipe_in_the_place_of_a_file_is_refused_without_waiting(folder: Path) -> None:
    found = walk(folder)
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    with pytest.raises(MalformedError) as caught:
        hash_folder(found)
    assert caught.value.reason is Reason.NOT_A_REGULAR_FILE


def test_a_link_in_the_place_of_a_file_is_refused(folder: Path) -> None:
    found = walk(folder)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/etc/passwd")
    with pytest.raises(MalformedError) as caught:
        hash_folder(found)
    assert caught.value.reason is Reason.FILE_CHANGED


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("model.safetensors", "weights"),
        ("onnx/model.ONNX", "weights"),
        ("config.json", "config"),
        ("tokenizer.json", "tokenizer"),
        ("tokenizer_config.json", "tokenizer"),
        ("merges.txt", "tokenizer"),
        ("chat_template.jinja", "template"),
        ("modeling.py", "code"),
        ("README.md", "doc"),
        ("LICENSE", "doc"),
        ("rows.csv", "data"),
        ("something", "other"),
        (".hidden", "other"),
    ],
)
def test_the_role_of_a_file_is_guessed_from_its_name(path: str, role: str) -> None:
    assert role_of(path) == role
