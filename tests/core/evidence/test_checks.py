"""Tests of registry.core.evidence.checks, validity, claims, endorsements and roots."""

import hashlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.evidence.checks import CheckError, Finding, Ledger, Severity, missing
from registry.core.evidence.claims import (
    MAX_EVIDENCE_BYTES,
    Family,
    check_size,
    evidence_id,
)
from registry.core.evidence.endorsements import (
    MAX_ENDORSEMENT_BYTES,
    MAX_ENDORSEMENTS,
    Endorsements,
    Role,
)
from registry.core.evidence.roots import Roots, Vendor
from registry.core.evidence.validity import Validity, appraised_at, seconds
from registry.errors import LimitExceededError, MalformedError, Reason

TABLE = {"X1": "the first", "X2": "the second", "X3": "the third"}


def test_a_check_that_is_never_reached_says_so() -> None:
    ledger = Ledger(TABLE, 5)
    with ledger.check("X2"):
        pass
    assert [(r.check, r.outcome) for r in ledger.results()] == [
        ("X1", "skipped"),
        ("X2", "pass"),
        ("X3", "skipped"),
    ]
    assert ledger.results()[0].finding == Finding.NOT_REACHED


def test_a_failed_part_fails_the_check_and_later_checks_still_speak() -> None:
    ledger = Ledger(TABLE, 5)
    with ledger.check("X1", b"one"):
        pass
    with ledger.check("X1", b"two"):
        raise CheckError(Finding.REVOKED, "a key is revoked", severity=Severity.IDENTITY)
    with ledger.check("X2"):
        pass
    first, second, _ = ledger.results()
    assert (first.outcome, first.finding, first.severity) == ("fail", "REVOKED", "identity")
    assert second.outcome == "pass"
    assert ledger.failed("X1")
    assert not ledger.failed("X2", "X3")


def test_what_is_missing_leaves_the_check_open() -> None:
    ledger = Ledger(TABLE, 5)
    with ledger.check("X1"):
        raise missing("the CRL")
    assert ledger.results()[0].severity is Severity.TIME
    assert ledger.results()[0].finding == Finding.MISSING


def test_an_unknown_check_is_a_mistake_of_the_family() -> None:
    with pytest.raises(KeyError), Ledger(TABLE, 5).check("X9"):
        pass


@pytest.mark.parametrize(
    ("at", "finding"),
    [(9, Finding.NOT_YET_VALID), (10, ""), (20, ""), (21, Finding.EXPIRED)],
)
def test_both_ends_of_a_window_count(at: int, finding: str) -> None:
    ledger = Ledger(TABLE, at)
    with ledger.check("X1"):
        ledger.within("it", Validity(10, 20))
    assert ledger.results()[0].finding == finding


def test_the_windows_that_were_used_overlap() -> None:
    ledger = Ledger(TABLE, 12)
    assert ledger.window is None
    ledger.within("one", Validity(10, 20))
    ledger.within("two", Validity(12, 30))
    assert ledger.window == Validity(12, 20)


def test_the_next_update_is_no_longer_in_the_window() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    window = Validity.until_next(start, start + timedelta(seconds=10))
    assert seconds(start) + 9 in window
    assert seconds(start) + 10 not in window


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 1, 1),  # noqa: DTZ001 - that it is naive is the point
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC),
    ],
    ids=["naive", "zero", "before evidence"],
)
def test_a_clock_that_is_not_set_is_refused(moment: datetime) -> None:
    with pytest.raises(MalformedError) as caught:
        appraised_at(moment)
    assert caught.value.reason is Reason.BAD_TIME


def test_the_end_of_the_calendar_and_other_zones_are_moments_too() -> None:
    assert appraised_at(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)) == 253402300799
    east = timezone(timedelta(hours=2))
    assert appraised_at(datetime(2026, 1, 1, 2, tzinfo=east)) == 1767225600
    assert Validity.text(253402300799) == "9999-12-31T23:59:59Z"
    assert Validity.text(10**15) == "second 1000000000000000"


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_regions_cannot_be_cut_elsewhere(one: list[bytes], other: list[bytes]) -> None:
    same = evidence_id(Family.AMD_SNP, one) == evidence_id(Family.AMD_SNP, other)
    assert same == (one == other)


def test_the_family_is_part_of_the_evidence_id() -> None:
    assert evidence_id(Family.AMD_SNP, [b"x"]) != evidence_id(Family.AWS_NITRO, [b"x"])


def test_endorsements_are_a_set_in_a_stable_order() -> None:
    one = Endorsements.of([(Role.AMD_VEK, b"b"), (Role.AMD_CHAIN, b"a"), (Role.AMD_VEK, b"b")])
    other = Endorsements.of([(Role.AMD_CHAIN, b"a")]).with_([(Role.AMD_VEK, b"b")])
    assert one == other
    assert one.all(Role.AMD_VEK) == (b"b",)
    assert one.all(Role.AMD_CRL) == ()


def test_endorsements_are_bounded() -> None:
    with pytest.raises(LimitExceededError) as caught:
        Endorsements.of([(Role.AMD_CRL, bytes(MAX_ENDORSEMENT_BYTES + 1))])
    assert caught.value.reason is Reason.ENDORSEMENT_SIZE
    with pytest.raises(LimitExceededError):
        Endorsements.of([(Role.AMD_CRL, b"%d" % i) for i in range(MAX_ENDORSEMENTS + 1)])


def test_a_root_counts_only_if_it_is_pinned_or_named() -> None:
    with pytest.raises(CheckError) as caught:
        Roots().accept(Vendor.AWS_NITRO, b"own root")
    assert caught.value.finding == Finding.UNTRUSTED_ROOT
    name = hashlib.sha256(b"own root").hexdigest()
    assert Roots.also([(Vendor.AWS_NITRO, name)]).accept(Vendor.AWS_NITRO, b"own root")
    with pytest.raises(CheckError):
        Roots.also([(Vendor.AMD_MILAN, name)]).accept(Vendor.AWS_NITRO, b"own root")


def test_evidence_larger_than_any_device_makes_is_refused_unread() -> None:
    with pytest.raises(LimitExceededError) as caught:
        check_size(bytes(MAX_EVIDENCE_BYTES + 1))
    assert caught.value.reason is Reason.EVIDENCE_SIZE
    check_size(bytes(MAX_EVIDENCE_BYTES))
