"""Tests of registry.core.evidence.result and of the records about evidence."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from registry.core import encoding
from registry.core.attestation.statement import Statement
from registry.core.evidence import distrust
from registry.core.evidence.appraisal import Question, appraise, dispute
from registry.core.evidence.binding import Binding
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.policy import Policy
from registry.core.evidence.result import (
    AttestationResult,
    Material,
    Verifier,
    build,
    redo,
    validate,
)
from registry.core.evidence.trust import Tier
from registry.core.keys import PublicKey
from registry.core.records import appraisal_policy, attestation_result, distrust_entry, predicate
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason, VerificationError
from registry.signing.file import StatementSigner
from tests.core.evidence.toy import MODEL, NOON, POLICY, RULES, examine

KEY: PublicKey = StatementSigner.generate().public_key
BOUND = Binding(model=MODEL)
VERIFIER = Verifier(build="provreg test", developer="provreg")
ISSUED = int(NOON.timestamp())
ENTRY = distrust.Entry(
    selector=distrust.Selector(family=Family.AMD_SNP, claims={"line": "Milan"}),
    effective_from="2026-05-13T00:00:00Z",
    reason="its keys leaked",
)


def material(words: str = "", **members: Any) -> Material:
    told: dict[str, Any] = {
        "evidence": words.encode(),
        "endorsements": Endorsements.of([(Role.AMD_CHAIN, b"chain")]),
        "policy": POLICY,
    }
    return Material(**(told | members))


def made(held: Material, question: Question | None = None, disputed: str = "") -> AttestationResult:
    asked = question or Question(distrusted=held.distrusted)
    examination = examine(held.evidence, held.endorsements, NOON, held.policy.trusted_roots())
    appraisal = dispute(appraise(examination, held.policy, RULES, asked), disputed)
    return build(appraisal, held, asked, issued_at=ISSUED, verifier=VERIFIER)


def environment(said: AttestationResult) -> Any:
    return said.submods[Family.AMD_SNP]


@pytest.mark.parametrize("words", ["", "old", "debug", "forged", "late", "uncrl"])
def test_a_result_has_one_spelling_and_is_found_again(words: str) -> None:
    held = material(words)
    said = made(held)
    validate(said)
    assert encoding.read_json(encoding.write_json(said), AttestationResult) == said
    appraisal = redo(environment(said), held, RULES)
    assert appraisal.verdict is environment(said).verdict


def test_a_result_speaks_the_language_of_ear() -> None:
    members = msgspec.json.decode(encoding.write_json(made(material("old"))))
    assert members["eat_profile"] == "tag:provreg.dev,2026:ear/v1"
    assert members["exp"] == members["iat"] + 10, "the collateral ends before the policy's day"
    submod = members["submods"]["amd-snp"]
    assert submod["ear.status"] == "warning"
    assert submod["ear.trustworthiness-vector"] == {"configuration": 2, "hardware": 32}
    assert submod["ear.raw-evidence"] == encoding.hex_bytes(submod["ear.raw-evidence"], 32).hex()


def test_a_result_ends_when_its_policy_says() -> None:
    short = Policy(name="s", family=Family.AMD_SNP, skip=("measurement",), result_seconds=5)
    said = made(material(policy=short))
    assert said.expires_at == said.issued_at + 5
    wrong = msgspec.structs.replace(said, expires_at=said.issued_at - 1)
    with pytest.raises(MalformedError):
        validate(wrong)


@pytest.mark.parametrize(
    "other",
    [
        {"evidence": b"old"},
        {"endorsements": Endorsements.of([(Role.AMD_CHAIN, b"another valid chain")])},
        {"endorsements": Endorsements()},
        {"policy": Policy(name="edited", family=Family.AMD_SNP, skip=("measurement",))},
    ],
    ids=["evidence", "swapped endorsement", "missing endorsement", "policy"],
)
def test_other_material_than_a_result_names_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(VerificationError) as caught:
        redo(environment(made(material())), replace(material(), **other), RULES)
    assert caught.value.reason is Reason.RESULT_MISMATCH


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": Verdict.VALID},
        {"status": Tier.AFFIRMING},
        {"trust": {}},
        {"checks": ()},
        {"valid_until": 2**40},
        {"configured_roots": ("00" * 32,)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_result_that_its_material_does_not_lead_to_is_refused(change: dict[str, Any]) -> None:
    held = material("debug")
    with pytest.raises(VerificationError) as caught:
        redo(msgspec.structs.replace(environment(made(held)), **change), held, RULES)
    assert caught.value.reason is Reason.RESULT_MISMATCH


def test_a_distrust_entry_counts_in_the_results_that_name_it() -> None:
    before = made(material())
    held = material(distrusted=[ENTRY])
    assert redo(environment(before), held, RULES).verdict is Verdict.VALID, "old results stay"
    after = made(held, Question(now=True, distrusted=[ENTRY]))
    assert environment(after).verdict is Verdict.INVALID
    assert redo(environment(after), held, RULES).verdict is Verdict.INVALID
    with pytest.raises(VerificationError):
        redo(environment(after), material(), RULES)


def test_an_entry_about_one_device_of_a_set_is_named_and_found_again() -> None:
    selector = distrust.Selector(family=Family.AMD_SNP, claims={"line": "Genoa"})
    held = material("set", distrusted=[msgspec.structs.replace(ENTRY, selector=selector)])
    said = made(held, Question(now=True, distrusted=held.distrusted))
    assert environment(said).verdict is Verdict.INVALID
    assert len(environment(said).distrusted) == 1
    assert redo(environment(said), held, RULES).verdict is Verdict.INVALID


def test_a_dispute_of_engines_leaves_the_verdict_open() -> None:
    held = material()
    said = made(held, disputed="the second engine says OutOfDate")
    assert environment(said).verdict is Verdict.INDETERMINATE
    validate(said)
    assert redo(environment(said), held, RULES).verdict is Verdict.INDETERMINATE
    lying = msgspec.structs.replace(environment(said), verdict=Verdict.VALID)
    with pytest.raises(MalformedError):
        validate(msgspec.structs.replace(said, submods={Family.AMD_SNP: lying}))


def test_a_result_is_in_force_for_its_key_from_its_making_to_its_end() -> None:
    stated = Binding(session_key=KEY.der, model=MODEL)
    question = Question(stated=stated, expected=stated)
    held = material(policy=POLICY)
    appraisal = made(held, question)
    # The family of these tests commits to the model alone, so this evidence is refused.
    assert environment(appraisal).verdict is Verdict.INVALID
    assert not attestation_result.in_force(appraisal, KEY, ISSUED)
    good = msgspec.structs.replace(
        appraisal,
        submods={
            Family.AMD_SNP: msgspec.structs.replace(
                environment(appraisal), verdict=Verdict.VALID, status=Tier.AFFIRMING
            )
        },
    )
    assert attestation_result.in_force(good, KEY, good.issued_at)
    assert attestation_result.in_force(good, KEY, good.expires_at - 1)
    assert not attestation_result.in_force(good, KEY, good.expires_at)
    assert not attestation_result.in_force(good, KEY, good.issued_at - 1)
    assert not attestation_result.in_force(good, StatementSigner.generate().public_key, ISSUED)
    gpu = msgspec.structs.replace(good, submods={Family.NVIDIA_SPDM: environment(good)})
    assert not attestation_result.in_force(gpu, KEY, good.issued_at)


STATEMENTS: dict[str, Statement[Any]] = {
    "policy": appraisal_policy.build(POLICY),
    "distrust": distrust_entry.build(ENTRY),
    "result": attestation_result.build(made(material(), Question(stated=BOUND, expected=BOUND))),
}


@pytest.mark.parametrize("noun", STATEMENTS)
def test_a_statement_about_evidence_is_read_as_it_was_written(noun: str) -> None:
    statement = STATEMENTS[noun]
    assert predicate.parse(encoding.write_json(statement)) == statement


# 135, 136: an end is never left out, and nothing is read that has no meaning here.
@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("exp", None),
        ("iat", None),
        ("eat_profile", None),
        ("ear.verifier-id", None),
        ("submods", None),
        ("submods", {}),
        ("exp", "2026-06-02"),
        ("exp", -1),
        ("exp", 1.5),
        ("eat_profile", "tag:github.com,2023:veraison/ear"),
        ("nbf", 2**40),
        ("alg", "none"),
    ],
    ids=range(12),
)
def test_a_result_without_an_end_or_with_other_members_is_refused(
    member: str, value: object
) -> None:
    members = msgspec.json.decode(encoding.write_json(made(material())))
    members.pop(member, None)
    if value is not None:
        members[member] = value
    with pytest.raises(MalformedError):
        encoding.read_json(msgspec.json.encode(members, order="sorted"), AttestationResult)


@pytest.mark.parametrize("noun", STATEMENTS)
def test_a_statement_about_other_evidence_is_refused(noun: str) -> None:
    statement = STATEMENTS[noun]
    subject = msgspec.structs.replace(statement.subject[0], name="other")
    wrong = msgspec.structs.replace(statement, subject=(subject,))
    with pytest.raises(MalformedError) as caught:
        predicate.parse(encoding.write_json(wrong))
    assert caught.value.reason is Reason.SUBJECT_MISMATCH
