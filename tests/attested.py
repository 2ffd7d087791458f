"""Attested worlds: a node whose key is bound to evidence, appraised, signed and logged for real.

The evidence is of a family for tests whose cryptography is a word: what is wrong with it is written
in it. Everything around it, from the appraisal to the log, is what the registry does.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from registry.core.capsule.container import Capsule
from registry.core.capsule.parts import Attested
from registry.core.digest import sha256
from registry.core.evidence import distrust
from registry.core.evidence.appraisal import Question, appraise, dispute
from registry.core.evidence.binding import Binding
from registry.core.evidence.checks import CheckError, Finding, Ledger
from registry.core.evidence.claims import Examination, Family, evidence_id
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.families import FAMILIES
from registry.core.evidence.policy import Policy
from registry.core.evidence.result import (
    AttestationResult,
    Material,
    Verifier,
    build,
)
from registry.core.evidence.roots import Roots
from registry.core.evidence.rules import Rules, Weight
from registry.core.evidence.validity import Validity, appraised_at
from registry.core.records import appraisal_policy, attestation_result, distrust_entry
from tests.mint import AT, Logged, Told, World, tell

MADE = datetime.fromisoformat(AT)
"""When the outputs of a world are made."""

ISSUED = int(MADE.timestamp()) - 60
"""When a node is attested: a minute before."""

VERIFIER = Verifier(build="provreg test", developer="provreg")
NONCE = b"\x0e" * 32
GPU_EVIDENCE = b"ok gpu"
CHAIN = b"a chain"
OTHER_CHAIN = b"another valid chain"


def evidence_of(binding: Binding, *words: str) -> bytes:
    """What a device says that commits to a binding."""
    return " ".join([binding.report_data().hex(), *words]).encode()


def _examine(family: Family, evidence: bytes, more: Endorsements, at: datetime) -> Examination:
    ledger = Ledger(_TABLE, appraised_at(at))
    words = evidence.decode().split()
    with ledger.check("X1", evidence):
        if "forged" in words:
            raise CheckError(Finding.MALFORMED, "the signature does not verify")
    with ledger.check("X2", *more.all(Role.AMD_CHAIN)):
        ledger.within("the chain", Validity(ledger.at - 10**6, ledger.at + 10**6))
    if "old" in words:
        ledger.find("X3", Finding.EXPIRED, "old firmware")
    with ledger.check("X3", evidence):
        pass
    ledger.skip("X4", Finding.NOT_APPLICABLE, "a policy applies the list")
    said = {"line": "Milan", "tcb_status": "OutOfDate" if "old" in words else "UpToDate"}
    claims: dict[str, Any] = dict(said)
    if family is Family.AMD_SNP:
        claims["report_data"] = bytes.fromhex(words[0])
    else:
        claims["nonce"] = Binding(nonce=NONCE).gpu_nonce()
    return Examination(
        family,
        ledger.at,
        evidence_id(family, [evidence]),
        claims,
        ledger.results(),
        ledger.window,
        configured_roots=("ab" * 32,) if "test-root" in words else (),
    )


def _rules(family: Family) -> Rules:
    def examine(evidence: bytes, more: Endorsements, at: datetime, _: Roots) -> Examination:
        return _examine(family, evidence, more, at)

    return Rules(
        family=family,
        table=_TABLE,
        examine=examine,
        references={},
        minimums={},
        weights={Finding.EXPIRED: Weight("warning", {"hardware": 32})},
        affirms={"hardware": 2},
        binding=("report_data", "X3"),
        distrust=(("line",), "X4"),
    )


_TABLE = {"X1": "signature", "X2": "time", "X3": "content", "X4": "distrust"}
RULES = {family: _rules(family) for family in (Family.AMD_SNP, Family.NVIDIA_SET)}
POLICIES = {
    family: Policy(name=f"test/{family}", family=family, result_seconds=3600) for family in RULES
}
GPU_ID = evidence_id(Family.NVIDIA_SET, [GPU_EVIDENCE])
MILAN = distrust.Entry(
    selector=distrust.Selector(family=Family.AMD_SNP, claims={"line": "Milan"}),
    effective_from="2026-10-01T00:00:00Z",
    reason="its keys leaked",
    reference="advisory 1",
)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the families of these tests be the only ones."""
    for family, rules in RULES.items():
        monkeypatch.setitem(FAMILIES, family, rules)


