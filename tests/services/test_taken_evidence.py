"""Evidence that was taken stays taken, and is judged by one snapshot of what its vendor says.

Numbers are those of the catalogue of bad inputs.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from registry.core.digest import sha256
from registry.core.encoding import write_json
from registry.core.evidence.binding import GPU_FAMILIES, Binding, gpu_nonce
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import MAX_ENDORSEMENT_BYTES, Endorsements, Role
from registry.core.evidence.families import FAMILIES
from registry.core.evidence.nvidia.container import write_device
from registry.core.evidence.policy import NamedRoot, Policy
from registry.core.evidence.result import Environment, Material, redo
from registry.core.verdict import Verdict
from registry.errors import Reason, RegistryError
from registry.inspection.appraisal_pool import AppraisalPool
from registry.services.challenges import LIFE, REMEMBERED
from tests.attesting import Attesting, attesting, document, nitro_policy
from tools.fake_vendor import amd, azure, intel, nitro, nvidia, nvidia_token
from tools.fake_vendor.__main__ import MINTS

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


Malleable = tuple[Family, Callable[[Binding], bytes], Callable[[Binding], bytes]]


def _intel(binding: Binding, **more: Any) -> bytes:
    return intel.mint(intel.Spec(report_data=binding.report_data(), **more)).evidence


def _snp(binding: Binding, signature: amd.Signature = "good") -> bytes:
    return amd.mint(amd.Spec(report_data=binding.report_data(), signature=signature)).evidence


def _azure(binding: Binding, form: azure.Form = "own") -> bytes:
    return azure.mint(azure.Spec(nonce=binding.tpm_nonce(), form=form)).evidence


def _gpu(binding: Binding) -> nvidia.Minted:
    return nvidia.mint(nvidia.Spec(nonce=binding.gpu_nonce()))


def _gpu_again(binding: Binding) -> bytes:
    [device] = _gpu(binding).devices
    return write_device(replace(device, report=nvidia.high_s(device.report)))


def _token_again(binding: Binding) -> bytes:
    spec = nvidia_token.Spec(nonce=binding.gpu_nonce())
    return json.dumps({"detached_eat": json.loads(nvidia_token.mint(spec).evidence)}).encode()


MALLEABLE: dict[str, Malleable] = {
    "Intel, high-s": (
        Family.INTEL_DCAP, _intel, lambda b: _intel(b, signature=intel.high_s)
    ),
    "Intel, padding": (Family.INTEL_DCAP, _intel, lambda b: _intel(b, tail=bytes(70))),
    "SNP, high-s": (Family.AMD_SNP, _snp, lambda b: _snp(b, "high-s")),
    "Azure, another container": (
        Family.AZURE_SNP_VTPM, _azure, lambda b: _azure(b, "version-1")
    ),
    "NVIDIA, high-s": (Family.NVIDIA_SPDM, lambda b: _gpu(b).evidence, _gpu_again),
    "token, another wrapper": (
        Family.NVIDIA_EAT,
        lambda b: nvidia_token.mint(nvidia_token.Spec(nonce=b.gpu_nonce())).evidence,
        _token_again,
    ),
}  # fmt: skip


# 125, for the families beside Nitro, whose copies tests/services/test_appraisal.py brings.
@pytest.mark.parametrize("name", MALLEABLE)
def test_a_copy_in_other_bytes_is_known_again(place: Path, pool: AppraisalPool, name: str) -> None:
    family, first, second = MALLEABLE[name]
    with attesting(place / "registry", pool) as world:
        policy = trusting(family)
        world.put(policy)
        binding, other = (world.binding(model=None) for _ in range(2))
        if family in GPU_FAMILIES:
            binding, other = (Binding(nonce=item.nonce) for item in (binding, other))
        evidence, copy = first(binding), second(binding)
        assert evidence != copy
        said = world.present(evidence, binding, family=family, policy=policy.name)
        assert world.environment(said, family).evidence_id
        for stated in (binding, other):
            with pytest.raises(RegistryError) as caught:
                world.present(copy, stated, family=family, policy=policy.name)
            assert caught.value.reason is Reason.EVIDENCE_REPLAYED


def trusting(family: Family) -> Policy:
    """A policy that names the roots of the fake vendor."""
    named = {item for mint in MINTS.values() for item in mint(nitro.NOON, Binding()).roots.named}
    roots = tuple(NamedRoot(vendor=vendor, sha256=root) for vendor, root in sorted(named))
    skip = tuple(FAMILIES[family].references)
    return Policy(name=f"test/{family}", family=family, skip=skip, roots=roots)


def outdated(info: dict[str, Any]) -> dict[str, Any]:
    """TCB info of the next evaluation, by which the platform is out of date."""
    best = info["tcbLevels"][0]
    above = {**best, "tcb": {**best["tcb"], "pcesvn": 60_000}}
    now_old = {**best, "tcbStatus": "OutOfDate", "advisoryIDs": ["INTEL-SA-09999"]}
    return {
        **info,
        "tcbEvaluationDataNumber": info["tcbEvaluationDataNumber"] + 1,
        "tcbLevels": [above, now_old, *info["tcbLevels"][1:]],
    }


# 44, for whoever sets no minimum
@pytest.mark.parametrize("fmspc", [None, "00906ed50000"], ids=["same kind", "another kind"])
def test_nobody_is_judged_by_an_older_evaluation_than_is_known(
    place: Path, pool: AppraisalPool, fmspc: str | None
) -> None:
    old = intel.mint()
    named: dict[str, Any] = {} if fmspc is None else {"fmspc": fmspc}
    new = intel.mint(intel.Spec(tcb_info=lambda info: outdated(info) | named, **named))
    with attesting(place / "registry", pool) as world:
        policy = believing(Family.INTEL_DCAP, old)
        world.put(policy)

        def status(name: str, brought: intel.Minted | None, **more: Any) -> str:
            binding = world.binding(name)
            entry = world.present(
                _intel(binding, **more),
                binding,
                name=name,
                family=Family.INTEL_DCAP,
                policy=policy.name,
                endorsements=() if brought is None else tuple(brought.roles.items()),
            )
            said = world.environment(entry, Family.INTEL_DCAP)
            again = Material(
                world.under.services.blobs.read(bytes.fromhex(said.raw_evidence), 1 << 20),
                held(world, said),
                policy,
            )
            redo(said, again, FAMILIES[Family.INTEL_DCAP])
            return said.claims["tcb_status"]

        assert status("node-1", old) == "UpToDate"
        assert status("node-2", new, **named) == "OutOfDate"
        assert status("node-1", old) == ("OutOfDate" if fmspc is None else "UpToDate")
        # As of now the first of them is judged by the same, and whoever brings nothing.
        changes = [item.entry for item in world.evidence.reappraisal.run()]
        now = world.environment(changes[0], Family.INTEL_DCAP)
        assert now.claims["tcb_status"] == ("OutOfDate" if fmspc is None else "UpToDate")
        assert status("node-1", None) == ("OutOfDate" if fmspc is None else "UpToDate")


def test_a_new_advisory_changes_the_answer_as_of_now_and_no_result(
    place: Path, pool: AppraisalPool
) -> None:
    then = intel.mint()
    later = intel.mint(intel.Spec(tcb_info=outdated))
    vendor = Vendor(then.roles.items(), later.roles.items())
    with taking(place, pool, vendor) as world:
        policy = msgspec.structs.replace(
            believing(Family.INTEL_DCAP, then), treatments={"OUT_OF_DATE": "fatal"}
        )
        world.put(policy)
        binding = world.binding()
        entry = world.present(
            _intel(binding), binding, family=Family.INTEL_DCAP, policy=policy.name
        )
        before = world.environment(entry, Family.INTEL_DCAP)
        assert before.verdict is Verdict.VALID
        world.clock.advance(minutes=5)
        [change] = world.evidence.reappraisal.run()
        assert (change.before, change.now) == ("VALID", "INVALID")
        assert (change.principal, change.key_id) == ("node-1", world.key.public_key.key_id)
        said = world.environment(change.entry, Family.INTEL_DCAP)
        assert ("I16", "OUT_OF_DATE") in {(item.check, item.finding) for item in said.checks}
        assert "INTEL-SA-09999" in said.claims["advisory_ids"]
        assert world.environment(entry, Family.INTEL_DCAP) == before
