"""The JSON response of the Open Inference Protocol."""

import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.profiles.open_inference import InferenceRequest, InferenceResponse, json_end
from registry.core.profiles.tensor import Tensor, join_elements
from registry.errors import MalformedError, Reason


def response(**output: object) -> bytes:
    """One output, as another program might write it."""
    return json.dumps({"model_name": "acme/x", "outputs": [{"name": "y", **output}]}).encode()


def data(datatype: str, text: str, shape: str = "[1]") -> bytes:
    """One output whose data are spelled ``text``."""
    return (
        '{"model_name":"m","outputs":[{"name":"y",'
        f'"datatype":"{datatype}","shape":{shape},"data":{text}}}]}}'
    ).encode()


def raw(document: bytes) -> bytes:
    """The bytes of the only output."""
    [tensor] = InferenceResponse.parse(document).outputs
    return tensor.raw


def refusal(document: bytes) -> Reason:
    """Why a document is refused."""
    with pytest.raises(MalformedError) as caught:
        InferenceResponse.parse(document)
    return caught.value.reason


TYPES = {
    "FP16": ("e", st.floats(width=16, allow_nan=False, allow_infinity=False)),
    "FP32": ("f", st.floats(width=32, allow_nan=False, allow_infinity=False)),
    "FP64": ("d", st.floats(allow_nan=False, allow_infinity=False)),
    "INT8": ("b", st.integers(-(2**7), 2**7 - 1)),
    "INT64": ("q", st.integers(-(2**63), 2**63 - 1)),
    "UINT16": ("H", st.integers(0, 2**16 - 1)),
    "UINT64": ("Q", st.integers(0, 2**64 - 1)),
    "BOOL": ("?", st.booleans()),
}


@given(st.data(), st.sampled_from(sorted(TYPES)), st.text(st.characters(codec="utf-8")))
def test_what_is_written_reads_back_to_the_same_bits(
    drawn: st.DataObject, datatype: str, name: str
) -> None:
    code, values = TYPES[datatype]
    elements = drawn.draw(st.lists(values, max_size=5))
    tensor = Tensor(
        name, datatype, (len(elements),), struct.pack(f"<{len(elements)}{code}", *elements)
    )
    written = InferenceResponse("acme/x", (tensor,)).to_bytes()
    assert InferenceResponse.parse(written) == InferenceResponse("acme/x", (tensor,))


@given(st.binary(min_size=4, max_size=4))
def test_every_finite_fp32_survives(bits: bytes) -> None:
    if not math.isfinite(struct.unpack("<f", bits)[0]):
        return
    tensor = Tensor("y", "FP32", (1,), bits)
    assert raw(InferenceResponse("m", (tensor,)).to_bytes()) == bits


@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_strings_survive(texts: list[str]) -> None:
    elements = join_elements([text.encode() for text in texts])
    tensor = Tensor("y", "BYTES", (len(texts),), elements)
    assert raw(InferenceResponse("m", (tensor,)).to_bytes()) == elements


def test_a_number_rounds_half_to_even_on_the_way_to_its_type() -> None:
    # 1 + 2^-24 lies half way between 1 and its FP32 successor; 1 + 3 * 2^-24 between the next two.
    assert raw(data("FP32", "[1.000000059604644775390625]")) == struct.pack("<f", 1.0)
    assert raw(data("FP32", "[1.000000178813934326171875]")) == struct.pack("<f", 1 + 2**-22)


def test_a_decimal_goes_through_binary64() -> None:
    # Just above the half way point, but not in binary64: rounded twice it comes out even.
    assert raw(data("FP32", "[1.00000005960464477539062500001]")) == struct.pack("<f", 1.0)


def test_a_negative_zero_keeps_its_sign() -> None:
    assert raw(data("FP32", "[-0.0, -0]", "[2]")) == bytes.fromhex("0000008000000080")


def test_large_integers_are_exact() -> None:
    assert raw(data("INT64", "[9007199254740993]")) == struct.pack("<q", 2**53 + 1)


