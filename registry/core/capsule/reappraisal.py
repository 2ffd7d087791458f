"""Reappraisal: a result's evidence examined and appraised once more, from what the capsule carries.

The operator signs what it made of evidence; nobody need take its word. Whatever the result names by
digest is looked up in the capsule, examined at the moment of the result, and must lead to the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from registry.core import verdict
from registry.core.capsule.links import Link, waiting
from registry.core.capsule.parts import Attested
from registry.core.capsule.signers import Read
from registry.core.digest import sha256
from registry.core.evidence.appraisal import Appraisal, policy_digest
from registry.core.evidence.claims import Family
from registry.core.evidence.distrust import Entry
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.families import rules_of
from registry.core.evidence.policy import Policy
from registry.core.evidence.result import (
    AttestationResult,
    Environment,
    Material,
    entry_digest,
    redo,
)
from registry.core.verdict import Check
from registry.errors import NotFoundError, Reason, RegistryError, VerificationError

_OPEN = (Reason.MISSING_BLOB, Reason.UNKNOWN_FAMILY, Reason.MISSING_EXTRA)
"""What leaves open whether the evidence leads to the result."""

Reads = Mapping[str, Read | None]
"""Statements of a capsule by name; None where one cannot be read."""


@dataclass(frozen=True, slots=True)
class Reappraisal:
    """A result, and what its evidence leads to.

    Attributes:
        name: The part that holds the result.
        link: Whether it leads to just that.
        appraisals: What was made of each environment; empty if one could not be examined.
        policies: The policy of each environment, as far as the capsule holds it.
    """

    name: str
    index: int
    said: AttestationResult
    link: Link
    appraisals: Mapping[Family, Appraisal]
    policies: Mapping[Family, Policy]


class Holdings:
    """What a capsule carries for appraisals, by digest; takes note of what is asked for."""

    def __init__(self, attested: Attested, reads: Reads) -> None:
        self._attested = attested
        self._evidence = {sha256(data).hex(): data for data in attested.evidence}
        self._endorsements = {sha256(data).hex(): data for data in attested.endorsements}
        self._reads = {name: item for name, item in reads.items() if item is not None}
        self.policies: dict[str, Read] = {}
        self.distrust: dict[str, Read] = {}
        for name, item in self._reads.items():
            if name.startswith("policy/"):
                self.policies[policy_digest(item.statement.predicate)] = item
            elif name.startswith("distrust/"):
                self.distrust[entry_digest(item.statement.predicate)] = item
        self._used: set[str] = set()

    def results(self) -> list[tuple[str, Read]]:
        """The attestation results that could be read, with their names."""
        return [item for item in self._reads.items() if item[0].startswith("attestation/")]

    def policy(self, name: str) -> Policy | None:
        """The policy with this digest."""
        found = self.policies.get(name)
        return None if found is None else found.statement.predicate

    def distrusted(self) -> list[Entry]:
        """All distrust entries."""
        return [item.statement.predicate for item in self.distrust.values()]

    def material(self, environment: Environment) -> Material:
        """Everything that one environment of a result names.

        Raises:
            NotFoundError: ``MISSING_BLOB`` if the capsule does not hold it all.
            LimitExceededError: ``ENDORSEMENT_SIZE``.
        """
        named = [environment.raw_evidence, *(item.sha256 for item in environment.endorsements)]
        self._used.update(named, [environment.policy])
        policy = self.policy(environment.policy)
        if policy is None:
            raise _missing(f"no policy sha256:{environment.policy}")
        evidence = self._evidence.get(environment.raw_evidence)
        if evidence is None:
            raise _missing(f"no evidence sha256:{environment.raw_evidence}")
        endorsements = []
        for item in environment.endorsements:
            data = self._endorsements.get(item.sha256)
            if data is None:
                raise _missing(f"no endorsement {item.role} sha256:{item.sha256}")
            endorsements.append((item.role, data))
        for name in environment.distrusted:
            if name not in self.distrust:
                raise _missing(f"no distrust entry sha256:{name}")
        return Material(evidence, Endorsements.of(endorsements), policy, self.distrusted())

    def verify_nothing_else(self) -> None:
        """Check that all material of the capsule is named by a result that was examined.

        Raises:
            VerificationError: ``DIGEST_MISMATCH``.
        """
        held = {
            **{name: f"policy {name}" for name in self.policies},
            **dict.fromkeys(self._evidence, "evidence"),
            **dict.fromkeys(self._endorsements, "endorsement"),
        }
        strangers = sorted(
            f"{what} sha256:{name}" for name, what in held.items() if name not in self._used
        )
        if strangers:
            raise VerificationError(
                Reason.DIGEST_MISMATCH,
                "no attestation result names this part of the capsule by its digest",
                expected="what a result names, with just these bytes",
                actual=", ".join(strangers[:4]),
            )


def reappraise(name: str, item: Read, holdings: Holdings, links: Mapping[str, Link]) -> Reappraisal:
    """Examine and appraise again what a result is about.

    Args:
        name: What the link is to be called.
        item: The result.
        holdings: What the capsule carries.
        links: How the statements of the capsule were judged.
    """
    said: AttestationResult = item.statement.predicate
    appraisals: dict[Family, Appraisal] = {}
    policies: dict[Family, Policy] = {}
    needs: list[Link] = [links[item.name]]
    checks: list[Check] = []
    for family, environment in sorted(said.submods.items()):
        policy = holdings.policies.get(environment.policy)
        if policy is not None:
            policies[family] = policy.statement.predicate
            needs.append(links[policy.name])
            checks += _before(name, policy, item)
        entries = [holdings.distrust.get(name) for name in environment.distrusted]
        needs += [links[entry.name] for entry in entries if entry is not None]
        own = _redo(name, family, environment, holdings, appraisals, genuine=needs[0].holds)
        checks.append(own)
    return Reappraisal(
        name=item.name,
        index=item.index,
        said=said,
        link=Link.both(_worst(name, checks)).after(*needs),
        appraisals=appraisals,
        policies=policies,
    )


def _redo(
    name: str,
    family: Family,
    environment: Environment,
    holdings: Holdings,
    appraisals: dict[Family, Appraisal],
    *,
    genuine: bool,
) -> Check:
    try:
        material = holdings.material(environment)
        if not genuine:
            # Whoever is not the operator must not choose how long a reader computes.
            return waiting(name, name.replace("evidence/", "attestation/"))
        appraisals[family] = redo(environment, material, rules_of(family))
    except RegistryError as error:
        if error.reason in _OPEN:
            return verdict.indeterminate(name, error.reason, str(error))
        return verdict.invalid(name, error)
    moment = f"{family} examined and appraised again: {environment.verdict}, {environment.status}"
    return verdict.valid(name, moment)


def _before(name: str, policy: Read, item: Read) -> Sequence[Check]:
    if policy.index < item.index:
        return ()
    error = VerificationError(
        Reason.CAPSULE_LINK,
        "the appraisal policy was logged only after the result that names it",
        expected=f"an entry before {item.index}",
        actual=f"entry {policy.index}",
    )
    return (verdict.invalid(name, error),)


def _worst(name: str, checks: Iterable[Check]) -> Check:
    every = list(checks)
    for wanted in (verdict.Verdict.INVALID, verdict.Verdict.INDETERMINATE):
        for check in every:
            if check.verdict is wanted:
                return check
    return verdict.valid(name, "; ".join(check.detail for check in every))


def _missing(what: str) -> NotFoundError:
    return NotFoundError(
        Reason.MISSING_BLOB, "the capsule does not hold all that the result rests on", actual=what
    )
