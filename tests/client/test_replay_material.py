"""What an auditor brings: one input has one meaning, and as many digests as ways to send it."""

import json
import struct

import numpy as np
import pytest

from registry.client.replay_material import Input, read_output
from registry.core.digest import sha256
from registry.core.profiles import tensor
from registry.core.profiles.tensor import Tensor
from registry.core.records import inference
from registry.errors import MalformedError, Reason, VerificationError
from tests.replaying import npz
from tests.shim.proxies.oip_server import field, request, response, varint

X = Tensor("x", "FP32", (1, 2), struct.pack("<2f", 0.1, 2.5))
SALT = bytes(range(32))
IN_PROCESS = tensor.request_digest([X])


def over_json(**members: object) -> bytes:
    data = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.1, 2.5]}
    return json.dumps({"inputs": [data], **members}).encode()


def typed() -> bytes:
    """The same request with typed instead of raw contents."""
    shape = field(3, varint(1) + varint(2))
    contents = field(5, field(6, X.raw))
    return field(1, b"m") + field(5, field(1, b"x") + field(2, b"FP32") + shape + contents)


def kept(message: bytes) -> bytes:
    """A message as shims keep it."""
    return len(message).to_bytes(8, "big") + message


def framed(message: bytes) -> bytes:
    return sha256(kept(message))


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (over_json(), sha256(over_json())),
        (over_json(id="7"), sha256(over_json(id="7"))),
        (request([0.1, 2.5]), framed(request([0.1, 2.5]))),
        (typed(), framed(typed())),
        (kept(typed()), framed(typed())),
        (npz(x=np.array([[0.1, 2.5]], np.float32)), IN_PROCESS),
    ],
    ids=["JSON", "JSON with an id", "raw message", "typed message", "kept message", "archive"],
)
def test_an_input_has_the_digest_of_its_bytes_and_of_its_meaning(
    data: bytes, digest: bytes
) -> None:
    read = Input.read(data)
    assert (read.tensors, read.asked) == ((X,), ())
    assert read.digests[0] == digest
    assert read.digests[-1] == IN_PROCESS
    for one in read.digests:
        read.verify(inference.commit_request(SALT, one).hex(), SALT)


def test_an_input_opens_no_other_commitment() -> None:
    read = Input.read(over_json())
    for commitment, salt in (
        (inference.commit_request(SALT, sha256(over_json(id="7"))), SALT),
        (inference.commit_request(SALT, read.digests[0]), SALT[::-1]),
        (sha256(over_json()), SALT),
    ):
        with pytest.raises(VerificationError) as caught:
            read.verify(commitment.hex(), salt)
        assert caught.value.reason is Reason.REPLAY_INPUT


def test_what_is_asked_is_part_of_what_was_asked_in_process() -> None:
    read = Input.read(over_json(outputs=[{"name": "y"}]))
    assert read.asked == ("y",)
    assert read.digests[-1] == tensor.request_digest([X], ["y"])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        field(5, field(1, b"x") + field(2, b"FP32") + field(3, b"\x02")),
        request([0.1]) + field(7, b"1234"),
        field(5, field(1, b"x") + field(2, b"FP99")),
        request([0.1]) + field(5, field(1, b"x")),
        kept(request([0.1])) * 2,
        kept(request([0.1]))[:-1],
    ],
    ids=["nothing", "no elements", "more raw than inputs", "no type", "twice", "two", "cut"],
)
def test_a_message_that_asks_nothing_that_can_be_run_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        Input.read(data)
    assert caught.value.reason is Reason.REPLAY_INPUT


def test_an_output_is_read_over_every_transport() -> None:
    y = Tensor("y", "FP32", (1, 2), X.raw)
    digest = tensor.content_digest([y]).hex()
    said = {"name": "y", "datatype": "FP32", "shape": [1, 2]}
    raw = {**said, "parameters": {"binary_data_size": 8}}
    documents = [
        json.dumps({"model_name": "m", "outputs": [{**said, "data": [0.1, 2.5]}]}).encode(),
        json.dumps({"model_name": "m", "outputs": [raw]}).encode() + y.raw,
        response([[0.1, 2.5]], b"7"),
        kept(response([[0.1, 2.5]], b"7")),
        kept(response([[0.1, 2.5]], b"7", field(2, b"1"))),
        kept(field(2, response([[0.1, 2.5]], b"7"))),
        npz(y=np.array([[0.1, 2.5]], np.float32)),
    ]
    for document in documents:
        assert read_output(document, digest) == (y,)
        with pytest.raises(VerificationError):
            read_output(document, "0" * 64)