@pytest.mark.parametrize(
    ("datatype", "text"),
    [
        ("FP32", "[3.5e38]"),
        ("FP32", "[1e400]"),
        ("FP64", "[1e400]"),
        ("FP16", "[65520]"),
        ("INT8", "[128]"),
        ("UINT8", "[-1]"),
        ("UINT64", "[18446744073709551616]"),
        ("INT64", "[" + "9" * 5000 + "]"),
        ("INT32", "[1.5]"),
        ("INT32", "[1.0]"),
        ("INT32", '["1"]'),
        ("FP32", "[true]"),
        ("FP32", "[null]"),
        ("BOOL", "[1]"),
        ("BYTES", "[1]"),
        ("BF16", "[1.0]"),
        ("FP33", "[1.0]"),
        ("FP32", "[1.0, 2.0]"),
        ("FP32", "[[1.0]]"),
        ("FP32", "1.0"),
        ("FP32", "{}"),
    ],
)
def test_what_does_not_fit_its_type_is_refused(datatype: str, text: str) -> None:
    assert refusal(data(datatype, text)) is Reason.PROFILE


@pytest.mark.parametrize(
    "document",
    [
        data("FP32", "[NaN]"),
        data("FP32", "[Infinity]"),
        data("FP32", "[1.0]").replace(b'"name":"y"', b'"name":"y","name":"z"'),
        data("BYTES", '["\xff"]').decode().encode("latin-1"),
        data("BYTES", '["\\ud83d"]'),
        data("FP32", "[1.0]") + b"{}",
        data("FP32", "[" * 100 + "]" * 100),
    ],
)
def test_what_is_no_strict_json_is_refused(document: bytes) -> None:
    assert refusal(document) is Reason.MALFORMED_JSON


@pytest.mark.parametrize(
    "document",
    [
        b"{}",
        b"[]",
        b'{"model_name":"m","outputs":[]}',
        b'{"model_name":"m","outputs":{}}',
        b'{"model_name":1,"outputs":[]}',
        b'{"model_name":"m","outputs":[1]}',
        response(datatype="FP32", shape=[0], data=[]).replace(b'"model_name"', b'"model"'),
        response(datatype="FP32", shape=[0]),
        response(datatype="FP32", shape=[0], data=[], note="not of the protocol"),
        response(datatype="FP32", shape=["0"], data=[]),
        response(datatype="FP32", shape=[-1], data=[]),
        response(datatype="FP32", shape=0, data=[]),
        response(datatype=32, shape=[0], data=[]),
        b'{"model_name":"m","outputs":[%s,%s]}'
        % ((b'{"name":"y","datatype":"INT8","shape":[0],"data":[]}',) * 2),
    ],
)
def test_what_is_no_response_is_refused(document: bytes) -> None:
    assert refusal(document) is Reason.PROFILE


def test_nested_data_are_read_row_by_row() -> None:
    nested = response(datatype="INT8", shape=[2, 1, 2], data=[[[1, 2]], [[3, 4]]])
    assert raw(nested) == b"\1\2\3\4"


def test_nested_data_of_another_shape_are_refused() -> None:
    assert refusal(response(datatype="INT8", shape=[2, 2], data=[[1], [2, 3, 4]])) is Reason.PROFILE


def test_what_the_protocol_has_beside_the_outputs_does_not_count() -> None:
    document = json.loads(response(datatype="INT8", shape=[1], data=[7], parameters={"a": 1.5}))
    document |= {"id": "42", "model_version": "3", "parameters": {"b": [1.5]}}
    assert raw(json.dumps(document).encode()) == b"\7"


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("y", "FP32", (1,), struct.pack("<f", math.nan)),
        Tensor("y", "FP64", (1,), struct.pack("<d", -math.inf)),
        Tensor("y", "BYTES", (1,), join_elements([b"\xff"])),
        Tensor("y", "BF16", (1,), b"\0\0"),
        Tensor("y", "FP32", (2,), b"\0\0\0\0"),
    ],
)
def test_what_json_cannot_hold_is_not_written(tensor: Tensor) -> None:
    with pytest.raises(MalformedError) as caught:
        InferenceResponse("m", (tensor,)).to_bytes()
    assert caught.value.reason is Reason.PROFILE


