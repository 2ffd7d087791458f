"""Fields of a record: each provable alone, none under another name or value."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core import encoding
from registry.core.records.field_commitments import (
    KEY_BYTES,
    MAX_FIELDS,
    DisclosedField,
    FieldTree,
    Json,
    check_path,
    find,
)
from registry.errors import MalformedError, NotFoundError, Reason, VerificationError

KEY = bytes(range(KEY_BYTES))
# The published vector.
FIELDS: dict[str, Json] = {
    "/request/body": "Wy4uLl0",
    "/request/user": "u-77",
    "/response/text": "denied",
}

_text = st.text(st.characters(codec="utf-8"), max_size=8)
_names = st.text(st.characters(codec="ascii"), max_size=8)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=8,
)
_paths = st.lists(
    _text.map(lambda name: name.replace("~", "~0").replace("/", "~1")), min_size=1, max_size=3
).map(lambda names: "".join(f"/{name}" for name in names))
_fields = st.dictionaries(_paths, _values, min_size=1, max_size=9)


def test_the_published_vector() -> None:
    tree = FieldTree.of(KEY, FIELDS)
    assert [leaf.hex()[:16] for leaf in tree.leaves] == [
        "ddf4a6df851130a7",
        "647cf9b5699d3794",
        "81f66a180af9c3e6",
    ]
    assert tree.root.hex() == "e56d82fd49a584fb07bd76001be089d7448d8cad8548207540cdbbe934a38df4"


@given(fields=_fields, data=st.data())
def test_whatever_is_disclosed_verifies_and_is_written_in_one_way(
    fields: dict[str, Json], data: st.DataObject
) -> None:
    tree = FieldTree.of(KEY, fields)
    paths = data.draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, unique=True))
    disclosed = tree.disclose(paths)
    for field in disclosed:
        field.verify(tree.root, len(fields))
        assert encoding.read_json(encoding.write_json(field), DisclosedField) == field
    assert {item.path: item.value for item in disclosed} == {path: fields[path] for path in paths}


def test_a_disclosure_holds_nothing_of_other_fields() -> None:
    tree = FieldTree.of(KEY, FIELDS)
    written = encoding.write_json(tree.disclose(["/request/user"]))
    assert b"denied" not in written
    assert not [salt for salt in (tree.salts[0], tree.salts[2]) if salt.hex().encode() in written]


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/request/uses"},
        {"value": "u-78"},
        {"value": ["u-77"]},
        {"salt": "00" * 32},
        {"index": 0},
        {"index": 7},
        {"proof": ()},
    ],
    ids=["path", "value", "type", "salt", "index", "beyond", "proof"],
)
def test_another_field_is_not_what_was_committed_to(change: dict[str, object]) -> None:
    tree = FieldTree.of(KEY, FIELDS)
    [field] = tree.disclose(["/request/user"])
    field.verify(tree.root, 3)
    with pytest.raises(VerificationError) as caught:
        msgspec.structs.replace(field, **change).verify(tree.root, 3)
    assert caught.value.reason is Reason.FIELD_COMMITMENT


def test_the_same_value_has_another_leaf_under_another_key_and_path() -> None:
    one = FieldTree.of(KEY, {"/a": "x", "/b": "x"})
    other = FieldTree.of(bytes(KEY_BYTES), {"/a": "x", "/b": "x"})
    assert len({*one.leaves, *other.leaves}) == 4


def test_a_field_that_was_not_committed_to_cannot_be_disclosed() -> None:
    with pytest.raises(NotFoundError) as caught:
        FieldTree.of(KEY, FIELDS).disclose(["/request/age"])
    assert caught.value.reason is Reason.UNKNOWN_FIELD


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {f"/{n}": n for n in range(MAX_FIELDS + 1)},
        {"": "the whole"},
        {"request": "x"},
        {"/a~2": "x"},
        {"/" + "x" * 300: "x"},
        {"/a": {"ä": "x"}},
        {"/a": [1.5]},
        {"/a": "\ud800"},
        {"/\ud800": "x"},
    ],
    ids=[
        "none",
        "many",
        "whole",
        "relative",
        "escape",
        "long",
        "name",
        "fraction",
        "half",
        "half path",
    ],
)
def test_what_cannot_be_committed_to_is_refused(fields: dict[str, Json]) -> None:
    with pytest.raises(MalformedError) as caught:
        FieldTree.of(KEY, fields)
    assert caught.value.reason is Reason.MALFORMED_FIELD


def test_a_key_of_another_size_is_refused() -> None:
    with pytest.raises(MalformedError):
        FieldTree.of(KEY[:-1], FIELDS)


DOCUMENT: Json = {"a": [{"b/c": "x", "~": "y"}, 2], "": {"d": None}}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/a/0/b~1c", (True, "x")),
        ("/a/0/~0", (True, "y")),
        ("/a/1", (True, 2)),
        ("//d", (True, None)),
        ("/a/2", (False, None)),
        ("/a/-", (False, None)),
        ("/a/01", (False, None)),
        ("/a/٣", (False, None)),
        ("/b", (False, None)),
        ("/a/1/x", (False, None)),
    ],
)
def test_a_path_points_at_one_thing_or_nothing(path: str, found: tuple[bool, Json]) -> None:
    check_path(path)
    assert find(DOCUMENT, path) == found
