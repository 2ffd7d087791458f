"""A shim that keeps its key attested: by a real registry, with evidence of the fake vendor."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from registry.core.digest import sha256
from registry.core.evidence.binding import Binding
from registry.core.verdict import Verdict
from registry.errors import (
    Reason,
    RefusedError,
    RegistryError,
    UnavailableError,
    VerificationError,
)
from registry.inspection.appraisal_pool import AppraisalPool
from registry.shim import attestation as room
from registry.shim.app import keep_attested
from registry.shim.attestation import (
    FIRST_PAUSE_SECONDS,
    MAX_PAUSE_SECONDS,
    MAX_REFUSED_PAUSE_SECONDS,
    Attested,
    Device,
    KeyAttestation,
)
from registry.shim.attester.guest_agent import GuestAgent
from registry.shim.attester.port import Collected, Commitment
from tests.attesting import MODEL, POLICY, Attesting, Direct, Logged, attesting, nitro_policy
from tests.shim.world import RELEASE
from tools.fake_vendor.guest_agent import Agent, nitro_mint

LIFE = 600
BELIEVES = nitro_policy(result_seconds=LIFE)


@pytest.fixture(scope="module")
def pool() -> Iterator[AppraisalPool]:
    opened_pool = AppraisalPool(1)
    yield opened_pool
    opened_pool.close()


@pytest.fixture
def world(tmp_path: Path, pool: AppraisalPool) -> Iterator[Attesting]:
    with attesting(tmp_path / "data", pool) as world:
        world.put(BELIEVES)
        yield world


@pytest.fixture
def agent(world: Attesting) -> Iterator[Agent]:
    with Agent(nitro_mint(world.clock)) as running:
        yield running


@pytest.fixture
def registry(world: Attesting) -> Direct:
    return Direct(world)


def attestation(
    world: Attesting, registry: Direct, agent: Agent, *, required: bool = False
) -> KeyAttestation:
    """Not started: the test says when there is an attempt."""
    device = Device(GuestAgent(agent.address), POLICY)
    chosen = room.Attesting(registry, device, required=required)
    return KeyAttestation(chosen, world.key.public_key, MODEL, clock=world.clock)


def newest(keeper: KeyAttestation) -> Attested:
    found = keeper.status().newest
    assert found is not None, keeper.status().failed
    return found


def failed(keeper: KeyAttestation) -> RegistryError:
    error = keeper.status().failed
    assert error is not None
    return error


def test_evidence_is_bound_to_nonce_key_and_model_and_the_result_is_in_force(
    world: Attesting, registry: Direct, agent: Agent
) -> None:
    keeper = attestation(world, registry, agent)
    assert keeper.attempt() == LIFE / 2
    [stated] = registry.asked
    assert stated == Binding(stated.nonce, world.key.public_key.der, MODEL)
    found = newest(keeper)
    assert keeper.status().failed is None
    assert keeper.holds(found)
    assert found.expires_at - found.issued_at == timedelta(seconds=LIFE)
    [entry] = world.evidence.appraisals.find(evidence_id=found.evidence_id)
    assert entry.index == found.index
    assert world.environment(entry).verdict is Verdict.VALID
    in_force = world.evidence.attested.require(world.key.public_key)
    assert in_force.entry.index == found.index


def test_a_root_that_is_no_vendors_is_not_forgotten(
    world: Attesting, registry: Direct, agent: Agent
) -> None:
    keeper = attestation(world, registry, agent)
    keeper.attempt()
    assert newest(keeper).configured_roots == (BELIEVES.roots[0].sha256,)


def test_software_is_measured_if_the_policy_compares_it_with_something(
    world: Attesting, registry: Direct, agent: Agent
) -> None:
    keeper = attestation(world, registry, agent)
    keeper.attempt()
    assert not newest(keeper).measured
    [entry] = world.evidence.appraisals.find(evidence_id=newest(keeper).evidence_id)
    pcr0 = world.environment(entry).claims["pcr0"]
    skip = tuple(name for name in BELIEVES.skip if name != "pcr0")
    world.put(nitro_policy(reference_values={"pcr0": (pcr0,)}, skip=skip))
    world.clock.advance(seconds=1)
    keeper.attempt()
    assert newest(keeper).measured


def test_renewal_is_due_long_before_the_end_and_brings_other_evidence(
    world: Attesting, registry: Direct, agent: Agent
) -> None:
    keeper = attestation(world, registry, agent)
    told: list[Attested] = []
    keeper.follow(told.append)
    wait = keeper.attempt()
    world.clock.advance(seconds=wait)
    keeper.attempt()
    first, second = told
    assert first.evidence_id != second.evidence_id
    assert second.issued_at < first.expires_at < second.expires_at
    assert newest(keeper) is second


def test_whoever_follows_later_is_told_of_the_newest_at_once(
    world: Attesting, registry: Direct, agent: Agent
) -> None:
    keeper = attestation(world, registry, agent)
    keeper.attempt()
    told: list[Attested] = []
    keeper.follow(told.append)
    assert told == [newest(keeper)]


def test_an_answer_that_is_lost_costs_one_more_result(world: Attesting, agent: Agent) -> None:
    class Losing(Direct):
        def submit(self, *given: Any, **more: Any) -> Logged:
            said = super().submit(*given, **more)
            if len(self.asked) == 1:
                raise UnavailableError(Reason.UNREACHABLE, "the connection broke")
            return said

    losing = Losing(world)
    keeper = attestation(world, losing, agent)
    keeper.attempt()
    assert keeper.status().newest is None
    world.clock.advance(seconds=1)
    keeper.attempt()
    found = world.evidence.appraisals.find(key_id=world.key.public_key.key_id)
    assert newest(keeper).index == found[-1].index
    assert len(found) == 2
    # The nonce of the first is used up: nobody can play its evidence again.
    assert len({each.nonce for each in losing.asked}) == 2


def test_a_listener_that_fails_keeps_nobody_from_being_attested(
    world: Attesting, registry: Direct, agent: Agent
) -> None:
    def refuse(_: Attested) -> None:
        raise UnavailableError(Reason.JOURNAL_LATCHED, "full")

    keeper = attestation(world, registry, agent)
    keeper.follow(refuse)
    keeper.attempt()
    assert keeper.holds(newest(keeper))


def test_a_registry_that_is_down_is_asked_again_after_longer_and_longer_pauses(
    world: Attesting, registry: Direct, agent: Agent
) -> None:
    keeper = attestation(world, registry, agent)
    registry.down = UnavailableError(Reason.UNREACHABLE, "nobody answers")
    waits = [keeper.attempt() for _ in range(12)]
    expected = [min(FIRST_PAUSE_SECONDS * 2**n, MAX_PAUSE_SECONDS) for n in range(12)]
    for wait, most in zip(waits, expected, strict=True):
        assert most / 2 <= wait <= most
    assert failed(keeper).reason is Reason.UNREACHABLE
    registry.down = None
    keeper.attempt()
    assert keeper.status().failed is None
    registry.down = UnavailableError(Reason.UNREACHABLE, "nobody answers")
    assert keeper.attempt() <= FIRST_PAUSE_SECONDS


def test_a_registry_that_refuses_is_asked_less_often_and_never_given_up(
    world: Attesting, registry: Direct, agent: Agent
) -> None:
    keeper = attestation(world, registry, agent)
    registry.down = RefusedError(Reason.CHALLENGE_EXPIRED, "too late")
    waits = [keeper.attempt() for _ in range(16)]
    assert waits[0] <= FIRST_PAUSE_SECONDS
    assert MAX_PAUSE_SECONDS < waits[-1] <= MAX_REFUSED_PAUSE_SECONDS


def test_an_unavailable_registry_is_asked_more_often_when_a_result_is_about_to_end(
    world: Attesting, registry: Direct, agent: Agent
) -> None:
    keeper = attestation(world, registry, agent)
    keeper.attempt()
    registry.down = UnavailableError(Reason.UNREACHABLE, "nobody answers")
    for _ in range(10):
        keeper.attempt()
    world.clock.advance(seconds=LIFE - 10)
    assert keeper.attempt() <= 5
    assert keeper.holds(newest(keeper))


def test_evidence_that_is_not_valid_admits_no_key(
    world: Attesting, registry: Direct, agent: Agent
) -> None:
    world.put(nitro_policy(result_seconds=LIFE, roots=()))
    keeper = attestation(world, registry, agent)
    keeper.attempt()
    assert keeper.status().newest is None
    error = failed(keeper)
    assert isinstance(error, VerificationError)
    assert error.reason is Reason.ATTESTATION_REFUSED
    assert "UNTRUSTED_ROOT" in error.actual


def test_a_device_that_does_not_answer_is_a_vain_attempt(
    world: Attesting, registry: Direct, agent: Agent
) -> None:
    keeper = attestation(world, registry, agent)
    agent.status = 503
    keeper.attempt()
    assert failed(keeper).reason is Reason.ATTESTER_FAILED


def test_an_attester_with_a_bug_ends_no_thread(world: Attesting, registry: Direct) -> None:
    class Broken:
        commits_to: ClassVar[Commitment] = "report_data"

        def evidence(self, *_: bytes) -> Collected:
            raise ZeroDivisionError

    chosen = room.Attesting(registry, Device(Broken(), POLICY))
    keeper = KeyAttestation(chosen, world.key.public_key, MODEL, clock=world.clock)
    keeper.attempt()
    assert failed(keeper).reason is Reason.INTERNAL


def test_a_vtpm_is_asked_with_the_commitment_that_fits_it(
    world: Attesting, registry: Direct
) -> None:
    asked: list[tuple[bytes, bytes]] = []

    class VTPM:
        commits_to: ClassVar[Commitment] = "tpm_nonce"

        def evidence(self, report_data: bytes, nonce: bytes, session_key_der: bytes) -> Collected:
            assert session_key_der == world.key.public_key.der
            asked.append((report_data, nonce))
            raise ZeroDivisionError

    chosen = room.Attesting(registry, Device(VTPM(), POLICY))
    KeyAttestation(chosen, world.key.public_key, MODEL, clock=world.clock).attempt()
    [(committed, nonce)] = asked
    bound = Binding(nonce=nonce, session_key=world.key.public_key.der, model=MODEL)
    assert committed == bound.tpm_nonce()


@pytest.mark.parametrize(
    ("by", "holds"), [(-1, False), (0, True), (LIFE - 1, True), (LIFE, False)], ids=str
)
def test_calls_are_refused_outside_the_time_in_force_if_that_is_required(
    world: Attesting, registry: Direct, agent: Agent, by: int, *, holds: bool
) -> None:
    keeper = attestation(world, registry, agent, required=True)
    with pytest.raises(RefusedError) as caught:
        keeper.require()
    assert caught.value.reason is Reason.UNATTESTED
    keeper.attempt()
    keeper.require()
    world.clock.advance(seconds=by)
    if holds:
        keeper.require()
        return
    with pytest.raises(RefusedError) as caught:
        keeper.require()
    assert not isinstance(caught.value, UnavailableError)
    assert str(newest(keeper).index) in caught.value.actual


def test_a_clock_that_is_late_is_still_in_the_result_before(
    world: Attesting, registry: Direct, agent: Agent
) -> None:
    keeper = attestation(world, registry, agent, required=True)
    keeper.attempt()
    world.clock.advance(seconds=60)
    keeper.attempt()
    world.clock.advance(seconds=-30)
    assert not keeper.holds(newest(keeper))
    keeper.require()


def test_nothing_is_refused_if_it_is_not_required(
    world: Attesting, registry: Direct, agent: Agent
) -> None:
    attestation(world, registry, agent).require()


def test_the_keeper_attests_before_the_block_and_goes_on_in_it(
    world: Attesting, registry: Direct, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "LEAST_WAIT_SECONDS", 0.0)
    twice = threading.Event()
    told: list[Attested] = []
    release = RELEASE
    chosen = room.Attesting(registry, Device(GuestAgent(agent.address), POLICY))

    def note(attested: Attested) -> None:
        told.append(attested)
        if len(told) > 1:
            twice.set()

    world.put(nitro_policy(result_seconds=0))
    with keep_attested(chosen, world.key.public_key, release, clock=world.clock) as keeper:
        assert failed(keeper).reason is Reason.ATTESTATION_REFUSED
        world.put(nitro_policy(result_seconds=1))
        keeper.follow(note)
        assert twice.wait(20)
    assert threading.active_count() == len(
        [each for each in threading.enumerate() if each.name != "attestation"]
    )
    [model] = {each.model for each in registry.asked}
    assert model == sha256(release.manifest.to_bytes())
