"""Verdicts: as weak as the weakest link."""

import pytest

from registry.core import verdict
from registry.core.verdict import Verdict, overall
from registry.errors import Reason, VerificationError

GOOD = verdict.valid("good", "checked")
BAD = verdict.invalid("bad", VerificationError(Reason.BAD_SIGNATURE, "no", where="here"))
OPEN = verdict.indeterminate("open", Reason.CAPSULE_LINK, "cannot say")


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        ([], Verdict.INDETERMINATE),
        ([GOOD], Verdict.VALID),
        ([GOOD, GOOD], Verdict.VALID),
        ([GOOD, OPEN], Verdict.INDETERMINATE),
        ([OPEN, BAD], Verdict.INVALID),
        ([BAD, GOOD, OPEN], Verdict.INVALID),
    ],
)
def test_a_chain_is_as_weak_as_its_weakest_link(
    checks: list[verdict.Check], expected: Verdict
) -> None:
    assert overall(checks) is expected


def test_an_invalid_link_carries_the_errors_reason_and_text() -> None:
    assert (BAD.reason, BAD.detail) == (Reason.BAD_SIGNATURE, "BAD_SIGNATURE: no (here)")


def test_a_valid_link_has_no_reason() -> None:
    assert GOOD.reason == ""
