"""A node's shim is attested by each family, and a capsule proves offline what it ran on.

From the guest agent, over the client's port, through the pool of appraisers and the log, to a
reader who has nothing but the capsule and the log's key. Evidence is the fake vendor's.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import cbor2
import pytest

from registry.core.evidence.claims import Family
from registry.core.evidence.families import rules_of
from registry.core.evidence.policy import Policy
from registry.core.verdict import Verdict
from registry.errors import Reason, VerificationError
from registry.inspection.appraisal_pool import AppraisalPool
from registry.remote.endorser import VendorEndorser
from registry.shim.attestation import AttestationStatus, Attested, Device, KeyAttestation
from registry.shim.attestation import Attesting as Asking
from registry.shim.attester.certificate_table import ARK, ASK, VCEK
from registry.shim.attester.configfs_tsm import ConfigfsTSM
from registry.shim.attester.guest_agent import GuestAgent
from registry.shim.attester.nsm import NitroNSM
from registry.shim.attester.port import Attester
from tests.attesting import Attesting, Clock, Direct, attesting, named
from tests.contracts.attested_outputs import Published, publish, record, traced, verdicts
from tests.mint import AT
from tests.shim.attester.test_configfs_tsm import table as host_table
from tools.fake_vendor import amd, amd_certificates, nitro
from tools.fake_vendor.configfs import TSMFolder
from tools.fake_vendor.guest_agent import CERTIFIED_BEFORE, MINTS, Agent, publishing_mint, roots_of
from tools.fake_vendor.services import Services

CPUS = (Family.AMD_SNP, Family.INTEL_DCAP, Family.AWS_NITRO)
MEASURED: dict[Family, dict[str, tuple[str, ...]]] = {
    Family.AMD_SNP: {"measurement": (amd.Spec().measurement.hex(),)}
}


@pytest.fixture(scope="module")
def pool() -> Iterator[AppraisalPool]:
    opened_pool = AppraisalPool(1)
    yield opened_pool
    opened_pool.close()


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime.fromisoformat(AT) - timedelta(minutes=1))


@pytest.fixture
def world(tmp_path: Path, url: str, pool: AppraisalPool, clock: Clock) -> Iterator[Attesting]:
    with attesting(tmp_path / "data", pool, url, clock=clock) as world:
        yield world


def policy(family: Family) -> Policy:
    """A policy that believes the fake vendor, and compares what is measured where it is known."""
    expected = MEASURED.get(family, {})
    return Policy(
        name=f"test/{family}",
        family=family,
        reference_values=expected,
        skip=tuple(name for name in rules_of(family).references if name not in expected),
        roots=named(roots_of(family)),
    )


def attest(
    world: Attesting, published: Published, family: Family, gpus: Family | None = None
) -> AttestationStatus:
    """Have the node's key attested once, as its shim does it at the start."""
    with ExitStack() as running:

        def device(kind: Family) -> Device:
            world.put(policy(kind))
            agent = running.enter_context(Agent(MINTS[kind](world.clock)))
            return Device(GuestAgent(agent.address), f"test/{kind}")

        asking = Asking(
            Direct(world), device(family), None if gpus is None else device(gpus), required=True
        )
        key = world.key.public_key
        keeper = KeyAttestation(asking, key, published.manifest, clock=world.clock)
        keeper.attempt()
        return keeper.status()


def succeeded(status: AttestationStatus) -> Attested:
    assert status.newest is not None, status.failed
    return status.newest


@pytest.mark.parametrize("family", CPUS)
def test_a_node_of_every_family_is_attested_and_its_capsule_proves_it_offline(
    world: Attesting, family: Family
) -> None:
    published = publish(world)
    attested = succeeded(attest(world, published, family))
    record(world, published)
    report, capsule = traced(world)
    for link in ("attestation", "attestation/0", "evidence/0"):
        assert verdicts(report, link) == (Verdict.VALID, Verdict.VALID), report
    assert report.verdict_now is report.verdict_then is Verdict.VALID
    [fact] = report.facts.attestations
    assert fact.family is family
    assert fact.evidence_id == attested.evidence_id.hex()
    assert set(fact.bound_to) >= {"session key", "model"}
    assert len(capsule.attested.evidence) == len(capsule.attested.policies) == 1
    assert capsule.attested.endorsements
    assert "NOT A REAL VENDOR" in report.to_text().splitlines()[1]
    assert attested.measured == (family in MEASURED)


def attest_by(
    world: Attesting, published: Published, family: Family, attester: Attester
) -> AttestationStatus:
    """Have the node's key attested once, by a device of this host."""
    world.put(policy(family))
    asking = Asking(Direct(world), Device(attester, f"test/{family}"))
    key = world.key.public_key
    keeper = KeyAttestation(asking, key, published.manifest, clock=world.clock)
    keeper.attempt()
    return keeper.status()


