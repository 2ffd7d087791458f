"""Releases that are not what they say: refused, each with its own reason, and never logged."""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from registry.core.digest import DigestSet
from registry.core.encoding import write_json
from registry.core.formats.safetensors import parse_header
from registry.core.formats.structure import structure_bytes
from registry.core.records import release
from registry.core.records.manifest import File, Manifest
from registry.core.records.release import ReleaseFile
from registry.errors import Reason
from registry.storage.blobs.port import BlobInfo
from registry.storage.sql import catalog
from tests.inspection.onnx_models import changed
from tests.mint import a_manifest, release_statement
from tests.server.served import Served, fresh


def safetensors(header: object, data: bytes = b"\0" * 4) -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text)) + text + data


TENSOR = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}
HONEST = safetensors({"a": TENSOR})


@dataclass
class Publication:
    """A folder on its way to be published; tests spoil one part of it."""

    files: dict[str, bytes] = field(default_factory=lambda: {"config.json": b"{}", "w.bin": b"w"})
    version: str = field(default_factory=fresh)
    members: dict[str, Any] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()

    def publish(self, registry: Served) -> None:
        """Upload what is not withheld, and register the release."""
        manifest = a_manifest(self.files)
        for path, data in self.files.items():
            if path not in self.withheld:
                registry.put(data)
        if "manifest" not in self.withheld:
            registry.put(manifest.to_bytes())
        said = release_statement(manifest, version=self.version, **self.members)
        registry.say(said, registry.acme)


def refused(registry: Served, publication: Publication) -> str:
    before = registry.stored().entries
    refusal = registry.refusal(lambda: publication.publish(registry))
    assert registry.stored().entries == before
    return refusal.reason


def test_an_honest_release_is_registered(registry: Served) -> None:
    before = registry.stored().entries
    Publication().publish(registry)
    assert registry.stored().entries == before + 1


@pytest.mark.parametrize("withheld", ["manifest", "config.json", "w.bin"])
def test_a_release_without_all_its_blobs_is_refused(registry: Served, withheld: str) -> None:
    files = {"config.json": fresh().encode(), "w.bin": fresh().encode()}
    publication = Publication(files, withheld=(withheld,))
    assert refused(registry, publication) == Reason.MISSING_BLOB


def test_one_blob_of_very_many_is_missed(registry: Served) -> None:
    files = {f"{number:05}": b"%d" % number for number in range(10_002)}
    with registry.services.database.write() as connection:
        # Listed without being sent: sending ten thousand files takes a minute.
        for path, data in files.items():
            if path != "10001":
                digests = DigestSet.of(data)
                sha512 = bytes.fromhex(digests.sha512)
                catalog.add_blob(connection, BlobInfo(digests.raw, sha512, len(data)))
    publication = Publication(files, withheld=tuple(files))
    assert refused(registry, publication) == Reason.MISSING_BLOB


def test_a_release_names_only_what_is_registered(registry: Served) -> None:
    publication = Publication(members={"trained_on": ("sha256:" + "0" * 64,)})
    assert refused(registry, publication) == Reason.UNKNOWN_REFERENCE


def test_the_same_bytes_under_the_same_version_are_published_again(registry: Served) -> None:
    publication = Publication()
    publication.publish(registry)
    before = registry.stored()
    publication.publish(registry)
    assert registry.stored() == before


def test_other_bytes_under_the_same_version_are_refused(registry: Served) -> None:
    publication = Publication()
    publication.publish(registry)
    other = Publication({"config.json": b"[]"}, publication.version)
    assert refused(registry, other) == Reason.VERSION_EXISTS


def file(path: str, data: bytes = b"{}") -> File:
    return File(path=path, size=len(data), digest=DigestSet.of(data))


