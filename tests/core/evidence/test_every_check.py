"""Every check of every family's table says something, and of what."""

import re
from datetime import UTC, datetime

import pytest

from registry.core.digest import sha256
from registry.core.evidence.appraisal import Appraisal, Question, appraise
from registry.core.evidence.binding import Binding
from registry.core.evidence.checks import Finding
from registry.core.evidence.claims import Family
from registry.core.evidence.distrust import Entry, Selector
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.families import FAMILIES
from registry.core.evidence.policy import Policy
from registry.core.evidence.starters import starter
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason
from tools.fake_vendor.__main__ import MINTS

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
BINDING = Binding(nonce=bytes(range(32)))

TABLES = {
    "I": [f"I{number}" for number in range(1, 25)],
    "S": [f"S{number}" for number in range(1, 17)],
    "N": [f"N{number}" for number in range(1, 10)],
    "G": [f"G{number}" for number in range(1, 13)],
}
WANTED = {
    Family.INTEL_DCAP: TABLES["I"],
    Family.AMD_SNP: [name for name in TABLES["S"] if name != "S15"],
    Family.AWS_NITRO: TABLES["N"],
    Family.NVIDIA_SPDM: TABLES["G"],
    Family.NVIDIA_SET: TABLES["G"],
    Family.NVIDIA_EAT: TABLES["G"],
    Family.AZURE_SNP_VTPM: TABLES["S"],
    Family.AZURE_TDX_VTPM: [*TABLES["I"], "S15"],
}
"""The tables of the reference; a bare report has no vTPM, so S15 is Azure's."""


def judged(family: Family, how: str = "good", *, compare: bool = False) -> Appraisal:
    """What is made of minted evidence, whole or not."""
    minted = MINTS[family](AT, BINDING)
    evidence, endorsements = minted.evidence, minted.endorsements
    if how == "cut":
        evidence = evidence[: len(evidence) // 2]
    if how == "bare":
        endorsements = Endorsements()
    rules = FAMILIES[family]
    examination = rules.examine(evidence, endorsements, AT, minted.roots)
    policy = starter(family)
    question = Question(stated=BINDING, expected=BINDING)
    if compare:
        policy = Policy(
            name="all",
            family=family,
            reference_values=dict.fromkeys(rules.references, ("1",)),
            minimum=dict.fromkeys(rules.minimums, 2**40),
        )
        entry = Entry(
            selector=Selector(family=family, claims={"product_line": "Milan"}),
            effective_from="2026-01-01T00:00:00Z",
            reason="it leaked",
        )
        question = Question(stated=BINDING, expected=Binding(nonce=bytes(32)), distrusted=(entry,))
    return appraise(examination, policy, rules, question)


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("how", ["good", "cut", "bare"])
def test_each_check_of_the_table_has_a_result_and_what_was_looked_at(
    family: Family, how: str
) -> None:
    appraisal = judged(family, how)
    assert set(FAMILIES[family].table) == set(WANTED[family])
    for checks in (appraisal.checks, appraisal.examination.checks):
        assert {item.check for item in checks} == set(WANTED[family])
        for item in checks:
            if item.outcome == "pass":
                assert not item.finding
                assert item.inputs, item
            else:
                assert item.finding, item
                assert item.detail, item
            if item.outcome == "fail" and item.finding != Finding.MISSING:
                assert item.inputs, item
            assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in item.inputs)
    if how == "cut":
        first = next(item for item in appraisal.checks if item.outcome == "fail")
        evidence = MINTS[family](AT, BINDING).evidence
        assert first.inputs == (sha256(evidence[: len(evidence) // 2]).hex(),)
        skipped = [item for item in appraisal.examination.checks if item.outcome == "skipped"]
        assert {item.finding for item in skipped} == {Finding.NOT_REACHED}
        assert appraisal.verdict is Verdict.INVALID
        assert appraisal.examination.evidence_id is None


@pytest.mark.parametrize("family", Family)
def test_what_a_policy_compares_names_what_it_was_read_from(family: Family) -> None:
    appraisal = judged(family, compare=True)
    rules = FAMILIES[family]
    compared = {item.check for item in appraisal.checks if item.finding == "REFERENCE_MISMATCH"}
    assert compared <= set(rules.references.values())
    assert compared
    wrong = [item for item in appraisal.checks if item.finding == "WRONG_NONCE"]
    assert [item.check for item in wrong] == [rules.binding[1]]
    if rules.minimums:
        assert {item.check for item in appraisal.checks if item.finding == "BELOW_MINIMUM"}
    assert all(item.inputs for item in appraisal.findings() if item.finding != Finding.MISSING)


@pytest.mark.parametrize("family", Family)
def test_a_policy_that_skips_all_it_may_still_has_the_evidence_verified(family: Family) -> None:
    rules = FAMILIES[family]
    policy = Policy(name="lazy", family=family, skip=(*rules.references, *sorted(rules.optional)))
    minted = MINTS[family](AT, BINDING)
    examination = rules.examine(minted.evidence, Endorsements(), AT, minted.roots)
    appraisal = appraise(examination, policy, rules)
    reached = {item.check for item in appraisal.checks if item.finding != Finding.NOT_REACHED}
    # The documents of Nitro and the reports of NVIDIA bring their own chains.
    whole = family in (Family.AWS_NITRO, Family.NVIDIA_SPDM, Family.NVIDIA_SET)
    assert (appraisal.verdict is Verdict.VALID) == whole
    assert not whole or reached == set(rules.table)
    for name in set(rules.table) - rules.optional:
        bold = Policy(name="bold", family=family, skip=(*rules.references, name))
        with pytest.raises(MalformedError) as caught:
            appraise(examination, bold, rules)
        assert caught.value.reason is Reason.MALFORMED_POLICY


@pytest.mark.parametrize("family", Family)
def test_endorsements_that_were_used_are_named_by_their_bytes(family: Family) -> None:
    minted = MINTS[family](AT, BINDING)
    used = set(judged(family).examination.endorsements)
    assert used <= {item.sha256 for item in minted.endorsements.items}
    # A device that brings its own chain needs none.
    assert used or family is Family.AWS_NITRO
