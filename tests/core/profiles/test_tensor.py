"""The profile for named tensors."""

import contextlib
import struct

import pytest

from registry.core.profiles import tensor
from registry.core.profiles.tensor import Tensor
from registry.errors import MalformedError, Reason

Y = Tensor("y", "FP32", (1, 3), bytes.fromhex("cdcccc3d00002040000040c0"))
LABEL = Tensor("label", "BYTES", (3,), tensor.join_elements([b"cat", b"", "é".encode()]))


def test_the_vector_of_a_float_tensor_holds() -> None:
    assert tensor.tensor_digest(Y).hex() == (
        "3c3d3c59acbafc9c32da3b160a0a118a109dcb8545ddf5866ede29e1ebb71e21"
    )


def test_the_vector_of_a_bytes_tensor_holds() -> None:
    assert tensor.tensor_digest(LABEL).hex() == (
        "25da84085fa775167ad956ef962e061f372c6b2a5922d0cf369a9c2b137d3f8d"
    )


@pytest.mark.parametrize("outputs", [[Y, LABEL], [LABEL, Y]])
def test_the_vector_of_both_outputs_holds_in_any_order(outputs: list[Tensor]) -> None:
    assert tensor.content_digest(outputs).hex() == (
        "ee0aff803a086c90c0e9a3478559ba13066eff68bfd13d61fb30c639077c9e74"
    )


def test_an_incomplete_output_has_another_digest() -> None:
    assert tensor.content_digest([Y], complete=False) != tensor.content_digest([Y])


def test_the_wire_vector_of_two_messages_holds() -> None:
    # The rule for gRPC, of messages "a" and "bc", is the rule for tensors in the order of names.
    messages = [Tensor("2", "UINT8", (2,), b"bc"), Tensor("1", "UINT8", (1,), b"a")]
    assert tensor.wire_digest(messages).hex() == (
        "3fafa1cf2f19a7c1129beb20cf0983f73a489a221fc0dd2f16d1be292d089205"
    )


def test_names_sort_by_their_utf_8_bytes() -> None:
    # UTF-16 would put the emoji, a surrogate pair, before U+FF01.
    high, emoji = Tensor("\uff01", "UINT8", (1,), b"1"), Tensor("🙂", "UINT8", (1,), b"2")
    assert tensor.by_name([emoji, high]) == [high, emoji]


def test_nan_payloads_count() -> None:
    one = Tensor("y", "FP32", (1,), struct.pack("<I", 0x7FC00001))
    other = Tensor("y", "FP32", (1,), struct.pack("<I", 0x7FC00002))
    assert tensor.content_digest([one]) != tensor.content_digest([other])


@pytest.mark.parametrize(
    "wrong",
    [
        Tensor("y", "FP32", (2,), bytes(4)),
        Tensor("y", "FP32", (2,), bytes(9)),
        Tensor("y", "FP128", (1,), bytes(16)),
        Tensor("y", "fp32", (1,), bytes(4)),
        Tensor("y", "UINT8", (-1,), b""),
        Tensor("y", "UINT8", (-1, -1), b"x"),
        Tensor("y", "UINT8", (1,) * 33, b"x"),
        Tensor("y", "BOOL", (3,), b"\0\2\1"),
        Tensor("y", "BYTES", (2,), b"\1\0\0\0a"),
        Tensor("y", "BYTES", (1,), b"\2\0\0\0a"),
        Tensor("y", "BYTES", (1,), b"\1\0\0"),
        Tensor("\ud800", "UINT8", (1,), b"x"),
    ],
)
def test_a_tensor_that_is_not_what_it_says_is_refused(wrong: Tensor) -> None:
    with pytest.raises(MalformedError) as caught:
        tensor.content_digest([wrong])
    assert caught.value.reason is Reason.PROFILE


@pytest.mark.parametrize("outputs", [[], [Y, Y]])
def test_an_output_has_tensors_of_different_names(outputs: list[Tensor]) -> None:
    with pytest.raises(MalformedError) as caught:
        tensor.content_digest(outputs)
    assert caught.value.reason is Reason.PROFILE


@pytest.mark.parametrize("too_many", [False, True])
def test_the_tensors_of_an_output_are_bounded(
    monkeypatch: pytest.MonkeyPatch, *, too_many: bool
) -> None:
    monkeypatch.setattr(tensor, "MAX_TENSORS", 1 if too_many else 2)
    with pytest.raises(MalformedError) if too_many else contextlib.nullcontext():
        tensor.content_digest([Y, LABEL])


def test_a_scalar_and_an_empty_tensor_have_digests() -> None:
    scalar, empty = Tensor("s", "INT64", (), bytes(8)), Tensor("e", "FP16", (0, 4), b"")
    assert len(tensor.content_digest([scalar, empty])) == 32


def test_a_request_names_the_outputs_it_asks_for() -> None:
    digests = {
        tensor.request_digest([Y]),
        tensor.request_digest([Y], ["a", "b"]),
        tensor.request_digest([Y], ["b", "a"]),
        tensor.request_digest([]),
    }
    assert len(digests) == 4


def test_a_request_and_an_output_never_have_one_digest() -> None:
    assert tensor.request_digest([Y]) != tensor.content_digest([Y])
