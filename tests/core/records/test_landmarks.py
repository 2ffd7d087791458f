"""Landmarks find and prove one record as all records would."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.records import batch
from registry.core.records.batch import STRIDE
from registry.core.records.landmarks import Landmarks
from registry.core.tlog import merkle
from registry.errors import MalformedError, Reason

COUNTS = st.integers(1, 5 * STRIDE) | st.sampled_from([1, STRIDE, STRIDE + 1, 4 * STRIDE])


@settings(max_examples=30)
@given(COUNTS, st.data())
def test_any_record_is_found_and_proved(count: int, data: st.DataObject) -> None:
    records = [b"record %d" % n * (n % 7) for n in range(count)]
    hashed = batch.hash_records(records)
    marks = Landmarks.parse(Landmarks.of(records, hashed).to_bytes())
    position = data.draw(st.integers(0, count - 1))
    stride, place = divmod(position, STRIDE)
    leaves = batch.join_leaves(records)
    assert batch.nth_leaf(leaves[marks.offset(stride) :], place) == records[position]
    hashes = hashed.leaf_hashes[stride * STRIDE : (stride + 1) * STRIDE]
    assert marks.path(stride, hashes, place) == merkle.inclusion_path(hashed.leaf_hashes, position)


@given(st.integers(1, 200))
def test_the_root_is_that_of_all_records(count: int) -> None:
    records = [b"%d" % n for n in range(count)]
    hashed = batch.hash_records(records)
    assert hashed.root == merkle.root([merkle.leaf_hash(data) for data in records])


def test_landmarks_are_read_as_they_are_written() -> None:
    records = [b"%d" % n for n in range(3 * STRIDE)]
    marks = Landmarks.of(records, batch.hash_records(records))
    assert Landmarks.parse(marks.to_bytes()) == marks


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 35, b"x" * 37])
def test_what_is_no_row_of_landmarks_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as refused:
        Landmarks.parse(data)
    assert refused.value.reason is Reason.BATCH_CONTENT


def test_there_is_no_landmark_after_the_last() -> None:
    marks = Landmarks.of([b"x"], batch.hash_records([b"x"]))
    with pytest.raises(MalformedError) as refused:
        marks.offset(1)
    assert refused.value.reason is Reason.BATCH_CONTENT
