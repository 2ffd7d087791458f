"""One way in for every system, and back: what a proof names is read again and compared."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from registry.core.digest import sha256
from registry.core.encoding import read_json, write_json
from registry.core.evidence.claims import Family
from registry.core.evidence.distrust import Entry, Selector
from registry.core.evidence.policy import NamedRoot
from registry.core.evidence.result import Environment
from registry.core.evidence.starters import starter
from registry.core.foreign.captured import MAX_PART_BYTES, MAX_PARTS, Asked, Captured, PartRole
from registry.core.foreign.proof import ForeignProof, Layer, Raw, Strength, System
from registry.core.foreign.systems import READERS, Examined, examine, redo, system_of
from registry.core.verdict import Verdict
from registry.errors import LimitExceededError, MalformedError, Reason, RegistryError
from tools.fake_vendor import aci, air, near, nvidia, opengradient
from tools.fake_vendor.caught import NOON, Caught

MINTED: dict[System, Callable[[], Caught]] = {
    System.ACI: aci.mint,
    System.AIR: air.mint,
    System.NEAR: lambda: near.mint(near.Spec(gpus=(nvidia.Spec(nonce=near.NONCE),))),
    System.OPENGRADIENT: opengradient.mint,
}

SYSTEMS = pytest.mark.parametrize("system", list(MINTED))


def imported(system: System) -> tuple[Examined, list[tuple[str, bytes]], Caught]:
    """A proof, all that it rests on, and what was caught."""
    caught = MINTED[system]()
    examined = examine(system, caught.captured, caught.asked())
    parts: list[tuple[str, bytes]] = [(role.value, data) for role, data in caught.parts]
    parts += [(item.role.value, item.data) for item in caught.endorsements.items]
    assert examined.policy == caught.policy
    return examined, [*parts, ("policy", write_json(examined.policy))], caught


@SYSTEMS
def test_reading_again_comes_to_the_same_for_the_importers_policy_and_our_own(
    system: System,
) -> None:
    examined, parts, caught = imported(system)
    here = redo(examined.proof, reversed(parts), caught.policy.roots)
    assert (here.verdict, here.checks) == (Verdict.VALID, examined.proof.checks)


@SYSTEMS
def test_a_root_that_only_the_importer_names_counts_for_the_importer_alone(system: System) -> None:
    examined, parts, _ = imported(system)
    assert examined.proof.verdict is Verdict.VALID
    here = redo(examined.proof, parts)
    assert (here.verdict, here.code_strength) == (Verdict.INVALID, Strength.NONE)


def distrusted(proof: ForeignProof, value: str | None = None) -> Entry:
    """That the device of a proof is believed no longer, since long after the proof."""
    environment = proof.environment
    assert isinstance(environment, Environment)
    name = "module_id" if "module_id" in environment.claims else "fmspc"
    family = Family.AWS_NITRO if name == "module_id" else Family.INTEL_DCAP
    claims = {name: environment.claims[name] if value is None else value}
    selector = Selector(family=family, claims=claims)
    return Entry(selector=selector, effective_from="2099-01-01T00:00:00Z", reason="its key leaked")


@SYSTEMS
def test_what_is_distrusted_later_was_believable_then_and_is_not_now(system: System) -> None:
    examined, parts, caught = imported(system)
    roots, entry = caught.policy.roots, distrusted(examined.proof)
    assert redo(examined.proof, parts, roots).verdict is Verdict.VALID
    now = redo(examined.proof, parts, roots, (entry,))
    assert (now.verdict, now.code_strength) == (Verdict.INVALID, Strength.NONE)
    found = {item.layer: item.finding for item in now.layers}
    assert found[Layer.ATTESTATION] == "EVIDENCE_DISTRUSTED"
    assert found[Layer.SIGNATURE] == ""


@SYSTEMS
def test_what_is_distrusted_of_others_changes_nothing(system: System) -> None:
    examined, parts, caught = imported(system)
    other = distrusted(examined.proof, "another")
    here = redo(examined.proof, parts, caught.policy.roots, (other,))
    assert here.verdict is Verdict.VALID


@SYSTEMS
def test_evidence_of_an_unknown_root_is_refused_for_that(system: System) -> None:
    examined, parts, _ = imported(system)
    here = redo(examined.proof, parts, (), (distrusted(examined.proof),))
    found = {item.layer: item.finding for item in here.layers}
    assert found[Layer.ATTESTATION] == "EVIDENCE_REFUSED"


@SYSTEMS
def test_an_importer_who_knows_what_is_distrusted_does_not_believe_it(system: System) -> None:
    examined, _, caught = imported(system)
    asked = replace(caught.asked(), distrusted=(distrusted(examined.proof),))
    assert examine(system, caught.captured, asked).proof.verdict is Verdict.INVALID


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("verdict", {"verdict": Verdict.INDETERMINATE}),
    ("binding_strength", {"binding_strength": Strength.MEASURED}),
    ("code_strength", {"code_strength": Strength.NONE}),
    ("output", {"output": "00" * 32}),
    ("uncovered", {"uncovered": ()}),
    ("covered", {"covered": ("everything",)}),
    ("claims", {"claims": {"model": "better"}}),
]


@pytest.mark.parametrize(
    "changes", [item[1] for item in CHANGES], ids=[item[0] for item in CHANGES]
)
@SYSTEMS
def test_what_does_not_follow_from_the_parts_is_found_out(
    system: System, changes: dict[str, Any]
) -> None:
    examined, parts, _ = imported(system)
    said = msgspec.structs.replace(examined.proof, **changes)
    if said == examined.proof:
        pytest.skip("this system's proof says just that")
    with pytest.raises(RegistryError) as caught:
        redo(said, parts)
    assert caught.value.reason is Reason.PROOF_MISMATCH


@SYSTEMS
def test_other_parts_than_a_proof_names_are_refused(system: System) -> None:
    examined, parts, _ = imported(system)
    for changed in (parts[1:], [*parts, ("request", b"x")], [(parts[0][0], b"x"), *parts[1:]]):
        with pytest.raises(RegistryError) as caught:
            redo(examined.proof, changed)
        assert caught.value.reason is Reason.PROOF_MISMATCH


def test_a_part_for_no_purpose_is_refused() -> None:
    examined, parts, _ = imported(System.AIR)
    more = Raw(role="note", sha256=sha256(b"x").hex())
    said = msgspec.structs.replace(examined.proof, raw=(*examined.proof.raw, more))
    with pytest.raises(RegistryError) as caught:
        redo(said, [*parts, ("note", b"x")])
    assert caught.value.reason is Reason.PROOF_MISMATCH


@pytest.mark.parametrize("nonce", ["zz", "0", "AB", "00" * 65], ids=["no", "half", "AB", "long"])
def test_a_nonce_that_is_no_hexadecimal_is_refused(nonce: str) -> None:
    examined, _, _ = imported(System.AIR)
    said = msgspec.structs.replace(examined.proof, nonce=nonce)
    with pytest.raises(MalformedError):
        read_json(write_json(said), ForeignProof)


def test_what_another_parser_read_is_neither_proved_nor_refuted() -> None:
    examined, parts, _ = imported(System.AIR)
    said = msgspec.structs.replace(examined.proof, parser_version="air/0")
    with pytest.raises(RegistryError) as caught:
        redo(said, parts)
    assert caught.value.reason is Reason.PARSER_VERSION


@SYSTEMS
def test_a_policy_for_another_family_is_refused(system: System) -> None:
    caught = MINTED[system]()
    others = {System.AIR: aci, System.OPENGRADIENT: aci}.get(system, air).mint()
    with pytest.raises(MalformedError) as refused:
        examine(system, caught.captured, Asked(NOON, others.policy))
    assert refused.value.reason is Reason.MALFORMED_POLICY


def test_roots_may_be_named_beside_the_starter_policy() -> None:
    caught = air.mint()
    asked = Asked(NOON, roots=caught.policy.roots)
    examined = examine(System.AIR, caught.captured, asked)
    assert examined.proof.verdict is Verdict.VALID
    assert examined.policy == caught.policy


def test_a_proof_by_the_starter_policy_names_no_policy() -> None:
    caught = air.mint()
    examined = examine(System.AIR, caught.captured, Asked(NOON))
    assert examined.policy is None
    assert "policy" not in {item.role for item in examined.proof.raw}


def test_a_root_for_another_vendor_is_no_root() -> None:
    caught = air.mint()
    other = tuple(NamedRoot(vendor="Intel SGX", sha256=item.sha256) for item in caught.policy.roots)  # type: ignore[arg-type]  # the names of vendors are text
    proof = examine(System.AIR, caught.captured, Asked(NOON, roots=other)).proof
    assert proof.verdict is Verdict.INVALID


@SYSTEMS
def test_a_proof_is_the_same_in_whatever_order_its_parts_come(system: System) -> None:
    caught = MINTED[system]()
    turned = Captured.of([*reversed(caught.parts), *caught.parts], caught.endorsements)
    assert examine(system, turned, caught.asked()) == examine(
        system, caught.captured, caught.asked()
    )


def test_a_part_may_have_16_mebibytes_and_no_more() -> None:
    Captured.of([(PartRole.REQUEST, bytes(MAX_PART_BYTES))])
    with pytest.raises(LimitExceededError) as caught:
        Captured.of([(PartRole.REQUEST, bytes(MAX_PART_BYTES + 1))])
    assert caught.value.reason is Reason.FOREIGN_SIZE


def test_a_proof_may_have_64_parts_and_no_more() -> None:
    sessions = [(PartRole.SESSION, number.to_bytes(2, "big")) for number in range(MAX_PARTS + 1)]
    Captured.of(sessions[:-1])
    with pytest.raises(LimitExceededError) as caught:
        Captured.of(sessions)
    assert caught.value.reason is Reason.FOREIGN_SIZE


def test_a_system_that_is_not_read_here_is_named() -> None:
    assert [system_of(item.value) for item in READERS] == list(READERS)
    with pytest.raises(MalformedError) as caught:
        system_of("tinfoil")
    assert caught.value.reason is Reason.UNKNOWN_SYSTEM


def test_what_cannot_be_read_is_found_under_its_own_digest() -> None:
    captured = Captured.of([(PartRole.RECEIPT, b"not a receipt")])
    proof: ForeignProof = examine(System.AIR, captured, Asked(NOON)).proof
    assert proof.output == sha256(b"not a receipt").hex()
    assert proof.verdict is Verdict.INVALID


@SYSTEMS
def test_there_is_one_of_what_no_system_has_two_of_even_if_nobody_looks_at_it(
    system: System,
) -> None:
    caught = MINTED[system]()
    twice = [*caught.parts, (PartRole.KEYSET, b"a"), (PartRole.KEYSET, b"b")]
    with pytest.raises(MalformedError) as refused:
        examine(system, Captured.of(twice, caught.endorsements), caught.asked())
    assert refused.value.reason is Reason.FOREIGN_PART


@SYSTEMS
def test_a_policy_for_another_family_judges_no_evidence(system: System) -> None:
    caught = MINTED[system]()
    other = starter("amd-snp")
    with pytest.raises(MalformedError) as refused:
        examine(system, caught.captured, replace(caught.asked(), policy=other))
    assert refused.value.reason is Reason.MALFORMED_POLICY


@SYSTEMS
def test_evidence_that_is_missing_is_said_to_be_missing(system: System) -> None:
    caught = MINTED[system]()
    without = caught.without(PartRole.EVIDENCE, PartRole.REPORT)
    checks = examine(system, without, caught.asked()).proof.checks
    [first] = [item for item in checks if item.check == "A1"]
    assert (first.outcome, first.finding) == ("skipped", "MISSING")


@pytest.mark.parametrize(
    ("system", "role"),
    [
        (System.ACI, PartRole.RECEIPT),
        (System.ACI, PartRole.REPORT),
        (System.ACI, PartRole.SESSION),
        (System.NEAR, PartRole.SIGNATURE),
        (System.NEAR, PartRole.REPORT),
    ],
)
def test_a_document_without_its_members_is_named(system: System, role: PartRole) -> None:
    caught = MINTED[system]()
    whole = json.loads(dict(caught.parts)[role])
    kept = {name: whole[name] for name in ("api_version", "signing_address") if name in whole}
    replaced = caught.replaced(role, json.dumps(kept).encode())
    checks = examine(system, replaced, caught.asked()).proof.checks
    assert "MEMBERS" in {item.finding for item in checks}
