"""Event logs: what was measured into the run-time registers of a trust domain, replayed.

A log proves nothing by itself: it is believed if it replays to the registers of a signed quote, and
then only its digests are. Two forms are read:

- CCEL: the TCG crypto-agile log (TCG PC Client Platform Firmware Profile §10) that firmware leaves
  in an ACPI table; register 1 there is RTMR0.
- dstack: a JSON array of ``{imr, event_type, digest, event, event_payload}``. What the system
  measures at run time into RTMR3 has a digest that is always computed, never read.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from registry.core import encoding
from registry.core.evidence.checks import CheckError, Severity
from registry.core.evidence.claims import ClaimValue
from registry.errors import MalformedError

MAX_EVENTS: Final = 8192
"""Events of one log; a server that boots Linux makes about 100."""

REGISTERS: Final = 4
"""Run-time measurement registers of a trust domain."""

NO_ACTION: Final = 3
"""An event that only says something and is never measured."""

RUNTIME: Final = 0x08000001
"""An event of dstack's, measured into RTMR3 by the system and by what runs on it."""

HASHED: Final = frozenset((0x4, 0x80000001, 0x80000006, 0x80000007, 0x800000E0))
"""Kinds of events whose digest is that of their data: separators, EFI actions, GPT, variables that
configure or verify. The digest of any other kind is of something that the log does not hold."""

_SHA384: Final = 0x000C
_DIGEST_BYTES: Final = 48
_ALGORITHM_BYTES: Final = {0x0004: 20, 0x000B: 32, 0x000C: 48, 0x000D: 64, 0x0012: 32}
_SIGNATURE: Final = b"Spec ID Event03\0"
_SYSTEM_READY: Final = "system-ready"
_SYSTEM: Final = (
    "system-preparing",
    "app-id",
    "compose-hash",
    "instance-id",
    "boot-mr-done",
    "os-image-hash",
    "key-provider",
    "storage-fs",
    _SYSTEM_READY,
)
"""What dstack's system measures before it hands over, each at most once."""

_CLAIMED: Final = {
    "app-id": "dstack_app_id",
    "compose-hash": "dstack_compose_hash",
    "instance-id": "dstack_instance_id",
    "os-image-hash": "dstack_os_image_hash",
}


