"""safetensors: a length, a JSON header that names every tensor, and the bytes of the tensors.

::

    u64le N | N bytes of JSON, padded with spaces | data

The format is https://github.com/huggingface/safetensors. It is read more strictly here than by
its own library: two readers must never see different tensors, so there are no duplicate keys, no
unknown members and no byte of data that belongs to no tensor or to two. The header alone decides
all of this, so the data is never read.
"""

from collections.abc import Mapping
from itertools import pairwise
from unicodedata import category

from registry.core.encoding import read_foreign_json
from registry.core.formats.structure import (
    SCHEMA,
    MetadataEntry,
    SafetensorsStructure,
    TensorEntry,
)
from registry.errors import MalformedError, Reason

PREFIX_BYTES = 8
"""The length of the header, as an unsigned little-endian number, comes first."""

MIN_FILE_BYTES = PREFIX_BYTES + 2
"""The shortest header is an empty JSON object."""

MAX_HEADER_BYTES = 32 * 1024 * 1024
"""Larger headers are refused before a byte of them is read: 200 000 long names fit."""

MAX_TENSORS = 200_000
"""Tensors in one file."""

MAX_METADATA_ENTRIES = 10_000
"""Members of ``__metadata__`` in one file."""

MAX_NAME_CHARACTERS = 512
"""Characters in the name of a tensor."""

MAX_DIMENSIONS = 16
"""Dimensions of one tensor; numpy reads at most 64, real models have at most 8 or so."""

MAX_DIMENSION = 2**48 - 1
"""The largest length of one dimension."""

MAX_TENSOR_BITS = 2**63 - 1
"""No product of dimensions may overflow the integers of any reader."""

DTYPE_BITS: Mapping[str, int] = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
    "C64": 64,
}
"""The element types of safetensors 0.8 and their size in bits."""

_METADATA = "__metadata__"
_MAX_DEPTH = 3  # the header, one tensor, its shape
_ENTRY_MEMBERS = {"dtype", "shape", "data_offsets"}


def header_size(prefix: bytes, file_size: int) -> int:
    """The length of the JSON header of a file whose first bytes are ``prefix``.

    Call this before reading the header: what it returns is safe to allocate.

    Raises:
        MalformedError: ``MALFORMED_SAFETENSORS``, ``SAFETENSORS_HEADER_SIZE``.
    """
    if file_size < MIN_FILE_BYTES or len(prefix) < PREFIX_BYTES:
        raise MalformedError(
            Reason.MALFORMED_SAFETENSORS,
            "this is too short for a safetensors file",
            expected=f"at least {MIN_FILE_BYTES} bytes",
            actual=f"{file_size} bytes",
        )
    size = int.from_bytes(prefix[:PREFIX_BYTES], "little")
    largest = min(MAX_HEADER_BYTES, file_size - PREFIX_BYTES)
    if not MIN_FILE_BYTES - PREFIX_BYTES <= size <= largest:
        raise MalformedError(
            Reason.SAFETENSORS_HEADER_SIZE,
            "the safetensors header cannot be that long",
            expected=f"2 to {largest} bytes",
            actual=f"{size} bytes",
            hint="the file is damaged, incomplete or no safetensors file",
        )
    return size


def parse_header(header: bytes, file_size: int) -> SafetensorsStructure:
    """Read the first ``8 + N`` bytes of a file of ``file_size`` bytes.

    Raises:
        MalformedError: ``MALFORMED_SAFETENSORS`` or ``SAFETENSORS_HEADER_SIZE`` about the file,
            ``SAFETENSORS_HEADER`` about its JSON, ``SAFETENSORS_TENSOR`` about one tensor,
            ``SAFETENSORS_LAYOUT`` about the ranges of all tensors.
    """
    size = header_size(header, file_size)
    if len(header) != PREFIX_BYTES + size:
        raise MalformedError(
            Reason.MALFORMED_SAFETENSORS,
            "the safetensors header is cut off",
            expected=f"{PREFIX_BYTES + size} bytes",
            actual=f"{len(header)} bytes",
        )
    members = _members(header[PREFIX_BYTES:])
    metadata = _metadata(members.pop(_METADATA, {}))
    if not 1 <= len(members) <= MAX_TENSORS:
        raise _bad_header(
            "this safetensors file does not hold a usable number of tensors",
            expected=f"1 to {MAX_TENSORS} tensors",
            actual=f"{len(members)} tensors",
        )
    tensors = sorted(
        (_tensor(name, entry) for name, entry in members.items()), key=lambda tensor: tensor.name
    )
    _check_layout(tensors, file_size - PREFIX_BYTES - size)
    return SafetensorsStructure(
        schema=SCHEMA,
        tensors=tuple(tensors),
        metadata=metadata,
        warnings=_warnings(tensors),
    )


def _members(text: bytes) -> dict[str, object]:
    # Other white space around the object is refused, because a second reader might stop at it.
    body = text.rstrip(b" ")
    if not (body.startswith(b"{") and body.endswith(b"}")):
        raise _bad_header(
            "the safetensors header is not one JSON object",
            expected="an object from '{' to '}', then only spaces",
            actual=f"{text[:8]!r} … {text[-8:]!r}",
        )
    try:
        members = read_foreign_json(body, what="safetensors header", max_depth=_MAX_DEPTH)
    except MalformedError as error:
        raise _bad_header(error.what, expected=error.expected, actual=error.actual) from error
    if not isinstance(members, dict):
        raise _bad_header("the safetensors header is not one JSON object")
    return members


