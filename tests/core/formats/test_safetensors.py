"""safetensors headers: every row of lies is refused, every honest file is read as its library does.

The numbers are rows of a catalogue of bad inputs; each has its own case.
"""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from registry.core.formats.safetensors import (
    DTYPE_BITS,
    MAX_HEADER_BYTES,
    MAX_TENSORS,
    header_size,
    parse_header,
)
from registry.core.formats.structure import (
    MetadataEntry,
    SafetensorsStructure,
    TensorEntry,
    parse_structure,
    structure_bytes,
)
from registry.errors import MalformedError, Reason, RegistryError

HONEST = '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'


def file_of(header: str | bytes, data: bytes = b"") -> bytes:
    text = header.encode() if isinstance(header, str) else header
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: str, shape: str, offsets: str) -> str:
    return f'{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}'


def one(shape: str, offsets: str = "[0,4]", dtype: str = "U8", name: str = "a") -> str:
    return f"{{{json.dumps(name)}:{entry(dtype, shape, offsets)}}}"


def parse(data: bytes) -> SafetensorsStructure:
    size = header_size(data[:8], len(data))
    return parse_header(data[: 8 + size], len(data))


def deserialize(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Read a file as the library reads it."""
    tensors: list[tuple[str, dict[str, Any]]] = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    return tensors


FOUR = b"\0" * 4
SIZE, HEADER = Reason.SAFETENSORS_HEADER_SIZE, Reason.SAFETENSORS_HEADER
TENSOR, LAYOUT = Reason.SAFETENSORS_TENSOR, Reason.SAFETENSORS_LAYOUT
BODY = entry("U8", "[4]", "[0,4]")

LIES = {
    "01 empty file": (b"", Reason.MALFORMED_SAFETENSORS),
    "01 seven bytes": (b"\0" * 7, Reason.MALFORMED_SAFETENSORS),
    "01 nine bytes": (b"\x01" + b"\0" * 7 + b"{", Reason.MALFORMED_SAFETENSORS),
    "02 header longer than the file": ((100).to_bytes(8, "little") + b"{}" + FOUR, SIZE),
    "03 header of 2^63": ((2**63).to_bytes(8, "little") + b"{}" + FOUR, SIZE),
    "03 header of 2^64-1": (b"\xff" * 8 + b"{}" + FOUR, SIZE),
    "04 header of no bytes": (b"\0" * 8 + b"{}" + FOUR, SIZE),
    "07 no tensors": (file_of("{}"), HEADER),
    "07 only metadata": (file_of('{"__metadata__":{"a":"b"}}'), HEADER),
    "08 trailing bytes": (file_of(HONEST, FOUR + b"PK\x05\x06"), LAYOUT),
    "09 cut off": (file_of(HONEST, b"\0\0\0"), LAYOUT),
    "10 overlap": (
        file_of(f'{{"a":{BODY},"b":{entry("U8", "[4]", "[2,6]")}}}', b"\0" * 6),
        LAYOUT,
    ),
    "10 same range twice": (file_of(f'{{"a":{BODY},"b":{BODY}}}', FOUR), LAYOUT),
    "11 hole in front": (file_of(one("[4]", "[4,8]"), b"\0" * 8), LAYOUT),
    "11 hole between": (
        file_of(f'{{"a":{BODY},"b":{entry("U8", "[4]", "[6,10]")}}}', b"\0" * 10),
        LAYOUT,
    ),
    "12 reversed range": (file_of(one("[4]", "[4,0]"), FOUR), LAYOUT),
    "12 negative range": (file_of(one("[4]", "[-4,0]"), FOUR), LAYOUT),
    "12 one offset": (file_of(one("[4]", "[4]"), FOUR), LAYOUT),
    "12 three offsets": (file_of(one("[4]", "[0,4,4]"), FOUR), LAYOUT),
    "12 true as an offset": (file_of(one("[4]", "[false,4]"), FOUR), LAYOUT),
    "13 shape smaller than the range": (file_of(one("[3]"), FOUR), TENSOR),
    "13 type larger than the range": (file_of(one("[4]", dtype="F32"), FOUR), TENSOR),
    "14 product overflows": (file_of(one("[1099511627776,1099511627776]"), FOUR), TENSOR),
    "14 product overflows beside a zero": (
        file_of(one("[1099511627776,1099511627776,0]", "[0,0]")),
        TENSOR,
    ),
    "14 one dimension of 2^48": (file_of(one("[281474976710656,0]", "[0,0]")), TENSOR),
    "15 dimension 4.0": (file_of(one("[4.0]"), FOUR), HEADER),
    "15 dimension 4e0": (file_of(one("[4e0]"), FOUR), HEADER),
    "15 dimension NaN": (file_of(one("[NaN]"), FOUR), HEADER),
    "15 dimension true": (file_of(one("[true,4]"), FOUR), TENSOR),
    "15 dimension as text": (file_of(one('["4"]'), FOUR), TENSOR),
    "15 negative dimension": (file_of(one("[-4]"), FOUR), TENSOR),
    "15 shape is a number": (file_of(one("4"), FOUR), TENSOR),
    "16 unknown type": (file_of(one("[4]", dtype="F128"), FOUR), TENSOR),
    "16 type in lower case": (file_of(one("[4]", dtype="u8"), FOUR), TENSOR),
    "16 type is a list": (
        file_of('{"a":{"dtype":["U8"],"shape":[4],"data_offsets":[0,4]}}', FOUR),
        TENSOR,
    ),
    "17 tensor twice": (
        file_of(f'{{"a":{BODY},"a":{entry("I8", "[4]", "[0,4]")}}}', FOUR),
        HEADER,
    ),
    "18 metadata twice": (
        file_of(f'{{"__metadata__":{{}},"a":{BODY},"__metadata__":{{}}}}', FOUR),
        HEADER,
    ),
    "18 type twice": (
        file_of('{"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}}', FOUR),
        HEADER,
    ),
    "19 metadata key twice": (
        file_of(f'{{"__metadata__":{{"k":"1","k":"2"}},"a":{BODY}}}', FOUR),
        HEADER,
    ),
    "20 metadata value is a number": (
        file_of(f'{{"__metadata__":{{"k":1}},"a":{BODY}}}', FOUR),
        HEADER,
    ),
    "20 metadata is null": (file_of(f'{{"__metadata__":null,"a":{BODY}}}', FOUR), HEADER),
    "21 unknown member": (
        file_of('{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":1}}', FOUR),
        TENSOR,
    ),
    "21 missing member": (file_of('{"a":{"dtype":"U8","data_offsets":[0,4]}}', FOUR), TENSOR),
    "21 tensor is a list": (file_of('{"a":[]}', FOUR), TENSOR),
    "22 space in front": (file_of(" " + HONEST, FOUR), HEADER),
    "22 newline in front": (file_of("\n" + HONEST, FOUR), HEADER),
    "22 header is a list": (file_of(f"[{HONEST}]", FOUR), HEADER),
    "23 trailing NUL": (file_of(HONEST + "\0", FOUR), HEADER),
    "23 trailing newline": (file_of(HONEST + "\n", FOUR), HEADER),
    "23 second object": (file_of(HONEST + "{}", FOUR), HEADER),
    "24 not UTF-8": (file_of(HONEST.encode().replace(b'"a"', b'"\xff"'), FOUR), HEADER),
    "24 lone surrogate": (file_of(HONEST.replace('"a"', '"\\ud800"'), FOUR), HEADER),
    "25 empty name": (file_of(one("[4]", name=""), FOUR), TENSOR),
    "25 NUL in a name": (file_of(one("[4]", name="a\0"), FOUR), TENSOR),
    "25 control in a name": (file_of(one("[4]", name="a\x9b"), FOUR), TENSOR),
    "25 name of 513 characters": (file_of(one("[4]", name="a" * 513), FOUR), TENSOR),
    "26 half a byte": (file_of(one("[3]", "[0,2]", dtype="F4"), b"\0\0"), TENSOR),
    "28 seventeen dimensions": (file_of(one(f"[4{',1' * 16}]"), FOUR), TENSOR),
    "28 a hundred thousand dimensions": (file_of(one(f"[4{',1' * 99_999}]"), FOUR), TENSOR),
    "29 nested 5000 deep": (file_of(one("[" * 5000 + "]" * 5000), FOUR), HEADER),
    "29 nested four deep": (file_of(one("[[]]"), FOUR), HEADER),
}


@pytest.mark.parametrize(("data", "reason"), LIES.values(), ids=LIES)
def test_a_lie_is_refused(data: bytes, reason: Reason) -> None:
    with pytest.raises(MalformedError) as refusal:
        parse(data)
    assert refusal.value.reason is reason


@pytest.mark.parametrize("size", [MAX_HEADER_BYTES + 1, 100_000_000, 100_000_001])
def test_a_header_bomb_is_refused_before_it_is_read(size: int) -> None:
    """Rows 3 and 6: 100 MB of header, be it tensors or padding."""
    with pytest.raises(MalformedError) as refusal:
        header_size(size.to_bytes(8, "little"), 2**40)
    assert refusal.value.reason is SIZE


def test_the_longest_header_is_announced() -> None:
    assert header_size(MAX_HEADER_BYTES.to_bytes(8, "little"), 2**40) == MAX_HEADER_BYTES


def test_more_tensors_than_anybody_needs_are_refused() -> None:
    """Row 5: a header of nothing but empty tensors."""
    empty = entry("U8", "[0]", "[0,0]")
    header = ",".join(f'"{number}":{empty}' for number in range(MAX_TENSORS + 1))
    with pytest.raises(MalformedError) as refusal:
        parse(file_of(f"{{{header}}}"))
    assert refusal.value.reason is HEADER


def test_too_much_metadata_is_refused() -> None:
    metadata = json.dumps({str(number): "" for number in range(10_001)})
    with pytest.raises(MalformedError) as refusal:
        parse(file_of(f'{{"__metadata__":{metadata},"a":{BODY}}}', FOUR))
    assert refusal.value.reason is HEADER


def test_a_header_that_is_cut_off_is_refused() -> None:
    data = file_of(HONEST, FOUR)
    with pytest.raises(MalformedError) as refusal:
        parse_header(data[:-8], len(data))
    assert refusal.value.reason is Reason.MALFORMED_SAFETENSORS


def test_a_name_like_a_path_is_a_warning() -> None:
    """Row 25: no reader should use a name as a path, but one might."""
    structure = parse(file_of(one("[4]", name="../../etc/x"), FOUR))
    assert structure.warnings == ("1 tensor names look like paths: '../../etc/x'",)


def test_values_are_not_judged() -> None:
    """Row 27: a BOOL of 2 is data, and data is not read."""
    assert parse(file_of(one("[1]", "[0,1]", dtype="BOOL"), b"\x02")).warnings == ()


@pytest.mark.parametrize("padding", range(9))
def test_a_header_may_be_of_any_length_and_padded(padding: int) -> None:
    """Row 30: the library rounds up to 8 bytes, others need not."""
    assert parse(file_of(HONEST + " " * padding, FOUR)) == parse(file_of(HONEST, FOUR))


def test_tensors_without_elements_and_without_dimensions_are_read() -> None:
    header = (
        f'{{"scalar":{entry("U8", "[]", "[0,1]")},"none":{entry("F64", "[0,3]", "[1,1]")},'
        f'"last":{entry("U8", "[1]", "[1,2]")}}}'
    )
    names = [tensor.name for tensor in parse(file_of(header, b"\0\0")).tensors]
    assert names == ["last", "none", "scalar"]


@pytest.mark.parametrize("dtype", DTYPE_BITS)
def test_every_known_type_is_read_as_the_library_reads_it(dtype: str) -> None:
    """Row 16: the list of types is that of the library."""
    data = file_of(one("[8]", f"[0,{DTYPE_BITS[dtype]}]", dtype=dtype), b"\0" * DTYPE_BITS[dtype])
    [tensor] = parse(data).tensors
    [(_, known)] = deserialize(data)
    assert (tensor.dtype, list(tensor.shape)) == (known["dtype"], known["shape"])


def test_metadata_keys_may_be_any_text() -> None:
    """As a list, since RFC 8785 sorts keys in an order that few writers know."""
    structure = parse(
        file_of('{"__metadata__":{"\U0001f600":"1","\uffff":"2","":"3"},"a":' + BODY + "}", FOUR)
    )
    assert structure.metadata == (
        MetadataEntry(key="", value="3"),
        MetadataEntry(key="\uffff", value="2"),
        MetadataEntry(key="\U0001f600", value="1"),
    )


def test_the_structure_has_one_spelling() -> None:
    header = f'{{"__metadata__":{{"format":"pt"}},"a":{BODY}}}'
    assert structure_bytes(parse(file_of(header, FOUR))) == (
        b'{"format":"safetensors","metadata":[{"key":"format","value":"pt"}],'
        b'"schema":"https://provreg.dev/model-structure/v1",'
        b'"tensors":[{"begin":0,"dtype":"U8","end":4,"name":"a","shape":[4]}]}'
    )


ARRAYS = npst.arrays(
    st.sampled_from([np.uint8, np.int16, np.float32, np.int64, np.float64, np.bool_]),
    npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1).filter(
    lambda name: name != "__metadata__"
)
FILES = st.builds(
    safetensors.numpy.save,
    st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=5),
    st.none() | st.dictionaries(st.text(), st.text(), max_size=3),
)


@given(FILES)
def test_a_file_of_the_library_is_read_as_the_library_reads_it(data: bytes) -> None:
    structure = parse(data)
    start = 8 + header_size(data[:8], len(data))
    ours = {
        tensor.name: (
            tensor.dtype,
            list(tensor.shape),
            data[start + tensor.begin : start + tensor.end],
        )
        for tensor in structure.tensors
    }
    theirs = {
        name: (tensor["dtype"], tensor["shape"], bytes(tensor["data"]))
        for name, tensor in deserialize(data)
    }
    assert ours == theirs


@given(FILES)
def test_tensors_lie_one_after_the_other_and_fill_the_file(data: bytes) -> None:
    structure = parse(data)
    ranges = sorted((tensor.begin, tensor.end) for tensor in structure.tensors)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == len(data) - 8 - header_size(data[:8], len(data))
    assert all(left[1] == right[0] for left, right in pairwise(ranges))


@given(FILES)
def test_a_structure_reads_back_as_it_was(data: bytes) -> None:
    structure = parse(data)
    assert parse_structure(structure_bytes(structure)) == structure


def refuse_or_agree(data: bytes) -> None:
    """Refuse with a reason; or else the library reads the same tensors."""
    try:
        structure = parse(data)
    except RegistryError:
        return
    theirs = {
        TensorEntry(
            name=name,
            dtype=tensor["dtype"],
            shape=tuple(tensor["shape"]),
            begin=ours.begin,
            end=ours.end,
        )
        for name, tensor in deserialize(data)
        for ours in structure.tensors
        if ours.name == name
    }
    assert theirs == set(structure.tensors)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_with_a_reason(data: bytes) -> None:
    refuse_or_agree(data)


@settings(max_examples=300)
@given(FILES, st.data())
def test_a_file_with_a_changed_byte_is_refused_or_read_as_the_library_reads_it(
    data: bytes, draw: st.DataObject
) -> None:
    changed = bytearray(data)
    header = 8 + header_size(data[:8], len(data))
    for _ in range(draw.draw(st.integers(1, 3))):
        changed[draw.draw(st.integers(0, header - 1))] = draw.draw(
            st.sampled_from(b'0123456789,:[]{}" \\aFIU-') | st.integers(0, 255)
        )
    refuse_or_agree(bytes(changed))
