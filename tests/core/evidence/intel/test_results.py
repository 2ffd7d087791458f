"""Attestation results about quotes: written down, and found again from their material."""

from datetime import datetime
from typing import Any

import pytest

from registry.core import encoding
from registry.core.evidence.appraisal import Question
from registry.core.evidence.endorsements import Role
from registry.core.evidence.intel.rules import RULES
from registry.core.evidence.policy import NamedRoot, Policy
from registry.core.evidence.result import AttestationResult, Material, Verifier, redo, validate
from registry.core.evidence.roots import Vendor
from registry.core.verdict import Verdict
from registry.errors import Reason, VerificationError
from registry.inspection.appraisal_exchange import Task
from tests.core.evidence.intel.minted import POLICY
from tests.core.evidence.intel.sets import SETS, load, needs_sets
from tools.fake_vendor.intel import NOON, Minted, Spec, mint


def said(material: Material, at: datetime = NOON) -> AttestationResult:
    verifier = Verifier(build="test", developer="test")
    return Task(RULES.family, material, Question(), at, verifier).carry_out()


def named(minted: Minted) -> Material:
    root = NamedRoot(vendor=Vendor.INTEL_SGX, sha256=next(iter(minted.roots.named))[1])
    policy = Policy(name="minted", family=RULES.family, skip=POLICY.skip, roots=(root,))
    return Material(minted.evidence, minted.endorsements, policy)


@needs_sets
@pytest.mark.parametrize("name", SETS)
def test_a_result_about_a_real_quote_is_found_again(name: str) -> None:
    case = load(name)
    material = Material(case.quote, case.endorsements, POLICY)
    result = said(material, case.at)
    validate(result)
    written = encoding.write_json(result)
    again = encoding.read_json(written, AttestationResult)
    environment = again.submods[RULES.family]
    assert environment.verdict.value.lower() == case.expected["verdict"]
    assert environment.status == case.expected["tier"]
    assert environment.disputed == ""
    assert environment.claims.get("tcb_status") == case.expected["tcb_status"]
    assert redo(environment, material, RULES).verdict is environment.verdict


@pytest.mark.parametrize(
    "defects",
    [{}, {"version": 3}, {"version": 5}, {"pce_id": "0001"}, {"pce_svn": 1}, {"header": None}],
    ids=["good", "SGX", "TDX 1.5", "another PCE", "unsupported", "unreadable"],
)
def test_a_result_about_a_minted_quote_names_its_root(defects: dict[str, Any]) -> None:
    if defects.get("header", "") is None:
        defects = {"header": lambda _: b"\xff" * 48}
    material = named(mint(Spec(**defects)))
    environment = said(material).submods[RULES.family]
    assert redo(environment, material, RULES).verdict is environment.verdict
    if environment.verdict is Verdict.VALID:
        assert environment.configured_roots == (material.policy.roots[0].sha256,)


# 132
def test_collateral_that_was_exchanged_for_other_valid_one_is_noticed() -> None:
    good = mint(Spec())
    environment = said(named(good)).submods[RULES.family]
    other = mint(Spec(tcb_info=lambda info: {**info, "tcbEvaluationDataNumber": 19}))
    info = other.roles[Role.INTEL_TCB_INFO]
    swapped = Minted(
        good.evidence, {**good.roles, Role.INTEL_TCB_INFO: info}, good.roots, good.root, b""
    )
    assert said(named(swapped)).submods[RULES.family].verdict is Verdict.VALID
    with pytest.raises(VerificationError) as caught:
        redo(environment, named(swapped), RULES)
    assert caught.value.reason is Reason.RESULT_MISMATCH
