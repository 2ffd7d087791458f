"""Registering datasets, and what a release owes to them."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from registry.client.data import Registered, register_attribution, register_dataset
from registry.client.files import hash_folder, walk
from registry.client.publish import Publication, publish
from registry.client.registry import RegistryClient
from registry.core.digest import sha256
from registry.core.records import attribution, dataset
from registry.core.records.dataset import Contributor
from registry.errors import NotFoundError, Reason, RegistryError
from tests.client.conftest import Place

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
ALICE = Contributor(id="alice", share=5)
BOB = Contributor(id="bob", share=3, name="Bob")

Register = Callable[..., Registered]


@pytest.fixture
def registers(
    place: Place, client: RegistryClient, folder: Path, fresh_name: Callable[[], str]
) -> Register:
    """Register the folder as version 1 of a dataset, unless told otherwise."""
    own_name = fresh_name()

    def act(who: tuple[Contributor, ...] = (ALICE, BOB), **said: Any) -> Registered:
        files = hash_folder(walk(folder)).files
        stated = {"name": own_name, "version": "1", "licence": "CC-BY-4.0"} | said
        return register_dataset(client, files, who, place.publisher.signer, NOON, **stated)

    return act


def refusal(act: Callable[[], object]) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        act()
    return caught.value


def test_a_dataset_says_its_files_licence_and_contributors(
    registers: Register, client: RegistryClient
) -> None:
    record_id = registers(who=(BOB, ALICE)).record_id
    said = client.get_statement(bytes.fromhex(record_id[7:])).statement.predicate
    assert [file.path for file in said.files] == ["config.json", "sub/weights.bin"]
    assert (said.licence, said.contributors) == ("CC-BY-4.0", (ALICE, BOB))


def test_the_files_of_a_dataset_stay_where_they_are(
    registers: Register, client: RegistryClient, folder: Path
) -> None:
    data = str(folder).encode()
    (folder / "rows.csv").write_bytes(data)
    registers()
    assert client.find_missing([sha256(data)])


def test_registering_a_dataset_again_answers_the_same_entry(registers: Register) -> None:
    first, again = registers(), registers()
    assert (first.fresh, again.fresh) == (True, False)
    assert again.receipt.index == first.receipt.index


def test_another_dataset_under_the_same_version_is_refused(registers: Register) -> None:
    registers()
    assert refusal(lambda: registers(licence="MIT")).reason is Reason.VERSION_EXISTS


@pytest.mark.parametrize(
    "who",
    [
        (),
        (ALICE, ALICE),
        (Contributor(id="alice", share=0),),
        (Contributor(id="", share=1),),
        (Contributor(id="a", share=2**53 - 1), Contributor(id="b", share=1)),
    ],
)
def test_contributors_that_make_no_sense_are_refused(
    registers: Register, who: tuple[Contributor, ...]
) -> None:
    assert refusal(lambda: registers(who=who)).reason in {
        Reason.SHARES,
        Reason.MALFORMED_STATEMENT,
    }


@pytest.fixture
def model(place: Place, client: RegistryClient, folder: Path, fresh_name: Callable[[], str]) -> str:
    """Publish the folder as a model, too."""
    name = fresh_name()
    publish(client, folder, Publication(name, "1"), place.publisher.signer, NOON)
    return f"{name}@1"


def test_an_attribution_names_release_and_datasets(
    place: Place, registers: Register, client: RegistryClient, model: str
) -> None:
    one, two = registers(version="1").record_id, registers(version="2").record_id
    name = client.get_statement(bytes.fromhex(one[7:])).statement.predicate.name
    register_attribution(
        client, model, {f"{name}@1": 3, f"{name}@2": 1}, place.publisher.signer, NOON
    )
    [logged] = [
        item
        for item in client.list_statements(attribution.PREDICATE_TYPE)
        if f"{item.statement.predicate.name}@1" == model
    ]
    shares = {item.dataset: item.share for item in logged.statement.predicate.datasets}
    assert shares == {one: 3, two: 1}


def test_an_attribution_to_an_unknown_dataset_is_refused(
    place: Place, client: RegistryClient, model: str
) -> None:
    error = refusal(
        lambda: register_attribution(
            client, model, {"acme/nothing@1": 1}, place.publisher.signer, NOON
        )
    )
    assert isinstance(error, NotFoundError)


def test_an_attribution_of_an_unknown_release_is_refused(
    place: Place, registers: Register, client: RegistryClient
) -> None:
    registers()
    error = refusal(
        lambda: register_attribution(
            client, "acme/nothing@1", {"acme/x@1": 1}, place.publisher.signer, NOON
        )
    )
    assert error.reason is Reason.UNKNOWN_VERSION


def test_a_dataset_is_found_by_name_and_version(
    registers: Register, client: RegistryClient
) -> None:
    registered = registers()
    said = client.get_statement(bytes.fromhex(registered.record_id[7:])).statement.predicate
    found = client.find_version(dataset.PREDICATE_TYPE, said.name, said.version)
    assert found.record_id == registered.record_id
