"""JSON as others spell it: the same bytes as Python writes, whatever the value."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.encoding import read_foreign_numbers
from registry.core.foreign import spelling
from registry.errors import MalformedError, Reason

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=5).filter(lambda name: name.isprintable()), inner, max_size=4
        )
    ),
    max_leaves=12,
)


def respelled(data: bytes, style: spelling.Style) -> bytes:
    return spelling.spell(read_foreign_numbers(data, what="test", max_depth=64), style)


@settings(deadline=None)
@given(VALUES)
def test_python_sorted_is_what_python_writes(value: Any) -> None:
    data = json.dumps(value, indent=1).encode()
    assert respelled(data, spelling.PYTHON_SORTED) == json.dumps(value, sort_keys=True).encode()


@settings(deadline=None)
@given(VALUES)
def test_compact_is_what_web_frameworks_write(value: Any) -> None:
    written = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert respelled(json.dumps(value).encode(), spelling.COMPACT) == written.encode()


@settings(deadline=None)
@given(VALUES)
def test_what_is_compact_stays_as_it_is(value: Any) -> None:
    written = json.dumps(value, separators=(",", ":")).encode()
    assert respelled(written, spelling.COMPACT_ASCII) == written


@pytest.mark.parametrize(
    ("text", "written"),
    [("1.50", "1.5"), ("1e5", "100000.0"), ("-0", "0"), ("-0.0", "-0.0"), ("1E400", "Infinity")],
)
def test_a_number_is_written_as_python_read_it(text: str, written: str) -> None:
    assert respelled(text.encode(), spelling.PYTHON_SORTED).decode() == written
    assert respelled(text.encode(), spelling.COMPACT).decode() == text


def test_a_number_of_a_thousand_digits_is_refused() -> None:
    with pytest.raises(MalformedError) as caught:
        respelled(b"9" * 1000, spelling.PYTHON_SORTED)
    assert caught.value.reason is Reason.MALFORMED_JSON