MANIFESTS: dict[str, tuple[tuple[File, ...], str]] = {
    "no files": ((), "EMPTY_MODEL"),
    "a path out of the folder": ((file("../x"),), "UNSAFE_PATH"),
    "a path out of a folder inside": ((file("a/../../x"),), "UNSAFE_PATH"),
    "an absolute path": ((file("/etc/passwd"),), "UNSAFE_PATH"),
    "a path with NUL": ((file("a\0b"),), "UNSAFE_PATH"),
    "a path with a backslash": ((file("a\\b"),), "UNSAFE_PATH"),
    "a path with a line break": ((file("a\nb"),), "UNSAFE_PATH"),
    "an empty path": ((file(""),), "UNSAFE_PATH"),
    "a path with an empty part": ((file("a//b"),), "UNSAFE_PATH"),
    "a path with a dot": ((file("./a"),), "UNSAFE_PATH"),
    "a name that is too long": ((file("x" * 256),), "UNSAFE_PATH"),
    "names that differ by case only": ((file("A"), file("a")), "PATH_COLLISION"),
    "a file and a folder of one name": ((file("A/b"), file("a")), "PATH_COLLISION"),
    "a name that is not NFC": ((file("e\u0301"),), "PATH_NOT_NFC"),
    "a path twice": ((file("a"), file("a")), "PATH_ORDER"),
    "paths out of order": ((file("b"), file("a")), "PATH_ORDER"),
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_a_manifest_with_this_is_refused(registry: Served, what: str) -> None:
    files, reason = MANIFESTS[what]
    manifest = Manifest(files=files, schema="https://provreg.dev/model-manifest/v1")
    registry.put(manifest.to_bytes())
    registry.put(b"{}")
    said = release_statement(a_manifest(), version=fresh())
    subject = type(said.subject[0]).of(said.subject[0].name, DigestSet.of(manifest.to_bytes()))
    lying = type(said)(
        type_=said.type_,
        predicate=said.predicate,
        predicate_type=said.predicate_type,
        subject=(subject,),
    )
    assert registry.refused(lambda: registry.say(lying, registry.acme)) == reason


@pytest.mark.parametrize("what", [what for what in MANIFESTS if what != "no files"])
def test_a_release_with_this_is_refused_as_well(registry: Served, what: str) -> None:
    files, reason = MANIFESTS[what]
    manifest = Manifest(files=files, schema="https://provreg.dev/model-manifest/v1")
    said = release_statement(manifest, version=fresh())
    assert registry.refused(lambda: registry.say(said, registry.acme)) == reason


def test_a_release_without_files_is_refused(registry: Served) -> None:
    manifest = Manifest(files=(), schema="https://provreg.dev/model-manifest/v1")
    said = release_statement(manifest, version=fresh())
    assert registry.refused(lambda: registry.say(said, registry.acme)) == (
        Reason.MALFORMED_STATEMENT
    )


def test_a_manifest_is_spelled_in_one_way(registry: Served) -> None:
    honest = a_manifest()
    spaced = honest.to_bytes().replace(b'{"files"', b'{ "files"')
    registry.put(spaced)
    said = release_statement(honest, version=fresh())
    subject = type(said.subject[0]).of(said.subject[0].name, DigestSet.of(spaced))
    lying = type(said)(
        type_=said.type_,
        predicate=said.predicate,
        predicate_type=said.predicate_type,
        subject=(subject,),
    )
    assert registry.refused(lambda: registry.say(lying, registry.acme)) == Reason.NOT_CANONICAL


LIES: dict[str, Callable[[File], File]] = {
    "another size": lambda f: File(path=f.path, size=f.size + 1, digest=f.digest),
    "another SHA-512": lambda f: File(
        path=f.path,
        size=f.size,
        digest=DigestSet(sha256=f.digest.sha256, sha512=DigestSet.of(b"other").sha512),
    ),
}


@pytest.mark.parametrize("what", LIES)
def test_a_manifest_that_tells_this_of_a_file_is_refused(registry: Served, what: str) -> None:
    registry.put(b"{}")
    manifest = Manifest.build([LIES[what](file("config.json"))])
    registry.put(manifest.to_bytes())
    said = release_statement(manifest, version=fresh())
    assert registry.refused(lambda: registry.say(said, registry.acme)) == Reason.DIGEST_MISMATCH


def external(location: str) -> bytes:
    """A model whose only tensor lies in another file."""

    def move(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = 1
        for key, value in (("location", location), ("offset", "0"), ("length", "16")):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value

    return changed(move)


MODEL_FILES: dict[str, tuple[str, bytes, str]] = {
    "a safetensors header larger than the file": (
        "w.safetensors",
        struct.pack("<Q", 2**40) + b"{}",
        "SAFETENSORS_HEADER_SIZE",
    ),
    "a safetensors header of a hundred million bytes": (
        "w.safetensors",
        struct.pack("<Q", 100_000_001) + b"{}",
        "SAFETENSORS_HEADER_SIZE",
    ),
    "a deeply nested safetensors header": (
        "w.safetensors",
        safetensors(b'{"a":' * 20_000 + b"1" + b"}" * 20_000),
        "SAFETENSORS_HEADER",
    ),
    "a safetensors header with a key twice": (
        "w.safetensors",
        safetensors(b'{"a":%s,"a":%s}' % ((json.dumps(TENSOR).encode(),) * 2)),
        "SAFETENSORS_HEADER",
    ),
    "overlapping tensors": (
        "w.safetensors",
        safetensors({"a": TENSOR, "b": TENSOR}),
        "SAFETENSORS_LAYOUT",
    ),
    "bytes behind the tensors": (
        "w.safetensors",
        safetensors({"a": TENSOR}, b"\0" * 9),
        "SAFETENSORS_LAYOUT",
    ),
    "external data out of the folder": ("m.onnx", external("../secret"), "ONNX_EXTERNAL_DATA"),
    "external data at an absolute path": ("m.onnx", external("/etc/passwd"), "ONNX_EXTERNAL_DATA"),
    "external data that is not published": ("m.onnx", external("other.bin"), "ONNX_EXTERNAL_DATA"),
    "no ONNX at all": ("m.onnx", b"\xff\xff\xff\xff", "MALFORMED_ONNX"),
    "an empty ONNX file": ("m.onnx", b"", "MALFORMED_ONNX"),
    "a structure that is not told": ("w.safetensors", HONEST, "STRUCTURE_MISMATCH"),
}


@pytest.mark.parametrize("what", MODEL_FILES)
def test_a_model_file_with_this_is_refused(registry: Served, what: str) -> None:
    path, data, reason = MODEL_FILES[what]
    publication = Publication({"config.json": b"{}", path: data})
    assert refused(registry, publication) == reason


@pytest.mark.parametrize("path", ["config.json", "w.safetensors"])
def test_a_structure_that_is_another_is_refused(registry: Served, path: str) -> None:
    files = {"config.json": b"{}", "w.safetensors": HONEST}
    manifest = a_manifest(files)
    for data in (*files.values(), manifest.to_bytes()):
        registry.put(data)
    honest = release_statement(manifest, version=fresh())
    said: release.Release = honest.predicate
    told = tuple(
        ReleaseFile(path=item.path, role=item.role, structure=DigestSet.of(write_json("a lie")))
        if item.path == path
        else item
        for item in said.files
    )
    members = {name: getattr(said, name) for name in said.__struct_fields__} | {"files": told}
    lying = type(honest)(
        type_=honest.type_,
        predicate=release.Release(**members),
        predicate_type=honest.predicate_type,
        subject=honest.subject,
    )
    assert registry.refused(lambda: registry.say(lying, registry.acme)) == (
        Reason.STRUCTURE_MISMATCH
    )


def sharded(index: object) -> tuple[Manifest, dict[str, bytes], release.Release]:
    """A model in two shards, with this index; the release tells all structures."""
    text = index if isinstance(index, bytes) else json.dumps(index).encode()
    files = {
        "m/1.safetensors": HONEST,
        "m/2.safetensors": safetensors({"b": TENSOR}),
        "m/model.safetensors.index.json": text,
    }
    manifest = a_manifest(files)
    honest = release_statement(manifest, version=fresh()).predicate
    listed = tuple(
        ReleaseFile(
            path=item.path,
            role=item.role,
            structure=DigestSet.of(structure_bytes(parse_header(data[:-4], len(data)))),
        )
        if item.path.endswith(".safetensors")
        else item
        for item, data in zip(honest.files, files.values(), strict=True)
    )
    members = {name: getattr(honest, name) for name in honest.__struct_fields__}
    return manifest, files, release.Release(**members | {"files": listed})


def register_sharded(registry: Served, index: object) -> None:
    manifest, files, said = sharded(index)
    for data in (*files.values(), manifest.to_bytes()):
        registry.put(data)
    statement = release_statement(manifest, version=said.version)
    registry.say(
        type(statement)(
            type_=statement.type_,
            predicate=said,
            predicate_type=statement.predicate_type,
            subject=statement.subject,
        ),
        registry.acme,
    )


def an_index(total_size: int = 8, **changes: str) -> dict[str, object]:
    weights = {"a": "1.safetensors", "b": "2.safetensors"} | changes
    return {"metadata": {"total_size": total_size}, "weight_map": weights}


def test_a_model_in_shards_is_registered_if_its_index_agrees(registry: Served) -> None:
    register_sharded(registry, an_index())


INDEXES: dict[str, object] = {
    "another size": an_index(9),
    "a tensor that no shard holds": an_index(c="2.safetensors"),
    "a tensor in another shard": an_index(a="2.safetensors"),
    "a file out of the folder": an_index(b="../m/2.safetensors"),
    "a file that is not published": an_index(b="3.safetensors"),
    "no map at all": b"[]",
}


@pytest.mark.parametrize("what", INDEXES)
def test_an_index_of_shards_with_this_is_refused(registry: Served, what: str) -> None:
    before = registry.stored().entries
    refusal = registry.refusal(lambda: register_sharded(registry, INDEXES[what]))
    assert refusal.reason is Reason.SAFETENSORS_INDEX
    assert refusal.where.startswith("m/model.safetensors.index.json")
    assert registry.stored().entries == before


def test_a_refused_release_leaves_no_structure_of_its_good_files(registry: Served) -> None:
    good = safetensors({fresh("tensor"): TENSOR})
    files = {"a.safetensors": good, "b.safetensors": HONEST}
    manifest = a_manifest(files)
    for data in (*files.values(), manifest.to_bytes()):
        registry.put(data)
    told = structure_bytes(parse_header(good[: -len(b"\0" * 4)], len(good)))
    honest = release_statement(manifest, version=fresh())
    said: release.Release = honest.predicate
    listed = (
        ReleaseFile(path="a.safetensors", role="weights", structure=DigestSet.of(told)),
        ReleaseFile(path="b.safetensors", role="weights"),
    )
    members = {name: getattr(said, name) for name in said.__struct_fields__} | {"files": listed}
    half_true = type(honest)(
        type_=honest.type_,
        predicate=release.Release(**members),
        predicate_type=honest.predicate_type,
        subject=honest.subject,
    )
    refusal = registry.refusal(lambda: registry.say(half_true, registry.acme))
    assert (refusal.reason, refusal.where) == (Reason.STRUCTURE_MISMATCH, "b.safetensors")
    assert registry.services.artifacts.find_missing([DigestSet.of(told).raw])
