"""How far two outputs are apart: numbers by distance, everything else by equality.

Numbers are rounded up before they are written down, so that nothing looks nearer than it is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_UP, Context, Decimal
from typing import Final

import numpy as np

from registry.core.profiles.tensor import Tensor, by_name
from registry.core.records.replay import DecimalText, Difference, Tolerance, Why, is_near
from registry.inspection.arrays import Array, to_array

DEFAULT_TOLERANCE: Final = Tolerance(abs="0.00001", rel="0.001", top1=True)
"""How near outputs must be, unless told otherwise: 1e-5 in the unit of the output, or a thousandth,
and the same first of each row. Graph optimisation alone moves values by about 1e-7."""

MIN_WRITTEN: Final = Decimal("1e-45")
"""The smallest distance that is written down; what is smaller is rounded up to it."""

BLOCK_ELEMENTS: Final = 1 << 20
"""Elements that are compared at once."""

_DIGITS = Context(prec=4, rounding=ROUND_UP)
_FLOATS = frozenset({"FP16", "FP32", "FP64"})
_TOP_AXIS = 2


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing two outputs came to.

    Attributes:
        apart: Why they are not near each other; empty if they are.
        difference: How far apart the numbers are; None if they cannot be compared at all.
    """

    apart: tuple[Why, ...]
    difference: Difference | None


def compare(
    recorded: Sequence[Tensor], replayed: Sequence[Tensor], tolerance: Tolerance
) -> Comparison:
    """Compare two outputs of named tensors.

    Raises:
        MalformedError: ``PROFILE`` or ``UNSUPPORTED_TENSOR`` for tensors that are none.
    """
    ours, theirs = by_name(replayed), by_name(recorded)
    if [_kind(item) for item in ours] != [_kind(item) for item in theirs]:
        return Comparison((Why.OUTPUT_SHAPE,), None)
    largest, relative, top1, elements = 0.0, 0.0, True, 0
    least = float(Decimal(tolerance.abs))
    for one, other in zip(ours, theirs, strict=True):
        if one.datatype not in _FLOATS:
            if one.raw != other.raw:
                return Comparison((Why.EXACT_TYPE_DIFFERS,), None)
            continue
        whole, beside = to_array(one), to_array(other)
        elements += whole.size
        top1 = top1 and _same_first(whole, beside)
        for a, b in _blocks(whole, beside):
            distances = _distances(a, b)
            if distances is None:
                return Comparison((Why.NOT_FINITE,), None)
            largest = max(largest, float(distances.max()))
            relative = max(relative, _relative(a, b, distances, least))
    difference = Difference(
        abs=decimal_text(largest), rel=decimal_text(relative), top1=top1, elements=elements
    )
    apart = []
    if tolerance.top1 and not top1:
        apart.append(Why.TOP1)
    if not is_near(difference, Tolerance(abs=tolerance.abs, rel=tolerance.rel, top1=False)):
        apart.append(Why.VALUES)
    return Comparison(tuple(apart), difference)


def decimal_text(value: float) -> DecimalText:
    """A number from 0 on in decimal digits, rounded up to four of them."""
    exact = Decimal(value)
    if not exact:
        return "0"
    rounded = _DIGITS.plus(max(exact, MIN_WRITTEN))
    text = format(rounded, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _kind(item: Tensor) -> tuple[str, str, tuple[int, ...]]:
    return item.name, item.datatype, item.shape


def _blocks(a: Array, b: Array) -> Iterator[tuple[Array, Array]]:
    """Two arrays block by block, widened: memory does not grow with them.

    Differences of half and single precision are exact, or nearly, in double precision.
    """
    flat, other = a.ravel(), b.ravel()
    for start in range(0, flat.size, BLOCK_ELEMENTS):
        end = start + BLOCK_ELEMENTS
        yield flat[start:end].astype(np.float64), other[start:end].astype(np.float64)


def _distances(a: Array, b: Array) -> Array | None:
    """The distance of each two elements; None if one of them is not finite and the other is."""
    alike = np.isnan(a) & np.isnan(b) | (a == b)
    with np.errstate(invalid="ignore", over="ignore"):
        distances = np.where(alike, 0.0, np.abs(a - b))
    return distances if bool(np.all(np.isfinite(distances))) else None


def _relative(a: Array, b: Array, distances: Array, least: float) -> float:
    """The largest distance as a part of the larger element, among those above ``least``."""
    far = distances > least
    if not bool(np.any(far)):
        return 0.0
    larger = np.maximum(np.abs(a[far]), np.abs(b[far]))
    return float((distances[far] / larger).max())


def _same_first(a: Array, b: Array) -> bool:
    """Whether the largest element of each row is the same one; a single element is no choice."""
    if a.ndim == 0 or a.shape[-1] < _TOP_AXIS or not a.size:
        return True
    return bool(np.array_equal(np.argmax(a, axis=-1), np.argmax(b, axis=-1)))
