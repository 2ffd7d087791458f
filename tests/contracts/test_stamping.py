"""The log is stamped by two real authorities, on a schedule, whatever they do."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from registry.core.archive.timestamp import open_token
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.errors import MalformedError, Reason, RegistryError
from registry.remote.http import HTTPClient
from registry.services import timestamps as schedule
from registry.services.timestamps import AuthorityState, Timestamps
from registry.storage.sql import timestamps
from registry.storage.sql.timestamps import StoredTimestamp
from tests.contracts.registry_under_test import UnderTest, opened
from tests.mint import dataset_statement
from tests.stamping import Clock, Server, stamping

SOON = timedelta(milliseconds=50)
"""The interval of most tests."""

LONG = timedelta(hours=1)
"""An interval that no test waits for."""

SECONDS = 20.0
"""How long anything may take."""


@pytest.fixture
def registry(tmp_path: Path, url: str) -> Iterator[UnderTest]:
    with opened(tmp_path / "data", url) as registry:
        yield registry


@pytest.fixture
def one() -> Iterator[Server]:
    with stamping("one") as server:
        yield server


@pytest.fixture
def two() -> Iterator[Server]:
    with stamping("two") as server:
        yield server


@contextmanager
def scheduled(
    registry: UnderTest,
    *servers: Server,
    interval: timedelta = SOON,
    now: Callable[[], datetime] | None = None,
    timeout: timedelta = timedelta(seconds=5),
) -> Iterator[Timestamps]:
    services = registry.services
    with HTTPClient(timeout=timeout) as client:
        running = Timestamps(
            services.database,
            services.sequencer,
            [server.remote(client) for server in servers],
            interval,
            now or Clock(),
        )
        try:
            yield running
        finally:
            running.close()


def until(true: Callable[[], object]) -> None:
    ends = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < ends, "this did not happen in time"
        time.sleep(0.01)


def rows(registry: UnderTest) -> list[StoredTimestamp]:
    found: list[StoredTimestamp] = []
    with registry.services.database.read() as connection:
        while more := timestamps.first_after(connection, found[-1].size if found else 0):
            found += more
    return found


def stamped(registry: UnderTest, size: int, servers: int = 2) -> Callable[[], bool]:
    return lambda: sum(row.size == size for row in rows(registry)) == servers


def verified(registry: UnderTest, row: StoredTimestamp, servers: Sequence[Server]) -> None:
    """The row proves by itself when a checkpoint of this log was there."""
    [server] = [each for each in servers if each.signer.authority.chain_digest == row.authority]
    key = registry.services.signer.key
    assert SignedCheckpoint.open(row.note, key).checkpoint.size == row.size
    assert open_token(row.token, row.note, server.signer.authority).at == row.at


def state(running: Timestamps, server: Server) -> AuthorityState:
    [found] = [each for each in running.states if each.url == server.url]
    return found


# What is stamped, and when.


def test_every_authority_stamps_the_newest_checkpoint(
    registry: UnderTest, one: Server, two: Server
) -> None:
    with scheduled(registry, one, two, interval=LONG) as running:
        until(stamped(registry, registry.size))
        until(lambda: all(each.size == registry.size for each in running.states))
    for row in rows(registry):
        verified(registry, row, [one, two])


def test_a_checkpoint_is_stamped_once(registry: UnderTest, one: Server, two: Server) -> None:
    with scheduled(registry, one, two):
        until(stamped(registry, registry.size))
        time.sleep(10 * SOON.total_seconds())
    assert len(rows(registry)) == len(one.questions) + len(two.questions) == 2


def test_what_is_new_is_stamped_when_the_interval_is_over(
    registry: UnderTest, one: Server, two: Server
) -> None:
    with scheduled(registry, one, two):
        until(stamped(registry, registry.size))
        registry.register(dataset_statement())
        until(stamped(registry, registry.size))
    for row in rows(registry):
        verified(registry, row, [one, two])
    with registry.services.database.read() as connection:
        first = timestamps.first_after(connection, registry.size - 1)
    assert {row.size for row in first} == {registry.size}


def test_nothing_is_stamped_before_the_interval_is_over(registry: UnderTest, one: Server) -> None:
    with scheduled(registry, one, interval=LONG):
        until(stamped(registry, registry.size, 1))
        registry.register(dataset_statement())
        time.sleep(0.2)
    assert len(one.questions) == 1


# Restarts.


def test_the_schedule_goes_on_where_it_was(tmp_path: Path, url: str, one: Server) -> None:
    keys = {}
    with opened(tmp_path / "data", url) as registry:
        with scheduled(registry, one, interval=LONG):
            until(stamped(registry, registry.size, 1))
        keys = registry.keys
        size = registry.size
    with opened(tmp_path / "data", url) as registry:
        registry.keys.update(keys)
        registry.register(dataset_statement())
        with scheduled(registry, one, interval=LONG) as running:
            assert state(running, one).size == size
            time.sleep(0.2)
            assert len(one.questions) == 1
        with scheduled(registry, one, now=Clock(-2 * LONG)):
            # Two hours later by our clock; the authority's clock did not move, so it alarms.
            until(lambda: len(one.questions) == 2)
        one.clock.late = -2 * LONG
        with scheduled(registry, one, now=Clock(-2 * LONG)):
            until(stamped(registry, registry.size, 1))


def test_a_time_in_the_far_future_delays_no_more_than_one_interval(
    registry: UnderTest, one: Server
) -> None:
    one.clock.late = -timedelta(days=10)
    with scheduled(registry, one, now=Clock(-timedelta(days=10))):
        until(stamped(registry, registry.size, 1))
    registry.register(dataset_statement())
    with scheduled(registry, one):
        # The clock was set right, ten days back: the authority is asked again, and alarms.
        until(lambda: len(one.questions) >= 2)


# Authorities that fail.


def test_one_that_is_gone_does_not_keep_the_other_from_stamping(
    registry: UnderTest, one: Server, two: Server
) -> None:
    url, one.url = one.url, "http://127.0.0.1:9/"
    with scheduled(registry, one, two) as running:
        until(stamped(registry, registry.size, 1))
        until(lambda: state(running, one).failures >= 2)
        assert state(running, one).reason is Reason.UNREACHABLE
        assert state(running, two).failures == 0
        assert state(running, one).alarms == 0
    one.url = url
    with scheduled(registry, one, two) as running:
        until(stamped(registry, registry.size))
        assert state(running, one).failures == 0


def test_one_that_comes_back_is_asked_again(registry: UnderTest, one: Server) -> None:
    one.before = lambda: (_ for _ in ()).throw(OSError())
    with scheduled(registry, one) as running:
        until(lambda: state(running, one).failures >= 2)
        assert state(running, one).reason is Reason.REMOTE_STATUS
        one.before = lambda: None
        until(stamped(registry, registry.size, 1))
        until(lambda: state(running, one).failures == 0)
        assert state(running, one).reason == ""


def test_the_log_does_not_wait_for_one_that_hangs(registry: UnderTest, one: Server) -> None:
    hanging = threading.Event()

    def hang() -> None:
        hanging.wait(2 * SECONDS)

    one.before = hang
    try:
        with scheduled(registry, one, timeout=timedelta(seconds=SECONDS)) as running:
            assert one.asked.wait(SECONDS)
            for version in range(20):
                registry.register(dataset_statement(version=str(version)))
            # Nobody has given up the only question so far.
            assert state(running, one).failures == 0
            assert len(one.questions) == 1
            hanging.set()
    finally:
        hanging.set()


def test_pauses_grow_and_are_bounded(registry: UnderTest, one: Server) -> None:
    with scheduled(registry, one, interval=timedelta(days=1)) as running:
        until(stamped(registry, registry.size, 1))
        error = RegistryError(Reason.UNREACHABLE, "gone")
        pauses = [running._failed(0, error) for _ in range(2000)]
    assert pauses[:3] == [schedule.FIRST_PAUSE * factor for factor in (1, 2, 4)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == schedule.LONGEST_PAUSE


# Alarms: nothing that contradicts is stored.


def alarm(registry: UnderTest, running: Timestamps, server: Server) -> str:
    before = rows(registry)
    alarms = state(running, server).alarms
    until(lambda: state(running, server).alarms > alarms)
    assert rows(registry) == before
    return state(running, server).reason


@pytest.mark.parametrize("late", [timedelta(minutes=5), timedelta(minutes=-5)])
def test_a_stamp_far_from_our_clock_is_an_alarm(
    registry: UnderTest, one: Server, late: timedelta
) -> None:
    one.clock.late = late
    with scheduled(registry, one) as running:
        assert alarm(registry, running, one) == Reason.TIMESTAMP_CLOCK
        assert "TIMESTAMP_CLOCK" in state(running, one).alarm
        one.clock.late = timedelta(0)
        one.signer._latest = None
        until(stamped(registry, registry.size, 1))
        # What happened stays visible.
        assert state(running, one).alarms >= 1


@pytest.mark.parametrize("late", [timedelta(seconds=20), timedelta(seconds=-20)])
def test_a_stamp_near_our_clock_is_taken(registry: UnderTest, one: Server, late: timedelta) -> None:
    one.clock.late = late
    with scheduled(registry, one) as running:
        until(stamped(registry, registry.size, 1))
        assert state(running, one).alarms == 0


def test_an_authority_whose_time_goes_back_is_an_alarm(registry: UnderTest, one: Server) -> None:
    one.clock.late = -timedelta(seconds=20)
    with scheduled(registry, one) as running:
        until(stamped(registry, registry.size, 1))
        one.clock.late = timedelta(seconds=20)
        one.signer._latest = None
        registry.register(dataset_statement())
        assert alarm(registry, running, one) == Reason.TIMESTAMP_ORDER


def test_authorities_that_disagree_are_an_alarm(
    registry: UnderTest, one: Server, two: Server
) -> None:
    # Each is near our clock, and far from the other.
    one.clock.late, two.clock.late = timedelta(seconds=20), timedelta(seconds=-20)
    with scheduled(registry, one, two) as running:
        until(stamped(registry, registry.size, 1))
        assert alarm(registry, running, two) == Reason.TIMESTAMP_DISAGREEMENT
        assert state(running, one).alarms == 0


def test_a_stamp_before_anothers_is_an_alarm_even_after_a_restart(
    registry: UnderTest, one: Server, two: Server
) -> None:
    one.clock.late = -timedelta(seconds=20)
    with scheduled(registry, one):
        until(stamped(registry, registry.size, 1))
    two.clock.late = timedelta(seconds=20)
    with scheduled(registry, one, two) as running:
        assert alarm(registry, running, two) == Reason.TIMESTAMP_DISAGREEMENT


def test_an_unbelievable_token_is_not_stored(registry: UnderTest, one: Server, two: Server) -> None:
    two.signer, one.signer = one.signer, two.signer
    with scheduled(registry, one) as running:
        until(lambda: state(running, one).failures)
        assert state(running, one).reason is Reason.TIMESTAMP_SIGNER
    assert rows(registry) == []


# Storage.


def test_a_row_that_cannot_be_written_latches_the_log(
    registry: UnderTest, one: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        message = "the disk is gone"
        raise OSError(message)

    monkeypatch.setattr("registry.services.timestamps.timestamps.add", fail)
    with scheduled(registry, one) as running:
        until(lambda: registry.services.sequencer.latched is not None)
        until(lambda: state(running, one).reason is Reason.STORAGE_FAILED)
    assert rows(registry) == []
    assert len(one.questions) == 1


# Settings.


def test_an_authority_that_is_named_twice_is_refused(registry: UnderTest, one: Server) -> None:
    with pytest.raises(MalformedError) as caught, scheduled(registry, one, one):
        pass
    assert caught.value.reason is Reason.BAD_SETTING


def test_closing_does_not_wait_for_the_interval(registry: UnderTest, one: Server) -> None:
    with scheduled(registry, one, interval=LONG) as running:
        until(stamped(registry, registry.size, 1))
        running.close()
        assert not running._thread.is_alive()
