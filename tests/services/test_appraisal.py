"""Evidence becomes a logged result, once, for what it is bound to; anything else is refused.

Numbers are those of the catalogue of bad inputs.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.core.digest import sha256
from registry.core.encoding import write_json
from registry.core.evidence.appraisal import policy_digest
from registry.core.evidence.binding import Binding
from registry.core.evidence.claims import MAX_EVIDENCE_BYTES, Family
from registry.core.evidence.endorsements import Role
from registry.core.evidence.trust import Tier
from registry.core.keys import PublicKey
from registry.core.verdict import Verdict
from registry.errors import (
    ConflictError,
    LimitExceededError,
    NotFoundError,
    Reason,
    RefusedError,
    RegistryError,
    UnavailableError,
)
from registry.inspection.appraisal_pool import AppraisalPool
from registry.services import sequencing
from registry.services.challenges import LIFE
from registry.signing.file import StatementSigner
from registry.storage.sql.log import StoredEntry
from tests.attesting import (
    MODEL,
    POLICY,
    Attesting,
    Clock,
    attesting,
    document,
    nitro_policy,
)
from tools.fake_vendor import nitro

KIB = 1024


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, pool: AppraisalPool) -> Iterator[Attesting]:
    with attesting(tmp_path_factory.mktemp("registry"), pool) as world:
        yield world


@pytest.fixture(autouse=True)
def noon(world: Attesting) -> None:
    world.clock.at = nitro.NOON


def kept(world: Attesting) -> tuple[int, frozenset[bytes]]:
    return world.under.stored(), frozenset(world.under.services.blobs)


def refused(world: Attesting, act: Callable[[], object]) -> Reason:
    """Why something is refused, after which nothing more is stored."""
    before = kept(world)
    with pytest.raises(RegistryError) as caught:
        act()
    assert kept(world) == before
    return caught.value.reason


def test_good_evidence_becomes_a_signed_and_logged_result(world: Attesting) -> None:
    binding = world.binding()
    minted = document(binding)
    lists = [(item.role, item.data) for item in minted.endorsements.items]
    entry = world.present(minted.evidence, binding, endorsements=lists)
    said = world.environment(entry)
    assert (said.verdict, said.status, said.question) == (
        Verdict.VALID,
        Tier.AFFIRMING,
        "then",
    )
    assert said.raw_evidence == sha256(minted.evidence).hex()
    assert said.policy == policy_digest(nitro_policy())
    assert [item.sha256 for item in said.endorsements] == [
        item.sha256 for item in minted.endorsements.items
    ]
    # A root that is no vendor's is told with every result.
    assert said.configured_roots == (sha256(minted.chain[0].der).hex(),)
    blobs = world.under.services.blobs
    assert blobs.read(sha256(minted.evidence), MAX_EVIDENCE_BYTES) == minted.evidence
    for item in minted.endorsements.items:
        assert blobs.read(bytes.fromhex(item.sha256), MAX_EVIDENCE_BYTES) == item.data
    receipt = world.under.services.sequencer.prove(entry)
    receipt.verify(entry.body, world.under.services.signer.key)


def test_a_result_is_found_by_evidence_bytes_key_name_and_verifier(world: Attesting) -> None:
    entry = world.attest()
    said = world.environment(entry)
    find = world.evidence.appraisals.find
    assert isinstance(said.evidence_id, str)
    assert find(evidence_id=bytes.fromhex(said.evidence_id)) == [entry]
    assert find(evidence_id=bytes.fromhex(said.raw_evidence)) == [entry]
    assert find(record_id=entry.record_id) == [entry]
    assert find(key_id=world.key.public_key.key_id)[-1] == entry
    assert entry in find(verifier="provreg 0.1.0")
    for nothing in ({"evidence_id": bytes(32)}, {"key_id": "x"}, {"verifier": "dcap-qvl 0.3.8"}):
        with pytest.raises(NotFoundError) as caught:
            find(**nothing)
        assert caught.value.reason is Reason.UNKNOWN_EVIDENCE


def test_the_identical_submission_answers_the_original_entry(world: Attesting) -> None:
    binding = world.binding()
    evidence = document(binding).evidence
    first = world.present(evidence, binding)
    size = world.under.stored()
    # Long after the challenge has ended, too.
    world.clock.at += 100 * LIFE
    assert world.present(evidence, binding) == first
    assert world.under.stored() == size


def test_two_identical_submissions_at_once_answer_one_entry(world: Attesting) -> None:
    binding = world.binding()
    evidence = document(binding).evidence
    size = world.under.stored()
    answers: list[StoredEntry] = []
    threads = [
        threading.Thread(target=lambda: answers.append(world.present(evidence, binding)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert {answer.index for answer in answers} == {size}
    assert world.under.stored() == size + 1


# 125


@pytest.mark.parametrize(
    "altered",
    [
        {"signature": nitro.high_s},
        {"message": lambda data: b"\xd2" + data},
    ],
    ids=["high-s", "tagged"],
)
def test_evidence_in_altered_unsigned_bytes_is_known_again(
    world: Attesting, altered: dict[str, Any]
) -> None:
    binding = world.binding()
    world.present(document(binding).evidence, binding)
    again = document(binding, **altered)
    assert again.evidence != document(binding).evidence
    reason = refused(world, lambda: world.present(again.evidence, binding))
    assert reason is Reason.EVIDENCE_REPLAYED


def test_a_copy_is_no_evidence_for_another_challenge(world: Attesting) -> None:
    binding, other = world.binding(), world.binding()
    world.present(document(binding).evidence, binding)
    copy = document(binding, signature=nitro.high_s).evidence
    assert refused(world, lambda: world.present(copy, other)) is Reason.EVIDENCE_REPLAYED


def test_a_copy_with_an_unknown_nonce_is_a_replay_too(world: Attesting) -> None:
    binding = world.binding()
    evidence = document(binding).evidence
    world.present(evidence, binding)
    stated = replace(binding, nonce=bytes(32))
    assert refused(world, lambda: world.present(evidence, stated)) is Reason.EVIDENCE_REPLAYED


def test_the_same_bytes_for_a_new_challenge_are_a_replay(world: Attesting) -> None:
    binding, other = world.binding(), world.binding()
    evidence = document(binding).evidence
    world.present(evidence, binding)
    assert refused(world, lambda: world.present(evidence, other)) is Reason.EVIDENCE_REPLAYED


def test_of_two_spellings_at_once_one_is_refused(world: Attesting) -> None:
    binding = world.binding()
    outcomes: list[Reason | None] = []

    def attempt(evidence: bytes) -> None:
        try:
            world.present(evidence, binding)
            outcomes.append(None)
        except ConflictError as error:
            outcomes.append(error.reason)

    spellings = [document(binding).evidence, document(binding, signature=nitro.high_s).evidence]
    threads = [threading.Thread(target=attempt, args=(each,)) for each in spellings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == ["EVIDENCE_REPLAYED", "None"]


@pytest.mark.parametrize(
    "other",
    [{"model": b"m" * 32}, {"session_key": None}, {"context": b"c" * 32}],
    ids=["another model", "no key", "another purpose"],
)
def test_the_same_bytes_for_something_else_are_a_replay(
    world: Attesting, other: dict[str, bytes | None]
) -> None:
    binding = world.binding()
    evidence = document(binding).evidence
    world.present(evidence, binding)
    stated = replace(binding, **other)
    assert refused(world, lambda: world.present(evidence, stated)) is Reason.EVIDENCE_REPLAYED


def test_a_broken_copy_by_somebody_else_does_not_burn_the_evidence(world: Attesting) -> None:
    binding = world.binding()
    good = document(binding)
    broken = document(binding, signature=lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    entry = world.present(broken.evidence, binding)
    said = world.environment(entry)
    assert (said.verdict, said.status) == (Verdict.INVALID, Tier.CONTRAINDICATED)
    assert set(said.trust.values()) == {99}
    # It cost a challenge, and that is all that it cost.
    assert refused(world, lambda: world.present(good.evidence, binding)) is Reason.CHALLENGE_USED
    again = world.binding()
    minted = document(again)
    assert world.environment(world.present(minted.evidence, again)).verdict is Verdict.VALID


# 127


def test_evidence_for_the_nonce_of_another_session_is_refused(world: Attesting) -> None:
    theirs, ours = world.binding("node-2"), world.binding()
    evidence = document(theirs).evidence
    assert refused(world, lambda: world.present(evidence, theirs)) is Reason.CHALLENGE_NOT_YOURS
    assert refused(world, lambda: world.present(evidence, ours)) is Reason.WRONG_COMMITMENT


def test_evidence_for_a_nonce_that_was_never_issued_is_refused(world: Attesting) -> None:
    binding = Binding(nonce=bytes(32), session_key=world.key.public_key.der)
    evidence = document(binding).evidence
    assert refused(world, lambda: world.present(evidence, binding)) is Reason.UNKNOWN_CHALLENGE


def test_evidence_that_comes_too_late_is_refused(world: Attesting) -> None:
    binding = world.binding()
    evidence = document(binding).evidence
    world.clock.at += LIFE
    assert refused(world, lambda: world.present(evidence, binding)) is Reason.CHALLENGE_EXPIRED


def test_a_used_nonce_is_refused_for_other_evidence(world: Attesting) -> None:
    binding = world.binding()
    world.present(document(binding).evidence, binding)
    other = replace(binding, model=b"m" * 32)
    evidence = document(other).evidence
    assert refused(world, lambda: world.present(evidence, other)) is Reason.CHALLENGE_USED


def test_what_is_refused_leaves_its_challenge_good(world: Attesting) -> None:
    binding = world.binding()
    other = document(replace(binding, model=b"m" * 32))
    assert refused(world, lambda: world.present(other.evidence, binding)) is Reason.WRONG_COMMITMENT
    assert refused(world, lambda: world.present(b"?", binding)) is Reason.UNREADABLE_EVIDENCE
    said = world.environment(world.present(document(binding).evidence, binding))
    assert said.verdict is Verdict.VALID


# 128


def test_evidence_that_commits_to_another_model_is_refused(world: Attesting) -> None:
    binding = world.binding()
    other = document(replace(binding, model=b"m" * 32)).evidence
    assert refused(world, lambda: world.present(other, binding)) is Reason.WRONG_COMMITMENT


# 98, 130


def test_evidence_for_another_key_than_the_challenge_is_refused(world: Attesting) -> None:
    wanted = StatementSigner.generate().public_key.der
    caller = world.caller("node-1")
    nonce = world.evidence.challenges.issue(caller, wanted).nonce
    binding = Binding(nonce=nonce, session_key=world.key.public_key.der)
    evidence = document(binding).evidence
    assert refused(world, lambda: world.present(evidence, binding)) is Reason.WRONG_SESSION_KEY
    unbound = Binding(nonce=nonce)
    evidence = document(unbound).evidence
    assert refused(world, lambda: world.present(evidence, unbound)) is Reason.WRONG_SESSION_KEY


def test_evidence_for_somebody_elses_key_is_refused(world: Attesting) -> None:
    binding = world.binding(session_key=world.under.keys["node-2"].public_key.der)
    evidence = document(binding).evidence
    assert refused(world, lambda: world.present(evidence, binding)) is Reason.KEY_NOT_YOURS


def test_evidence_for_a_key_that_is_admitted_later_is_taken(world: Attesting) -> None:
    key = StatementSigner.generate().public_key
    binding = world.binding(session_key=key.der)
    world.present(document(binding).evidence, binding)
    found = world.evidence.attested.in_force(key, world.clock.at)
    assert found is not None
    assert found.listed.key_id == key.key_id


# 133


def test_a_missing_list_that_the_policy_requires_leaves_it_open(world: Attesting) -> None:
    world.put(nitro_policy("test/with-lists", require=("N9",)))
    binding = world.binding()
    minted = document(binding)
    entry = world.present(minted.evidence, binding, policy="test/with-lists")
    said = world.environment(entry)
    assert (said.verdict, said.status) == (Verdict.INDETERMINATE, Tier.NONE)
    assert ("N9", "MISSING") in {(item.check, item.finding) for item in said.checks}
    found = world.evidence.attested.in_force(world.key.public_key, world.clock.at)
    assert found is None or found.entry != entry


# 140, 141


def test_evidence_of_another_family_cannot_be_read(world: Attesting) -> None:
    binding = world.binding()
    evidence = document(binding).evidence
    reason = refused(world, lambda: world.present(evidence, binding, family=Family.INTEL_DCAP))
    assert reason is Reason.MALFORMED_POLICY
    reason = refused(world, lambda: world.present(b"\0" * 1184, binding))
    assert reason is Reason.UNREADABLE_EVIDENCE


def test_an_unknown_family_is_refused(world: Attesting) -> None:
    binding = world.binding()
    reason = refused(world, lambda: world.present(b"", binding, family="acme-tee"))
    assert reason is Reason.UNKNOWN_FAMILY


def test_too_large_evidence_is_refused_before_anything_reads_it(world: Attesting) -> None:
    binding = Binding()
    reason = refused(
        world, lambda: world.present(bytes(MAX_EVIDENCE_BYTES + 1), binding, policy="none")
    )
    assert reason is Reason.EVIDENCE_SIZE


def test_too_many_endorsements_are_refused(world: Attesting) -> None:
    binding = world.binding()
    many = [(Role.NITRO_CRL, bytes([n // 256, n % 256])) for n in range(300)]
    reason = refused(world, lambda: world.present(b"x", binding, endorsements=many))
    assert reason is Reason.ENDORSEMENT_SIZE


@pytest.mark.parametrize(
    "stated",
    [Binding(), Binding(nonce=b"short"), Binding(nonce=bytes(32), model=b"short")],
    ids=["no nonce", "a short nonce", "a short model"],
)
def test_a_binding_that_cannot_be_is_refused(world: Attesting, stated: Binding) -> None:
    assert refused(world, lambda: world.present(b"x", stated)) is Reason.MALFORMED_FIELD


def test_a_gpu_commits_to_no_key_whatever_its_submitter_says(world: Attesting) -> None:
    binding = world.binding()
    reason = refused(world, lambda: world.present(b"x", binding, family=Family.NVIDIA_SPDM))
    assert reason is Reason.MALFORMED_FIELD


def test_evidence_that_names_gpus_nobody_attested_is_refused(world: Attesting) -> None:
    binding = world.binding(gpu=b"g" * 32)
    evidence = document(binding).evidence
    assert refused(world, lambda: world.present(evidence, binding)) is Reason.UNKNOWN_EVIDENCE


def test_somebody_without_a_role_for_it_submits_nothing(world: Attesting) -> None:
    binding = world.binding()
    reason = refused(world, lambda: world.present(b"x", binding, name="acme"))
    assert reason is Reason.ROLE


def test_an_unknown_policy_is_refused(world: Attesting) -> None:
    binding = world.binding()
    for policy in ("nobody/knows", "", f"sha256:{'0' * 64}"):
        reason = refused(world, lambda p=policy: world.present(b"x", binding, policy=p))  # type: ignore[misc]  # bound now
        assert reason is Reason.UNKNOWN_APPRAISAL_POLICY


def test_a_policy_is_named_by_its_record_too(world: Attesting) -> None:
    entry, _ = world.evidence.policies.find(POLICY)
    binding = world.binding()
    evidence = document(binding).evidence
    name = f"sha256:{entry.record_id.hex()}"
    assert world.environment(world.present(evidence, binding, policy=name)).verdict is Verdict.VALID


def test_a_policy_that_was_replaced_judges_nothing_more(world: Attesting) -> None:
    old = world.put(nitro_policy("test/lax"))
    name = f"sha256:{old.record_id.hex()}"
    binding = world.binding()
    evidence = document(binding).evidence
    first = world.present(evidence, binding, policy=name)
    world.put(nitro_policy("test/lax", result_seconds=60))
    assert world.present(evidence, binding, policy=name) == first
    later = world.binding()
    fresh = document(later).evidence
    reason = refused(world, lambda: world.present(fresh, later, policy=name))
    assert reason is Reason.POLICY_REPLACED
    assert world.environment(world.present(fresh, later, policy="test/lax")).verdict == "VALID"


# 10, 80: a root that nobody named


def test_the_fake_vendor_is_refused_unless_a_policy_names_its_root(world: Attesting) -> None:
    world.put(nitro_policy("test/no-roots", roots=()))
    binding = world.binding()
    entry = world.present(document(binding).evidence, binding, policy="test/no-roots")
    said = world.environment(entry)
    assert said.verdict is Verdict.INVALID
    assert "UNTRUSTED_ROOT" in {item.finding for item in said.checks}


# Faults


def test_a_log_that_takes_nothing_leaves_nothing_behind(
    world: Attesting, monkeypatch: pytest.MonkeyPatch
) -> None:
    binding = world.binding()
    evidence = document(binding).evidence
    monkeypatch.setattr(sequencing, "MAX_WAITING", 0)
    assert refused(world, lambda: world.present(evidence, binding)) is Reason.LOG_BUSY
    monkeypatch.undo()
    assert world.environment(world.present(evidence, binding)).verdict is Verdict.VALID


def test_a_crash_between_commit_and_answer_answers_the_same_entry(
    tmp_path: Path, pool: AppraisalPool
) -> None:
    keys: dict[str, StatementSigner] = {}
    clock = Clock()
    with attesting(tmp_path, pool, keys=keys, clock=clock) as world:
        binding = world.binding()
        evidence = document(binding).evidence
        first = world.present(evidence, binding)
    with attesting(tmp_path, pool, keys=keys, clock=clock) as world:
        assert world.present(evidence, binding) == first
        other = document(binding, signature=nitro.high_s).evidence
        with pytest.raises(ConflictError):
            world.present(other, binding)


def test_a_crash_before_the_commit_leaves_the_challenge_good(
    tmp_path: Path, pool: AppraisalPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: dict[str, StatementSigner] = {}
    clock = Clock()
    with attesting(tmp_path, pool, keys=keys, clock=clock) as world:
        binding = world.binding()
        evidence = document(binding).evidence

        def die(*_: object) -> None:
            raise OSError

        monkeypatch.setattr("registry.storage.sql.log.append", die)
        with pytest.raises(UnavailableError) as caught:
            world.present(evidence, binding)
        assert caught.value.reason is Reason.LOG_LATCHED
        monkeypatch.undo()
    with attesting(tmp_path, pool, keys=keys, clock=clock) as world:
        assert world.environment(world.present(evidence, binding)).verdict is Verdict.VALID


def test_a_worker_that_dies_stores_nothing(tmp_path: Path) -> None:
    import sys  # noqa: PLC0415

    dying = AppraisalPool(1, command=[sys.executable, "-c", "import sys; sys.stdin.read(4)"])
    with attesting(tmp_path, dying) as world:
        binding = world.binding()
        with pytest.raises(LimitExceededError) as caught:
            world.present(document(binding).evidence, binding)
        assert caught.value.reason is Reason.APPRAISAL_LIMIT
    dying.close()


# 148 to 150 and the rest of the registry's rows


def test_an_unattested_key_is_refused_by_name(world: Attesting) -> None:
    key = PublicKey.parse(StatementSigner.generate().public_key.der)
    with pytest.raises(RefusedError) as caught:
        world.evidence.attested.require(key)
    assert caught.value.reason is Reason.UNATTESTED


def test_a_result_ends_when_the_policy_says(world: Attesting) -> None:
    world.put(nitro_policy("test/short", result_seconds=60))
    key = StatementSigner.generate().public_key
    binding = world.binding(session_key=key.der)
    entry = world.present(document(binding).evidence, binding, policy="test/short")
    assert world.evidence.attested.require(key).entry == entry
    world.clock.advance(seconds=59)
    assert world.evidence.attested.require(key).entry == entry
    world.clock.advance(seconds=1)
    with pytest.raises(RefusedError):
        world.evidence.attested.require(key)


def test_results_name_the_bytes_that_were_judged_and_no_others(world: Attesting) -> None:
    binding = world.binding()
    minted = document(binding)
    lists = [(item.role, item.data) for item in minted.endorsements.items]
    said = world.environment(world.present(minted.evidence, binding, endorsements=lists[:1]))
    assert [item.sha256 for item in said.endorsements] == [sha256(lists[0][1]).hex()]


def test_statements_are_small_beside_what_they_name(world: Attesting) -> None:
    entry = world.attest()
    assert len(entry.envelope) < 16 * KIB
    assert MODEL.hex() in write_json(world.environment(entry)).decode()
