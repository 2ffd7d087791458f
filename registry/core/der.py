"""Distinguished encodings (X.690): what would not be written back byte for byte is refused.

Structures are declared as classes (:mod:`cryptography.hazmat.asn1`), which serve to read and to
write. Two habits keep the declarations short: an optional element whose content does not matter is
``list[TLV]`` under its implicit tag, and bytes that a set may hold in any order are a list, too.
"""

from typing import TypeVar

from cryptography.hazmat import asn1

from registry.errors import MalformedError, Reason

T = TypeVar("T")


def read(kind: type[T], data: bytes, *, what: str) -> T:
    """Read exactly what :func:`write` would write for a value of type ``kind``.

    Raises:
        MalformedError: ``MALFORMED_DER``.
    """
    try:
        value = asn1.decode_der(kind, data)
        again = asn1.encode_der(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise MalformedError(
            Reason.MALFORMED_DER, f"this is no {what}", actual=str(error)[:200]
        ) from error
    if again != data:
        raise MalformedError(Reason.MALFORMED_DER, f"this {what} is not spelled as DER spells it")
    return value


def write(value: object) -> bytes:
    """Write ``value`` as DER."""
    return asn1.encode_der(value)


def element(data: asn1.TLV) -> bytes:
    """The element that ``data`` stands for, with its tag and length, as DER writes it."""
    content = bytes(data.data)
    size = len(content)
    if size < 0x80:  # noqa: PLR2004 - X.690 §8.1.3.4: the short form
        return data.tag_bytes + bytes([size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return data.tag_bytes + bytes([0x80 | len(length)]) + length + content
