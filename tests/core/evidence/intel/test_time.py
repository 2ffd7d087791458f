"""Time: every window of an Intel quote at each of its boundary seconds, and what is outside."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.digest import sha256
from registry.core.evidence.checks import Finding, Severity
from registry.core.evidence.endorsements import Role
from registry.core.evidence.intel.rules import RULES
from registry.core.evidence.validity import seconds
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason
from tests.core.evidence.intel.minted import examine, failures, judged, swapped
from tools.fake_vendor.intel import NOON, Minted, Spec, mint

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
WINDOWS = {
    "root": ("I4", 0),
    "ca": ("I4", 0),
    "pck": ("I4", 0),
    "tcb_signer": ("I7", 0),
    "tcb_info": ("I7", 0),
    "qe_identity": ("I9", 0),
    "root_crl": ("I6", 1),
    "pck_crl": ("I6", 1),
}
"""Each window: the check that looks at it, and how many seconds before its end it ends."""


def narrow(name: str, start: datetime = NOON - DAY, end: datetime = NOON + DAY) -> Minted:
    """A quote of which one thing holds shorter than all others."""
    wide = dict.fromkeys(WINDOWS, (NOON - 20 * DAY, NOON + 20 * DAY))
    return mint(Spec(windows={**wide, name: (start, end)}))


# 21, 23
@pytest.mark.parametrize("name", WINDOWS)
def test_each_window_counts_to_the_second(name: str) -> None:
    minted = narrow(name)
    check, early = WINDOWS[name]
    first, last = NOON - DAY, NOON + DAY - early * SECOND
    for at, finding in (
        (first - SECOND, Finding.NOT_YET_VALID),
        (first, None),
        (first + SECOND, None),
        (last - SECOND, None),
        (last, None),
        (last + SECOND, Finding.EXPIRED),
    ):
        examination = examine(minted, at)
        found = {item for item in failures(examination) if item[0] == check}
        assert found == ({(check, finding)} if finding else set())
        assert examination.window is not None
        assert (examination.window.start, examination.window.end) == (seconds(first), seconds(last))
        wanted = Verdict.VALID if finding is None else Verdict.INDETERMINATE
        assert judged(minted, at).verdict is wanted


@given(moved=st.integers(-40, 40), name=st.sampled_from(sorted(WINDOWS)), edge=st.booleans())
@settings(max_examples=60, deadline=None)
def test_around_a_boundary_a_quote_is_valid_or_undecided(moved: int, name: str, edge: bool) -> None:
    at = (NOON + DAY if edge else NOON - DAY) + moved * SECOND
    examination = examine(narrow(name), at)
    window = examination.window
    assert window is not None
    inside = seconds(at) in window
    grave = {item.severity for item in examination.checks if item.outcome == "fail"}
    assert grave == (set() if inside else {Severity.TIME})


def test_windows_that_never_meet_leave_every_moment_open() -> None:
    minted = mint(
        Spec(
            windows={
                "tcb_info": (NOON - 5 * DAY, NOON - SECOND),
                "qe_identity": (NOON, NOON + 5 * DAY),
            }
        )
    )
    for at in (NOON - SECOND, NOON):
        examination = examine(minted, at)
        assert judged(minted, at).verdict is Verdict.INDETERMINATE
        assert examination.window is not None
        assert examination.window.end < examination.window.start


def test_broken_cryptography_is_no_question_of_time() -> None:
    minted = mint(Spec(signature=lambda data: data[:-1] + bytes([data[-1] ^ 1])))
    for at in (NOON, NOON + 400 * DAY, NOON - 400 * DAY):
        assert judged(minted, at).verdict is Verdict.INVALID


def test_the_newest_collateral_that_is_in_force_is_taken() -> None:
    good = mint(Spec())
    week = timedelta(days=7)
    older = mint(
        Spec(at=NOON - week, tcb_info=lambda said: {**said, "tcbEvaluationDataNumber": 17})
    )
    later = mint(Spec(at=NOON + 20 * DAY))
    roles = {(role, data) for minted in (older, good, later) for role, data in minted.roles.items()}
    everything = good.endorsements.with_(roles)
    examination = RULES.examine(good.evidence, everything, NOON, good.roots)
    assert failures(examination) == set()
    assert examination.claims["tcb_evaluation_data_number"] == 18
    assert set(examination.endorsements) < {item.sha256 for item in everything.items}
    early = RULES.examine(good.evidence, everything, NOON - 11 * DAY, good.roots)
    assert early.claims["tcb_evaluation_data_number"] == 17
    assert failures(early) == set()


def test_of_several_signers_the_one_that_signed_and_is_in_force_is_taken() -> None:
    good = mint(Spec())
    chain = good.roles[Role.INTEL_TCB_CHAIN]
    ended = mint(Spec(windows={"tcb_signer": (NOON - 90 * DAY, NOON - 30 * DAY)}))
    other = mint(Spec(root="another"))
    unread = b"no chain"
    for more in (ended.roles[Role.INTEL_TCB_CHAIN], other.roles[Role.INTEL_TCB_CHAIN], unread):
        assert more != chain
        roles = (Role.INTEL_TCB_CHAIN, Role.INTEL_QE_CHAIN, Role.INTEL_PCK_CRL_CHAIN)
        both = good.endorsements.with_((role, more) for role in roles)
        examination = RULES.examine(good.evidence, both, NOON, good.roots)
        assert failures(examination) == set()
        assert sha256(more).hex() not in examination.endorsements


def test_collateral_that_cannot_be_read_does_not_hide_what_can() -> None:
    good = mint(Spec())
    for role, data in good.roles.items():
        if role.value.endswith(("info", "identity", "crl")):
            more = good.endorsements.with_([(role, b"\0"), (role, data[:-1])])
            assert failures(RULES.examine(good.evidence, more, NOON, good.roots)) == set()
            only = swapped(good, **{role.name: data[:-1]})
            assert failures(examine(only))


@pytest.mark.parametrize(
    "at",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(2026, 6, 1, 12),  # noqa: DTZ001 - the point of the test
    ],
    ids=["zero", "before 2000", "no zone"],
)
def test_a_moment_without_meaning_is_refused(at: datetime) -> None:
    with pytest.raises(MalformedError) as caught:
        examine(mint(Spec()), at)
    assert caught.value.reason is Reason.BAD_TIME


def test_the_last_year_is_a_moment_like_any_other() -> None:
    at = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert ("I4", Finding.EXPIRED) in failures(examine(mint(Spec()), at))
