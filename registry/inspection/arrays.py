"""Arrays ↔ tensors: what ONNX Runtime takes and gives, as profiles see it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.core.profiles import tensor
from registry.core.profiles.tensor import Tensor
from registry.errors import MalformedError, Reason

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
"""What the Open Inference Protocol calls NumPy's types. BF16 has no type there."""

_TYPES = {name: np.dtype(kind).newbyteorder("<") for kind, name in DATATYPES.items()}

Array = NDArray[Any]
"""An array of any type and shape."""


def to_tensor(name: str, value: object) -> Tensor:
    """The tensor that an array is to profiles.

    Raises:
        MalformedError: ``UNSUPPORTED_TENSOR``.
    """
    if not isinstance(value, np.ndarray):
        raise _unsupported(name, type(value).__name__)
    if value.dtype.kind in "OUS":
        elements = [_element(name, item) for item in value.ravel().tolist()]
        return Tensor(name, "BYTES", value.shape, tensor.join_elements(elements))
    datatype = DATATYPES.get(value.dtype.name)
    if datatype is None:
        raise _unsupported(name, value.dtype.name)
    little = value.astype(value.dtype.newbyteorder("<"), copy=False)
    return Tensor(name, datatype, value.shape, little.tobytes())


def to_array(value: Tensor) -> Array:
    """The array that a valid tensor is to ONNX Runtime, which has no bytes but texts.

    Raises:
        MalformedError: ``UNSUPPORTED_TENSOR``, or ``PROFILE`` if bytes, type and shape disagree.
    """
    value.validate()
    if value.datatype == "BYTES":
        texts = [_text(value.name, item) for item in tensor.split_elements(value.raw)]
        return np.array(texts, dtype=object).reshape(value.shape)
    kind = _TYPES.get(value.datatype)
    if kind is None:
        raise _unsupported(value.name, value.datatype)
    return np.frombuffer(value.raw, dtype=kind).reshape(value.shape)


def _text(name: str, item: bytes) -> str:
    try:
        return item.decode()
    except UnicodeDecodeError as error:
        raise _unsupported(name, "bytes that are no UTF-8") from error


def _element(name: str, item: object) -> bytes:
    if isinstance(item, bytes):
        return item
    if not isinstance(item, str):
        raise _unsupported(name, f"an object array with {type(item).__name__}")
    try:
        return item.encode()
    except UnicodeEncodeError as error:
        raise _unsupported(name, "text that is no Unicode") from error


def _unsupported(name: str, actual: str) -> MalformedError:
    return MalformedError(
        Reason.UNSUPPORTED_TENSOR,
        "a tensor of this type has no digest, or cannot be run",
        where=f"tensor {name[:80]!r}",
        expected=f"an array of {', '.join(DATATYPES)} or strings",
        actual=actual,
    )
