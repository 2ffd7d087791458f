"""Elements within elements: DER and CBOR, taken apart, changed and put together again.

Lengths are made to fit the changed content, so that a change reaches what is deep inside; one edit
spells a length in a way that the deterministic encodings forbid.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from tools.fuzz.edits import Edit, raw

MAX_DEPTH = 64
"""Levels of elements that are taken apart; what is deeper stays bytes."""


Read = Callable[[bytes], "list[Element]"]
Write = Callable[["list[Element]"], bytes]


class NotElementsError(ValueError):
    """The bytes are no sequence of elements."""


@dataclass(slots=True)
class Element:
    """One element.

    Attributes:
        head: What says the kind: the tag of DER, the major type of CBOR.
        content: The bytes of it, unless it has children.
        children: What it is made of.
        long: How many bytes more than needed its length takes.
        count: What CBOR says instead of the number of children; -1 for their number.
    """

    head: bytes
    content: bytes = b""
    children: "list[Element] | None" = None
    long: int = 0
    count: int = -1


@dataclass(slots=True)
class Tree:
    """The elements of some bytes.

    Attributes:
        places: Every element, with the list that it stands in.
    """

    roots: list[Element]
    places: list[tuple[list[Element], int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.places = list(_walk(self.roots))


def _walk(siblings: list[Element]) -> Iterator[tuple[list[Element], int]]:
    for number, element in enumerate(siblings):
        yield siblings, number
        if element.children is not None:
            yield from _walk(element.children)


def change(  # noqa: C901 - one line for each change
    tree: Tree, donor: Tree, edit: Edit
) -> None:
    """Change one element of a tree, in place."""
    if not tree.places:
        return
    siblings, at = tree.places[edit.pick(len(tree.places))]
    element = siblings[at]
    match edit.how % 10:
        case 0:
            del siblings[at]
        case 1:
            siblings.insert(at, element)
        case 2:
            siblings[at : at + 2] = siblings[at : at + 2][::-1]
        case 3 if donor.places:
            others, number = donor.places[edit.choose(len(donor.places))]
            siblings[at] = others[number]
        case 4:
            flipped = element.head[0] ^ 1 << edit.choose(8)
            element.head = bytes([flipped]) + element.head[1:]
        case 5:
            element.long = 1 + edit.choose(8)
        case 6:
            element.count = edit.size % 300
        case 7:
            siblings[at] = Element(element.head, children=[element] * (1 + edit.choose(3)))
        case 8:
            for _ in range(edit.choose(150)):
                siblings[at] = Element(element.head, children=[siblings[at]])
        case _:
            inner = element.content if element.children is None else b""
            element.content, element.children = raw(inner, edit, b""), None


# --- DER ---


def der(data: bytes, edit: Edit, donor: bytes) -> bytes:
    """Change DER."""
    return _edited(data, edit, donor, _read_der, _write_der)


def _read_der(data: bytes, depth: int = 0) -> list[Element]:
    elements = []
    while data:
        if len(data) < 2 or depth > MAX_DEPTH:  # noqa: PLR2004 - tag and length
            raise NotElementsError
        start, size = 2, data[1]
        if size >= 0x80:  # noqa: PLR2004 - the long form
            start += size & 0x7F
            size = int.from_bytes(data[2:start], "big")
        content = data[start : start + size]
        if len(content) != size:
            raise NotElementsError
        elements.append(_der_element(data[:1], content, depth))
        data = data[start + size :]
    return elements


def _der_element(tag: bytes, content: bytes, depth: int) -> Element:
    # Constructed, or an OCTET STRING or BIT STRING that may hold something again.
    if tag[0] & 0x20 or tag[0] in (0x03, 0x04):
        with suppress(NotElementsError):
            children = _read_der(content, depth + 1)
            # What only looks like elements would not come out as it went in.
            if _write_der(children) == content:
                return Element(tag, children=children)
    return Element(tag, content)


def _write_der(elements: list[Element]) -> bytes:
    parts = []
    for element in elements:
        inner = element.content if element.children is None else _write_der(element.children)
        size = len(inner)
        if size < 0x80 and not element.long:  # noqa: PLR2004 - the short form
            length = bytes([size])
        else:
            written = size.to_bytes((size.bit_length() + 7) // 8 + element.long, "big")
            length = bytes([0x80 | len(written)]) + written
        parts += [element.head, length, inner]
    return b"".join(parts)


# --- CBOR ---

_STRINGS, _ARRAY, _MAP, _TAG, _SIMPLE = (2, 3), 4, 5, 6, 7


def cbor(data: bytes, edit: Edit, donor: bytes) -> bytes:
    """Change CBOR."""
    return _edited(data, edit, donor, _read_cbor, _write_cbor)


def _read_cbor(data: bytes) -> list[Element]:
    elements = []
    while data:
        element, data = _cbor_element(data, 0)
        elements.append(element)
    return elements


def _cbor_element(data: bytes, depth: int) -> tuple[Element, bytes]:
    if not data or depth > MAX_DEPTH:
        raise NotElementsError
    major, short = data[0] >> 5, data[0] & 31
    width = {24: 1, 25: 2, 26: 4, 27: 8}.get(short, 0)
    if short > 27 or len(data) < 1 + width:  # noqa: PLR2004 - reserved, or without a length
        raise NotElementsError
    number = int.from_bytes(data[1 : 1 + width], "big") if width else short
    rest = data[1 + width :]
    if major in _STRINGS:
        if len(rest) < number:
            raise NotElementsError
        return _cbor_string(major, rest[:number]), rest[number:]
    if major in (_ARRAY, _MAP, _TAG):
        wanted = {_ARRAY: number, _MAP: 2 * number, _TAG: 1}[major]
        children = []
        for _ in range(wanted):
            child, rest = _cbor_element(rest, depth + 1)
            children.append(child)
        count = number if major == _TAG else -1
        return Element(bytes([major]), children=children, count=count), rest
    return Element(bytes([major]), count=number), rest


def _cbor_string(major: int, content: bytes) -> Element:
    # A byte string may hold CBOR again: what COSE signs does.
    if major == 2 and len(content) > 1:  # noqa: PLR2004 - a byte string
        with suppress(NotElementsError):
            children = _read_cbor(content)
            if _write_cbor(children) == content:
                return Element(bytes([major]), children=children)
    return Element(bytes([major]), content)


def _write_cbor(elements: list[Element]) -> bytes:
    return b"".join(_cbor_bytes(element) for element in elements)


def _cbor_bytes(element: Element) -> bytes:
    major = element.head[0] & 7
    children = element.children or []
    inner = element.content if element.children is None else _write_cbor(children)
    if major in _STRINGS:
        return _cbor_head(major, len(inner), element.long) + inner
    if element.count >= 0:
        number = element.count
    elif major == _MAP:
        number = len(children) // 2
    else:
        number = len(children)
    return _cbor_head(major, number, element.long) + inner


def _cbor_head(major: int, number: int, long: int) -> bytes:
    sizes = [size for size in (0, 1, 2, 4, 8) if number < (24 if size == 0 else 256**size)]
    size = sizes[min(long, len(sizes) - 1)]
    if size == 0:
        return bytes([major << 5 | number])
    return bytes([major << 5 | {1: 24, 2: 25, 4: 26, 8: 27}[size]]) + number.to_bytes(size, "big")


def _edited(data: bytes, edit: Edit, donor: bytes, read: Read, write: Write) -> bytes:
    try:
        tree = Tree(read(data))
    except NotElementsError:
        return raw(data, edit, donor)
    try:
        other = Tree(read(donor))
    except NotElementsError:
        other = Tree([])
    change(tree, other, edit)
    return write(tree.roots)
