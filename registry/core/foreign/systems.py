"""System → reader: whose proofs are known here, and the one way in."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import msgspec

from registry.core import encoding
from registry.core.digest import sha256
from registry.core.evidence.checks import CheckResult
from registry.core.evidence.distrust import Entry
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.policy import NamedRoot, Policy
from registry.core.evidence.validity import LATEST, seconds
from registry.core.foreign import reading
from registry.core.foreign.aci import examine as aci
from registry.core.foreign.air import examine as air
from registry.core.foreign.captured import Asked, Captured, PartRole
from registry.core.foreign.near import examine as near
from registry.core.foreign.opengradient import examine as opengradient
from registry.core.foreign.proof import ForeignProof, System
from registry.errors import MalformedError, Reason, UnsupportedError, VerificationError

Reader = Callable[[Captured, Asked], tuple[reading.Reading, tuple[CheckResult, ...]]]
"""``(captured, asked)`` → what was read, and at least one result for every check of its table."""

READERS: Final[Mapping[System, tuple[Reader, Mapping[str, str]]]] = {
    System.ACI: (aci.examine, aci.TABLE),
    System.AIR: (air.examine, air.TABLE),
    System.NEAR: (near.examine, near.TABLE),
    System.OPENGRADIENT: (opengradient.examine, opengradient.TABLE),
}
"""Who reads the proofs of a system, and its table of checks."""

_ONCE: Final = tuple(
    role for role in PartRole if role not in (PartRole.REPORT, PartRole.SESSION, PartRole.SIGNATURE)
)
_ROLES: Final = frozenset((*PartRole, *Role, reading.POLICY))
_COMPARED: Final = (
    *("system", "format_version", "canonicaliser", "output", "verdict", "layers"),
    *("binding_strength", "code_strength", "covered", "uncovered", "client_claimable", "claims"),
)


def system_of(name: str) -> System:
    """The system called ``name``.

    Raises:
        MalformedError: ``UNKNOWN_SYSTEM``.
    """
    for system in READERS:
        if system == name:
            return system
    raise MalformedError(
        Reason.UNKNOWN_SYSTEM,
        "proofs of this system are not read here",
        expected=", ".join(READERS),
        actual=name[:80],
    )


@dataclass(frozen=True, slots=True)
class Examined:
    """What was made of what was caught.

    Attributes:
        proof: The layers, the strength, what is covered and what not.
        outputs: Every digest that names the output, the one in the proof first.
        policy: What judged its evidence, if that is not the starter of its family; the proof
            names it among its parts.
    """

    proof: ForeignProof
    outputs: tuple[bytes, ...]
    policy: Policy | None


def examine(system: System, captured: Captured, asked: Asked) -> Examined:
    """Read and check what was caught.

    Raises:
        MalformedError: ``FOREIGN_PART`` without what no import can do without, or if there are two
            of what there is one of; ``BAD_TIME``; what is wrong with the appraisal policy.
        LimitExceededError: ``EVIDENCE_SIZE`` or ``ENDORSEMENT_SIZE``.
        UnavailableError: ``MISSING_EXTRA``.
    """
    for role in _ONCE:
        captured.one(role)
    reader, _table = READERS[system]
    said, checks = reader(captured, asked)
    proof = reading.finish(said, checks, captured, asked)
    outputs = reading.output_digests(captured, said.response_sha256)
    return Examined(proof, outputs, said.policy)


def redo(
    proof: ForeignProof,
    parts: Iterable[tuple[str, bytes]],
    roots: tuple[NamedRoot, ...] = (),
    distrusted: tuple[Entry, ...] = (),
) -> ForeignProof:
    """Read and check again what a proof rests on, compare, and judge its evidence by ourselves.

    What the importer says must follow from the parts by the importer's own policy. What is made of
    the proof here follows by the starter policy and these roots, so that no importer can name a
    root for others.

    Args:
        proof: What an importer says.
        parts: All that the proof names, each with its role.
        roots: Roots of no vendor that count here.
        distrusted: What is believed no longer; without it the answer is what was believable at the
            moment of the proof.

    Returns:
        What is made of the parts here.

    Raises:
        VerificationError: ``PROOF_MISMATCH`` if the parts are not those that the proof names, or
            lead to something else.
        UnsupportedError: ``PARSER_VERSION`` if another version of the parser read them.
        MalformedError, LimitExceededError, UnavailableError: As :func:`examine`.
    """
    given = tuple(parts)
    named = sorted((item.role, item.sha256) for item in proof.raw)
    held = sorted({(role, sha256(data).hex()) for role, data in given})
    if held != named:
        raise _mismatch("the parts are not those that the proof names", str(named), str(held))
    strange = sorted({role for role, _ in given} - _ROLES)
    if strange:
        raise _mismatch("no proof has a part for this", ", ".join(_ROLES), ", ".join(strange))
    captured = _captured(given)
    policies = [data for role, data in given if role == reading.POLICY]
    model = proof.expected_model
    asked = Asked(
        at=datetime.fromtimestamp(min(proof.judged_at, seconds(LATEST)), UTC),
        policy=encoding.read_json(policies[0], Policy, what="appraisal policy")
        if policies
        else None,
        nonce=bytes.fromhex(proof.nonce) if proof.nonce else None,
        model=None if isinstance(model, msgspec.UnsetType) else bytes.fromhex(model),
        fetched_at=proof.fetched_at,
    )
    again = examine(proof.system, captured, asked).proof
    if again.parser_version != proof.parser_version:
        raise UnsupportedError(
            Reason.PARSER_VERSION,
            "another version of the parser read this proof",
            expected=again.parser_version,
            actual=proof.parser_version,
        )
    for field in _COMPARED:
        expected, actual = getattr(proof, field), getattr(again, field)
        if expected != actual:
            what = f"reading again leads to another {field.replace('_', ' ')}"
            raise _mismatch(what, str(expected), str(actual))
    if asked.policy is None and not roots and not distrusted:
        return again
    ours = replace(asked, policy=None, roots=roots, distrusted=distrusted)
    return examine(proof.system, captured, ours).proof


def _captured(given: Iterable[tuple[str, bytes]]) -> Captured:
    by_role = {role.value: role for role in PartRole}
    endorsed = {role.value: role for role in Role}
    parts = list(given)
    return Captured.of(
        ((by_role[role], data) for role, data in parts if role in by_role),
        Endorsements.of((endorsed[role], data) for role, data in parts if role in endorsed),
    )


def _mismatch(what: str, expected: str, actual: str) -> VerificationError:
    return VerificationError(
        Reason.PROOF_MISMATCH, what, expected=expected[:400], actual=actual[:400]
    )
