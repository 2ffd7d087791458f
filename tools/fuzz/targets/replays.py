"""Targets of what auditors bring to a replay, and of what a run answers."""

import io
import json
from typing import Final

import numpy as np

from registry.client.replay_material import Input, read_output
from registry.core.profiles.tensor import Tensor
from registry.errors import RegistryError
from registry.inspection import npz
from registry.inspection.rerun_exchange import Answer, head_of, read_message, write_message
from tests.shim.proxies.oip_server import field, request, response
from tools.fuzz.members import members
from tools.fuzz.target import Target

_X: Final = np.array([[0.1, 2.5]], np.float32)
_REQUEST: Final = {
    "id": "1",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.1, 2.5]}],
    "outputs": [{"name": "y", "parameters": {"binary_data": False}}],
}
_RAW: Final = {
    "inputs": [
        {
            "name": "x",
            "datatype": "FP32",
            "shape": [1, 2],
            "parameters": {"binary_data_size": 8},
        }
    ]
}


def _archive() -> bytes:
    with io.BytesIO() as file:
        np.savez(file, x=_X, label=np.array(["cat"]))
        return file.getvalue()


def _kept(message: bytes) -> bytes:
    """A message as shims keep it."""
    return len(message).to_bytes(8, "big") + message


def _input(data: bytes) -> None:
    read = Input.read(data)
    for item in read.tensors:
        item.validate()


def _output(data: bytes) -> None:
    try:
        read_output(data, "0" * 64)
    except RegistryError as error:
        # Another output than the recorded one has been read, and that is what counts here.
        if "not the one" not in error.what:
            raise


def _npz(data: bytes) -> None:
    npz.read_tensors(data)


def _answer(data: bytes) -> bytes:
    head, tensors = read_message(data, Answer)
    return write_message(head, tensors)


_OUTPUT: Final = Tensor("y", "FP32", (1, 2), _X.tobytes())

TARGETS: Final = (
    Target(
        "replay-input",
        (
            json.dumps(_REQUEST).encode(),
            json.dumps(_RAW).encode() + _X.tobytes(),
            request([0.1, 2.5], b"1"),
            _kept(request([0.1, 2.5], b"1")),
            _archive(),
        ),
        _input,
        (members,),
        (npz.MAGIC,),
    ),
    Target(
        "replay-output",
        (
            response([[0.5]], b"1"),
            _kept(field(2, response([[0.5]], b"1"))),
            _archive(),
        ),
        _output,
    ),
    Target("npz", (_archive(),), _npz),
    Target(
        "run-answer",
        (write_message(Answer(outputs=(head_of(_OUTPUT),), version="1"), [_OUTPUT]),),
        _answer,
    ),
)
"""Every decoder of replays."""
