"""Which content digests a file may have: as the outputs it spells, and as the bytes it is.

Whoever holds an output as a file need not know which profile its shim used.
"""

import contextlib

from registry.core.profiles import raw, tensor
from registry.core.profiles.open_inference import InferenceResponse
from registry.errors import MalformedError

_LOOK_BYTES = 4096


def candidates(data: bytes) -> tuple[bytes, ...]:
    """The content digests of the output in file ``data``, the most telling first.

    A complete response of the Open Inference Protocol has one under ``output/tensor/v1``; every
    file has one under ``output/bytes/v1``.
    """
    digests = [raw.content_digest(data)]
    # Most files are no JSON: do not decode them to find out.
    if data[:_LOOK_BYTES].lstrip(b" \t\r\n")[:1] == b"{":
        # If it is no response after all it is bytes, and nothing is guessed.
        with contextlib.suppress(MalformedError):
            digests.insert(0, tensor.content_digest(InferenceResponse.parse(data).outputs))
    return tuple(digests)
