"""Ethereum's contract ABI: how events and the leaves of settlement batches are encoded.

Only the one encoding that compilers and chains write is read: every offset points where the part
before ends. So nothing is read twice, and what is read can be written back byte for byte
(https://docs.soliditylang.org/en/latest/abi-spec.html, "strict mode").
"""

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from registry.errors import MalformedError, Reason

WORD: Final = 32
"""Bytes of a word: everything is a whole number of them."""

_UNSIGNED: Final = {"uint8": 8, "uint32": 32, "uint256": 256}
_SIGNED: Final = {"int128": 128}


@dataclass(frozen=True, slots=True)
class Array:
    """Any number of elements of one kind."""

    of: "Kind"


Kind: TypeAlias = str | Array | tuple["Kind", ...]
"""``bytes32``, ``address``, ``bool``, ``uint8``, ``uint32``, ``uint256``, ``int128``, ``bytes``,
``string``, an array, or a tuple."""


def name_of(kind: Kind) -> str:
    """A kind as the signature of an event spells it."""
    if isinstance(kind, Array):
        return f"{name_of(kind.of)}[]"
    if isinstance(kind, tuple):
        return f"({','.join(map(name_of, kind))})"
    return kind


def encode(kinds: tuple[Kind, ...], values: tuple[Any, ...]) -> bytes:
    """Encode values: bytes and addresses are bytes, numbers are ints, arrays and tuples tuples."""
    heads: list[bytes] = []
    tails: list[bytes] = []
    end = sum(map(_head_bytes, kinds))
    for kind, value in zip(kinds, values, strict=True):
        if _is_dynamic(kind):
            heads.append(_word(end))
            tails.append(_tail(kind, value))
            end += len(tails[-1])
        elif isinstance(kind, tuple):
            heads.append(encode(kind, value))
        else:
            heads.append(_static(str(kind), value))
    return b"".join((*heads, *tails))


def decode(kinds: tuple[Kind, ...], data: bytes) -> tuple[Any, ...]:
    """Read values as :func:`encode` writes them.

    Raises:
        MalformedError: ``MALFORMED_FIELD``.
    """
    values, end = _read_tuple(kinds, data, 0)
    if end != len(data):
        raise _malformed("its end", f"{len(data) - end} bytes more")
    return values


def _is_dynamic(kind: Kind) -> bool:
    if isinstance(kind, tuple):
        return any(map(_is_dynamic, kind))
    return isinstance(kind, Array) or kind in ("bytes", "string")


def _head_bytes(kind: Kind) -> int:
    if isinstance(kind, tuple) and not _is_dynamic(kind):
        return sum(map(_head_bytes, kind))
    return WORD


def _word(number: int) -> bytes:
    return number.to_bytes(WORD, "big")


def _static(kind: str, value: Any) -> bytes:
    if kind == "bytes32":
        return bytes(value)
    if kind == "address":
        return bytes(value).rjust(WORD, b"\0")
    if kind in _SIGNED:
        return int(value).to_bytes(WORD, "big", signed=True)
    return _word(int(value))


def _tail(kind: Kind, value: Any) -> bytes:
    if isinstance(kind, tuple):
        return encode(kind, value)
    if isinstance(kind, Array):
        return _word(len(value)) + encode((kind.of,) * len(value), tuple(value))
    data: bytes = value.encode() if kind == "string" else value
    return _word(len(data)) + data.ljust(_padded(len(data)), b"\0")


def _padded(size: int) -> int:
    return -(-size // WORD) * WORD


def _read_tuple(kinds: tuple[Kind, ...], data: bytes, start: int) -> tuple[tuple[Any, ...], int]:
    """Values, and where the last of them ends."""
    at, tail = start, start + sum(map(_head_bytes, kinds))
    values: list[Any] = []
    for kind in kinds:
        if _is_dynamic(kind):
            offset = _number(data, at)
            if start + offset != tail:
                raise _malformed("an offset", str(offset)[:40])
            value, tail = _read_tail(kind, data, tail)
            at += WORD
        elif isinstance(kind, tuple):
            value, at = _read_tuple(kind, data, at)
        else:
            value, at = _read_static(str(kind), _bytes(data, at, WORD)), at + WORD
        values.append(value)
    return tuple(values), tail


def _read_tail(kind: Kind, data: bytes, start: int) -> tuple[Any, int]:
    if isinstance(kind, tuple):
        return _read_tuple(kind, data, start)
    count, start = _number(data, start), start + WORD
    if isinstance(kind, Array):
        # Each element takes a word at least, so that no count asks for more than was sent.
        if count > (len(data) - start) // _head_bytes(kind.of):
            raise _malformed("an array", "more elements than there is room for")
        return _read_tuple((kind.of,) * count, data, start)
    end = start + _padded(count)
    value = _bytes(data, start, end - start)
    if any(value[count:]):
        raise _malformed("the padding of a text", value[count:].hex())
    value = value[:count]
    if kind != "string":
        return value, end
    try:
        return value.decode("utf-8"), end
    except UnicodeDecodeError as error:
        raise _malformed("a text", "not UTF-8") from error


def _read_static(kind: str, word: bytes) -> Any:
    number = int.from_bytes(word, "big")
    if kind == "bytes32":
        return word
    if kind == "address":
        if any(word[:12]):
            raise _malformed(kind, word.hex())
        return word[12:]
    if kind == "bool":
        if number > 1:
            raise _malformed(kind, word.hex())
        return bool(number)
    if kind in _SIGNED:
        signed, limit = int.from_bytes(word, "big", signed=True), 1 << (_SIGNED[kind] - 1)
        if not -limit <= signed < limit:
            raise _malformed(kind, word.hex())
        return signed
    if number >> _UNSIGNED[kind]:
        raise _malformed(kind, word.hex())
    return number


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(_bytes(data, at, WORD), "big")


def _bytes(data: bytes, at: int, size: int) -> bytes:
    found = data[at : at + size]
    if len(found) != size:
        raise _malformed("its end", f"{size - len(found)} bytes are missing")
    return found


def _malformed(where: str, actual: str) -> MalformedError:
    return MalformedError(
        Reason.MALFORMED_FIELD,
        "this is not encoded as contracts encode",
        where=where,
        actual=actual,
    )