class Found(StrEnum):
    """What may be wrong with an event log."""

    EVENT_LOG = "EVENT_LOG"
    NO_SHA384 = "NO_SHA384"
    WRONG_REGISTER = "WRONG_REGISTER"
    EVENT_DIGEST = "EVENT_DIGEST"
    RUNTIME_EVENT = "RUNTIME_EVENT"
    RTMR_MISMATCH = "RTMR_MISMATCH"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that was measured.

    Attributes:
        register: Which RTMR it was measured into; for NO_ACTION whatever stood there.
        kind: The event's type.
        digest: SHA-384, as the log states it; empty if it must be computed.
        data: What the log holds of it; empty if that was left out.
        name: What dstack calls it.
    """

    register: int
    kind: int
    digest: bytes
    data: bytes
    name: str = ""


def parse(data: bytes) -> tuple[Event, ...]:
    """Read a log of either form.

    Raises:
        CheckError: ``EVENT_LOG``, ``NO_SHA384``, ``WRONG_REGISTER`` or ``EVENT_DIGEST``.
    """
    events = _parse_dstack(data) if data[:1] == b"[" else _parse_ccel(data)
    for number, event in enumerate(events):
        if event.kind == NO_ACTION:
            continue
        if not 0 <= event.register < REGISTERS:
            raise _wrong(
                Found.WRONG_REGISTER,
                "an event is measured into a register that does not exist",
                where=f"event {number}",
                actual=str(event.register),
            )
        if event.kind in HASHED and event.data and _sha384(event.data) != event.digest:
            raise _wrong(
                Found.EVENT_DIGEST,
                "the data of an event is not what was measured",
                where=f"event {number} of type {event.kind:#x}",
                expected=event.digest.hex(),
                actual=_sha384(event.data).hex(),
            )
    return events


def replay(events: Sequence[Event]) -> tuple[bytes, ...]:
    """The registers that events lead to, from zero on."""
    registers = [bytes(_DIGEST_BYTES)] * REGISTERS
    for event in events:
        if event.kind != NO_ACTION:
            registers[event.register] = _sha384(registers[event.register] + event.digest)
    return tuple(registers)


def verify(data: bytes, rtmrs: Sequence[bytes]) -> tuple[Event, ...]:
    """Check that a log replays to the registers of a quote; its events, with their digests.

    Raises:
        CheckError: As :func:`parse`, and ``RUNTIME_EVENT`` or ``RTMR_MISMATCH``.
    """
    stated = parse(data)
    _check_runtime(stated)
    wrong: list[str] = []
    for version in (_first, _second):
        events = tuple(
            replace(event, digest=version(event)) if event.kind == RUNTIME else event
            for event in stated
        )
        pairs = zip(replay(events), rtmrs, strict=True)
        wrong = [f"RTMR{number}" for number, (is_, want) in enumerate(pairs) if is_ != want]
        if not wrong:
            _check_stated(stated, events)
            return events
        if events == stated:
            break
    raise _wrong(
        Found.RTMR_MISMATCH,
        "the log leads to other registers than the quote's",
        actual=", ".join(wrong),
    )


def replayed_claims(data: bytes, rtmrs: Sequence[bytes]) -> dict[str, ClaimValue]:
    """Verify a log; what it says, as claims, of the system that was started.

    Only what dstack measured before it handed over counts: later events are the application's.

    Raises:
        CheckError: As :func:`verify`.
    """
    events = verify(data, rtmrs)
    claims: dict[str, ClaimValue] = {"event_log_events": len(events)}
    for event in events:
        if event.kind == RUNTIME and event.name in _CLAIMED:
            claims[_CLAIMED[event.name]] = event.data
    return claims


# --- Run-time events of dstack. ---


def _first(event: Event) -> bytes:
    kind = event.kind.to_bytes(4, "little")
    return _sha384(b":".join((kind, event.name.encode(), event.data)))


def _second(event: Event) -> bytes:
    members = {"name": event.name, "payload": event.data.hex(), "type": event.kind}
    return _sha384(encoding.write_json(members))


def _check_runtime(events: Sequence[Event]) -> None:
    seen: set[str] = set()
    for event in events:
        if event.kind != RUNTIME:
            continue
        if event.name in _SYSTEM and (event.name in seen or _SYSTEM_READY in seen):
            raise _wrong(
                Found.RUNTIME_EVENT,
                "an event of the system occurs again, or after it was ready",
                actual=event.name,
            )
        seen.add(event.name)


def _check_stated(stated: Sequence[Event], computed: Sequence[Event]) -> None:
    for said, event in zip(stated, computed, strict=True):
        if said.digest not in (b"", event.digest):
            raise _wrong(
                Found.EVENT_DIGEST,
                "a run-time event states another digest than that of its name and payload",
                where=event.name,
                expected=event.digest.hex(),
                actual=said.digest.hex(),
            )


class _DstackEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    imr: Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)]
    event_type: Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)]
    digest: Annotated[str, msgspec.Meta(pattern=r"\A(?:[0-9a-f]{96})?\Z")]
    event: Annotated[str, msgspec.Meta(max_length=4096)]
    event_payload: Annotated[str, msgspec.Meta(pattern=r"\A(?:[0-9a-f]{2})*\Z")]


_DstackLog = Annotated[tuple[_DstackEvent, ...], msgspec.Meta(max_length=MAX_EVENTS)]


def _parse_dstack(data: bytes) -> tuple[Event, ...]:
    try:
        read = encoding.read_foreign_json(data, what="event log")
        items: tuple[_DstackEvent, ...] = msgspec.convert(read, _DstackLog)
    except (MalformedError, msgspec.ValidationError) as error:
        raise _wrong(Found.EVENT_LOG, "this is no event log", actual=str(error)) from error
    for number, item in enumerate(items):
        runtime = item.event_type == RUNTIME
        if runtime != (item.imr == REGISTERS - 1):
            raise _wrong(
                Found.WRONG_REGISTER,
                "run-time events, and only those, are measured into RTMR3",
                where=f"event {number}",
                actual=f"RTMR{item.imr}",
            )
        if not runtime and not item.digest and item.event_type != NO_ACTION:
            raise _wrong(Found.NO_SHA384, "an event has no digest", where=f"event {number}")
    return tuple(
        Event(
            item.imr,
            item.event_type,
            bytes.fromhex(item.digest),
            bytes.fromhex(item.event_payload),
            item.event,
        )
        for item in items
    )


# --- CCEL. ---


class _Bytes:
    """Reads a log from its beginning on."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self._data):
            raise _wrong(
                Found.EVENT_LOG,
                "the log ends inside an event",
                expected=f"{size} bytes at {self.position}",
                actual=f"{len(self._data) - self.position} bytes",
            )
        taken = self._data[self.position : end]
        self.position = end
        return taken

    def number(self, size: int = 4) -> int:
        return int.from_bytes(self.take(size), "little")

    def ended(self) -> bool:
        """Whether nothing follows, or only the padding of the table: all ones or all zeros."""
        rest = self._data[self.position : self.position + 8]
        return rest in (b"\xff" * len(rest), bytes(len(rest)))

    def padded(self) -> bool:
        """Whether everything that follows is padding."""
        rest = self._data[self.position :]
        return not rest.strip(b"\xff") or not rest.strip(b"\0")


