"""Evidence that was taken stays taken, and is judged by one snapshot of what its vendor says.

Numbers are those of the catalogue of bad inputs.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from registry.core.digest import sha256
from registry.core.encoding import write_json
from registry.core.evidence.binding import Binding, gpu_nonce
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import MAX_ENDORSEMENT_BYTES, Endorsements, Role
from registry.core.evidence.families import FAMILIES
from registry.core.evidence.policy import NamedRoot, Policy
from registry.core.evidence.result import Environment, Material, redo
from registry.core.verdict import Verdict
from registry.errors import Reason, RegistryError
from registry.inspection.appraisal_pool import AppraisalPool
from registry.services.challenges import LIFE, REMEMBERED
from tests.attesting import Attesting, attesting, document, nitro_policy
from tools.fake_vendor import intel, nitro, nvidia_token

Items = Iterable[tuple[Role, bytes]]


class Vendor:
    """A vendor that says something else each time it is asked."""

    def __init__(self, *answers: Items) -> None:
        self.answers = list(answers)
        self.asked: list[Family] = []

    def endorse(self, family: Family, evidence: bytes, at: datetime) -> Items:
        assert evidence
        assert at.tzinfo
        self.asked.append(family)
        return self.answers.pop(0)

    def close(self) -> None:
        """Nothing is open."""


@contextmanager
def taking(tmp_path: Path, pool: AppraisalPool, vendor: Vendor) -> Iterator[Attesting]:
    with attesting(tmp_path / "registry", pool, endorser=vendor) as world:
        yield world


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "registry").mkdir()
    return tmp_path


def believing(family: Family, minted: nvidia_token.Minted | intel.Minted) -> Policy:
    roots = tuple(NamedRoot(vendor=vendor, sha256=root) for vendor, root in minted.roots.named)
    skip = tuple(FAMILIES[family].references)
    return Policy(name=f"test/{family}", family=family, skip=skip, roots=roots)


def held(world: Attesting, said: Environment) -> Endorsements:
    """The endorsements of a result, from the archive alone."""
    blobs = world.under.services.blobs
    return Endorsements.of(
        (item.role, blobs.read(bytes.fromhex(item.sha256), MAX_ENDORSEMENT_BYTES))
        for item in said.endorsements
    )


# 126
def test_evidence_is_known_again_however_much_comes_after_it_and_however_late(
    place: Path, pool: AppraisalPool
) -> None:
    with attesting(place / "registry", pool) as world:
        binding = world.binding()
        world.present(document(binding).evidence, binding)
        copy = document(binding, signature=nitro.high_s).evidence
        for _ in range(110):
            world.binding("node-2")
            world.clock.advance(seconds=LIFE.total_seconds() + 1)
        world.clock.advance(seconds=REMEMBERED.total_seconds() + 1)
        other = world.binding()
        # The challenge itself is forgotten by now; that the evidence was used is not.
        with pytest.raises(RegistryError) as caught:
            world.present(copy, binding)
        assert caught.value.reason is Reason.UNKNOWN_CHALLENGE
        with pytest.raises(RegistryError) as caught:
            world.present(copy, other)
        assert caught.value.reason is Reason.EVIDENCE_REPLAYED


# 149
def test_endorsements_that_change_meanwhile_do_not_mix(place: Path, pool: AppraisalPool) -> None:
    old = intel.mint(intel.Spec(windows={"tcb_info": _window(days=-20)}))
    new = intel.mint(intel.Spec(windows={"tcb_info": _window(days=-1)}))
    assert old.roles[Role.INTEL_TCB_INFO] != new.roles[Role.INTEL_TCB_INFO]
    vendor = Vendor(old.roles.items(), new.roles.items())
    with taking(place, pool, vendor) as world:
        policy = believing(Family.INTEL_DCAP, old)
        world.put(policy)
        for number, wanted in enumerate((old, new), start=1):
            binding = world.binding()
            evidence = intel.mint(intel.Spec(report_data=binding.report_data())).evidence
            entry = world.present(evidence, binding, family=Family.INTEL_DCAP, policy=policy.name)
            said = world.environment(entry, Family.INTEL_DCAP)
            assert said.verdict is Verdict.VALID
            assert len(vendor.asked) == number
            # Exactly what was asked for first, whatever is said later; and it is all there.
            assert {item.sha256 for item in said.endorsements} == {
                sha256(data).hex() for data in wanted.roles.values()
            }
            material = Material(evidence, held(world, said), policy)
            assert redo(said, material, FAMILIES[Family.INTEL_DCAP]).verdict is Verdict.VALID


def _window(days: int) -> tuple[datetime, datetime]:
    start = intel.NOON + timedelta(days=days)
    return start, start + timedelta(days=30)


def test_the_keys_of_a_tokens_issuer_are_asked_for(place: Path, pool: AppraisalPool) -> None:
    vendor = Vendor(nvidia_token_roles())
    with taking(place, pool, vendor) as world:
        binding = Binding(nonce=world.binding().nonce)
        assert binding.nonce is not None
        minted = nvidia_token.mint(nvidia_token.Spec(nonce=gpu_nonce(binding.nonce)))
        policy = believing(Family.NVIDIA_EAT, minted)
        world.put(policy)
        entry = world.present(
            minted.evidence, binding, family=Family.NVIDIA_EAT, policy=policy.name
        )
        said = world.environment(entry, Family.NVIDIA_EAT)
        assert said.verdict is Verdict.VALID
        assert vendor.asked == [Family.NVIDIA_EAT]
        assert [item.role for item in said.endorsements] == [Role.NVIDIA_JWKS]


def nvidia_token_roles() -> Items:
    return [(Role.NVIDIA_JWKS, nvidia_token.jwk_set())]


def test_what_a_submitter_brings_from_another_time_is_asked_for_anew(
    place: Path, pool: AppraisalPool
) -> None:
    stale = intel.mint(intel.Spec(windows={"tcb_info": _window(days=-40)}))
    fresh = intel.mint()
    vendor = Vendor(fresh.roles.items())
    with taking(place, pool, vendor) as world:
        policy = believing(Family.INTEL_DCAP, fresh)
        world.put(policy)
        binding = world.binding()
        evidence = intel.mint(intel.Spec(report_data=binding.report_data())).evidence
        entry = world.present(
            evidence,
            binding,
            family=Family.INTEL_DCAP,
            policy=policy.name,
            endorsements=tuple(stale.roles.items()),
        )
        assert world.environment(entry, Family.INTEL_DCAP).verdict is Verdict.VALID
        assert vendor.asked == [Family.INTEL_DCAP]


def test_whoever_brings_everything_needs_no_vendor(place: Path, pool: AppraisalPool) -> None:
    vendor = Vendor()
    with taking(place, pool, vendor) as world:
        world.put(nitro_policy("test/with-lists", require=("N9",)))
        binding = world.binding()
        minted = document(binding)
        items = tuple((item.role, item.data) for item in minted.endorsements.items)
        entry = world.present(
            minted.evidence, binding, policy="test/with-lists", endorsements=items
        )
        said = world.environment(entry)
        assert (said.verdict, vendor.asked) == (Verdict.VALID, [])
        assert held(world, said) == minted.endorsements
        # The window of all that was used stands in the result.
        assert said.valid_from == int(minted.chain[-1].certificate.not_valid_before_utc.timestamp())
        assert write_json(said)
