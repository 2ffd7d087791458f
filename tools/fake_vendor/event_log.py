"""Event logs of the fake vendor: CCEL and dstack, of whatever events a test wants measured."""

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import replace

from registry.core.evidence.event_log import RUNTIME, Event, replay

__all__ = ["RUNTIME", "ccel", "digest", "dstack"]

_PADDING = b"\xff" * 256
_SHA384 = ((0x000C, 48),)


def digest(data: bytes) -> bytes:
    """SHA-384."""
    return hashlib.sha384(data).digest()


def ccel(
    events: Sequence[Event],
    *,
    algorithms: Sequence[tuple[int, int]] = _SHA384,
    padding: bytes = _PADDING,
) -> bytes:
    """A TCG crypto-agile log; its table is ``padding`` longer than what is in it.

    Args:
        events: What was measured; each digest goes in as SHA-384.
        algorithms: Which digests the header announces, and their sizes.
        padding: What follows the last event.
    """
    announced = b"".join(struct.pack("<HH", *item) for item in algorithms)
    header = b"Spec ID Event03\0" + struct.pack("<IBBBBI", 0, 0, 2, 0, 2, len(algorithms))
    header += announced + b"\0"
    log = struct.pack("<II20sI", 1, 3, b"", len(header)) + header
    for event in events:
        register = (event.register + 1) % 2**32
        log += struct.pack("<IIIH", register, event.kind, 1, 0x000C) + event.digest
        log += struct.pack("<I", len(event.data)) + event.data
    return log + padding


def dstack(
    events: Sequence[Event], *, version: int = 1, stated: bool = False
) -> tuple[bytes, tuple[bytes, ...]]:
    """A dstack log, and the registers that it leads to.

    Args:
        events: What was measured; run-time events without digest.
        version: How the digests of run-time events are made: 1 or 2.
        stated: Whether the log states them.
    """
    measured = [
        replace(event, digest=_runtime(event, version)) if event.kind == RUNTIME else event
        for event in events
    ]
    written = [
        {
            "imr": event.register,
            "event_type": event.kind,
            "digest": event.digest.hex() if stated or event.kind != RUNTIME else "",
            "event": event.name,
            "event_payload": event.data.hex(),
        }
        for event in measured
    ]
    return json.dumps(written).encode(), replay(measured)


def _runtime(event: Event, version: int) -> bytes:
    if version == 1:
        kind = event.kind.to_bytes(4, "little")
        return digest(kind + b":" + event.name.encode() + b":" + event.data)
    members = {"name": event.name, "payload": event.data.hex(), "type": event.kind}
    return digest(json.dumps(members, separators=(",", ":")).encode())