def _parse_ccel(data: bytes) -> tuple[Event, ...]:
    source = _Bytes(data)
    sizes = _algorithms(source)
    events: list[Event] = []
    while not source.ended():
        if len(events) == MAX_EVENTS:
            raise _wrong(Found.EVENT_LOG, "the log has too many events", expected=str(MAX_EVENTS))
        register, kind, count = source.number(), source.number(), source.number()
        digests: dict[int, bytes] = {}
        for _ in range(count):
            algorithm = source.number(2)
            if algorithm in digests or algorithm not in sizes:
                raise _wrong(
                    Found.EVENT_LOG,
                    "an event has a digest twice, or one that the log does not announce",
                    where=f"event {len(events)}",
                    actual=f"{algorithm:#06x}",
                )
            digests[algorithm] = source.take(sizes[algorithm])
        content = source.take(source.number())
        if kind != NO_ACTION and _SHA384 not in digests:
            raise _wrong(
                Found.NO_SHA384, "an event has no SHA-384 digest", where=f"event {len(events)}"
            )
        events.append(Event(register - 1, kind, digests.get(_SHA384, b""), content))
    if not source.padded():
        raise _wrong(
            Found.EVENT_LOG, "something follows the end of the log", where=str(source.position)
        )
    return tuple(events)


def _algorithms(source: _Bytes) -> dict[int, int]:
    """The header: a TCG 1.2 event that announces which digests follow, and their sizes."""
    source.number()
    kind, legacy, content = source.number(), source.take(20), source.take(source.number())
    if kind != NO_ACTION or any(legacy) or not content.startswith(_SIGNATURE):
        raise _wrong(Found.EVENT_LOG, "this is no TCG crypto-agile event log")
    header = _Bytes(content)
    header.take(len(_SIGNATURE) + 8)
    sizes: dict[int, int] = {}
    for _ in range(header.number()):
        algorithm, size = header.number(2), header.number(2)
        if algorithm in sizes or _ALGORITHM_BYTES.get(algorithm) != size:
            raise _wrong(
                Found.EVENT_LOG,
                "the log announces a digest twice, or one of another size",
                actual=f"{algorithm:#06x}, {size} bytes",
            )
        sizes[algorithm] = size
    header.take(header.number(1))
    if header.position != len(content):
        raise _wrong(Found.EVENT_LOG, "something follows the header of the log")
    if _SHA384 not in sizes:
        raise _wrong(Found.NO_SHA384, "the log has no SHA-384 digests")
    return sizes


def _sha384(data: bytes) -> bytes:
    return hashlib.sha384(data).digest()


def _wrong(
    found: Found, what: str, *, where: str = "", expected: str = "", actual: str = ""
) -> CheckError:
    return CheckError(
        found,
        what,
        severity=Severity.IDENTITY,
        where=where,
        expected=expected,
        actual=actual,
    )
