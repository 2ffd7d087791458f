"""What is begun from memory and finished later comes to what a submission in one go comes to."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from registry.core.evidence.binding import Binding
from registry.core.evidence.claims import Family
from registry.core.evidence.endorsements import Role
from registry.core.verdict import Verdict
from registry.errors import ConflictError, Reason, VerificationError
from registry.inspection.appraisal_pool import AppraisalPool
from registry.services.submitted import AT_ONCE_BYTES, Begun, Presented
from registry.storage.sql.log import StoredEntry
from tests.attesting import POLICY, Attesting, attesting, document
from tools.fake_vendor import nitro


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, pool: AppraisalPool) -> Iterator[Attesting]:
    with attesting(tmp_path_factory.mktemp("registry"), pool) as world:
        yield world


def presented(binding: Binding, evidence: bytes | None = None) -> Presented:
    data = document(binding).evidence if evidence is None else evidence
    return Presented(Family.AWS_NITRO, data, (), binding, POLICY)


def begin(world: Attesting, what: Presented, name: str = "node-1") -> Begun | None:
    return world.evidence.appraisals.begin(what, world.caller(name))


def finish(world: Attesting, begun: Begun | None) -> StoredEntry:
    assert begun is not None
    return world.evidence.appraisals.finish(begun, world.evidence.pool.appraise(begun.task))


def test_what_is_finished_is_logged_and_attests_the_key(world: Attesting) -> None:
    entry = finish(world, begin(world, presented(world.binding())))
    assert world.environment(entry).verdict is Verdict.VALID
    assert world.evidence.attested.require(world.key.public_key).entry == entry


def test_of_two_that_were_begun_for_one_challenge_one_is_the_original(world: Attesting) -> None:
    what = presented(world.binding())
    begun = [begin(world, what) for _ in range(2)]
    first, second = (finish(world, item) for item in begun)
    assert first == second
    assert begin(world, what) is None


def test_of_two_spellings_that_were_begun_one_is_refused(world: Attesting) -> None:
    binding = world.binding()
    spelled = document(binding, signature=nitro.high_s).evidence
    begun = [begin(world, presented(binding, data)) for data in (None, spelled)]
    finish(world, begun[0])
    with pytest.raises(ConflictError) as caught:
        finish(world, begun[1])
    assert caught.value.reason is Reason.EVIDENCE_REPLAYED


def test_what_is_refused_leaves_its_challenge_fresh(world: Attesting) -> None:
    binding = world.binding()
    what = presented(binding)
    wrong = replace(what, stated=replace(binding, model=b"m" * 32))
    with pytest.raises(VerificationError) as caught:
        finish(world, begin(world, wrong))
    assert caught.value.reason is Reason.WRONG_COMMITMENT
    assert world.environment(finish(world, begin(world, what))).verdict is Verdict.VALID


def test_a_copy_for_a_fresh_challenge_is_known_when_it_is_finished(world: Attesting) -> None:
    binding, other = world.binding(), world.binding()
    finish(world, begin(world, presented(binding)))
    copy = presented(other, document(binding).evidence)
    with pytest.raises(ConflictError) as caught:
        finish(world, begin(world, copy))
    assert caught.value.reason is Reason.EVIDENCE_REPLAYED


def test_nothing_is_begun_that_the_database_must_be_asked_about(world: Attesting) -> None:
    binding = world.binding()
    good = presented(binding)
    assert begin(world, good, "node-2") is None
    for other in (
        replace(good, stated=replace(binding, nonce=bytes(32))),
        replace(good, stated=replace(binding, gpu=b"g" * 32)),
        replace(good, stated=replace(binding, session_key=b"no key")),
        replace(good, policy="no/such"),
        replace(good, family="no-such"),
        replace(good, endorsements=[(Role.NITRO_CRL, bytes(AT_ONCE_BYTES))]),
    ):
        assert begin(world, other) is None
    assert begin(world, good) is not None
