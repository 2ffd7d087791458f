"""Challenges are single-use, somebody's, and bounded by time; on every database, over restarts."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from registry.core.access import Principal
from registry.core.evidence.claims import Family
from registry.errors import (
    ConflictError,
    ForbiddenError,
    LimitExceededError,
    MalformedError,
    NotFoundError,
    Reason,
    RefusedError,
    RegistryError,
)
from registry.services import challenges as service
from registry.services.challenges import LIFE, REMEMBERED, Challenges, Claim
from registry.signing.file import StatementSigner
from registry.storage.sql import challenges
from registry.storage.sql.engine import Database

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
NODE = Principal("node-1", ("node",))
OTHER = Principal("node-2", ("node",))


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def issuer(database: Database, clock: Clock) -> Challenges:
    return Challenges(database, clock)


def use(database: Database, nonce: bytes, family: Family, entry: int, at: datetime = NOON) -> None:
    claim = Claim(nonce, family, bytes(32), NODE.name, int(at.timestamp()))
    with database.write() as connection:
        service.use_up(connection, claim, entry)


def refusal(
    issuer: Challenges, nonce: bytes, who: Principal = NODE, family: Family = Family.AMD_SNP
) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        issuer.require(nonce, family, who)
    return caught.value


def test_a_challenge_is_32_bytes_that_nobody_saw_before(issuer: Challenges) -> None:
    nonces = {issuer.issue(NODE).nonce for _ in range(20)}
    assert len(nonces) == 20
    assert {len(nonce) for nonce in nonces} == {32}


def test_a_challenge_may_be_used_by_whom_it_was_issued_to(issuer: Challenges) -> None:
    issued = issuer.issue(NODE)
    assert issuer.require(issued.nonce, Family.AMD_SNP, NODE) == issued


# Row 127: nonce of another session, reused, expired.


def test_a_nonce_of_somebody_else_is_refused(issuer: Challenges) -> None:
    error = refusal(issuer, issuer.issue(NODE).nonce, OTHER)
    assert isinstance(error, ForbiddenError)
    assert error.reason is Reason.CHALLENGE_NOT_YOURS


def test_a_nonce_that_was_never_issued_is_refused(issuer: Challenges) -> None:
    for nonce in (bytes(32), b"", b"short"):
        error = refusal(issuer, nonce)
        assert isinstance(error, NotFoundError)
        assert error.reason is Reason.UNKNOWN_CHALLENGE


def test_a_used_nonce_is_refused(database: Database, issuer: Challenges) -> None:
    nonce = issuer.issue(NODE).nonce
    use(database, nonce, Family.AMD_SNP, 7)
    error = refusal(issuer, nonce)
    assert isinstance(error, ConflictError)
    assert (error.reason, error.where) == (Reason.CHALLENGE_USED, "entry 7")


def test_a_nonce_is_good_until_its_last_second_and_no_longer(
    issuer: Challenges, clock: Clock
) -> None:
    issued = issuer.issue(NODE)
    clock.at = NOON + LIFE - timedelta(seconds=1)
    assert issuer.require(issued.nonce, Family.AMD_SNP, NODE) == issued
    clock.at = NOON + LIFE
    error = refusal(issuer, issued.nonce)
    assert isinstance(error, RefusedError)
    assert error.reason is Reason.CHALLENGE_EXPIRED


def test_the_transaction_that_logs_refuses_what_ended_meanwhile(
    database: Database, issuer: Challenges
) -> None:
    nonce = issuer.issue(NODE).nonce
    with pytest.raises(RefusedError) as caught:
        use(database, nonce, Family.AMD_SNP, 7, NOON + LIFE)
    assert caught.value.reason is Reason.CHALLENGE_EXPIRED


def test_of_two_that_use_a_challenge_at_once_one_is_refused(
    database: Database, issuer: Challenges
) -> None:
    nonce = issuer.issue(NODE).nonce

    def attempt(entry: int) -> bool:
        try:
            use(database, nonce, Family.AMD_SNP, entry)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(attempt, range(8))) == 1


def test_what_is_rolled_back_uses_nothing_up(database: Database, issuer: Challenges) -> None:
    issued = issuer.issue(NODE)
    claim = Claim(issued.nonce, Family.AMD_SNP, bytes(32), NODE.name, int(NOON.timestamp()))
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        service.use_up(connection, claim, 7)
        raise ZeroDivisionError
    assert issuer.require(issued.nonce, Family.AMD_SNP, NODE) == issued


def test_gpus_and_cpu_answer_the_same_challenge_once_each(
    database: Database, issuer: Challenges
) -> None:
    nonce = issuer.issue(NODE).nonce
    use(database, nonce, Family.NVIDIA_SET, 7)
    assert refusal(issuer, nonce, family=Family.NVIDIA_SPDM).reason is Reason.CHALLENGE_USED
    assert issuer.require(nonce, Family.INTEL_DCAP, NODE).gpu_entry == 7
    use(database, nonce, Family.INTEL_DCAP, 8)
    assert refusal(issuer, nonce, family=Family.AMD_SNP).reason is Reason.CHALLENGE_USED


# Row 126: a replay cache is persistent, and bounded by time and not by count.


def test_a_used_nonce_stays_used_over_a_restart(url: str, clock: Clock, database: Database) -> None:
    nonce = Challenges(database, clock).issue(NODE).nonce
    use(database, nonce, Family.AMD_SNP, 7)
    database.close()
    again = Database(url)
    try:
        assert refusal(Challenges(again, clock), nonce).reason is Reason.CHALLENGE_USED
    finally:
        again.close()


def test_a_challenge_survives_a_restart(url: str, clock: Clock, database: Database) -> None:
    issued = Challenges(database, clock).issue(NODE)
    database.close()
    again = Database(url)
    try:
        assert Challenges(again, clock).require(issued.nonce, Family.AMD_SNP, NODE) == issued
    finally:
        again.close()


def test_many_challenges_push_none_out(issuer: Challenges, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_OUTSTANDING", 20)
    first = issuer.issue(NODE)
    for _ in range(19):
        issuer.issue(NODE)
    with pytest.raises(LimitExceededError) as caught:
        issuer.issue(NODE)
    assert caught.value.reason is Reason.TOO_MANY_CHALLENGES
    assert issuer.require(first.nonce, Family.AMD_SNP, NODE) == first
    # Somebody else is not kept waiting by that.
    assert issuer.issue(OTHER).principal == OTHER.name


def test_room_comes_with_time(
    issuer: Challenges, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_OUTSTANDING", 1)
    issuer.issue(NODE)
    clock.at = NOON + LIFE
    assert issuer.issue(NODE).principal == NODE.name


def test_what_ended_long_ago_is_forgotten(
    database: Database, issuer: Challenges, clock: Clock
) -> None:
    nonce = issuer.issue(NODE).nonce
    clock.at = NOON + LIFE + REMEMBERED
    issuer.issue(NODE)
    assert refusal(issuer, nonce).reason is Reason.CHALLENGE_EXPIRED
    clock.at += timedelta(seconds=1)
    issuer.issue(NODE)
    with database.read() as connection:
        assert challenges.find(connection, nonce) is None
    assert refusal(issuer, nonce).reason is Reason.UNKNOWN_CHALLENGE


def test_a_challenge_may_be_for_one_session_key(issuer: Challenges) -> None:
    der = StatementSigner.generate().public_key.der
    issued = issuer.issue(NODE, der)
    assert issuer.require(issued.nonce, Family.AMD_SNP, NODE).session_key == der


def test_a_challenge_for_what_is_no_key_is_refused(issuer: Challenges) -> None:
    with pytest.raises(MalformedError) as caught:
        issuer.issue(NODE, b"no key")
    assert caught.value.reason is Reason.MALFORMED_KEY


@pytest.mark.parametrize("role", ["publisher"])
def test_a_challenge_is_for_nodes_auditors_and_admins(issuer: Challenges, role: str) -> None:
    with pytest.raises(ForbiddenError) as caught:
        issuer.issue(Principal("acme", (role,)))
    assert caught.value.reason is Reason.ROLE
    for name in ("node", "auditor", "admin"):
        assert issuer.issue(Principal("x", (role, name))).principal == "x"


# What nobody used yet is in memory as well; the log decides.


def test_a_fresh_challenge_is_known_without_the_database(
    database: Database, issuer: Challenges, clock: Clock
) -> None:
    issued = issuer.issue(NODE)
    database.close()
    assert issuer.fresh(issued.nonce, Family.AMD_SNP, NODE) == issued
    assert issuer.fresh(bytes(32), Family.AMD_SNP, NODE) is None
    with pytest.raises(RegistryError) as caught:
        issuer.fresh(issued.nonce, Family.AMD_SNP, OTHER)
    assert caught.value.reason is Reason.CHALLENGE_NOT_YOURS
    clock.at += service.LIFE
    with pytest.raises(RegistryError) as caught:
        issuer.fresh(issued.nonce, Family.AMD_SNP, NODE)
    assert caught.value.reason is Reason.CHALLENGE_EXPIRED


def test_a_challenge_that_was_tried_is_asked_of_the_database(issuer: Challenges) -> None:
    issued = issuer.issue(NODE)
    issuer.tried(issued.nonce)
    assert issuer.fresh(issued.nonce, Family.AMD_SNP, NODE) is None
    assert issuer.require(issued.nonce, Family.AMD_SNP, NODE) == issued


def test_memory_of_fresh_challenges_is_bounded(
    issuer: Challenges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_FRESH", 3)
    nonces = [issuer.issue(NODE).nonce for _ in range(4)]
    known = [issuer.fresh(nonce, Family.AMD_SNP, NODE) is not None for nonce in nonces]
    assert known == [False, False, False, True]
