"""Every boundary second of every window of a Nitro document."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.evidence.checks import Finding
from registry.core.evidence.nitro.examine import MAX_AGE_SECONDS, MAX_SKEW_SECONDS
from registry.core.evidence.nitro.findings import NitroFinding
from registry.core.verdict import Verdict
from tests.core.evidence.nitro.judging import examined, found, judged
from tools.fake_vendor.nitro import LEVELS, NOON, Spec, mint

SECOND = timedelta(seconds=1)
EARLY, LATE = datetime(2024, 12, 1, tzinfo=UTC), datetime(2055, 1, 1, tzinfo=UTC)
MINTED = mint()


def expected(at: datetime) -> Verdict:
    """The rule, written down a second time: closed at both ends, and not signed later."""
    inside = all(
        holder.certificate.not_valid_before_utc
        <= at.replace(microsecond=0)
        <= holder.certificate.not_valid_after_utc
        for holder in MINTED.chain
    )
    signed = at.replace(microsecond=0) >= NOON - MAX_SKEW_SECONDS * SECOND
    return Verdict.VALID if inside and signed else Verdict.INDETERMINATE


@pytest.mark.parametrize("place", range(len(LEVELS)))
@pytest.mark.parametrize("edge", ["not_valid_before_utc", "not_valid_after_utc"])
@pytest.mark.parametrize("step", [-1, 0, 1])
def test_every_second_around_an_edge_is_judged_by_the_rule(
    place: int, edge: str, step: int
) -> None:
    at = getattr(MINTED.chain[place].certificate, edge) + step * SECOND
    assert judged(MINTED, at).verdict is expected(at)


@settings(max_examples=60, deadline=None)
@given(
    st.datetimes(EARLY.replace(tzinfo=None), LATE.replace(tzinfo=None), timezones=st.just(UTC)),
    st.integers(-20_000, 20_000),
)
def test_any_second_is_judged_by_the_rule(far: datetime, near: int) -> None:
    for at in (far, NOON + near * SECOND):
        assert judged(MINTED, at).verdict is expected(at)


def test_the_window_of_the_whole_is_that_of_the_leaf() -> None:
    window = examined(MINTED).window
    leaf = MINTED.chain[-1].certificate
    assert window is not None
    assert (window.start, window.end) == (
        int(leaf.not_valid_before_utc.timestamp()),
        int(leaf.not_valid_after_utc.timestamp()),
    )
    before = judged(MINTED, leaf.not_valid_before_utc - SECOND)
    assert found(before)["N4"] == {Finding.NOT_YET_VALID}


def test_a_document_gets_old_after_an_hour() -> None:
    young = judged(MINTED, NOON + MAX_AGE_SECONDS * SECOND)
    assert (young.tier, found(young)) == ("affirming", {})
    old = judged(MINTED, NOON + (MAX_AGE_SECONDS + 1) * SECOND)
    assert (old.verdict, old.tier) == (Verdict.VALID, "warning")
    assert found(old) == {"N8": {NitroFinding.TOO_OLD}}


@pytest.mark.parametrize(
    ("ahead", "findings"),
    [(MAX_SKEW_SECONDS, set()), (MAX_SKEW_SECONDS + 1, {NitroFinding.SIGNED_LATER})],
    ids=["at the limit", "beyond"],
)
def test_the_device_may_be_five_minutes_ahead(ahead: int, findings: set[str]) -> None:
    timestamp = int(NOON.timestamp() + ahead) * 1000
    spec = Spec(fields=lambda all_: all_ | {"timestamp": timestamp})
    assert found(judged(spec)).get("N8", set()) == findings


@pytest.mark.parametrize(
    ("moved", "findings"),
    [
        (-3, set()),
        (-4, {"SIGNED_OUTSIDE_CHAIN"}),
        (10_800, set()),
        (10_801, {"SIGNED_OUTSIDE_CHAIN"}),
    ],
    ids=["first second", "before it", "last second", "after it"],
)
def test_a_document_is_signed_while_all_its_certificates_are_valid(
    moved: int, findings: set[str]
) -> None:
    timestamp = int(NOON.timestamp() + moved) * 1000
    spec = Spec(fields=lambda all_: all_ | {"timestamp": timestamp})
    assert found(judged(spec)).get("N4", set()) == findings
