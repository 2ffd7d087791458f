"""CBOR (RFC 8949) as a Nitro security module writes it: no tags, no chunks, no second meaning."""

from collections import defaultdict
from typing import Any, Final, NoReturn

import cbor2

from registry.core.evidence.checks import CheckError
from registry.core.evidence.nitro.findings import NitroFinding

MAX_DEPTH: Final = 4
"""Containers within each other that are read: two in a document, two in a message."""

_MAP, _NO_LENGTH, _BREAK = 0xA0, 0xBF, 0xFF
_MAX_SHORT_MAP: Final = 23


def _refuse_tag(*_: object) -> NoReturn:
    message = "a tag"
    raise ValueError(message)


def _decode(data: bytes, *, indefinite: bool = False, duplicates: bool = False) -> Any:
    return cbor2.loads(
        data,
        # A tag may mean a date, a regular expression or a circle: none belongs here.
        semantic_decoders=defaultdict(lambda: _refuse_tag),
        max_depth=MAX_DEPTH,
        allow_indefinite=indefinite,
        allow_duplicate_keys=duplicates,
    )


def read_item(data: bytes, where: str) -> Any:
    """Read one item, with nothing behind it."""
    # The library ignores what is behind an item. Two neighbours that differ in every byte show
    # where it ends: both can be the second item only if nothing stands between.
    first, second = b"\x82" + data + b"\x00", b"\x82" + data + b"\x01"
    try:
        value, end = _decode(first)
        more = end != 0 or type(end) is not int
        more = more or _decode(second)[1] != 1
    except (cbor2.CBORDecodeError, ValueError, OverflowError, RecursionError) as error:
        raise _unreadable(first, where, str(error)) from error
    if more:
        raise trailing(where)
    return value


def _unreadable(data: bytes, where: str, why: str) -> CheckError:
    """Name what is wrong: the rule without which it could be read."""
    for finding, rules, what in (
        (NitroFinding.DUPLICATE_KEY, {"duplicates": True}, "a key occurs twice"),
        (NitroFinding.CHUNKED_STRING, {"indefinite": True}, "something has no length of its own"),
        # In a map whose length is left open, on purpose or not.
        (
            NitroFinding.DUPLICATE_KEY,
            {"duplicates": True, "indefinite": True},
            "a key occurs twice",
        ),
    ):
        try:
            _decode(data, **rules)
        except (cbor2.CBORDecodeError, ValueError, OverflowError, RecursionError):
            continue
        return CheckError(finding, what, where=where, actual=why[:200])
    return CheckError(
        NitroFinding.NOT_CBOR,
        "this is not CBOR that a document may hold",
        where=where,
        actual=why[:200],
    )


def with_length(payload: bytes) -> bytes:
    """The map with its length said, if only that is left open."""
    if payload[:1] != bytes([_NO_LENGTH]) or payload[-1:] != bytes([_BREAK]):
        return payload
    try:
        fields = _decode(payload, indefinite=True)
    except (cbor2.CBORDecodeError, ValueError, OverflowError, RecursionError):
        return payload
    if type(fields) is not dict or len(fields) > _MAX_SHORT_MAP:
        return payload
    # Whatever else has no length is refused when the map is read again.
    return bytes([_MAP + len(fields)]) + payload[1:-1]


def trailing(where: str) -> CheckError:
    """The refusal of bytes behind the end."""
    return CheckError(NitroFinding.TRAILING_BYTES, "there are bytes behind the end", where=where)
