"""A log that is followed only ever grows, and answers in time."""

from datetime import UTC, datetime, timedelta

import pytest

from registry.core.tlog.following import verify_fresh, verify_successor
from registry.errors import Reason, RegistryError, UnavailableError
from registry.signing.file import LogSigner
from tests.core.tlog.trees import StaticLog

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def log() -> StaticLog:
    log = StaticLog()
    log.grow(5)
    return log


def refused(log: StaticLog, other: StaticLog, size: int) -> str:
    with pytest.raises(RegistryError) as caught:
        verify_successor(log.head(), other.head(size))
    return caught.value.reason


def test_the_same_and_a_larger_checkpoint_may_follow(log: StaticLog) -> None:
    verify_successor(log.head(3), log.head(3))
    verify_successor(log.head(3), log.head(5))


def test_fewer_entries_are_a_rollback(log: StaticLog) -> None:
    assert refused(log, log, 4) == Reason.LOG_ROLLBACK


def test_another_root_of_the_same_size_is_a_fork(log: StaticLog) -> None:
    other = StaticLog(log.signer)
    other.grow(5, "forged")
    assert refused(log, other, 5) == Reason.FORK


def test_another_origin_is_another_log(log: StaticLog) -> None:
    other = StaticLog(LogSigner.generate("other.example"), log.entries)
    assert refused(log, other, 5) == Reason.WRONG_LOG


@pytest.mark.parametrize("age", [timedelta(0), HOUR, -HOUR])
def test_a_checkpoint_within_the_time_is_fresh(age: timedelta) -> None:
    verify_fresh(NOON, NOON + age, HOUR)


@pytest.mark.parametrize("age", [HOUR + timedelta(seconds=1), -2 * HOUR])
def test_a_checkpoint_of_before_or_of_the_future_is_not(age: timedelta) -> None:
    with pytest.raises(UnavailableError) as caught:
        verify_fresh(NOON, NOON + age, HOUR)
    assert caught.value.reason is Reason.LOG_STALE
