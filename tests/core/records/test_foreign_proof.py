"""Foreign proofs as statements: subjects, and nothing that the checks do not bear."""

from typing import Any

import msgspec
import pytest

from registry.core.attestation.statement import Subject
from registry.core.digest import sha256
from registry.core.encoding import write_json
from registry.core.foreign.captured import Asked, PartRole
from registry.core.foreign.proof import Strength, System
from registry.core.foreign.systems import Examined, examine
from registry.core.records import foreign_proof, predicate
from registry.core.verdict import Verdict
from registry.errors import MalformedError, Reason
from tools.fake_vendor import air
from tools.fake_vendor.caught import NOON


def valid() -> Examined:
    caught = air.mint()
    return examine(System.AIR, caught.captured, caught.asked())


def unattested() -> Examined:
    return examine(System.AIR, air.mint().without(PartRole.EVIDENCE), Asked(NOON))


def unsigned() -> Examined:
    return examine(System.AIR, air.mint(air.Spec(signer=1)).captured, air.mint().asked())


def refused(examined: Examined, **changes: Any) -> Reason:
    said = msgspec.structs.replace(examined.proof, **changes)
    statement = foreign_proof.build(said, examined.outputs)
    with pytest.raises(MalformedError) as caught:
        predicate.parse(write_json(statement))
    return caught.value.reason


def test_a_statement_is_about_the_output_and_about_every_part() -> None:
    examined = valid()
    statement = foreign_proof.build(examined.proof, examined.outputs)
    assert predicate.parse(write_json(statement)) == statement
    named = [(item.name, item.digest.sha256) for item in statement.subject]
    assert named[0] == ("output", examined.proof.output)
    # What was signed as the digest of the response's bytes names it as well.
    assert ("output", sha256(air.RESPONSE).hex()) in named
    assert {name for name, _ in named} >= {"receipt", "key", "evidence", "request", "response"}


@pytest.mark.parametrize("made", [valid, unattested, unsigned])
def test_what_examinations_come_to_is_accepted(made: Any) -> None:
    examined = made()
    predicate.parse(write_json(foreign_proof.build(examined.proof, examined.outputs)))


@pytest.mark.parametrize(
    "edit",
    [
        lambda subject: subject[1:],
        lambda subject: subject[:-1],
        lambda subject: (subject[0], *reversed(subject[1:])),
        lambda subject: (*subject, Subject.named("output", bytes(32))),
        lambda subject: (Subject.named("output", bytes(32)), *subject),
        lambda subject: (Subject.named("other", bytes(32)), *subject[1:]),
    ],
    ids=["no output", "a part less", "another order", "at the end", "another first", "renamed"],
)
def test_other_subjects_are_refused(edit: Any) -> None:
    examined = valid()
    statement = foreign_proof.build(examined.proof, examined.outputs)
    changed = msgspec.structs.replace(statement, subject=edit(statement.subject))
    with pytest.raises(MalformedError) as caught:
        predicate.parse(write_json(changed))
    assert caught.value.reason is Reason.SUBJECT_MISMATCH


def test_a_verdict_that_the_checks_do_not_bear_is_refused() -> None:
    assert refused(unattested(), verdict=Verdict.VALID) is Reason.MALFORMED_FIELD
    assert refused(unsigned(), verdict=Verdict.VALID) is Reason.MALFORMED_FIELD


def test_a_layer_that_the_checks_do_not_bear_is_refused() -> None:
    examined = unattested()
    better = tuple(
        msgspec.structs.replace(item, verdict=Verdict.VALID, finding="")
        for item in examined.proof.layers
    )
    assert refused(examined, layers=better, verdict=Verdict.VALID) is Reason.MALFORMED_FIELD


@pytest.mark.parametrize("strength", [Strength.WORKLOAD_ASSERTED_HASH, Strength.MEASURED])
def test_without_evidence_a_model_is_bound_by_its_name_at_most(strength: Strength) -> None:
    assert refused(unattested(), binding_strength=strength) is Reason.MALFORMED_FIELD


def test_without_evidence_no_code_is_bound() -> None:
    assert refused(unattested(), code_strength=Strength.MEASURED) is Reason.MALFORMED_FIELD


def test_without_a_signature_nothing_is_bound() -> None:
    assert refused(unsigned(), binding_strength=Strength.NAME_ONLY) is Reason.MALFORMED_FIELD


def test_a_valid_proof_holds_what_was_made_of_the_evidence() -> None:
    assert refused(valid(), environment=msgspec.UNSET) is Reason.MALFORMED_FIELD