def prove(world: Attesting, published: Published, family: Family) -> None:
    """An output that follows leads to a capsule that proves what attested its node."""
    record(world, published)
    report, _ = traced(world)
    for link in ("attestation", "attestation/0", "evidence/0"):
        assert verdicts(report, link) == (Verdict.VALID, Verdict.VALID), report
    assert [fact.family for fact in report.facts.attestations] == [family]


def test_a_guest_asks_linux_and_its_host_brings_the_certificates(
    world: Attesting, tmp_path: Path
) -> None:
    published = publish(world)
    spec = amd.Spec(start=world.clock.at - CERTIFIED_BEFORE)
    chain = amd_certificates.authorities(spec.line)
    table = host_table(
        (VCEK, amd.key_certificate(spec)), (ASK, chain.ask.der), (ARK, chain.ark.der)
    )

    def sign(data: bytes) -> bytes:
        return amd.report(replace(spec, report_data=data))

    with TSMFolder(tmp_path / "report", sign, auxblob=table) as folder:
        attester = ConfigfsTSM(folder.path, make=folder.make, remove=folder.remove)
        succeeded(attest_by(world, published, Family.AMD_SNP, attester))
    prove(world, published, Family.AMD_SNP)


def test_an_enclave_asks_its_security_module(world: Attesting) -> None:
    class Module:
        def exchange(self, request: bytes) -> bytes:
            fields = cbor2.loads(request)["Attestation"]
            minted = nitro.mint(nitro.Spec(signed_at=world.clock.at, **fields))
            return cbor2.dumps({"Attestation": {"document": minted.evidence}})

    published = publish(world)
    succeeded(attest_by(world, published, Family.AWS_NITRO, NitroNSM(Module())))
    prove(world, published, Family.AWS_NITRO)


def test_gpus_are_asked_first_and_the_output_is_bound_to_them(world: Attesting) -> None:
    published = publish(world)
    attested = succeeded(attest(world, published, Family.AMD_SNP, Family.NVIDIA_SET))
    assert len(attested.configured_roots) >= 2
    record(world, published)
    report, _ = traced(world)
    for link in ("attestation", "gpu", "evidence/0", "evidence/1"):
        assert verdicts(report, link) == (Verdict.VALID, Verdict.VALID), report
    assert {fact.family for fact in report.facts.attestations} == {
        Family.AMD_SNP,
        Family.NVIDIA_SET,
    }


def test_gpus_that_are_not_valid_keep_the_key_from_being_attested(world: Attesting) -> None:
    published = publish(world)
    with Agent(MINTS[Family.NVIDIA_SET](world.clock)) as agent:
        world.put(policy(Family.AMD_SNP))
        unbelieving = Policy(
            name="test/none",
            family=Family.NVIDIA_SET,
            skip=tuple(rules_of(Family.NVIDIA_SET).references),
        )
        world.put(unbelieving)
        gpus = GuestAgent(agent.address)
        asking = Asking(Direct(world), Device(gpus, "test/amd-snp"), Device(gpus, "test/none"))
        key = world.key.public_key
        keeper = KeyAttestation(asking, key, published.manifest, clock=world.clock)
        keeper.attempt()
    error = keeper.status().failed
    assert isinstance(error, VerificationError)
    assert (error.reason, error.where) == (Reason.ATTESTATION_REFUSED, Family.NVIDIA_SET)
    assert world.evidence.attested.in_force(world.key.public_key, world.clock()) is None


def test_evidence_for_another_model_attests_nothing(world: Attesting) -> None:
    published = publish(world)
    other = Published(published.logged, bytes(32))
    succeeded(attest(world, other, Family.AMD_SNP))
    record(world, published)
    report, _ = traced(world)
    assert report.facts.unattested
    assert any("UNATTESTED" in line for line in report.not_provable)


def test_what_amd_says_is_fetched_kept_and_proved_again_offline(
    tmp_path: Path, url: str, pool: AppraisalPool, clock: Clock
) -> None:
    with ExitStack() as running:
        services = running.enter_context(Services())
        endorser = VendorEndorser.open(services.settings(), clock)
        running.callback(endorser.close)
        mint = publishing_mint(Family.AMD_SNP, clock, services)
        agent = running.enter_context(Agent(mint))
        world = running.enter_context(
            attesting(tmp_path / "data", pool, url, clock=clock, endorser=endorser)
        )
        world.put(policy(Family.AMD_SNP))
        published = publish(world)
        asking = Asking(Direct(world), Device(GuestAgent(agent.address), "test/amd-snp"))
        key = world.key.public_key
        keeper = KeyAttestation(asking, key, published.manifest, clock=clock)
        keeper.attempt()
        succeeded(keeper.status())
        assert any("/vcek/" in path for path in services.asked)
        record(world, published)
        report, capsule = traced(world)
        assert verdicts(report, "evidence/0") == (Verdict.VALID, Verdict.VALID)
        assert len(capsule.attested.endorsements) >= 2
