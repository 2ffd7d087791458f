"""The digests of the profiles, written down from their rules and sharing nothing with the registry.

JSON is canonicalised by the library ``rfc8785`` (RFC 8785, JCS).
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import rfc8785


@dataclass(frozen=True)
class Tensor:
    """A named tensor; ``raw`` is little-endian and row-major."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes


def choices_document(profile: str, choices: Sequence[dict[str, Any]], *, complete: bool) -> bytes:
    """What is hashed for ``output/chat/v1`` and ``output/text/v1``."""
    ordered = sorted(choices, key=lambda choice: choice["index"])
    return rfc8785.dumps({"schema": profile, "complete": complete, "choices": ordered})


def tensor_digest(tensor: Tensor) -> str:
    """The digest of one tensor under ``output/tensor/v1``."""
    head: dict[str, Any] = {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(tensor.shape),
        "nbytes": len(tensor.raw),
    }
    return digest(b"output/tensor/v1\0" + rfc8785.dumps(head) + b"\0" + tensor.raw)


def tensors_document(tensors: Sequence[Tensor], *, complete: bool) -> bytes:
    """What is hashed for ``output/tensor/v1``."""
    outputs: list[Any] = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
            "digest": f"sha256:{tensor_digest(tensor)}",
        }
        for tensor in sorted(tensors, key=lambda tensor: tensor.name.encode())
    ]
    return rfc8785.dumps({"schema": "output/tensor/v1", "complete": complete, "outputs": outputs})


def bytes_digest(data: bytes) -> str:
    """The digest of anything under ``output/bytes/v1``."""
    return digest(b"output/bytes/v1\0" + data)


def frames_digest(messages: Sequence[bytes]) -> str:
    """The wire digest of gRPC messages."""
    return digest(b"".join(struct.pack(">Q", len(item)) + item for item in messages))


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
