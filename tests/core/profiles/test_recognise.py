"""Which digests a file may have."""

import pytest

from registry.core.profiles import raw, tensor
from registry.core.profiles.open_inference import InferenceResponse
from registry.core.profiles.recognise import candidates
from registry.core.profiles.tensor import Tensor

OUTPUTS = (Tensor("y", "FP32", (1, 3), bytes.fromhex("cdcccc3d00002040000040c0")),)
FILE = InferenceResponse("acme/x", OUTPUTS).to_bytes()


def test_a_response_file_names_its_tensors_first() -> None:
    assert candidates(FILE) == (tensor.content_digest(OUTPUTS), raw.content_digest(FILE))


def test_a_response_file_in_another_spelling_has_the_same_content() -> None:
    spaced = b"\n" + FILE.replace(b",", b" , ").replace(b'"acme/x"', b'"other"')
    assert candidates(spaced)[0] == tensor.content_digest(OUTPUTS)


@pytest.mark.parametrize("data", [b"", b"hello", b"{}", b"{not json", FILE[:-1], b"\xff" * 9])
def test_any_other_file_is_its_bytes(data: bytes) -> None:
    assert candidates(data) == (raw.content_digest(data),)
