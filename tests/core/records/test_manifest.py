"""Manifests: path rules, and the one digest that names a model version."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.digest import DigestSet, sha256
from registry.core.records import manifest
from registry.core.records.manifest import File, Manifest, check_path, check_paths
from registry.core.tlog import merkle
from registry.errors import LimitExceededError, MalformedError, Reason
from tests.mint import a_manifest


def file(path: str, data: bytes = b"x") -> File:
    return File(path=path, size=len(data), digest=DigestSet.of(data))


def refusal(*paths: str) -> Reason:
    with pytest.raises(MalformedError) as caught:
        check_paths(list(paths))
    return caught.value.reason


def test_a_manifest_is_read_back() -> None:
    built = a_manifest()
    assert Manifest.parse(built.to_bytes()) == built


def test_a_manifest_has_one_spelling_whatever_order_files_come_in() -> None:
    files = [file("b"), file("a/c"), file("a/b")]
    assert Manifest.build(files).to_bytes() == Manifest.build(files[::-1]).to_bytes()


def test_files_are_sorted_by_utf_8_and_not_by_utf_16() -> None:
    # U+FF5E sorts after U+1F600 in UTF-16, and before it in UTF-8.
    paths = ["\uff5e", "\U0001f600"]
    assert [item.path for item in Manifest.build(map(file, paths[::-1])).files] == paths


def test_the_version_id_depends_on_nothing_but_the_files() -> None:
    data = Manifest.build([file("model.onnx", b"weights")]).to_bytes()
    digests = DigestSet.of(b"weights")
    assert data == (
        b'{"files":[{"digest":{"sha256":"%s","sha512":"%s"},"path":"model.onnx","size":7}],'
        b'"schema":"https://provreg.dev/model-manifest/v1"}'
        % (digests.sha256.encode(), digests.sha512.encode())
    )
    assert sha256(data) == sha256(Manifest.build([file("model.onnx", b"weights")]).to_bytes())


def test_one_file_is_provable_alone() -> None:
    built = a_manifest({"a": b"1", "b": b"2", "c": b"3"})
    spelled = [
        b'{"digest":{"sha256":"%s","sha512":"%s"},"path":"%s","size":1}'
        % (item.digest.sha256.encode(), item.digest.sha512.encode(), item.path.encode())
        for item in built.files
    ]
    hashes = [merkle.leaf_hash(item) for item in spelled]
    merkle.verify_inclusion(hashes[1], 1, 3, merkle.inclusion_path(hashes, 1), built.files_root)


def test_an_empty_model_is_refused() -> None:
    with pytest.raises(MalformedError) as caught:
        Manifest.build([])
    assert caught.value.reason is Reason.EMPTY_MODEL


def test_an_empty_model_is_refused_when_read() -> None:
    with pytest.raises(MalformedError) as caught:
        Manifest.parse(b'{"files":[],"schema":"https://provreg.dev/model-manifest/v1"}')
    assert caught.value.reason is Reason.EMPTY_MODEL


def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MAX_FILES", 1)
    with pytest.raises(LimitExceededError) as caught:
        Manifest.build([file("a"), file("b")])
    assert caught.value.reason is Reason.TOO_MANY_FILES


def test_another_schema_is_refused() -> None:
    data = a_manifest().to_bytes().replace(b"model-manifest/v1", b"model-manifest/v2")
    with pytest.raises(MalformedError) as caught:
        Manifest.parse(data)
    assert caught.value.reason is Reason.MALFORMED_JSON


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "a/b/c",
        ".hidden",
        "...",
        "a b",
        "é",
        "日本語/モデル.onnx",
        "x" * 255,
        "/".join(["x" * 255] * 16),
        "CON",
        "~",
        "-",
        "a:b",
    ],
)
def test_a_plain_relative_path_is_taken(path: str) -> None:
    check_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc/passwd",
        "../x",
        "..",
        "a/../b",
        "a/..",
        "./a",
        "a/.",
        ".",
        "a//b",
        "a/",
        "a\\b",
        "..\\x",
        "a\x00",
        "a\x00b",
        "a\nb",
        "a\x1b[2J",
        "a\x7f",
        "\ud800",
        "x" * 256,
        "é" * 128,
        "/".join(["x" * 255] * 17),
    ],
)
def test_a_path_that_could_name_something_else_is_unsafe(path: str) -> None:
    assert refusal(path) is Reason.UNSAFE_PATH


@pytest.mark.parametrize("path", ["e\u0301", "a/\u212b", "\uf900"])
def test_a_path_that_is_not_in_normal_form_c_is_refused(path: str) -> None:
    assert refusal(path) is Reason.PATH_NOT_NFC


@pytest.mark.parametrize(
    "paths", [("b", "a"), ("a", "a"), ("a/b", "a.b"), ("\U0001f600", "\uff5e")]
)
def test_paths_out_of_order_are_refused(paths: tuple[str, ...]) -> None:
    assert refusal(*paths) is Reason.PATH_ORDER


@pytest.mark.parametrize(
    "paths",
    [
        ("A", "a"),
        ("README", "readme"),
        ("Weights/a", "weights/b"),
        ("Straße", "strasse"),
        ("A", "a/b"),
        ("a", "a/b"),
        ("\u0130", "i\u0307"),
    ],
)
def test_paths_that_collide_where_case_does_not_count_are_refused(paths: tuple[str, ...]) -> None:
    ordered = sorted(paths, key=str.encode)
    assert refusal(*ordered) in {Reason.PATH_COLLISION, Reason.PATH_NOT_NFC}


def test_files_of_one_folder_do_not_collide() -> None:
    check_paths(["a/b", "a/c", "b/a"])


@given(st.lists(st.text("aA/.é\\", min_size=1, max_size=5), min_size=1, max_size=4, unique=True))
def test_accepted_paths_stay_inside_their_folder_and_apart(paths: list[str]) -> None:
    ordered = sorted(paths, key=str.encode)
    try:
        check_paths(ordered)
    except MalformedError:
        return
    for path in ordered:
        assert not path.startswith("/")
        assert not {"", ".", ".."} & set(path.split("/"))
        assert "\\" not in path
    assert len({path.casefold() for path in ordered}) == len(ordered)
