"""Revocation lists of AWS Nitro: optional, but checked if at hand."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from cryptography.x509 import ReasonFlags

from registry.core.evidence.appraisal import Appraisal
from registry.core.evidence.checks import Finding
from registry.core.evidence.crl import CRLFinding
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.policy import Policy
from registry.core.verdict import Verdict
from tests.core.evidence.nitro.judging import SKIPPING, examined, found, judged
from tools.fake_vendor.nitro import NOON, issue, mint, revocation_lists

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
MINTED = mint()
REQUIRING = Policy(name="r", family=SKIPPING.family, skip=SKIPPING.skip, require=("N9",))

Revoked = Mapping[int, tuple[datetime, ReasonFlags | None]]


def lists(revoked: Revoked | None = None, ago: timedelta = 6 * HOUR) -> dict[str, bytes]:
    return revocation_lists(MINTED.chain, NOON, revoked=revoked, ago=ago)


def with_lists(*given: bytes, at: datetime = NOON, policy: Policy = SKIPPING) -> Appraisal:
    endorsements = Endorsements.of((Role.NITRO_CRL, der) for der in given)
    return judged(MINTED, at, endorsements=endorsements, policy=policy)


def outcome(appraisal: Appraisal) -> str:
    return next(item.outcome for item in appraisal.checks if item.check == "N9")


def test_with_all_lists_the_check_passes_and_names_them() -> None:
    appraisal = with_lists(*lists().values(), policy=REQUIRING)
    assert (appraisal.verdict, outcome(appraisal)) == (Verdict.VALID, "pass")
    assert len(appraisal.examination.endorsements) == 2


def test_without_lists_the_check_is_skipped_and_a_policy_can_require_it() -> None:
    assert outcome(with_lists()) == "skipped"
    assert with_lists().verdict is Verdict.VALID
    appraisal = with_lists(policy=REQUIRING)
    assert appraisal.verdict is Verdict.INDETERMINATE
    assert found(appraisal) == {"N9": {Finding.MISSING}}


@pytest.mark.parametrize("name", ["root", "region"])
def test_one_list_is_not_all_of_them(name: str) -> None:
    assert outcome(with_lists(lists()[name])) == "skipped"
    assert with_lists(lists()[name], policy=REQUIRING).verdict is Verdict.INDETERMINATE


@pytest.mark.parametrize("place", [1, 2])
@pytest.mark.parametrize(
    ("date", "reason", "verdict"),
    [
        (NOON - HOUR, None, Verdict.INVALID),
        (NOON, None, Verdict.INVALID),
        (NOON + SECOND, None, Verdict.VALID),
        (NOON + HOUR, ReasonFlags.superseded, Verdict.VALID),
        (NOON + HOUR, ReasonFlags.key_compromise, Verdict.INVALID),
        (NOON + HOUR, ReasonFlags.ca_compromise, Verdict.INVALID),
    ],
    ids=["before", "then", "a second later", "superseded later", "key stolen", "authority stolen"],
)
def test_revocation_counts_from_its_date_unless_the_key_was_stolen(
    place: int, date: datetime, reason: ReasonFlags | None, verdict: Verdict
) -> None:
    appraisal = with_lists(*lists({place: (date, reason)}).values())
    assert appraisal.verdict is verdict
    if verdict is Verdict.INVALID:
        assert found(appraisal) == {"N9": {Finding.REVOKED}}


def test_revoked_later_is_good_as_then_and_bad_as_now() -> None:
    gone = lists({2: (NOON + HOUR, None)})
    assert with_lists(*gone.values()).verdict is Verdict.VALID
    assert with_lists(*gone.values(), at=NOON + HOUR).verdict is Verdict.INVALID


def test_a_list_made_by_somebody_else_is_refused() -> None:
    stranger = revocation_lists(issue(NOON, root="stranger"), NOON)
    appraisal = with_lists(stranger["root"], lists()["region"])
    assert found(appraisal) == {"N9": {CRLFinding.CRL_SIGNATURE}}
    assert appraisal.verdict is Verdict.INVALID


def test_what_is_no_list_is_refused() -> None:
    for junk in (b"", b"\x30\x00", lists()["root"][:-1], lists()["root"] + b"\0"):
        assert found(with_lists(junk)) == {"N9": {CRLFinding.CRL_MALFORMED}}


def test_a_list_counts_from_its_first_second_to_the_last_before_the_next() -> None:
    made = lists(ago=timedelta(0))
    begins, ends = NOON, NOON + timedelta(days=7)
    for at, finding in (
        (begins - SECOND, Finding.NOT_YET_VALID),
        (begins, None),
        (ends - SECOND, None),
        (ends, Finding.EXPIRED),
    ):
        expected = {finding} if finding else set()
        assert found(with_lists(*made.values(), at=at)).get("N9", set()) == expected


def test_the_list_that_is_valid_then_is_used_though_a_newer_one_is_at_hand() -> None:
    old, new = lists(), lists({1: (NOON + HOUR, None)}, ago=-HOUR)
    assert with_lists(*old.values(), *new.values()).verdict is Verdict.VALID
    later = with_lists(*old.values(), *new.values(), at=NOON + HOUR)
    assert found(later)["N9"] == {Finding.REVOKED}


def test_lists_narrow_the_window_of_the_whole() -> None:
    made = revocation_lists(MINTED.chain, NOON, life=7 * HOUR)
    endorsements = Endorsements.of((Role.NITRO_CRL, der) for der in made.values())
    window = examined(MINTED, endorsements=endorsements).window
    assert window is not None
    assert window.end == int((NOON + HOUR).timestamp()) - 1
