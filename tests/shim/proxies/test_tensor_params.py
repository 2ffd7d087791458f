"""Sampling parameters that come as tensors: numbers under known names, and nothing said."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.profiles.tensor import Tensor
from registry.shim.proxies.request_params import params_of, params_of_message
from registry.shim.proxies.tensor_params import MAX_ELEMENTS, MAX_JSON_BYTES, NAMES, read_tensor
from tests.shim.proxies.oip_server import field, request, varint


def text(data: bytes) -> bytes:
    """One element of BYTES."""
    return struct.pack("<I", len(data)) + data


def tensor(name: str, datatype: str, raw: bytes, count: int = 1) -> Tensor:
    return Tensor(name, datatype, (count,), raw)


def sent(*tensors: Tensor) -> bytes:
    """A request with these inputs after its own, all raw."""
    inputs = b"".join(
        field(
            5,
            field(1, item.name.encode())
            + field(2, item.datatype.encode())
            + field(3, b"".join(map(varint, item.shape))),
        )
        for item in tensors
    )
    return request([1.0]) + inputs + b"".join(field(7, item.raw) for item in tensors)


VLLM = {"temperature": 0.7, "top_p": 0.95, "seed": 7, "stop": ["my secret"], "guided": "secret"}


@pytest.mark.parametrize("name", ["sampling_parameters", "SAMPLING_PARAMETERS"])
def test_the_numbers_in_a_text_of_parameters_are_read_and_nothing_that_is_said(name: str) -> None:
    said = params_of_message(sent(tensor(name, "BYTES", text(json.dumps(VLLM).encode()))))
    assert said == {
        "model": "m",
        "inputs[1].temperature": "0.7",
        "inputs[1].top_p": "0.95",
        "inputs[1].seed": "7",
    }


def test_tensors_of_numbers_are_read_in_the_digits_of_their_type() -> None:
    said = params_of_message(
        sent(
            tensor("text_input", "BYTES", text(b"7")),
            tensor("temperature", "FP32", struct.pack("<f", 0.7)),
            tensor("random_seed", "UINT64", struct.pack("<Q", 2**64 - 1)),
            tensor("max_tokens", "INT32", struct.pack("<i", 128)),
            tensor("top_p", "FP16", struct.pack("<e", 0.9)),
            tensor("len_penalty", "FP64", struct.pack("<d", 0.1 + 0.2)),
        )
    )
    assert said == {
        "model": "m",
        "inputs[2].temperature": "0.7",
        "inputs[3].random_seed": str(2**64 - 1),
        "inputs[4].max_tokens": "128",
        "inputs[5].top_p": "0.9",
        "inputs[6].len_penalty": "0.30000000000000004",
    }


def test_typed_contents_are_read_as_raw_ones_are() -> None:
    contents = field(5, field(6, struct.pack("<f", 0.25)))
    item = field(1, b"temperature") + field(2, b"FP32") + field(3, varint(1)) + contents
    said = field(1, b"m") + field(5, item)
    assert params_of_message(said) == {"model": "m", "inputs[0].temperature": "0.25"}


def test_a_batch_has_a_parameter_if_all_of_it_has_the_same() -> None:
    same = tensor("top_k", "INT32", struct.pack("<3i", 40, 40, 40), 3)
    mixed = tensor("top_k", "INT32", struct.pack("<2i", 40, 41), 2)
    assert read_tensor(same) == {"top_k": "40"}
    assert read_tensor(mixed) == {}


@pytest.mark.parametrize(
    "item",
    [
        tensor("x", "FP32", bytes(4)),
        tensor("temperature", "BYTES", text(b"0.7")),
        tensor("temperature", "BF16", bytes(2)),
        tensor("temperature", "FP32", bytes(5)),
        tensor("temperature", "FP32", b"", 0),
        tensor("temperature", "FP32", bytes(4 * (MAX_ELEMENTS + 1)), MAX_ELEMENTS + 1),
        tensor("sampling_parameters", "UINT8", text(b'{"n":1}')),
        tensor("sampling_parameters", "BYTES", text(b'{"n":1}') * 2, 2),
        tensor("sampling_parameters", "BYTES", text(b'{"n":1}')[:-1]),
        tensor("sampling_parameters", "BYTES", text(b'{"n":1,"n":2}')),
        tensor("sampling_parameters", "BYTES", text(b"[1]")),
        tensor("sampling_parameters", "BYTES", text(b"\xff")),
        tensor("sampling_parameters", "BYTES", b"ab"),
        tensor(
            "sampling_parameters", "BYTES", text(b'{"n":1,"x":"' + b"a" * MAX_JSON_BYTES + b'"}')
        ),
        tensor("sampling_parameters", "BYTES", text(b"[" * 60_000)),
    ],
    ids=[
        *("another name", "a text", "no type of numbers", "half a number", "nothing"),
        *("too many", "another type", "two texts", "cut", "twice the same", "no object"),
        *("no text", "no length", "too long", "too deep"),
    ],
)
def test_what_is_not_as_such_an_input_is_has_no_parameters(item: Tensor) -> None:
    assert read_tensor(item) == {}


@given(st.sampled_from(sorted(NAMES)), st.sampled_from(["BYTES", "FP32", "INT64"]), st.binary())
def test_any_bytes_are_read_or_not_and_nothing_breaks(name: str, datatype: str, raw: bytes) -> None:
    for value in read_tensor(tensor(name, datatype, raw)).values():
        assert value.isascii()


@given(st.floats(width=32, allow_nan=False))
def test_a_number_is_written_so_that_it_can_be_had_back(value: float) -> None:
    raw = struct.pack("<f", value)
    said = read_tensor(tensor("temperature", "FP32", raw))["temperature"]
    assert struct.pack("<f", float(said)) == raw


def test_inputs_over_rest_are_read_as_they_are_spelled() -> None:
    body = {
        "inputs": [
            {"name": "text_input", "datatype": "BYTES", "shape": [1], "data": ["secret"]},
            {"name": "temperature", "datatype": "FP32", "shape": [1, 1], "data": [[0.70]]},
            {"name": "seed", "datatype": "INT64", "shape": [1], "data": ["secret"]},
            {
                "name": "sampling_parameters",
                "datatype": "BYTES",
                "shape": [1],
                "data": [json.dumps(VLLM)],
            },
            {"name": "top_k", "datatype": 7, "data": [1]},
            {"name": "top_k", "datatype": "INT32"},
            {"name": "top_k", "datatype": "INT32", "data": [1] * (MAX_ELEMENTS + 1)},
        ]
    }
    assert params_of(json.dumps(body).replace("0.7]]", "0.70]]").encode()) == {
        "inputs[1].temperature": "0.70",
        "inputs[3].temperature": "0.7",
        "inputs[3].top_p": "0.95",
        "inputs[3].seed": "7",
    }
