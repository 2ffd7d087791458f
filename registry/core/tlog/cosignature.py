"""Cosignatures: what a witness signs (https://c2sp.org/tlog-cosignature, v1.0.1 and v1.1.0-rc.1).

A cosignature is a note signature whose bytes are ``u64 timestamp ‖ signature``. With Ed25519 the
whole text of the checkpoint is signed, under a header and the time. With ML-DSA-44 a structure is
signed that holds the cosigner's name, the time, and origin, size and root of the checkpoint; lines
after these three are not covered.
"""

from typing import Final

from registry.core import encoding
from registry.core.digest import SHA256_SIZE
from registry.errors import MalformedError, Reason

MAX_TIMESTAMP = 2**63 - 1
"""Seconds since 1970 that a cosignature may state."""

MAX_NAME_BYTES = 255
"""UTF-8 bytes of a cosigner's or a log's name under ML-DSA-44: one byte holds the length."""

TIMESTAMP_SIZE = 8
"""Bytes of the time before a signature."""

_LABEL: Final = b"subtree/v1\n\0"


def join(timestamp: int, signature: bytes) -> bytes:
    """The bytes of a cosignature."""
    return timestamp.to_bytes(TIMESTAMP_SIZE, "big") + signature


def split(cosignature: bytes) -> tuple[int, bytes]:
    """The time and the signature of a cosignature.

    Raises:
        MalformedError: ``MALFORMED_SIGNATURE``.
    """
    timestamp = int.from_bytes(cosignature[:TIMESTAMP_SIZE], "big")
    if len(cosignature) <= TIMESTAMP_SIZE or timestamp > MAX_TIMESTAMP:
        raise MalformedError(
            Reason.MALFORMED_SIGNATURE,
            "this is not a cosignature",
            expected="eight bytes of time up to 2^63 - 1, and a signature",
            actual=f"{len(cosignature)} bytes",
        )
    return timestamp, cosignature[TIMESTAMP_SIZE:]


def ed25519_message(timestamp: int, text: bytes) -> bytes:
    """What an Ed25519 cosigner signs for a checkpoint's ``text``, extension lines included.

    It does not hold the cosigner's name: a key must not have two.
    """
    return f"cosignature/v1\ntime {timestamp}\n".encode() + text


def subtree_message(
    cosigner: str, timestamp: int, origin: str, leaves: tuple[int, int], root: bytes
) -> bytes:
    """What an ML-DSA-44 cosigner signs for ``leaves`` of a log: first, and first not included.

    Raises:
        MalformedError: ``MALFORMED_CHECKPOINT`` for what the structure cannot hold or state.
    """
    start, end = leaves
    names = [name.encode() for name in (cosigner, origin)]
    if not all(1 <= len(name) <= MAX_NAME_BYTES for name in names):
        raise MalformedError(
            Reason.MALFORMED_CHECKPOINT,
            "a name is too long for a post-quantum cosignature",
            expected=f"1 to {MAX_NAME_BYTES} bytes",
        )
    if len(root) != SHA256_SIZE or not 0 <= start <= end <= MAX_TIMESTAMP:
        raise MalformedError(
            Reason.MALFORMED_CHECKPOINT, "this is not a subtree", where=f"{start} to {end}"
        )
    if start and timestamp:
        raise MalformedError(
            Reason.MALFORMED_CHECKPOINT, "only a whole tree can be the newest at a time"
        )
    parts = (
        _LABEL,
        bytes([len(names[0])]),
        names[0],
        timestamp.to_bytes(8, "big"),
        bytes([len(names[1])]),
        names[1],
        start.to_bytes(8, "big"),
        end.to_bytes(8, "big"),
        root,
    )
    return b"".join(parts)


def checkpoint_message(cosigner: str, timestamp: int, text: str) -> bytes:
    """What an ML-DSA-44 cosigner signs for the checkpoint ``text``.

    Raises:
        MalformedError: ``MALFORMED_CHECKPOINT`` if the text does not begin with origin, size, root.
    """
    lines = text.split("\n", 3)
    if len(lines) != 4:  # noqa: PLR2004 - origin, size, root, and whatever follows
        raise MalformedError(Reason.MALFORMED_CHECKPOINT, "a checkpoint has at least three lines")
    try:
        size, root = encoding.decimal(lines[1]), encoding.base64_bytes(lines[2])
    except MalformedError as error:
        raise MalformedError(
            Reason.MALFORMED_CHECKPOINT, "this is not a checkpoint", actual=str(error)
        ) from error
    return subtree_message(cosigner, timestamp, lines[0], (0, size), root)