def _metadata(members: object) -> tuple[MetadataEntry, ...]:
    if not isinstance(members, dict) or not all(isinstance(text, str) for text in members.values()):
        raise _bad_header("the safetensors metadata is not an object of texts", where=_METADATA)
    if len(members) > MAX_METADATA_ENTRIES:
        raise _bad_header(
            "the safetensors metadata has too many members",
            where=_METADATA,
            expected=f"at most {MAX_METADATA_ENTRIES}",
            actual=str(len(members)),
        )
    return tuple(MetadataEntry(key=key, value=members[key]) for key in sorted(members))


def _tensor(name: str, entry: object) -> TensorEntry:
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS or any(category(char) == "Cc" for char in name):
        raise _bad_tensor(
            name,
            "this is no name for a tensor",
            expected=f"1 to {MAX_NAME_CHARACTERS} characters, none of them a control",
            actual=f"{len(name)} characters",
        )
    if not isinstance(entry, dict) or entry.keys() != _ENTRY_MEMBERS:
        raise _bad_tensor(
            name,
            "this tensor is not described by exactly three members",
            expected=", ".join(sorted(_ENTRY_MEMBERS)),
            actual=", ".join(sorted(entry))[:200] if isinstance(entry, dict) else "no object",
        )
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise _bad_tensor(
            name,
            "this element type is not known",
            expected="one of the types of safetensors 0.8",
            actual=repr(dtype)[:80],
        )
    if not _are_integers(shape) or len(shape) > MAX_DIMENSIONS or not _all_within(shape):
        raise _bad_tensor(
            name,
            "this is no shape of a tensor",
            expected=f"at most {MAX_DIMENSIONS} integers from 0 to {MAX_DIMENSION}",
            actual=repr(shape)[:80],
        )
    if not _are_integers(offsets) or len(offsets) != 2 or not 0 <= offsets[0] <= offsets[1]:  # noqa: PLR2004 - a pair
        raise MalformedError(
            Reason.SAFETENSORS_LAYOUT,
            "this is no range of bytes",
            where=_where(name),
            expected="two integers, the second not smaller than the first",
            actual=repr(offsets)[:80],
        )
    _check_size(name, dtype, shape, offsets[1] - offsets[0])
    return TensorEntry(name=name, dtype=dtype, shape=tuple(shape), begin=offsets[0], end=offsets[1])


def _check_size(name: str, dtype: str, shape: list[int], size: int) -> None:
    bits = DTYPE_BITS[dtype]
    for dimension in shape:
        # A zero makes the tensor empty, but a reader that multiplies from the left has
        # overflowed before it arrives there.
        bits *= dimension or 1
        if bits > MAX_TENSOR_BITS:
            raise _bad_tensor(
                name, "the dimensions of this tensor overflow", actual=repr(shape)[:80]
            )
    if 0 in shape:
        bits = 0
    if bits != 8 * size:
        raise _bad_tensor(
            name,
            "the shape of this tensor does not fill its bytes",
            expected=f"{bits} bits for {dtype} {shape}"[:200],
            actual=f"{size} bytes",
        )


def _check_layout(tensors: list[TensorEntry], data_size: int) -> None:
    ranges = sorted((tensor.begin, tensor.end, tensor.name) for tensor in tensors)
    for (_, end, _), (begin, _, name) in pairwise([(0, 0, ""), *ranges]):
        if begin != end:
            raise MalformedError(
                Reason.SAFETENSORS_LAYOUT,
                "the tensors overlap" if begin < end else "there is a hole between the tensors",
                where=_where(name),
                expected=f"a range that begins at {end}",
                actual=f"it begins at {begin}",
            )
    if ranges[-1][1] != data_size:
        raise MalformedError(
            Reason.SAFETENSORS_LAYOUT,
            "the tensors do not fill the file",
            expected=f"{data_size} bytes of data",
            actual=f"{ranges[-1][1]} bytes of tensors",
            hint="the file is cut off, or something was appended to it",
        )


def _are_integers(value: object) -> bool:
    # type(), because True is an int to isinstance() and no number in JSON.
    return isinstance(value, list) and all(type(item) is int for item in value)


def _all_within(shape: list[int]) -> bool:
    return all(0 <= dimension <= MAX_DIMENSION for dimension in shape)


def _warnings(tensors: list[TensorEntry]) -> tuple[str, ...]:
    paths = [tensor.name for tensor in tensors if _looks_like_a_path(tensor.name)]
    # ascii(), because repr() of the same name differs between releases of Python.
    return (f"{len(paths)} tensor names look like paths: {paths[0]!a}",) if paths else ()


def _looks_like_a_path(name: str) -> bool:
    return name.startswith("/") or "\\" in name or ".." in name.split("/")


def _where(name: str) -> str:
    return f"tensor {name[:80]!r}"


def _bad_header(
    what: str, *, where: str = "", expected: str = "", actual: str = ""
) -> MalformedError:
    return MalformedError(
        Reason.SAFETENSORS_HEADER, what, where=where, expected=expected, actual=actual
    )


def _bad_tensor(name: str, what: str, *, expected: str = "", actual: str = "") -> MalformedError:
    return MalformedError(
        Reason.SAFETENSORS_TENSOR, what, where=_where(name), expected=expected, actual=actual
    )
