"""The end of a log: durable, final, and told to whoever still writes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry.config import ServerSettings
from registry.errors import Reason, RegistryError
from registry.server.offline import freeze_log, open_offline
from registry.services.audit import check_log
from registry.services.faults import Kind
from registry.storage.sql import log, migrate
from tests.contracts.registry_under_test import SECONDS, UnderTest, opened
from tests.mint import dataset_statement

AT = datetime(2026, 9, 1, tzinfo=UTC)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def settings(data: Path, url: str) -> ServerSettings:
    return ServerSettings(data, database=url)


def filled(data: Path, url: str) -> UnderTest:
    """A registry that was stopped after a few statements."""
    with opened(data, url) as registry:
        for number in range(3):
            registry.register(dataset_statement(version=str(number)))
    return registry


def test_a_frozen_log_ends_with_the_checkpoint_that_it_had(
    data: Path, url: str, settings: ServerSettings
) -> None:
    before = filled(data, url)
    head = freeze_log(settings, AT)
    assert before.services.sequencer.heads.newest == head
    with opened(data, url, before.keys) as registry:
        assert registry.services.sequencer.head == head
        registry.verify(registry.services.sequencer.receipt(5), dataset_statement(version="1"))


def test_nothing_is_written_to_a_frozen_log(data: Path, url: str, settings: ServerSettings) -> None:
    before = filled(data, url)
    freeze_log(settings, AT)
    with opened(data, url, before.keys) as registry:
        stored = registry.stored()
        for statement in (dataset_statement(version="0"), dataset_statement(version="new")):
            with pytest.raises(RegistryError) as refused:
                registry.register(statement)
            assert refused.value.reason is Reason.LOG_FROZEN
        with pytest.raises(RegistryError, match="LOG_FROZEN"):
            registry.grow(1)
        assert registry.stored() == stored


def test_freezing_again_changes_nothing(data: Path, url: str, settings: ServerSettings) -> None:
    filled(data, url)
    head = freeze_log(settings, AT)
    assert freeze_log(settings, datetime(2030, 1, 1, tzinfo=UTC)) == head
    with open_offline(settings) as stopped, stopped.database.read() as connection:
        assert log.ended(connection) == (head.checkpoint.size, int(AT.timestamp()))


def test_what_is_stamped_in_the_last_second_is_stamped_before_the_end(
    data: Path, url: str, settings: ServerSettings
) -> None:
    filled(data, url)
    freeze_log(settings, AT + timedelta(milliseconds=500))
    with open_offline(settings) as stopped, stopped.database.read() as connection:
        assert log.ended(connection)[1] == int(AT.timestamp()) + 1  # type: ignore[index]


def test_a_running_log_is_not_frozen(data: Path, url: str, settings: ServerSettings) -> None:
    with opened(data, url), pytest.raises(RegistryError, match="LOG_IN_USE"):
        freeze_log(settings, AT)


def test_a_frozen_log_is_published_to_its_end(
    data: Path, url: str, settings: ServerSettings
) -> None:
    before = filled(data, url)
    head = freeze_log(settings, AT)
    with opened(data, url, before.keys) as registry:
        assert registry.services.publisher.wait(SECONDS)
        assert (data / "static" / "checkpoint").read_bytes() == head.note


def test_an_audit_finds_a_frozen_log_in_order(
    data: Path, url: str, settings: ServerSettings
) -> None:
    filled(data, url)
    head = freeze_log(settings, AT)
    with open_offline(settings) as stopped:
        key, newest = stopped.key, head.checkpoint
        found = check_log(stopped.database, stopped.blobs, key, newest, lambda _what, _done: None)
    assert found.faults == ()


def test_a_log_that_went_on_after_its_end_is_not_served(
    data: Path, url: str, settings: ServerSettings
) -> None:
    filled(data, url)
    head = freeze_log(settings, AT)
    with open_offline(settings) as stopped:
        with stopped.database.write() as connection:
            connection.exec_driver_sql("UPDATE log_end SET size = size - 1")
        found = check_log(
            stopped.database, stopped.blobs, stopped.key, head.checkpoint, lambda _w, _d: None
        )
        assert [fault.kind for fault in found.faults] == [Kind.FROZEN]
    with pytest.raises(RegistryError, match="STORED_BYTES"), opened(data, url):
        pass
    with pytest.raises(RegistryError, match="STORED_BYTES"):
        freeze_log(settings, AT)


def test_a_log_without_entries_cannot_be_frozen(settings: ServerSettings) -> None:
    with open_offline(settings, check=False) as stopped:
        migrate.upgrade(stopped.database)
    with pytest.raises(RegistryError) as refused:
        freeze_log(settings, AT)
    assert refused.value.reason is Reason.BEYOND_TREE
