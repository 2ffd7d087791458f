"""GPUs answer the challenge first; the CPU's evidence then commits to theirs, and to no other's."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from registry.core.evidence.binding import Binding, gpu_nonce
from registry.core.evidence.claims import Family
from registry.core.evidence.distrust import Entry, Selector
from registry.core.evidence.nvidia.rules import DEVICE_RULES
from registry.core.evidence.policy import Policy
from registry.core.verdict import Verdict
from registry.errors import Reason, RefusedError, RegistryError
from registry.inspection.appraisal_pool import AppraisalPool
from registry.storage.sql.log import StoredEntry
from tests.attesting import Attesting, Clock, attesting, document, named
from tools.fake_vendor import nvidia
from tools.fake_vendor.nvidia_ocsp import NOON

pytest.importorskip("signxml", reason="the extra nvidia is not installed")

GPUS = "test/gpus"


@contextmanager
def with_gpus(folder: Path, pool: AppraisalPool) -> Iterator[Attesting]:
    """A registry that has a policy for GPUs."""
    with attesting(folder, pool, clock=Clock(NOON)) as world:
        policy = Policy(
            name=GPUS,
            family=Family.NVIDIA_SPDM,
            skip=tuple(DEVICE_RULES.references),
            roots=named(nvidia.roots_of()),
        )
        world.put(policy)
        yield world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, pool: AppraisalPool) -> Iterator[Attesting]:
    with with_gpus(tmp_path_factory.mktemp("registry"), pool) as world:
        yield world


def submit_gpu(
    world: Attesting, nonce: bytes, *, asked: bytes | None = None, name: str = "node-1"
) -> StoredEntry:
    """Submit the evidence of a GPU that was asked with a nonce."""
    minted = nvidia.mint(nvidia.Spec(nonce=gpu_nonce(asked or nonce)))
    return world.present(
        minted.evidence,
        Binding(nonce=nonce),
        name=name,
        family=Family.NVIDIA_SPDM,
        policy=GPUS,
        endorsements=[(item.role, item.data) for item in minted.endorsements.items],
    )


def evidence_id(world: Attesting, entry: StoredEntry) -> bytes:
    said = world.environment(entry, Family.NVIDIA_SPDM)
    assert said.verdict is Verdict.VALID, said.checks
    assert isinstance(said.evidence_id, str)
    return bytes.fromhex(said.evidence_id)


def reason(world: Attesting, binding: Binding) -> Reason:
    with pytest.raises(RegistryError) as caught:
        world.present(document(binding, NOON).evidence, binding)
    return caught.value.reason


def test_a_cpu_vouches_for_gpus_that_answered_the_same_challenge(world: Attesting) -> None:
    binding = world.binding()
    assert binding.nonce is not None
    gpu = evidence_id(world, submit_gpu(world, binding.nonce))
    bound = replace(binding, gpu=gpu)
    said = world.environment(world.present(document(bound, NOON).evidence, bound))
    assert said.verdict is Verdict.VALID
    attested = world.evidence.attested.require(world.key.public_key)
    assert attested.listed.family == Family.AWS_NITRO


@pytest.fixture
def own_world(tmp_path: Path, pool: AppraisalPool) -> Iterator[Attesting]:
    with with_gpus(tmp_path, pool) as world:
        yield world


def test_a_cpu_admits_no_key_once_its_gpus_are_refused(own_world: Attesting) -> None:
    world = own_world
    binding = world.binding("node-2")
    assert binding.nonce is not None
    gpu = evidence_id(world, submit_gpu(world, binding.nonce, name="node-2"))
    bound = replace(binding, gpu=gpu)
    entry = world.present(document(bound, NOON).evidence, bound, name="node-2")
    key = world.under.keys["node-2"].public_key
    assert world.evidence.attested.require(key).entry == entry
    world.distrust(
        Entry(
            selector=Selector(family=Family.NVIDIA_SPDM, claims={"product_line": "GH100"}),
            effective_from="2020-01-01T00:00:00Z",
            reason="its keys leaked",
        )
    )
    [change] = world.evidence.reappraisal.run(gpu)
    assert (change.before, change.now) == ("VALID", "INVALID")
    # Whose GPUs they are, the evidence of the CPU says.
    assert (change.principal, change.key_id) == ("node-2", key.key_id)
    with pytest.raises(RefusedError) as caught:
        world.evidence.attested.require(key)
    assert caught.value.reason is Reason.UNATTESTED
    assert gpu.hex() in caught.value.expected


def test_a_gpu_alone_attests_no_key(world: Attesting) -> None:
    nonce = world.binding("node-2").nonce
    assert nonce is not None
    submit_gpu(world, nonce, name="node-2")
    key = world.under.keys["node-2"].public_key
    assert world.evidence.attested.in_force(key, NOON) is None


# 120: evidence of another host's GPU, relayed.


def test_gpus_that_answered_another_challenge_are_refused(world: Attesting) -> None:
    theirs = world.binding("node-2").nonce
    assert theirs is not None
    gpu = evidence_id(world, submit_gpu(world, theirs, name="node-2"))
    assert reason(world, world.binding(gpu=gpu)) is Reason.WRONG_GPU


def test_a_gpu_that_was_asked_by_somebody_else_is_refused(world: Attesting) -> None:
    nonce = world.binding().nonce
    assert nonce is not None
    with pytest.raises(RegistryError) as caught:
        submit_gpu(world, nonce, asked=b"x" * 32)
    assert caught.value.reason is Reason.WRONG_COMMITMENT


def test_the_nonce_itself_is_not_what_a_gpu_is_asked_with(world: Attesting) -> None:
    nonce = world.binding().nonce
    assert nonce is not None
    minted = nvidia.mint(nvidia.Spec(nonce=nonce))
    with pytest.raises(RegistryError) as caught:
        world.present(minted.evidence, Binding(nonce=nonce), family=Family.NVIDIA_SPDM, policy=GPUS)
    assert caught.value.reason is Reason.WRONG_COMMITMENT


def test_gpus_whose_evidence_was_refused_are_vouched_for_by_nobody(world: Attesting) -> None:
    binding = world.binding()
    assert binding.nonce is not None
    minted = nvidia.mint(nvidia.Spec(nonce=gpu_nonce(binding.nonce)))
    # Without manifests and answers nothing is known of it.
    entry = world.present(
        minted.evidence, Binding(nonce=binding.nonce), family=Family.NVIDIA_SPDM, policy=GPUS
    )
    said = world.environment(entry, Family.NVIDIA_SPDM)
    assert said.verdict is Verdict.INDETERMINATE
    assert isinstance(said.evidence_id, str)
    bound = replace(binding, gpu=bytes.fromhex(said.evidence_id))
    assert reason(world, bound) is Reason.UNKNOWN_EVIDENCE
