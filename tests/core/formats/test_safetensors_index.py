"""The index of sharded safetensors says exactly what the files say (row 31)."""

import json

import pytest

from registry.core.formats.safetensors_index import check_index, check_indexes
from registry.core.formats.structure import SCHEMA, SafetensorsStructure, TensorEntry
from registry.errors import MalformedError, Reason


def shard(*names: str) -> SafetensorsStructure:
    return SafetensorsStructure(
        schema=SCHEMA,
        tensors=tuple(
            TensorEntry(name=name, dtype="U8", shape=(4,), begin=4 * at, end=4 * at + 4)
            for at, name in enumerate(names)
        ),
    )


SHARDS = {"1.safetensors": shard("a", "b"), "2.safetensors": shard("c")}
WEIGHT_MAP = {"a": "1.safetensors", "b": "1.safetensors", "c": "2.safetensors"}


def index(total_size: object = 12, **changes: str) -> bytes:
    return json.dumps(
        {"metadata": {"total_size": total_size}, "weight_map": WEIGHT_MAP | changes}
    ).encode()


def test_an_index_that_agrees_is_accepted() -> None:
    check_index(index(), SHARDS)


def test_an_index_need_not_state_a_size() -> None:
    check_index(json.dumps({"weight_map": WEIGHT_MAP}).encode(), SHARDS)


@pytest.mark.parametrize(
    ("document", "shards"),
    [
        pytest.param(index(d="3.safetensors"), SHARDS, id="missing file"),
        pytest.param(index(d="../2.safetensors"), SHARDS, id="file outside"),
        pytest.param(index(d="/2.safetensors"), SHARDS, id="absolute file"),
        pytest.param(index(d="2.safetensors"), SHARDS, id="missing tensor"),
        pytest.param(
            index(), SHARDS | {"2.safetensors": shard("c", "a")}, id="tensor in two files"
        ),
        pytest.param(index(13), SHARDS, id="wrong size"),
        pytest.param(index(12.0), SHARDS, id="size as a float"),
        pytest.param(b'{"weight_map":{"a":"x","a":"y"}}', SHARDS, id="tensor twice"),
        pytest.param(b'{"weight_map":{"a":1}}', SHARDS, id="file is a number"),
        pytest.param(b'{"weight_map":{}}', SHARDS, id="no tensors"),
        pytest.param(b"[]", SHARDS, id="no object"),
        pytest.param(b"", SHARDS, id="nothing"),
    ],
)
def test_an_index_that_disagrees_is_refused(
    document: bytes, shards: dict[str, SafetensorsStructure]
) -> None:
    with pytest.raises(MalformedError) as refusal:
        check_index(document, shards)
    assert refusal.value.reason is Reason.SAFETENSORS_INDEX


@pytest.mark.parametrize(
    "name",
    ["model.safetensors.index.json", "m.safetensors.index.fp16.json", "M.SafeTensors.index.JSON"],
)
def test_every_index_among_the_files_is_compared_with_those_beside_it(name: str) -> None:
    files = {f"sub/{path}": shard_ for path, shard_ in SHARDS.items()}
    check_indexes({**files, f"sub/{name}": None}, lambda _: index())
    with pytest.raises(MalformedError) as refusal:
        check_indexes({**files, f"sub/{name}": None}, lambda _: index(13))
    assert refusal.value.where == f"sub/{name}: total_size"
    with pytest.raises(MalformedError):
        check_indexes({**files, name: None}, lambda _: index())


@pytest.mark.parametrize(
    "name", ["index.json", "model.safetensors.index.json.txt", "index.a.b.json"]
)
def test_other_files_are_not_read(name: str) -> None:
    def read(path: str) -> bytes:
        raise AssertionError(path)

    check_indexes({name: None}, read)
