"""By when an output existed: what timestamps in a capsule prove, and what does not prove it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from registry.core.archive import tsp
from registry.core.archive.authority import Authority as Pinned
from registry.core.capsule.container import Capsule
from registry.core.capsule.parts import MAX_TIMESTAMPS, Stamped, Token
from registry.core.capsule.report import Report
from registry.core.capsule.walk import appraise
from registry.core.digest import sha256
from registry.core.tlog import merkle
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.verdict import Check, Verdict
from registry.errors import LimitExceededError, MalformedError, Reason, RegistryError
from tests.authorities import END, NOON, START, Authority, leaf, root
from tests.mint import OUTPUT, Told, World, tell

ONE = Authority(recipes=(leaf("one", 21), root("one's root", 22)))
TWO = Authority(recipes=(leaf("two", 23), root("two's root", 24)))
SECOND = timedelta(seconds=1)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def told(world: World) -> Told:
    return tell(world)


def stamp(
    world: World, *authorities: Authority, head: SignedCheckpoint | None = None, **parts: Any
) -> Stamped:
    """The newest checkpoint of a world as these authorities stamped it; the proof comes later."""
    head = head or world.head()
    tokens = [
        Token(each.pinned().chain_digest, each.token(head.note, **parts)) for each in authorities
    ]
    size = head.checkpoint.size
    return Stamped(head.note, size, (), tuple(sorted(tokens, key=lambda each: each.authority)))


def carried(world: World, told: Told, stamped: Stamped, **members: Any) -> Capsule:
    """A capsule with a stamped checkpoint, and the proof that the log went on from there."""
    proof = consistency(stamped.size, world.leaves)
    return world.capsule(told, stamped=replace(stamped, proof=proof), **members)


def consistency(size: int, leaves: Sequence[bytes]) -> tuple[bytes, ...]:
    """RFC 9162 §2.1.4.1, word for word."""

    def subproof(m: int, part: Sequence[bytes], *, complete: bool) -> list[bytes]:
        if m == len(part):
            return [] if complete else [merkle.root(part)]
        k = 1 << (len(part) - 1).bit_length() - 1
        if m <= k:
            return [*subproof(m, part[:k], complete=complete), merkle.root(part[k:])]
        return [*subproof(m - k, part[k:], complete=False), merkle.root(part[:k])]

    return tuple(subproof(size, leaves, complete=True))


def judged(world: World, capsule: Capsule, *authorities: Pinned) -> Report:
    parsed = Capsule.parse(capsule.to_bytes())
    return appraise(parsed, world.log.key, [sha256(OUTPUT)], authorities=authorities)


def time(report: Report) -> tuple[Verdict, str]:
    [now] = [each for each in report.checks_now if each.link == "time"]
    [then] = [each for each in report.checks_then if each.link == "time"]
    assert now == then
    return now.verdict, now.reason


def link(checks: Sequence[Check], name: str) -> Verdict:
    [found] = [each for each in checks if each.link == name]
    return found.verdict


# What is proved.


def test_an_output_existed_at_latest_when_it_was_stamped(world: World, told: Told) -> None:
    report = judged(world, carried(world, told, stamp(world, ONE)), ONE.pinned())
    assert time(report) == (Verdict.VALID, "")
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.VALID)
    assert report.facts.time is not None
    assert report.facts.time.at == "2026-06-01T12:00:00Z"
    assert report.facts.time.authorities == ("CN=one,O=tests",)
    assert (
        f"The first {len(world.leaves)} entries of log.example, the batch among them, existed at "
        "2026-06-01T12:00:00Z at latest: CN=one,O=tests stamped them."
    ) in report.proved
    assert "existed by     2026-06-01T12:00:00Z, by CN=one,O=tests" in report.to_text()
    assert not any(said.startswith("The true time") for said in report.not_provable)


@pytest.mark.parametrize("more", [1, 2, 100])
def test_the_log_may_go_on_after_the_stamp(world: World, told: Told, more: int) -> None:
    stamped = stamp(world, ONE)
    world.fill(len(world.leaves) + more)
    assert time(judged(world, carried(world, told, stamped), ONE.pinned()))[0] is Verdict.VALID


def test_the_earliest_of_several_authorities_counts(world: World, told: Told) -> None:
    later = stamp(world, ONE, at=NOON + 5 * SECOND)
    stamped = stamp(world, TWO)
    tokens = tuple(sorted((*later.tokens, *stamped.tokens), key=lambda each: each.authority))
    report = judged(
        world, carried(world, told, replace(stamped, tokens=tokens)), ONE.pinned(), TWO.pinned()
    )
    assert report.facts.time is not None
    assert report.facts.time.at == "2026-06-01T12:00:00Z"
    assert set(report.facts.time.authorities) == {"CN=one,O=tests", "CN=two,O=tests"}


def test_an_authoritys_doubt_is_added_and_fractions_are_rounded_up(
    world: World, told: Told
) -> None:
    accuracy = tsp.Accuracy(seconds=1, millis=500)
    stamped = stamp(world, ONE, accuracy=accuracy)
    report = judged(world, carried(world, told, stamped), ONE.pinned())
    assert report.facts.time is not None
    assert report.facts.time.at == "2026-06-01T12:00:02Z"


def test_one_pinned_authority_of_two_is_enough(world: World, told: Told) -> None:
    report = judged(world, carried(world, told, stamp(world, ONE, TWO)), TWO.pinned())
    assert time(report) == (Verdict.VALID, "")
    assert report.facts.time is not None
    assert report.facts.time.authorities == ("CN=two,O=tests",)


def test_the_end_of_a_window_is_inside(world: World, told: Told) -> None:
    capsule = carried(world, told, stamp(world, ONE))
    assert time(judged(world, capsule, ONE.pinned(START, NOON)))[0] is Verdict.VALID
    assert time(judged(world, capsule, ONE.pinned(NOON + SECOND, END))) == (
        Verdict.INVALID,
        Reason.TIMESTAMP_VALIDITY,
    )


# What is open.


def test_a_capsule_without_timestamps_says_nothing_of_time(world: World, told: Told) -> None:
    report = judged(world, world.capsule(told))
    assert not [each for each in report.checks_now if each.link == "time"]
    assert report.verdict_now is Verdict.VALID
    assert report.facts.time is None


def test_whoever_wants_a_time_is_told_that_there_is_none(world: World, told: Told) -> None:
    report = judged(world, world.capsule(told), ONE.pinned())
    assert time(report) == (Verdict.INDETERMINATE, Reason.NO_TIMESTAMP)


def test_a_timestamp_of_an_authority_that_nobody_pinned_is_open(world: World, told: Told) -> None:
    capsule = carried(world, told, stamp(world, ONE))
    report = judged(world, capsule, TWO.pinned())
    assert time(report) == (Verdict.INDETERMINATE, Reason.AUTHORITY_NOT_PINNED)
    assert report.verdict_now is Verdict.INDETERMINATE
    assert report.facts.time is None
    assert ONE.pinned().chain_digest.hex() in report.to_text()


def test_a_timestamp_that_nobody_asks_for_changes_nothing(world: World, told: Told) -> None:
    report = judged(world, carried(world, told, stamp(world, ONE)))
    assert not [each for each in report.checks_now if each.link == "time"]
    assert report.verdict_now is Verdict.VALID
    assert report.facts.time is None


def test_a_broken_checkpoint_leaves_the_time_open(world: World, told: Told) -> None:
    capsule = carried(world, told, stamp(world, ONE))
    other = World().head().note
    report = judged(world, replace(capsule, checkpoint=other), ONE.pinned())
    assert time(report) == (Verdict.INDETERMINATE, Reason.CAPSULE_LINK)


# What is refused.


def refused(world: World, capsule: Capsule, *authorities: Pinned) -> str:
    report = judged(world, capsule, *(authorities or (ONE.pinned(),)))
    verdict, reason = time(report)
    assert verdict is Verdict.INVALID
    assert report.verdict_now is report.verdict_then is Verdict.INVALID
    assert report.facts.time is None
    return reason


def test_a_token_over_other_bytes_is_refused(world: World, told: Told) -> None:
    stamped = stamp(world, ONE, imprint=sha256(b"other"))
    assert refused(world, carried(world, told, stamped)) == Reason.TIMESTAMP_IMPRINT


def test_a_checkpoint_that_the_log_did_not_sign_is_refused(world: World, told: Told) -> None:
    stamped = stamp(world, ONE, head=World().head())
    capsule = carried(world, told, stamped)
    assert refused(world, capsule) == Reason.WRONG_LOG


def test_a_checkpoint_from_before_the_batch_is_refused(world: World, told: Told) -> None:
    past = World()
    past.log, past.leaves = world.log, world.leaves[: told.batch.index]
    stamped = stamp(past, ONE)
    assert refused(world, carried(world, told, stamped)) == Reason.CAPSULE_LINK


def test_a_checkpoint_of_another_history_is_refused(world: World, told: Told) -> None:
    fork = World()
    fork.log, fork.leaves = world.log, [*world.leaves[:-1], sha256(b"another")]
    stamped = stamp(fork, ONE)
    world.fill(len(world.leaves) + 5)
    assert refused(world, carried(world, told, stamped)) == Reason.CONSISTENCY_PROOF


def test_a_checkpoint_from_after_the_capsules_is_refused(world: World, told: Told) -> None:
    head = world.capsule(told)
    world.fill(len(world.leaves) + 5)
    stamped = stamp(world, ONE)
    assert refused(world, replace(head, stamped=stamped)) == Reason.CONSISTENCY_PROOF


def test_a_size_that_is_not_the_checkpoints_is_refused(world: World, told: Told) -> None:
    capsule = carried(world, told, stamp(world, ONE))
    assert capsule.stamped is not None
    lie = replace(capsule.stamped, size=capsule.stamped.size + 1)
    assert refused(world, replace(capsule, stamped=lie)) == Reason.CAPSULE_LINK


def test_every_pinned_authority_must_hold(world: World, told: Told) -> None:
    good, bad = stamp(world, ONE), stamp(world, TWO, imprint=sha256(b"other"))
    tokens = tuple(sorted((*good.tokens, *bad.tokens), key=lambda each: each.authority))
    capsule = carried(world, told, replace(good, tokens=tokens))
    assert refused(world, capsule, ONE.pinned(), TWO.pinned()) == Reason.TIMESTAMP_IMPRINT


def test_a_token_under_anothers_name_is_refused(world: World, told: Told) -> None:
    stamped = stamp(world, TWO)
    lie = (Token(ONE.pinned().chain_digest, stamped.tokens[0].token),)
    capsule = carried(world, told, replace(stamped, tokens=lie))
    assert refused(world, capsule) == Reason.TIMESTAMP_SIGNER


@given(position=st.integers(min_value=0, max_value=399), bit=st.integers(min_value=0, max_value=7))
def test_a_token_with_a_flipped_bit_is_refused(position: int, bit: int) -> None:
    world, capsule = FLIPPED
    assert capsule.stamped is not None
    [item] = capsule.stamped.tokens
    changed = bytearray(item.token)
    changed[position % len(changed)] ^= 1 << bit
    tokens = (replace(item, token=bytes(changed)),)
    refused(world, replace(capsule, stamped=replace(capsule.stamped, tokens=tokens)))


def _flipped() -> tuple[World, Capsule]:
    world = World()
    told = tell(world)
    return world, carried(world, told, stamp(world, ONE))


FLIPPED = _flipped()


# Keys that were stolen later.


@pytest.mark.parametrize(
    ("since", "now"),
    [
        ("2026-06-01T12:00:01Z", Verdict.VALID),
        ("2026-06-01T12:00:00.000001Z", Verdict.VALID),
        ("2026-06-01T12:00:00Z", Verdict.INVALID),
        ("2026-05-01T00:00:00Z", Verdict.INVALID),
        ("2026-06-31T00:00:00Z", Verdict.INVALID),
    ],
)
@pytest.mark.parametrize("principal", ["node-1", "acme", "operator"])
def test_what_was_stamped_before_its_key_was_stolen_stays_valid(
    world: World, told: Told, principal: str, since: str, now: Verdict
) -> None:
    stamped = stamp(world, ONE)
    world.key_event(principal, action="compromise", compromised_since=since)
    report = judged(world, carried(world, told, stamped), ONE.pinned())
    assert report.verdict_then is Verdict.VALID
    assert report.verdict_now is now


def test_a_theft_without_a_date_leaves_all_open_even_if_it_was_stamped(
    world: World, told: Told
) -> None:
    stamped = stamp(world, ONE)
    world.key_event("node-1", action="compromise")
    report = judged(world, carried(world, told, stamped), ONE.pinned())
    assert report.verdict_now is Verdict.INDETERMINATE


def test_a_stamp_of_an_authority_that_nobody_pinned_saves_no_stolen_key(
    world: World, told: Told
) -> None:
    stamped = stamp(world, ONE)
    world.key_event("node-1", action="compromise", compromised_since="2027-01-01T00:00:00Z")
    report = judged(world, carried(world, told, stamped), TWO.pinned())
    assert report.verdict_now is Verdict.INVALID


def test_a_stamp_saves_only_what_it_is_over(world: World, told: Told) -> None:
    stamped = stamp(world, ONE)
    world.key_event("acme", action="compromise", compromised_since="2027-01-01T00:00:00Z")
    forged = world.register(told.release.statement, "acme")
    capsule = carried(world, told.but(release=forged), stamped)
    report = judged(world, capsule, ONE.pinned())
    # After the report of the theft the key speaks for nobody any more, on either clock.
    assert link(report.checks_now, "publisher key") is Verdict.INVALID


def test_a_later_theft_counts_beside_an_earlier_one(world: World, told: Told) -> None:
    stamped = stamp(world, ONE)
    for since in ("2027-01-01T00:00:00Z", "2026-05-01T00:00:00Z"):
        world.key_event("node-1", action="compromise", compromised_since=since)
    report = judged(world, carried(world, told, stamped), ONE.pinned())
    assert report.verdict_now is Verdict.INVALID


# The file.


def test_a_stamped_capsule_is_read_back_as_it_was_written(world: World, told: Told) -> None:
    capsule = carried(world, told, stamp(world, ONE, TWO))
    assert Capsule.parse(capsule.to_bytes()) == capsule


def test_timestamps_add_little_to_a_capsule(world: World, told: Told) -> None:
    stamped = stamp(world, ONE, TWO)
    world.fill(1000)
    bare, full = world.capsule(told), carried(world, told, stamped)
    # Index lines, a note, a proof of at most eleven hashes, and two tokens.
    assert len(full.to_bytes()) - len(bare.to_bytes()) < 2500


def malformed(capsule: Capsule) -> str:
    with pytest.raises(RegistryError) as caught:
        Capsule.parse(capsule.to_bytes())
    assert isinstance(caught.value, MalformedError | LimitExceededError)
    assert caught.value.reason is Reason.MALFORMED_CAPSULE
    return caught.value.what


def test_timestamps_in_another_order_or_twice_are_refused(world: World, told: Told) -> None:
    capsule = carried(world, told, stamp(world, ONE, TWO))
    stamped = capsule.stamped
    assert stamped is not None
    for tokens in (stamped.tokens[::-1], (stamped.tokens[0],) * 2, ()):
        malformed(replace(capsule, stamped=replace(stamped, tokens=tokens)))


def test_more_timestamps_than_a_capsule_takes_are_refused(world: World, told: Told) -> None:
    capsule = carried(world, told, stamp(world, ONE))
    assert capsule.stamped is not None
    tokens = tuple(Token(bytes([n]) * 32, b"token") for n in range(MAX_TIMESTAMPS + 1))
    malformed(replace(capsule, stamped=replace(capsule.stamped, tokens=tokens)))


def test_an_empty_timestamp_is_refused(world: World, told: Told) -> None:
    capsule = carried(world, told, stamp(world, ONE))
    assert capsule.stamped is not None
    for token in (Token(bytes(32), b""), Token(bytes(31), b"")):
        malformed(replace(capsule, stamped=replace(capsule.stamped, tokens=(token,))))


# Authorities with a defect cannot be pinned at all.


def test_an_authority_for_something_else_cannot_be_pinned() -> None:
    other = Authority(
        recipes=(leaf("one", 21, purposes=(ExtendedKeyUsageOID.CODE_SIGNING,)), root())
    )
    with pytest.raises(MalformedError) as caught:
        other.pinned()
    assert caught.value.reason is Reason.TIMESTAMP_AUTHORITY


def test_a_certificate_that_ended_since_still_proves_the_past(world: World, told: Told) -> None:
    # NOON is in a past in which the certificates were valid; they ended on END.
    ended = Authority(
        recipes=(
            leaf("old", 31, start=datetime(2001, 1, 1, tzinfo=UTC), end=NOON),
            root("old root", 32, start=datetime(2000, 1, 1, tzinfo=UTC), end=NOON),
        )
    )
    at = datetime(2001, 1, 1, tzinfo=UTC)
    report = judged(world, carried(world, told, stamp(world, ended, at=at)), ended.pinned())
    assert time(report) == (Verdict.VALID, "")
