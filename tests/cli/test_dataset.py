"""Datasets and attributions from the command line."""

from pathlib import Path

import pytest

from registry.client.files import hash_folder, walk
from tests.cli.conftest import Said, Shell


def register(acme: Shell, name: str, key: Path, *more: object) -> Said:
    return acme(
        "dataset", "register", "--name", name, "--version", "1", "--licence", "MIT",
        "--key", key, *more,
    )  # fmt: skip


def test_a_dataset_is_registered(acme: Shell, folder: Path, name: str, key: Path) -> None:
    said = register(acme, name, key, folder, "--contributor", "alice=3", "--contributor", "bob=1:B")
    assert said.status == 0
    assert f"registered  {name}@1, 2 files" in said.out


def test_a_dataset_may_be_a_list_of_digests(
    acme: Shell, folder: Path, name: str, key: Path, home: Path
) -> None:
    (home / "list.json").write_bytes(hash_folder(walk(folder)).to_bytes())
    one = register(acme, name, key, folder, "--contributor", "alice=1", "--json")
    two = register(
        acme, name, key, "--manifest", home / "list.json", "--contributor", "alice=1", "--json"
    )
    assert (one.value["fresh"], two.value["fresh"]) == (True, False)
    assert one.value["record_id"] == two.value["record_id"]


def test_a_dataset_is_a_folder_or_a_list(
    acme: Shell, folder: Path, name: str, key: Path, home: Path
) -> None:
    (home / "list.json").write_bytes(b"{}")
    both = [folder, "--manifest", home / "list.json"]
    for given in ([], both):
        assert register(acme, name, key, *given, "--contributor", "alice=1").status == 2


def test_a_list_in_another_spelling_is_refused(
    acme: Shell, folder: Path, name: str, key: Path, home: Path
) -> None:
    spelled = hash_folder(walk(folder)).to_bytes().replace(b",", b", ")
    (home / "list.json").write_bytes(spelled)
    said = register(acme, name, key, "--manifest", home / "list.json", "--contributor", "a=1")
    assert (said.status, "NOT_CANONICAL" in said.err) == (1, True)


@pytest.mark.parametrize(
    "contributor",
    ["alice", "alice=", "alice=0", "alice=-1", "alice=1.5", "alice=٣", "alice=" + "9" * 5000],
)
def test_a_share_that_is_none_is_not_understood(
    acme: Shell, folder: Path, name: str, key: Path, contributor: str
) -> None:
    assert register(acme, name, key, folder, "--contributor", contributor).status == 2


def test_a_contributor_without_id_is_refused(
    acme: Shell, folder: Path, name: str, key: Path
) -> None:
    assert register(acme, name, key, folder, "--contributor", "=1").status == 1


@pytest.fixture
def model(acme: Shell, folder: Path, name: str, key: Path) -> str:
    """Publish the folder as a model, and register it as a dataset."""
    acme("model", "publish", folder, "--name", name, "--version", "1", "--key", key)
    register(acme, name, key, folder, "--contributor", "alice=1")
    return f"{name}@1"


def attribute(acme: Shell, model: str, key: Path, *more: object) -> Said:
    return acme("attribution", "register", "--model", model, "--key", key, *more)


def test_an_attribution_is_registered(acme: Shell, model: str, key: Path) -> None:
    said = attribute(acme, model, key, "--dataset", f"{model}=7", "--method", "trak", "--json")
    assert said.status == 0
    assert said.value["model"] == model


def test_a_dataset_is_named_once_in_an_attribution(acme: Shell, model: str, key: Path) -> None:
    said = attribute(acme, model, key, "--dataset", f"{model}=7", "--dataset", f"{model}=8")
    assert said.status == 2


def test_a_method_that_nobody_knows_is_not_understood(acme: Shell, model: str, key: Path) -> None:
    said = attribute(acme, model, key, "--dataset", f"{model}=7", "--method", "dice")
    assert said.status == 2


def test_an_attribution_to_a_dataset_that_nobody_registered_is_refused(
    acme: Shell, model: str, key: Path
) -> None:
    said = attribute(acme, model, key, "--dataset", "acme/nothing@1=1")
    assert (said.status, "UNKNOWN_VERSION" in said.err) == (1, True)