def appraised(
    evidence: bytes,
    *,
    family: Family = Family.AMD_SNP,
    stated: Binding | None = None,
    issued_at: int = ISSUED,
    policy: Policy | None = None,
    now: bool = False,
    distrusted: Sequence[distrust.Entry] = (),
    disputed: str = "",
) -> AttestationResult:
    """What the registry makes of evidence."""
    material = Material(
        evidence,
        Endorsements.of([(Role.AMD_CHAIN, CHAIN)]),
        policy or POLICIES[family],
        distrusted,
    )
    asked = Question(now=now, stated=stated, expected=stated or Binding(), distrusted=distrusted)
    at = datetime.fromtimestamp(issued_at, UTC)
    examination = RULES[family].examine(evidence, material.endorsements, at, Roots())
    appraisal = appraise(examination, material.policy, RULES[family], asked)
    appraisal = dispute(appraisal, disputed)
    return build(appraisal, material, asked, issued_at=issued_at, verifier=VERIFIER)


@dataclass
class AttestedWorld:
    """A world, and all that it says of its node's environment.

    Attributes:
        world: Its log.
        results: Results by their order in the log.
        evidence: All evidence.
    """

    world: World = field(default_factory=World)
    policies: list[Logged] = field(default_factory=list)
    results: list[Logged] = field(default_factory=list)
    distrusted: list[Logged] = field(default_factory=list)
    evidence: list[bytes] = field(default_factory=list)
    endorsements: list[bytes] = field(default_factory=lambda: [CHAIN])

    def register_policies(self, *families: Family) -> None:
        """Log the policies of these families."""
        for family in families:
            said = appraisal_policy.build(POLICIES[family])
            self.policies.append(self.world.register(said, "operator"))

    def attest(self, evidence: bytes, *, signer: str = "operator", **members: Any) -> Logged:
        """Appraise evidence and log the result."""
        said = attestation_result.build(appraised(evidence, **members))
        self.results.append(self.world.register(said, signer))
        if evidence not in self.evidence:
            self.evidence.append(evidence)
        return self.results[-1]

    def no_longer_believe(self, entry: distrust.Entry = MILAN) -> Logged:
        """Log a distrust entry."""
        self.distrusted.append(self.world.register(distrust_entry.build(entry), "operator"))
        return self.distrusted[-1]

    def key(self, principal: str = "node-1") -> bytes:
        """The DER of a principal's key."""
        return self.world.keys[principal].public_key.der

    def attested(self, **members: Any) -> Attested:
        """All of it, as a capsule carries it."""
        proved = self.world.proved
        return replace(
            Attested(
                results=_sorted(proved(item) for item in self.results),
                policies=_sorted(proved(item) for item in self.policies),
                distrust=_sorted(proved(item) for item in self.distrusted),
                evidence=tuple(sorted(self.evidence, key=sha256)),
                endorsements=tuple(sorted(self.endorsements, key=sha256)),
            ),
            **members,
        )

    def capsule(self, told: Told, **members: Any) -> Capsule:
        """The capsule of an output."""
        return self.world.capsule(told, attested=self.attested(**members))


def _sorted(items: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(items, key=lambda item: item.index))


def attested_story(
    world: AttestedWorld, *words: str, binding: Binding | None = None, **members: Any
) -> Told:
    """A whole story whose node was attested before it answered."""
    release = tell(world.world)
    world.register_policies(Family.AMD_SNP)
    manifest = sha256(release.manifest.to_bytes())
    bound = binding or Binding(nonce=NONCE, session_key=world.key(), model=manifest)
    world.attest(evidence_of(bound, *words), stated=bound, **members)
    return answered(world, release)


def answered(world: AttestedWorld, told: Told) -> Told:
    """The same records, in a batch that is logged now."""
    batch = world.world.register(told.batch.statement, "node-1")
    return told.but(batch=batch)
