"""The Range header, as far as one range of bytes goes (RFC 9110 §14.1.2).

::

    bytes=100-        from byte 100 to the end
    bytes=100-199     a hundred bytes
    bytes=-100        the last hundred
"""

from collections.abc import Mapping
from typing import Final

from registry.core import encoding
from registry.errors import LimitExceededError, MalformedError, Reason

_UNIT: Final = "bytes="


def parse(headers: Mapping[str, str], size: int, etag: str) -> range | None:
    """Which of ``size`` bytes are asked for; None for all of them.

    ``headers`` have names in lower case. A range of something else than bytes is none, and so is
    one that holds for other bytes than those with this ``etag``.

    Raises:
        MalformedError: ``MALFORMED_RANGE``, also for several ranges.
        LimitExceededError: ``OFFSET_OUT_OF_RANGE`` if no such byte is there.
    """
    text = headers.get("range")
    if text is None or headers.get("if-range", etag) != etag:
        return None
    # RFC 9110 §14.2: units that are not known are ignored, and their names have no case.
    if text[: len(_UNIT)].lower() != _UNIT:
        return None
    first, dash, last = text[len(_UNIT) :].partition("-")
    try:
        if not first:
            start, stop = size - min(encoding.decimal(last), size), size
        else:
            start = encoding.decimal(first)
            stop = min(encoding.decimal(last) + 1, size) if last else size
    except MalformedError as error:
        raise _malformed(text) from error
    if not dash or (last and first and encoding.decimal(last) < start):
        raise _malformed(text)
    if start >= size:
        raise LimitExceededError(
            Reason.OFFSET_OUT_OF_RANGE,
            "this range is behind the end of the blob",
            where="range",
            expected=f"a byte before {size}",
            actual=text[:80],
        )
    return range(start, stop)


def _malformed(text: str) -> MalformedError:
    return MalformedError(
        Reason.MALFORMED_RANGE,
        "this is not a range of bytes",
        where="range",
        expected="one range: bytes=FIRST-, bytes=FIRST-LAST or bytes=-COUNT",
        actual=text[:80],
    )
