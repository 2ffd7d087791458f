"""JSON that others wrote: any spelling, one meaning."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core import encoding
from registry.core.encoding import MAX_SAFE_INTEGER, read_foreign_json
from registry.errors import MalformedError, Reason

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
    | st.text(st.characters(codec="utf-8")),
    lambda children: st.lists(children) | st.dictionaries(st.text("ab\u00e9"), children),
    max_leaves=20,
)


@given(JSON, st.booleans(), st.sampled_from([None, 2]))
def test_any_spelling_of_one_value_is_read(value: object, ascii_only: bool, indent: int) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert read_foreign_json(text.encode(), what="value") == value


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"a":1,"a":1}', id="duplicate key"),
        pytest.param(b'[{"a":{"b":1,"\\u0062":2}}]', id="duplicate key, escaped and nested"),
        pytest.param(b"1.0", id="float"),
        pytest.param(b"1e3", id="exponent"),
        pytest.param(b"-0", id="negative zero"),
        pytest.param(b"NaN", id="NaN"),
        pytest.param(b"-Infinity", id="infinity"),
        pytest.param(b"9007199254740992", id="unsafe integer"),
        pytest.param(b"1" * 5000, id="very long integer"),
        pytest.param(b'"\xff"', id="not UTF-8"),
        pytest.param(b'"\\ud800"', id="lone surrogate"),
        pytest.param(b'{"\\udc00":1}', id="lone surrogate in a key"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
        pytest.param('{"a":1}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b"{} {}", id="two values"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"[" * 100_000, id="depth bomb"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="closed depth bomb"),
    ],
)
def test_what_two_readers_could_read_in_two_ways_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as refusal:
        read_foreign_json(data, what="value")
    assert refusal.value.reason is Reason.MALFORMED_JSON


def test_the_deepest_allowed_nesting_is_read() -> None:
    assert read_foreign_json(b'[{"a":[1]}]', what="value", max_depth=3) == [{"a": [1]}]


def test_one_level_more_is_refused() -> None:
    with pytest.raises(MalformedError) as refusal:
        read_foreign_json(b'[{"a":[[]]}]', what="value", max_depth=3)
    assert refusal.value.reason is Reason.MALFORMED_JSON


class Point(encoding.Value, frozen=True):
    """What a message could be."""

    x: str
    y: str | msgspec.UnsetType = msgspec.UNSET


@pytest.mark.parametrize("data", [b'{"x":"1"}', b' {"y" : null, "x":"\\u0031"}'])
def test_protobuf_json_is_read_in_any_spelling(data: bytes) -> None:
    assert encoding.read_proto_json(data, Point, what="point") == Point(x="1")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[]", Reason.MALFORMED_JSON),
        (b'{"x":"1","x":"1"}', Reason.MALFORMED_JSON),
        (b'{"x":null}', Reason.MALFORMED_FIELD),
        (b'{"x":"1","z":"1"}', Reason.MALFORMED_FIELD),
        (b'{"x":1}', Reason.MALFORMED_FIELD),
    ],
)
def test_protobuf_json_has_one_meaning(data: bytes, reason: Reason) -> None:
    with pytest.raises(MalformedError) as caught:
        encoding.read_proto_json(data, Point, what="point")
    assert caught.value.reason is reason
