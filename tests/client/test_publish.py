"""Publishing folders."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from registry.client.publish import Publication, Published, publish
from registry.client.registry import RegistryClient
from registry.core.digest import DigestSet, sha256
from registry.core.formats.structure import OnnxStructure, parse_structure
from registry.core.records.release import ReleaseFile
from registry.errors import MalformedError, Reason, RegistryError, UnavailableError
from tests.client.conftest import Place
from tests.client.liar import Liar
from tests.inspection import onnx_models

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


@pytest.fixture
def publishes(
    place: Place, client: RegistryClient, folder: Path, fresh_name: Callable[[], str]
) -> Callable[..., Published]:
    """Publish the folder under a name of its own."""
    name = fresh_name()

    def act(version: str = "1", **said: Any) -> Published:
        what = Publication(name, version, **said)
        return publish(client, folder, what, place.publisher.signer, NOON)

    return act


def refusal(act: Callable[[], object]) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        act()
    return caught.value


def test_what_was_published_is_found_as_it_was_said(
    place: Place, client: RegistryClient, folder: Path, fresh_name: Callable[[], str]
) -> None:
    name = fresh_name()
    what = Publication(name, "1.2.0", licence="MIT", description="small")
    published = publish(client, folder, what, place.publisher.signer, NOON)
    known = client.release(name, "1.2.0")
    assert known.release.licence == "MIT"
    assert known.release.issued_at == "2026-09-01T12:00:00Z"
    assert known.release.files == (
        ReleaseFile(path="config.json", role="config"),
        ReleaseFile(path="sub/weights.bin", role="weights"),
    )
    assert known.logged.granted.principal == "acme"
    assert known.logged.index == published.receipt.index
    assert known.version_id == published.version_id


def test_publishing_again_answers_the_same_entry(publishes: Callable[..., Published]) -> None:
    first, again = publishes(), publishes()
    assert (again.receipt.index, again.record_id) == (first.receipt.index, first.record_id)
    assert (first.fresh, again.fresh) == (True, False)


def test_other_bytes_under_the_same_version_are_refused(
    publishes: Callable[..., Published], folder: Path
) -> None:
    publishes()
    (folder / "config.json").write_bytes(b"{}")
    assert refusal(publishes).reason is Reason.VERSION_EXISTS


def test_other_bytes_under_the_same_version_are_refused_before_they_are_sent(
    publishes: Callable[..., Published], folder: Path, client: RegistryClient
) -> None:
    publishes()
    data = str(folder).encode()
    (folder / "config.json").write_bytes(data)
    refusal(publishes)
    assert client.find_missing([sha256(data)])


def test_another_licence_under_the_same_version_is_refused(
    publishes: Callable[..., Published],
) -> None:
    publishes(licence="MIT")
    error = refusal(lambda: publishes(licence="Apache-2.0"))
    assert (error.reason, error.expected, error.actual) == (
        Reason.VERSION_EXISTS,
        "MIT",
        "Apache-2.0",
    )


def test_the_registry_refuses_other_bytes_even_if_nobody_looked_before(
    place: Place, publishes: Callable[..., Published], folder: Path, client: RegistryClient
) -> None:
    name = client.release(*_reference(client, publishes())).release.name
    (folder / "config.json").write_bytes(b"{}")
    with (
        Liar(place.running.address) as liar,
        place.client(place.publisher.token, liar.address) as blind,
    ):
        liar.answers["StatementService/ListStatements"] = lambda _: b""
        what = Publication(name, "1")
        error = refusal(lambda: publish(blind, folder, what, place.publisher.signer, NOON))
    assert error.reason is Reason.VERSION_EXISTS


def _reference(client: RegistryClient, published: Published) -> tuple[str, str]:
    said = client.get_statement(bytes.fromhex(published.record_id[7:])).statement.predicate
    return said.name, said.version


def test_known_files_are_not_sent_again(publishes: Callable[..., Published], folder: Path) -> None:
    publishes()
    (folder / "config.json").write_bytes(b'{"version": "2"}')
    assert publishes("2").sent_bytes == 16


def test_two_files_of_the_same_content_are_sent_once(
    publishes: Callable[..., Published], folder: Path
) -> None:
    for name in ("a", "b"):
        (folder / name).write_bytes(str(folder).encode() * 2)
    publishes()
    (folder / "c").write_bytes(str(folder).encode() * 2)
    assert publishes("2").sent_bytes == 0


def test_a_model_file_gets_its_inputs_and_outputs_recorded(
    publishes: Callable[..., Published], folder: Path, client: RegistryClient
) -> None:
    (folder / "model.onnx").write_bytes(onnx_models.model().SerializeToString())
    known = client.release(*_reference(client, publishes()))
    [told] = [file for file in known.release.files if file.path == "model.onnx"]
    assert isinstance(told.structure, DigestSet)
    structure = parse_structure(client.read_blob(told.structure.raw, 1 << 20))
    assert isinstance(structure, OnnxStructure)


def test_a_model_file_that_is_none_is_refused_before_anything_is_sent(
    publishes: Callable[..., Published], folder: Path, client: RegistryClient
) -> None:
    data = str(folder).encode()
    (folder / "model.onnx").write_bytes(data)
    assert isinstance(refusal(publishes), MalformedError)
    assert client.find_missing([sha256(data)])


def test_a_name_outside_the_publishers_namespace_is_refused(
    place: Place, client: RegistryClient, folder: Path
) -> None:
    what = Publication("other/model", "1")
    error = refusal(lambda: publish(client, folder, what, place.publisher.signer, NOON))
    assert error.reason is Reason.NAMESPACE


@pytest.mark.parametrize(("name", "version"), [("Acme/X", "1"), ("acme", "1"), ("acme/x", "a b")])
def test_a_name_that_is_none_is_refused(
    place: Place, client: RegistryClient, folder: Path, name: str, version: str
) -> None:
    what = Publication(name, version)
    error = refusal(lambda: publish(client, folder, what, place.publisher.signer, NOON))
    assert error.reason is Reason.MALFORMED_NAME


def test_a_licence_that_is_too_long_is_refused_before_anything_is_sent(
    publishes: Callable[..., Published], folder: Path, client: RegistryClient
) -> None:
    data = str(folder).encode()
    (folder / "config.json").write_bytes(data)
    assert refusal(lambda: publishes(licence="x" * 5000)).reason is Reason.MALFORMED_STATEMENT
    assert client.find_missing([sha256(data)])


def test_a_file_that_changes_before_it_is_sent_is_refused(
    place: Place, client: RegistryClient, folder: Path, fresh_name: Callable[[], str]
) -> None:
    @contextmanager
    def change(label: str, _total: int) -> Iterator[Callable[[int], None]]:
        if label == "uploading":
            (folder / "config.json").write_bytes(str(folder).encode())
        yield lambda _: None

    (folder / "config.json").write_bytes(b"first " + str(folder).encode())
    what = Publication(fresh_name(), "1")
    error = refusal(
        lambda: publish(client, folder, what, place.publisher.signer, NOON, stages=change)
    )
    assert (error.reason, error.where) == (Reason.FILE_CHANGED, "config.json")


def test_an_interrupted_publication_goes_on_where_it_stopped(
    place: Place, folder: Path, fresh_name: Callable[[], str], liar: Liar, misled: RegistryClient
) -> None:
    (folder / "config.json").write_bytes(str(folder).encode())
    (folder / "sub" / "weights.bin").write_bytes(str(folder).encode() * 3)
    what = Publication(fresh_name(), "1")

    def act() -> Published:
        return publish(misled, folder, what, place.publisher.signer, NOON)

    def once_gone(_: bytes) -> bytes:
        raise ConnectionError

    liar.answers["ArtifactService/Upload"] = once_gone
    with pytest.raises((UnavailableError, RegistryError)):
        act()
    del liar.answers["ArtifactService/Upload"]
    assert act().sent_bytes == 3 * len(str(folder).encode())


def test_a_file_of_several_chunks_arrives_whole(
    publishes: Callable[..., Published], folder: Path, client: RegistryClient
) -> None:
    data = str(folder).encode() * 100_000
    (folder / "sub" / "weights.bin").write_bytes(data)
    publishes()
    assert client.read_blob(sha256(data), len(data)) == data


def test_an_index_that_disagrees_with_its_shards_is_refused_before_anything_is_sent(
    publishes: Callable[..., Published], folder: Path, client: RegistryClient
) -> None:
    header = b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
    (folder / "1.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"four")
    index = folder / "model.safetensors.index.json"
    index.write_bytes(b'{"weight_map":{"b":"1.safetensors"}}')
    error = refusal(publishes)
    assert error.reason is Reason.SAFETENSORS_INDEX
    assert error.where == "model.safetensors.index.json: 1.safetensors"
    assert client.find_missing([sha256(index.read_bytes())])
    index.write_bytes(b'{"weight_map":{"a":"1.safetensors"}}')
    assert publishes().fresh