def binary(*raw: bytes, sizes: list[object] | None = None, more: str = "") -> tuple[bytes, int]:
    """A response whose outputs follow its JSON, and how much of it is JSON."""
    announced = sizes or [len(item) for item in raw]
    outputs = [
        f'{{"name":"y{place}","datatype":"FP32","shape":[{len(item) // 4}]{more},'
        f'"parameters":{{"binary_data_size":{size}}}}}'
        for place, (item, size) in enumerate(zip(raw, announced, strict=True))
    ]
    head = f'{{"model_name":"m","outputs":[{",".join(outputs)}]}}'.encode()
    return head + b"".join(raw), len(head)


def test_raw_bytes_after_the_json_belong_to_the_outputs_in_their_order() -> None:
    data, size = binary(b"\xcd\xcc\xcc\x3d", b"\x01\x00\xc0\x7f\x00\x00\x80\x3f")
    first, second = InferenceResponse.parse(data, size).outputs
    assert first.raw == b"\xcd\xcc\xcc\x3d"
    assert second.raw == b"\x01\x00\xc0\x7f\x00\x00\x80\x3f"


@pytest.mark.parametrize(
    ("data", "size"),
    [
        binary(bytes(8), sizes=[4]),
        (binary(bytes(4))[0] + b"\0", binary(bytes(4))[1]),
        binary(bytes(4), sizes=[8]),
        binary(bytes(4), sizes=[-4]),
        binary(bytes(4), sizes=['"4"']),
        binary(bytes(4), more=',"data":[0]'),
        (binary(bytes(4))[0], 10_000),
        (binary(bytes(4))[0], 0),
        (b'{"model_name":"m","outputs":[{"name":"y","datatype":"FP32","shape":[1]}]}\0\0\0\0', 73),
    ],
    ids=["unfit", "left", "short", "negative", "text", "twice", "beyond", "nothing", "whose"],
)
def test_raw_bytes_that_are_not_what_the_json_says_are_refused(data: bytes, size: int) -> None:
    with pytest.raises(MalformedError):
        InferenceResponse.parse(data, size)


# Requests.


def request(**members: object) -> bytes:
    """A request, as another program might write it."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [2], "data": [0.1, 2]}
    return json.dumps({"inputs": [tensor], **members}).encode()


def test_a_request_says_its_inputs_and_what_is_asked_in_order() -> None:
    said = InferenceRequest.parse(request(id="1", outputs=[{"name": "b"}, {"name": "a"}]))
    assert said.inputs == (Tensor("x", "FP32", (2,), struct.pack("<2f", 0.1, 2)),)
    assert said.asked == ("b", "a")
    assert InferenceRequest.parse(request()).asked == ()


@pytest.mark.parametrize(
    "document",
    [
        b"[]",
        b"{}",
        b"nonsense",
        request(inputs=[]),
        request(inputs={}),
        request(outputs={}),
        request(outputs=[{}]),
        request(outputs=[{"name": 1}]),
        request(model="m"),
        request(inputs=[{"name": "x", "datatype": "FP32", "shape": [2]}]),
        request(inputs=[{"name": "x", "datatype": "FP32", "shape": [3], "data": [1, 2]}]),
    ],
    ids=lambda document: document.decode(),
)
def test_what_is_no_request_is_refused(document: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        InferenceRequest.parse(document)
    assert caught.value.reason in (Reason.PROFILE, Reason.MALFORMED_JSON)


def test_raw_inputs_follow_the_json_of_a_request() -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}
    head = request(inputs=[tensor], id='}"{')
    body = head + b'{\xff}"'
    assert json_end(body) == len(head)
    assert InferenceRequest.parse(body, len(head)).inputs[0].raw == b'{\xff}"'


@given(st.dictionaries(st.text(), st.one_of(st.text(), st.dictionaries(st.text(), st.text()))))
def test_the_first_object_ends_where_it_ends(document: dict[str, object]) -> None:
    for text in (json.dumps(document), json.dumps(document, ensure_ascii=False)):
        data = text.encode("utf-8", "surrogatepass")
        assert json_end(data + b'}{"') == len(data)
        assert json_end(data[:-1]) == len(data) - 1
