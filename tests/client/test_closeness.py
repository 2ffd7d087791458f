"""How far outputs are apart: never nearer than they are, and nothing but numbers may differ."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.client import closeness
from registry.client.closeness import compare, decimal_text
from registry.core.profiles.tensor import Tensor, join_elements
from registry.core.records.replay import Difference, Tolerance, Why
from registry.inspection.arrays import to_tensor

NEAR = Tolerance(abs="0.001", rel="0.01", top1=True)


def floats(*values: float, kind: type[np.floating] = np.float32, name: str = "y") -> Tensor:
    return to_tensor(name, np.array([values], kind))


def apart(recorded: list[Tensor], replayed: list[Tensor], tolerance: Tolerance = NEAR) -> set[Why]:
    return set(compare(recorded, replayed, tolerance).apart)


def difference(recorded: Tensor, replayed: Tensor, tolerance: Tolerance = NEAR) -> Difference:
    found = compare([recorded], [replayed], tolerance).difference
    assert found is not None
    return found


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_what_is_the_same_is_not_apart(kind: type[np.floating]) -> None:
    y = floats(0.5, -2, 0, kind=kind)
    assert difference(y, y) == Difference(abs="0", rel="0", top1=True, elements=3)


def test_distances_are_said() -> None:
    said = difference(floats(1, 200), floats(1.5, 202))
    assert said == Difference(abs="2", rel="0.3334", top1=True, elements=2)


@pytest.mark.parametrize(
    ("one", "other", "reasons"),
    [
        ((1, 2), (1.0005, 2), set()),
        ((100, 200), (100.9, 200), set()),
        ((1, 2), (1.02, 2), {Why.VALUES}),
        ((0, 5), (0.01, 5), {Why.VALUES}),
        ((1, 1.0005), (1.0005, 1), {Why.TOP1}),
        ((1, 5), (5, 1), {Why.TOP1, Why.VALUES}),
    ],
    ids=["by distance", "by part", "neither", "beside nothing", "another first", "both"],
)
def test_a_number_is_near_by_distance_or_by_part(
    one: tuple[float, ...], other: tuple[float, ...], reasons: set[Why]
) -> None:
    assert apart([floats(*one)], [floats(*other)]) == reasons
    assert apart([floats(*other)], [floats(*one)]) == reasons


def test_another_first_may_be_allowed() -> None:
    loose = Tolerance(abs="1", rel="0", top1=False)
    assert not apart([floats(1, 1.5)], [floats(1.5, 1)], loose)


def test_a_single_number_has_no_first() -> None:
    one, other = to_tensor("y", np.array(1, np.float32)), to_tensor("y", np.array(9, np.float32))
    assert difference(one, other).top1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_must_be_the_same(bad: float) -> None:
    assert not apart([floats(1, bad)], [floats(1, bad)])
    assert apart([floats(1, bad)], [floats(1, 2)]) == {Why.NOT_FINITE}
    assert apart([floats(1, 2)], [floats(1, bad)]) == {Why.NOT_FINITE}


def test_zeros_and_nans_of_other_bits_are_not_apart() -> None:
    one, other = floats(0.0, np.nan, 1), floats(-0.0, -np.nan, 1)
    assert one.raw != other.raw
    assert difference(one, other) == Difference(abs="0", rel="0", top1=True, elements=3)


def test_all_blocks_of_a_large_output_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closeness, "BLOCK_ELEMENTS", 4)
    values = np.zeros((3, 5), np.float32)
    for place in range(15):
        moved = values.copy()
        moved.ravel()[place] = 1
        one, other = to_tensor("y", values), to_tensor("y", moved)
        assert difference(one, other).abs == "1"
        moved.ravel()[place] = np.inf
        assert apart([one], [to_tensor("y", moved)]) == {Why.NOT_FINITE}


def test_a_distance_beyond_all_numbers_is_not_finite() -> None:
    one, other = floats(1.7e308, kind=np.float64), floats(-1.7e308, kind=np.float64)
    assert apart([one], [other]) == {Why.NOT_FINITE}


@pytest.mark.parametrize(
    "other",
    [
        Tensor("l", "INT64", (1,), (8).to_bytes(8, "little")),
        Tensor("l", "BOOL", (1,), b"\1"),
        Tensor("l", "BYTES", (1,), join_elements([b"dog"])),
    ],
    ids=lambda item: item.datatype,
)
def test_what_is_no_number_must_be_equal(other: Tensor) -> None:
    same = {
        "INT64": bytes(8),
        "BOOL": b"\0",
        "BYTES": join_elements([b"cat"]),
    }
    recorded = Tensor("l", other.datatype, other.shape, same[other.datatype])
    y = floats(1, 2)
    assert not apart([recorded, y], [y, recorded])
    assert apart([recorded, y], [other, y]) == {Why.EXACT_TYPE_DIFFERS}


def test_outputs_of_other_names_types_or_shapes_are_not_compared() -> None:
    y = floats(1, 2)
    for other in (floats(1, 2, name="z"), floats(1, 2, kind=np.float64), floats(1, 2, 3)):
        assert apart([y], [other]) == {Why.OUTPUT_SHAPE}
    assert apart([y], [y, floats(1, name="z")]) == {Why.OUTPUT_SHAPE}


def test_an_output_of_no_elements_is_near() -> None:
    empty = to_tensor("y", np.zeros((0, 5), np.float32))
    assert difference(empty, empty).elements == 0


@given(st.floats(0, allow_nan=False, allow_infinity=False))
def test_a_number_is_written_rounded_up_and_read_back_by_the_record(value: float) -> None:
    text = decimal_text(value)
    written = Decimal(text)
    assert written >= Decimal(value)
    assert value < 1e-40 or written <= Decimal(value) * Decimal("1.001")
    # The form that the record insists on.
    assert Difference(abs=text, rel="0", top1=True, elements=0).abs == text


VALUES = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=6)


@given(VALUES, st.data())
def test_near_means_near_for_every_element(values: list[float], data: st.DataObject) -> None:
    moved = [v + data.draw(st.floats(-0.02, 0.02)) for v in values]
    loose = Tolerance(abs="0.01", rel="0.001", top1=False)
    one, other = floats(*values, kind=np.float64), floats(*moved, kind=np.float64)
    said = apart([one], [other], loose)
    limits = [(abs(a - b), 0.001 * max(abs(a), abs(b))) for a, b in zip(values, moved, strict=True)]
    if all(d <= 0.0099 or d <= 0.99 * part for d, part in limits):
        assert not said
    if any(d > 0.0101 and d > 1.01 * part for d, part in limits):
        assert said == {Why.VALUES}
