"""A registry that takes evidence of the fake vendor, and a clock that tests turn.

::

    with attesting(folder, pool) as world:
        entry = world.attest("node-1")
        assert world.environment(entry).verdict is Verdict.VALID
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from registry.core.access import Principal
from registry.core.attestation.dsse import Envelope
from registry.core.attestation.statement import Statement
from registry.core.encoding import write_json
from registry.core.evidence.binding import Binding
from registry.core.evidence.claims import Family
from registry.core.evidence.distrust import Entry, Selector
from registry.core.evidence.endorsements import Role
from registry.core.evidence.nitro.rules import RULES
from registry.core.evidence.policy import NamedRoot, Policy
from registry.core.evidence.result import Environment
from registry.core.evidence.roots import Roots
from registry.core.records import predicate
from registry.errors import RegistryError
from registry.inspection.appraisal_pool import AppraisalPool
from registry.server.evidence import EvidenceServices, open_evidence
from registry.services.appraisal import environment_of
from registry.services.endorsing import Endorser
from registry.services.operator import Operator
from registry.services.submitted import Presented
from registry.signing.file import StatementSigner
from registry.storage.sql.challenges import StoredChallenge
from registry.storage.sql.log import StoredEntry
from tests.contracts.registry_under_test import UnderTest, opened
from tools.fake_vendor import nitro
from tools.fake_vendor.nitro import NOON, Minted, Spec

MODEL = bytes(range(32))
"""The manifest digest of a model."""

POLICY = "test/nitro"
"""The policy that is registered."""


class Clock:
    """A clock that a test turns."""

    def __init__(self, at: datetime = NOON) -> None:
        self.at = at

    def __call__(self) -> datetime:
        """What it shows."""
        return self.at

    def advance(self, **by: float) -> None:
        """Turn it."""
        self.at += timedelta(**by)


def named(roots: Roots) -> tuple[NamedRoot, ...]:
    """The fake vendor's root, as a policy names it."""
    return tuple(NamedRoot(vendor=vendor, sha256=sha256) for vendor, sha256 in roots.named)


def nitro_policy(name: str = POLICY, **members: Any) -> Policy:
    """A policy that believes the fake vendor and asks for no measurement."""
    return replace_policy(
        Policy(
            name=name,
            family=Family.AWS_NITRO,
            skip=tuple(RULES.references),
            roots=named(nitro.mint().roots),
        ),
        **members,
    )


def replace_policy(policy: Policy, **members: Any) -> Policy:
    """A policy with other members."""
    return msgspec.structs.replace(policy, **members)


def document(binding: Binding, at: datetime = NOON, **members: Any) -> Minted:
    """A Nitro document that commits to a binding."""
    spec = Spec(
        signed_at=at,
        user_data=binding.report_data(),
        nonce=binding.nonce,
        public_key=binding.session_key,
    )
    return nitro.mint(replace(spec, **members))


def distrust(at: datetime = NOON, *, retroactive: bool = False, **claims: str) -> Entry:
    """An entry of the distrust list."""
    return Entry(
        selector=Selector(family=Family.AWS_NITRO, claims=claims or {"module_id": nitro.MODULE_ID}),
        effective_from=at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        reason="the seed of its keys leaked",
        retroactive=retroactive,
    )


@dataclass
class Attesting:
    """A registry under test that takes evidence."""

    under: UnderTest
    evidence: EvidenceServices
    clock: Clock

    @property
    def key(self) -> StatementSigner:
        """The key of ``node-1``."""
        return self.under.keys["node-1"]

    def caller(self, name: str) -> Principal:
        """A principal."""
        return self.under.callers[name]

    def put(self, policy: Policy) -> StoredEntry:
        """Register a policy."""
        return self.evidence.policies.put(write_json(policy))

    def distrust(self, entry: Entry) -> StoredEntry:
        """Put an entry on the distrust list."""
        return self.evidence.policies.put_distrust(write_json(entry))

    def binding(self, name: str = "node-1", **members: Any) -> Binding:
        """What evidence of a node is about: a fresh nonce, its key, and the model."""
        nonce = self.evidence.challenges.issue(self.caller(name)).nonce
        key = self.under.keys[name].public_key.der
        return replace(Binding(nonce=nonce, session_key=key, model=MODEL), **members)

    def present(
        self,
        evidence: bytes,
        stated: Binding,
        *,
        name: str = "node-1",
        family: str = Family.AWS_NITRO,
        policy: str = POLICY,
        endorsements: Sequence[tuple[Role, bytes]] = (),
    ) -> StoredEntry:
        """Submit evidence."""
        presented = Presented(family, evidence, endorsements, stated, policy)
        return self.evidence.appraisals.submit(presented, self.caller(name))

    def attest(self, name: str = "node-1", **members: Any) -> StoredEntry:
        """Submit good evidence of a node."""
        binding = self.binding(name)
        return self.present(
            document(binding, self.clock.at).evidence, binding, name=name, **members
        )

    def environment(self, entry: StoredEntry, family: str = Family.AWS_NITRO) -> Environment:
        """What a result says."""
        return environment_of(entry, family)


@dataclass(frozen=True)
class Logged:
    """A result, as the shim is given it; signature and place in the log are the client's affair."""

    statement: Statement[Any]
    index: int


@dataclass
class Direct:
    """What the shim needs of a registry that judges evidence, without a network in between.

    Attributes:
        down: Why nobody answers; None if somebody does.
        asked: The bindings that were submitted.
    """

    world: Attesting
    name: str = "node-1"
    down: RegistryError | None = None
    asked: list[Binding] = field(default_factory=list)

    def challenge(self, session_key: bytes | None = None) -> StoredChallenge:
        """See :class:`registry.shim.ports.EvidenceRegistry`."""
        if self.down is not None:
            raise self.down
        return self.world.evidence.challenges.issue(self.world.caller(self.name), session_key)

    def submit(
        self,
        family: Family,
        evidence: bytes,
        binding: Binding,
        policy: str,
        endorsements: Iterable[tuple[Role, bytes]] = (),
    ) -> Logged:
        """See :class:`registry.shim.ports.EvidenceRegistry`."""
        self.asked.append(binding)
        entry = self.world.present(
            evidence,
            binding,
            name=self.name,
            family=family,
            policy=policy,
            endorsements=tuple(endorsements),
        )
        return Logged(predicate.parse(Envelope.parse(entry.envelope).payload), entry.index)


@contextmanager
def attesting(
    folder: Path,
    pool: AppraisalPool,
    url: str | None = None,
    *,
    keys: dict[str, StatementSigner] | None = None,
    clock: Clock | None = None,
    endorser: Endorser | None = None,
) -> Iterator[Attesting]:
    """Open a registry in ``folder`` that takes evidence."""
    clock = clock or Clock()
    with opened(folder, url or f"sqlite:///{folder / 'r.sqlite3'}", keys) as under:
        services = under.services
        signer = services.access._operator._signer
        keyring = services.access._keyring
        with open_evidence(
            database=services.database,
            blobs=services.blobs,
            artifacts=services.artifacts,
            keyring=keyring,
            operator=Operator(signer, keyring, services.sequencer),
            clock=clock,
            endorser=endorser,
            workers=pool,
        ) as evidence:
            world = Attesting(under, evidence, clock)
            world.put(nitro_policy())
            yield world
