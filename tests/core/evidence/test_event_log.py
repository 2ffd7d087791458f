"""Tests of registry.core.evidence.event_log, on real logs and on minted ones."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from registry.core.evidence import event_log
from registry.core.evidence.checks import CheckError, Severity
from registry.core.evidence.event_log import Event, Found, parse, replay, replayed_claims, verify
from registry.core.evidence.intel.quote import Quote
from registry.core.evidence.intel.report import TDReport
from tests.core.evidence.intel.sets import FOLDER
from tools.fake_vendor.event_log import RUNTIME, ccel, digest, dstack

LOGS = FOLDER / "eventlog"
needs_logs = pytest.mark.skipif(
    not LOGS.is_dir(), reason="PROVREG_TEST_VECTORS names no folder with tee/eventlog"
)

MEASURED = (
    Event(0, 0x80000001, digest(b"SecureBoot"), b"SecureBoot"),
    Event(0, 0x4, digest(bytes(4)), bytes(4)),
    Event(1, 0x80000003, digest(b"the kernel's image"), b"its path"),
    Event(2, 0xD, digest(b"a command"), b"grub_cmd: a command"),
)
STARTED = (
    Event(3, RUNTIME, b"", b"", "system-preparing"),
    Event(3, RUNTIME, b"", b"\xaa" * 20, "app-id"),
    Event(3, RUNTIME, b"", b"\xbb" * 32, "compose-hash"),
    Event(3, RUNTIME, b"", b"", "system-ready"),
    Event(3, RUNTIME, b"", b"whatever", "mine"),
)


def rtmrs(quote: bytes) -> tuple[bytes, ...]:
    return TDReport.parse(Quote.parse(quote).head.body).rtmrs


def refusal(data: bytes, registers: tuple[bytes, ...] = (bytes(48),) * 4) -> str:
    with pytest.raises(CheckError) as caught:
        verify(data, registers)
    assert caught.value.severity is Severity.IDENTITY
    return caught.value.finding


def fixture(name: str) -> tuple[bytes, bytes]:
    """The quote and the log of a public dstack report."""
    told: dict[str, Any] = json.loads(
        (LOGS / "dstack" / "verifier" / "fixtures" / f"{name}.json").read_text()
    )
    return bytes.fromhex(told["quote"]), told["event_log"].encode()


# --- Real logs. ---


@needs_logs
def test_a_real_ccel_replays_to_its_quote() -> None:
    log = (LOGS / "go-tdx-guest" / "ccel_data.dat").read_bytes()
    quote = FOLDER / "intel-dcap" / "go-tdx-guest" / "ccel" / "cos-113-tdx-quote.dat"
    events = verify(log, rtmrs(quote.read_bytes()))
    assert len(events) == 43
    assert sum(event.kind in event_log.HASHED for event in events) == 13


@needs_logs
@pytest.mark.parametrize(("name", "count"), [("quote-report", 28), ("tdx-lite-getquote", 29)])
def test_a_real_dstack_log_replays_with_computed_digests(name: str, count: int) -> None:
    quote, log = fixture(name)
    claims = replayed_claims(log, rtmrs(quote))
    assert claims["event_log_events"] == count
    assert len(claims["dstack_app_id"]) == 20  # type: ignore[arg-type]  # bytes, as it says
    assert len(claims["dstack_compose_hash"]) == 32  # type: ignore[arg-type]  # bytes


# 47: real.
@needs_logs
def test_the_log_of_another_machine_is_refused() -> None:
    log = (LOGS / "trustee" / "CCEL_data_ovmf").read_bytes()
    quote = (FOLDER / "intel-dcap" / "phala" / "tdx_quote").read_bytes()
    assert refusal(log, rtmrs(quote)) == Found.RTMR_MISMATCH
    assert len(parse(log)) == 20


# 47: real.
@needs_logs
def test_a_log_without_sha_384_cannot_be_replayed() -> None:
    log = (LOGS / "trustee" / "CCEL_data_csv").read_bytes()
    assert refusal(log) == Found.NO_SHA384


@needs_logs
def test_a_real_log_with_run_time_events_is_read() -> None:
    log = (LOGS / "trustee" / "CCEL_AAEL_alibabacloud").read_bytes()
    events = parse(log)
    assert len(events) == 87
    starts = ("b796e1c11396c198", "3b0b906140fcea68", "35f2801338c1b5fc", "5e4ecd49d3c7983d")
    assert tuple(item.hex()[:16] for item in replay(events)) == starts


# --- Minted logs: 47. ---


def test_a_minted_ccel_replays() -> None:
    assert verify(ccel(MEASURED), replay(MEASURED)) == MEASURED
    assert verify(ccel(MEASURED, padding=b""), replay(MEASURED)) == MEASURED
    assert verify(ccel(MEASURED, padding=bytes(64)), replay(MEASURED)) == MEASURED


@pytest.mark.parametrize(
    "events",
    [
        MEASURED[1:],
        (MEASURED[1], MEASURED[0], *MEASURED[2:]),
        (*MEASURED, MEASURED[3]),
        (*MEASURED[:2], replace(MEASURED[2], register=2), MEASURED[3]),
    ],
    ids=["dropped", "reordered", "extra", "another register"],
)
def test_an_edited_ccel_is_refused(events: tuple[Event, ...]) -> None:
    assert refusal(ccel(events), replay(MEASURED)) == Found.RTMR_MISMATCH


def test_what_only_says_something_is_not_measured() -> None:
    said = Event(0, event_log.NO_ACTION, digest(b"x"), b"x")
    assert verify(ccel((*MEASURED, said)), replay(MEASURED))
    extended = list(replay(MEASURED))
    extended[0] = hashlib.sha384(extended[0] + said.digest).digest()
    assert refusal(ccel((*MEASURED, said)), tuple(extended)) == Found.RTMR_MISMATCH


def test_data_that_was_edited_under_its_digest_is_refused() -> None:
    edited = (Event(0, 0x80000001, MEASURED[0].digest, b"SecureBaat"), *MEASURED[1:])
    assert refusal(ccel(edited), replay(MEASURED)) == Found.EVENT_DIGEST


def test_a_register_that_does_not_exist_is_refused() -> None:
    for register in (-1, 4, 5):
        wrong = Event(register, 0xD, digest(b"x"), b"x")
        assert refusal(ccel((*MEASURED, wrong))) == Found.WRONG_REGISTER


def test_a_ccel_is_read_exactly() -> None:
    whole = ccel(MEASURED, padding=b"")
    for end in range(len(whole)):
        with pytest.raises(CheckError):
            verify(whole[:end], replay(MEASURED))
    assert refusal(whole + b"\xff" * 8 + b"x") == Found.EVENT_LOG
    assert refusal(whole + b"\xff" * 8 + bytes(8)) == Found.EVENT_LOG
    for name, changed in (
        ("signature", whole.replace(b"Event03", b"Event02")),
        ("algorithm twice", ccel(MEASURED, algorithms=((12, 48), (12, 48)))),
        ("wrong size", ccel(MEASURED, algorithms=((12, 32),))),
        ("unknown algorithm", ccel(MEASURED, algorithms=((12, 48), (99, 48)))),
    ):
        assert refusal(changed) == Found.EVENT_LOG, name
    assert refusal(ccel(MEASURED, algorithms=((4, 20),))) == Found.NO_SHA384


def test_an_event_has_each_announced_digest_once() -> None:
    two = ((4, 20), (12, 48))
    sha1 = b"\x04\x00" + bytes(20)
    sha384 = b"\x0c\x00" + MEASURED[0].digest
    start = ccel((), algorithms=two, padding=b"")
    whole = ccel((MEASURED[0],), padding=b"")
    event = whole[len(ccel((), padding=b"")) :]
    head, tail = event[:8], event[12 + len(sha384) :]
    for count, digests, finding in (
        (2, sha1 + sha384, None),
        (2, sha384 + sha384, Found.EVENT_LOG),
        (1, b"\x0b\x00" + bytes(32), Found.EVENT_LOG),
        (1, sha1, Found.NO_SHA384),
        (0, b"", Found.NO_SHA384),
    ):
        log = start + head + count.to_bytes(4, "little") + digests + tail
        if finding is None:
            assert parse(log) == (MEASURED[0],)
        else:
            assert refusal(log) == finding


def test_a_log_has_an_exact_header_and_a_bounded_length() -> None:
    header = ccel((), padding=b"")
    size = int.from_bytes(header[28:32], "little")
    longer = header[:28] + (size + 1).to_bytes(4, "little") + header[32:] + b"x"
    assert refusal(longer) == Found.EVENT_LOG
    assert refusal(ccel(MEASURED[1:2] * (event_log.MAX_EVENTS + 1))) == Found.EVENT_LOG
    many, registers = dstack(MEASURED[1:2] * (event_log.MAX_EVENTS + 1))
    assert refusal(many, registers) == Found.EVENT_LOG


def test_a_length_of_four_gibibytes_costs_nothing() -> None:
    whole = bytearray(ccel(MEASURED, padding=b""))
    whole[28:32] = b"\xff" * 4
    assert refusal(bytes(whole)) == Found.EVENT_LOG


# --- 48: dstack. ---


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("stated", [False, True], ids=["empty digests", "stated digests"])
def test_run_time_digests_are_computed(version: int, stated: bool) -> None:
    log, registers = dstack((*MEASURED, *STARTED), version=version, stated=stated)
    claims = replayed_claims(log, registers)
    assert claims["dstack_app_id"] == b"\xaa" * 20
    assert claims["dstack_compose_hash"] == b"\xbb" * 32
    assert "mine" not in str(claims)


# 48
def test_empty_digests_are_not_used_as_given() -> None:
    log, _ = dstack((*MEASURED, *STARTED))
    as_given = list(replay(MEASURED))
    for event in STARTED:
        as_given[3] = hashlib.sha384(as_given[3] + event.digest).digest()
    assert refusal(log, tuple(as_given)) == Found.RTMR_MISMATCH


def test_a_digest_that_is_stated_must_be_the_computed_one() -> None:
    log, registers = dstack((*MEASURED, *STARTED), stated=True)
    events = json.loads(log)
    events[5]["digest"] = "00" * 48
    assert refusal(json.dumps(events).encode(), registers) == Found.EVENT_DIGEST


def test_two_encodings_in_one_log_are_refused() -> None:
    log, first = dstack((*MEASURED, *STARTED))
    _, second = dstack((*MEASURED, *STARTED[:2]), version=2)
    mixed = second[3]
    for event in STARTED[2:]:
        kind = event.kind.to_bytes(4, "little")
        computed = hashlib.sha384(b":".join((kind, event.name.encode(), event.data))).digest()
        mixed = hashlib.sha384(mixed + computed).digest()
    assert refusal(log, (*first[:3], mixed)) == Found.RTMR_MISMATCH


@pytest.mark.parametrize(
    "events",
    [
        (*STARTED[:2], STARTED[1], *STARTED[2:]),
        (*STARTED, STARTED[1]),
        (STARTED[0], *STARTED[2:4], STARTED[1]),
        (*STARTED, STARTED[3]),
    ],
    ids=["app-id twice", "app-id again at the end", "app-id after ready", "ready twice"],
)
def test_events_of_the_system_occur_once_and_before_it_is_ready(events: tuple[Event, ...]) -> None:
    log, registers = dstack((*MEASURED, *events))
    assert refusal(log, registers) == Found.RUNTIME_EVENT


def test_an_edited_payload_or_order_is_refused() -> None:
    _, registers = dstack((*MEASURED, *STARTED))
    edited = Event(3, RUNTIME, b"", b"\xcc" * 32, "compose-hash")
    for events in (
        (*STARTED[:2], edited, *STARTED[3:]),
        (STARTED[0], STARTED[2], STARTED[1], *STARTED[3:]),
        STARTED[:-1],
    ):
        log, _ = dstack((*MEASURED, *events))
        assert refusal(log, registers) == Found.RTMR_MISMATCH


@pytest.mark.parametrize(
    ("member", "value", "finding"),
    [
        ("imr", 2, Found.WRONG_REGISTER),
        ("imr", "3", Found.EVENT_LOG),
        ("imr", -1, Found.EVENT_LOG),
        ("digest", "AA" * 48, Found.EVENT_LOG),
        ("digest", "aa", Found.EVENT_LOG),
        ("event_payload", "0", Found.EVENT_LOG),
        ("event_payload", "0x00", Found.EVENT_LOG),
        ("more", 1, Found.EVENT_LOG),
        ("event_type", 4, Found.WRONG_REGISTER),
    ],
)
def test_a_dstack_log_has_one_shape(member: str, value: object, finding: Found) -> None:
    log, registers = dstack((*MEASURED, *STARTED))
    events = json.loads(log)
    events[5][member] = value
    assert refusal(json.dumps(events).encode(), registers) == finding


def test_a_boot_event_needs_its_digest() -> None:
    log, registers = dstack((*MEASURED, *STARTED))
    events = json.loads(log)
    events[0]["digest"] = ""
    events[0]["event_payload"] = ""
    assert refusal(json.dumps(events).encode(), registers) == Found.NO_SHA384
    assert refusal(log[:-1], registers) == Found.EVENT_LOG
    assert refusal(b"{}") == Found.EVENT_LOG
    assert refusal(b"") == Found.EVENT_LOG
