"""Publishing and fetching from the command line."""

from pathlib import Path

import pytest

from tests.cli.conftest import Place, Said, Shell


@pytest.fixture
def published(acme: Shell, folder: Path, name: str, key: Path) -> Said:
    """Publish the folder as version 1.2.0."""
    return acme(
        "model", "publish", folder, "--name", name, "--version", "1.2.0", "--key", key,
        "--licence", "MIT", "--json",
    )  # fmt: skip


def publish(acme: Shell, folder: Path, name: str, key: Path, *more: object) -> Said:
    return acme(
        "model", "publish", folder, "--name", name, "--version", "1.2.0", "--key", key, *more
    )


def test_publishing_tells_entry_and_version_id(published: Said) -> None:
    assert published.status == 0
    value = published.value
    assert (value["version"], value["fresh"]) == ("1.2.0", True)
    assert value["version_id"].startswith("sha256:")


def test_publishing_in_words_says_that_the_proof_was_checked(
    acme: Shell, folder: Path, name: str, key: Path
) -> None:
    said = publish(acme, folder, name, key)
    assert said.status == 0
    assert said.out.startswith(f"published   {name}@1.2.0\n")
    assert "proof checked" in said.out
    assert said.err == ""


def test_publishing_again_changes_nothing(
    acme: Shell, folder: Path, name: str, key: Path, published: Said
) -> None:
    said = publish(acme, folder, name, key, "--licence", "MIT", "--json")
    assert (said.status, said.value["fresh"]) == (0, False)
    assert said.value["index"] == published.value["index"]


def test_publishing_other_bytes_is_refused(
    acme: Shell, folder: Path, name: str, key: Path, published: Said
) -> None:
    assert published.status == 0
    (folder / "config.json").write_bytes(b"[]")
    said = publish(acme, folder, name, key, "--licence", "MIT")
    assert (said.status, "VERSION_EXISTS" in said.err) == (1, True)


def test_a_folder_with_a_link_is_refused(acme: Shell, folder: Path, name: str, key: Path) -> None:
    (folder / "link").symlink_to("config.json")
    said = publish(acme, folder, name, key, "--json")
    assert (said.status, said.error["reason"], said.error["where"]) == (
        1,
        "NOT_A_REGULAR_FILE",
        "link",
    )


def test_a_key_that_others_can_read_is_refused(
    acme: Shell, folder: Path, name: str, place: Place, home: Path
) -> None:
    (home / "open.pem").write_bytes((place.folder / "acme.pem").read_bytes())
    (home / "open.pem").chmod(0o644)
    said = publish(acme, folder, name, home / "open.pem")
    assert (said.status, "chmod 600" in said.err) == (1, True)


def test_another_principals_key_is_refused(
    acme: Shell, folder: Path, name: str, place: Place
) -> None:
    said = publish(acme, folder, name, place.folder / "node-1.pem", "--json")
    assert said.status == 1
    assert said.error["reason"] == "KEY_NOT_YOURS"


def test_datasets_and_parents_are_named_by_their_versions(
    acme: Shell, folder: Path, name: str, key: Path, published: Said
) -> None:
    acme(
        "dataset", "register", folder, "--name", f"{name}-data", "--version", "1",
        "--licence", "MIT", "--contributor", "alice=1", "--key", key,
    )  # fmt: skip
    said = acme(
        "model", "publish", folder, "--name", name, "--version", "2", "--key", key,
        "--trained-on", f"{name}-data@1", "--parent", f"{name}@1.2.0",
    )  # fmt: skip
    assert said.status == 0
    value = acme("model", "show", f"{name}@2", "--json").value
    assert value["parents"] == [published.value["record_id"]]
    assert len(value["trained_on"]) == 1


def test_what_was_fetched_is_what_was_published(
    acme: Shell, folder: Path, name: str, published: Said, home: Path
) -> None:
    said = acme("model", "fetch", f"{name}@1.2.0", "out")
    assert said.status == published.status == 0
    for path in folder.iterdir():
        assert (home / "out" / path.name).read_bytes() == path.read_bytes()


def test_fetching_in_json_tells_who_published(
    acme: Shell, name: str, published: Said, home: Path
) -> None:
    value = acme("model", "fetch", f"{name}@1.2.0", home / "out", "--json").value
    assert (value["publisher"], value["index"], value["folder"]) == (
        "acme",
        published.value["index"],
        str(home / "out"),
    )


def test_nothing_is_fetched_over_something(
    acme: Shell, name: str, published: Said, home: Path
) -> None:
    (home / "out").write_text("mine")
    said = acme("model", "fetch", f"{name}@1.2.0", "out")
    assert (said.status, "TARGET_EXISTS" in said.err) == (1, True)
    assert published.status == 0


@pytest.mark.parametrize("reference", ["acme/x", "acme/x@", "@1", "Acme/x@1", ""])
def test_what_is_no_reference_is_refused(acme: Shell, reference: str) -> None:
    said = acme("model", "fetch", reference, "out")
    assert (said.status, "MALFORMED_NAME" in said.err) == (1, True)


def test_a_version_is_shown_with_its_files(acme: Shell, name: str, published: Said) -> None:
    value = acme("model", "show", f"{name}@1.2.0", "--json").value
    assert value["record_id"] == published.value["record_id"]
    assert [(file["path"], file["size"], file["role"]) for file in value["files"]] == [
        ("config.json", 2, "config"),
        ("weights.bin", 256, "weights"),
    ]
    said = acme("model", "show", f"{name}@1.2.0")
    for word in (name, "acme", "MIT", "weights.bin", value["version_id"]):
        assert word in said.out


def test_versions_are_listed(acme: Shell, name: str, published: Said) -> None:
    value = acme("model", "list", name, "--json").value
    assert [item["record_id"] for item in value] == [published.value["record_id"]]
    assert f"{name}@1.2.0" in acme("model", "list").out


def test_a_name_without_versions_has_an_empty_list(acme: Shell) -> None:
    said = acme("model", "list", "acme/nothing", "--json")
    assert (said.status, said.value) == (0, [])
