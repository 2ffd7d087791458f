"""Every window of NVIDIA evidence, at each of its boundary seconds."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from registry.core.evidence.checks import Finding
from registry.core.evidence.validity import Validity
from registry.core.verdict import Verdict
from tests.core.evidence.nvidia.judging import findings, judge
from tools.fake_vendor.nvidia import Spec, mint
from tools.fake_vendor.nvidia_ocsp import NOON, Said
from tools.fake_vendor.nvidia_rim import Rim

_HOUR = timedelta(hours=1)
_LEAF = (NOON - 6 * _HOUR, NOON + 30 * _HOUR)
_SIGNER = (NOON - 5 * _HOUR, NOON + 20 * _HOUR)
_DRIVER = Rim(active=(12,), signer_start=_SIGNER[0], signer_end=_SIGNER[1])
_FIRMWARE = Rim(version="96.00.9F.00.01", active=(1,), signer_start=NOON - 4 * _HOUR)
_EARLY = Said(this_update=NOON - 3 * _HOUR)
MINTED = mint(
    Spec(
        leaf_start=_LEAF[0],
        leaf_end=_LEAF[1],
        rims=(_DRIVER, _FIRMWARE),
        answered_at=NOON - 2 * _HOUR,
        answers={1: _EARLY},
    )
)
_WINDOWS = {
    "G2": [Validity.closed(*_LEAF)],
    "G5": [
        Validity.until_next(start, start + timedelta(days=1))
        for start in (NOON - 2 * _HOUR, NOON - 3 * _HOUR)
    ],
    "G7": [
        Validity.closed(*_SIGNER),
        Validity.closed(NOON - 4 * _HOUR, _FIRMWARE.signer_end),
    ],
}
_EDGES = sorted(
    {edge for windows in _WINDOWS.values() for item in windows for edge in (item.start, item.end)}
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(_EDGES), st.integers(-1, 1))
def test_every_boundary_second_is_sharp(edge: int, step: int) -> None:
    at = edge + step
    if not at >= 946684800:
        return
    expected = {
        (check, Finding.NOT_YET_VALID if at < window.start else Finding.EXPIRED)
        for check, windows in _WINDOWS.items()
        for window in windows
        if at not in window
    }
    appraisal = judge(MINTED, datetime.fromtimestamp(at, UTC))
    assert findings(appraisal) == expected
    assert appraisal.verdict is (Verdict.INDETERMINATE if expected else Verdict.VALID)


def test_the_window_of_a_result_is_where_everything_counts() -> None:
    window = judge(MINTED).examination.window
    assert window is not None
    every = [item for windows in _WINDOWS.values() for item in windows]
    assert window == Validity(max(item.start for item in every), min(item.end for item in every))
    # The same wherever one asks from.
    late = judge(MINTED, datetime.fromtimestamp(window.end + 1, UTC))
    assert late.examination.window == window
    assert late.verdict is Verdict.INDETERMINATE


def test_a_policy_that_takes_older_answers_widens_the_window() -> None:
    widened = replace(MINTED, roots=replace(MINTED.roots, answer_days=10))
    appraisal = judge(widened, NOON + 20 * _HOUR)
    assert appraisal.verdict is Verdict.VALID
    assert judge(widened, NOON + 20 * _HOUR + timedelta(seconds=1)).verdict is (
        Verdict.INDETERMINATE
    )
