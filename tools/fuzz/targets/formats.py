"""Targets of model files and of what models answer: safetensors, ONNX, tensors, JSON responses."""

import json
import struct
from typing import Final

from registry.core.formats.safetensors import parse_header
from registry.core.formats.safetensors_index import check_index
from registry.core.formats.structure import parse_structure, structure_bytes
from registry.core.profiles.open_inference import InferenceResponse
from registry.core.profiles.tensor import join_elements, split_elements
from tests.inspection.onnx_models import describe_bytes, model
from tools.fuzz.edits import Edit
from tools.fuzz.members import members
from tools.fuzz.target import Target, stable

_DATA_BYTES: Final = 24
"""Bytes that stand behind every header here."""

_TENSORS: Final = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "b": {"dtype": "I64", "shape": [], "data_offsets": [16, 24]},
}


def _prefixed(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


def _header(data: bytes) -> None:
    structure = parse_header(data, len(data) + _DATA_BYTES)
    if parse_structure(structure_bytes(structure)) != structure:
        message = "its structure is written back as another one"
        raise AssertionError(message)


def _inside(data: bytes, edit: Edit, donor: bytes) -> bytes:
    """Change the JSON behind the length, and let the length fit, mostly."""
    changed = members(data[8:], edit, donor[8:])
    return _prefixed(changed) if edit.how % 16 else data[:8] + changed


def _index(data: bytes) -> None:
    check_index(data, {"one.safetensors": parse_header(_HEADER, len(_HEADER) + _DATA_BYTES)})


def _onnx(data: bytes) -> None:
    structure = describe_bytes(data)
    if parse_structure(structure_bytes(structure)) != structure:
        message = "its structure is written back as another one"
        raise AssertionError(message)


_HEADER: Final = _prefixed(json.dumps(_TENSORS).encode())
_SHARDS: Final = {
    "metadata": {"total_size": 24},
    "weight_map": {"a": "one.safetensors", "b": "one.safetensors"},
}
_RESPONSE: Final = {
    "model_name": "m",
    "outputs": [
        {"name": "y", "datatype": "FP32", "shape": [2, 1], "data": [[0.5], [1e-3]]},
        {"name": "x", "datatype": "BYTES", "shape": [1], "data": ["text"]},
        {"name": "z", "datatype": "BOOL", "shape": [], "data": [True]},
    ],
}


def _answer(data: bytes) -> bytes:
    return InferenceResponse.parse(data).to_bytes()


TARGETS: Final = (
    Target("safetensors-header", (_HEADER,), _header, (_inside,)),
    Target("safetensors-index", (json.dumps(_SHARDS).encode(),), _index, (members,)),
    Target("onnx", (model().SerializeToString(),), _onnx),
    Target(
        "tensor-elements",
        (join_elements([b"one", b"", b"three"]),),
        lambda data: join_elements(split_elements(data)),
    ),
    Target(
        "inference-response",
        (json.dumps(_RESPONSE).encode(),),
        stable(_answer, lambda written: written),
        (members,),
    ),
)
"""Every decoder of models and answers."""
