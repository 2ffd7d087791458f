"""I24: event logs beside quotes."""

import json

import pytest

from registry.core.evidence.appraisal import appraise
from registry.core.evidence.checks import Finding
from registry.core.evidence.endorsements import Role
from registry.core.evidence.event_log import RUNTIME, Event, replay
from registry.core.evidence.event_log import Found as LogFound
from registry.core.evidence.intel.rules import RULES
from registry.core.evidence.policy import Policy
from registry.core.verdict import Verdict
from tests.core.evidence.intel.minted import (
    POLICY,
    examine,
    failures,
    judged,
    result,
    swapped,
)
from tests.core.evidence.intel.sets import FOLDER, load, needs_sets
from tools.fake_vendor.event_log import ccel, digest, dstack
from tools.fake_vendor.intel import NOON, Minted, Spec, mint

BOOT = (
    Event(0, 0x4, digest(bytes(4)), bytes(4)),
    Event(1, 0x80000003, digest(b"image"), b"path"),
    Event(2, 0xD, digest(b"line"), b"grub_cmd: line"),
)
STARTED = (
    Event(3, RUNTIME, b"", b"\xaa" * 20, "app-id"),
    Event(3, RUNTIME, b"", b"\xbb" * 32, "compose-hash"),
    Event(3, RUNTIME, b"", b"", "system-ready"),
)


def measured(registers: tuple[bytes, ...], log: bytes) -> Minted:
    """A quote with these registers, and a log beside it."""
    fields = {f"rtmr{number}": value for number, value in enumerate(registers)}
    return swapped(mint(Spec(fields=fields)), EVENT_LOG=log)


def test_a_log_that_replays_is_a_check_that_passes() -> None:
    minted = measured(replay(BOOT), ccel(BOOT))
    examination = examine(minted)
    assert failures(examination) == set()
    passed = result(examination, "I24")
    assert passed.outcome == "pass"
    assert len(passed.inputs) == 5, "the log and four registers"
    assert examination.claims["event_log_events"] == 3
    assert any(item in examination.endorsements for item in passed.inputs)


def test_a_log_that_does_not_replay_refutes_the_quote() -> None:
    minted = measured(replay(BOOT), ccel(BOOT[:2]))
    assert failures(examine(minted)) == {("I24", LogFound.RTMR_MISMATCH)}
    assert judged(minted).verdict is Verdict.INVALID
    assert failures(examine(measured(replay(BOOT), b"no log"))) == {("I24", LogFound.EVENT_LOG)}


def test_every_log_at_hand_must_replay() -> None:
    minted = measured(replay(BOOT), ccel(BOOT))
    two = minted.endorsements.with_([(Role.EVENT_LOG, ccel(BOOT[1:]))])
    found = failures(RULES.examine(minted.evidence, two, NOON, minted.roots))
    assert found == {("I24", LogFound.RTMR_MISMATCH)}


def test_a_policy_may_demand_a_log() -> None:
    bare = mint(Spec())
    assert result(examine(bare), "I24").finding == Finding.MISSING
    strict = Policy(name="strict", family=RULES.family, skip=POLICY.skip, require=("I24",))
    assert appraise(examine(bare), strict, RULES).verdict is Verdict.INDETERMINATE
    assert judged(bare).verdict is Verdict.VALID


def test_what_dstack_started_can_be_a_reference_value() -> None:
    log, registers = dstack((*BOOT, *STARTED))
    examination = examine(measured(registers, log))
    for allowed, verdict in (("bb" * 32, Verdict.VALID), ("cc" * 32, Verdict.INVALID)):
        policy = Policy(
            name="app",
            family=RULES.family,
            reference_values={"dstack_compose_hash": (allowed,)},
            skip=tuple(name for name in RULES.references if name != "dstack_compose_hash"),
        )
        assert appraise(examination, policy, RULES).verdict is verdict
    bare = examine(mint(Spec()))
    assert appraise(bare, policy, RULES).verdict is Verdict.INVALID, "no log, no such claim"


@needs_sets
@pytest.mark.parametrize(
    ("name", "fixture"),
    [
        ("dstack-quote-report@2026-03-31", "quote-report"),
        ("dstack-tdx-lite@2026-04-15", "tdx-lite-getquote"),
    ],
)
def test_a_real_quote_and_its_real_log_agree(name: str, fixture: str) -> None:
    case = load(name)
    folder = FOLDER / "eventlog" / "dstack" / "verifier" / "fixtures"
    told = json.loads((folder / f"{fixture}.json").read_text())
    case.roles[Role.EVENT_LOG] = told["event_log"].encode()
    examination = case.examine()
    assert failures(examination) == set()
    assert result(examination, "I24").outcome == "pass"


@needs_sets
def test_a_real_ccel_agrees_with_its_quote_and_no_other() -> None:
    log = (FOLDER / "eventlog" / "go-tdx-guest" / "ccel_data.dat").read_bytes()
    own, other = load("google-cos-113@2025-07-22"), load("phala-tdx_quote@2025-07-04")
    own.roles[Role.EVENT_LOG] = other.roles[Role.EVENT_LOG] = log
    assert failures(own.examine()) == set()
    assert failures(other.examine()) == {("I24", LogFound.RTMR_MISMATCH)}
