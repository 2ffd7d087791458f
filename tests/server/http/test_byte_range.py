"""Ranges: one of bytes, in one of three forms; anything else is refused or no range at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import LimitExceededError, MalformedError, Reason
from registry.server.http.byte_range import parse

ETAG = '"sha256:00"'
SIZE = 1000


def asked(text: str, **headers: str) -> range | None:
    return parse({"range": text} | headers, SIZE, ETAG)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("bytes=0-", range(1000)),
        ("bytes=1-", range(1, 1000)),
        ("bytes=999-", range(999, 1000)),
        ("bytes=0-0", range(1)),
        ("bytes=10-19", range(10, 20)),
        ("bytes=10-5000", range(10, 1000)),
        ("bytes=-1", range(999, 1000)),
        ("bytes=-5000", range(1000)),
        ("Bytes=5-", range(5, 1000)),
    ],
)
def test_one_range_is_read(text: str, wanted: range) -> None:
    assert asked(text) == wanted


def test_without_the_header_all_bytes_are_asked_for() -> None:
    assert parse({}, SIZE, ETAG) is None


@pytest.mark.parametrize("text", ["items=0-1", "", "0-1", "bytes:0-1", "bytes"])
def test_what_is_no_range_of_bytes_is_ignored(text: str) -> None:
    assert asked(text) is None


def test_a_range_of_other_bytes_is_ignored() -> None:
    assert asked("bytes=1-", **{"if-range": '"sha256:01"'}) is None
    assert asked("bytes=1-", **{"if-range": f"W/{ETAG}"}) is None
    assert asked("bytes=1-", **{"if-range": ETAG}) == range(1, 1000)


@pytest.mark.parametrize(
    "text",
    [
        "bytes=",
        "bytes=-",
        "bytes=--1",
        "bytes=1",
        "bytes=a-",
        "bytes=1-a",
        "bytes=5-4",
        "bytes=0-1,3-4",
        "bytes=0-1-2",
        "bytes= 0-1",
        "bytes=0 -1",
        "bytes=+0-1",
        "bytes=00-1",
        "bytes=1_0-",
        "bytes=٣-",
        "bytes=99999999999999999999-",
    ],
)
def test_what_is_not_one_range_is_refused(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        asked(text)
    assert caught.value.reason is Reason.MALFORMED_RANGE


@pytest.mark.parametrize("text", ["bytes=1000-", "bytes=1000-1001", "bytes=-0"])
def test_a_range_behind_the_end_is_refused(text: str) -> None:
    with pytest.raises(LimitExceededError) as caught:
        asked(text)
    assert caught.value.reason is Reason.OFFSET_OUT_OF_RANGE


@pytest.mark.parametrize("text", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_of_no_bytes_there_is_no_range(text: str) -> None:
    with pytest.raises(LimitExceededError):
        parse({"range": text}, 0, ETAG)


@given(size=st.integers(0, 50), first=st.integers(0, 60), last=st.integers(0, 60))
def test_a_range_is_what_a_slice_is(size: int, first: int, last: int) -> None:
    data = list(range(size))
    try:
        found = parse({"range": f"bytes={first}-{last}"}, size, ETAG)
    except MalformedError:
        assert last < first
    except LimitExceededError:
        assert data[first : last + 1] == []
    else:
        assert found is not None
        assert [data[place] for place in found] == data[first : last + 1] != []


@given(text=st.text(alphabet="bytes=0123456789-, +a"))
def test_nothing_else_happens(text: str) -> None:
    try:
        found = asked(text)
    except (MalformedError, LimitExceededError):
        return
    assert found is None or 0 <= found.start < found.stop <= SIZE
