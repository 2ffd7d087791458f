"""Keys that live as long as a certificate: admitted, retired, and for whom."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from registry.config import ServerSettings
from registry.core.access import Principal
from registry.core.records import key_event
from registry.errors import Reason, RegistryError, UnavailableError
from registry.server.app import Services, open_services
from registry.services.ephemeral import EphemeralKeys
from registry.signing.file import StatementSigner
from tests.mint import dataset_statement

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
UNTIL = NOON + timedelta(minutes=14)
CERTIFICATE = b"a certificate"
SECONDS = 30
ROBOT = Principal("robot", ("publisher",), ("robot/*",))
ACME = Principal("acme", ("publisher",), ("acme/*",))


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        return self.at


class World:
    """A registry with a publisher that has a lasting key, and one that has none."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.clock = Clock()
        if not services.access.exists("acme"):
            lasting = StatementSigner.generate().public_key
            services.access.add("acme", ACME.roles, ACME.namespaces, [lasting], None)
            services.access.add("robot", ROBOT.roles, ROBOT.namespaces, [], None)
        access = services.access
        self.keys = EphemeralKeys(access._keyring, access._operator, self.clock)

    def say(self, signer: StatementSigner, version: str, who: Principal = ROBOT) -> Any:
        said = dataset_statement(name=f"{who.name}/reviews", version=version)
        data = signer.sign(said).to_bytes()
        return self.services.registration.register(data, who).result(SECONDS)

    def refused(self, signer: StatementSigner, version: str) -> Reason:
        with pytest.raises(RegistryError) as error:
            self.say(signer, version)
        return error.value.reason


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_services(ServerSettings(tmp_path / "data")) as (services, _):
        made = World(services)
        yield made
        made.keys.close()


def test_a_certified_key_speaks_until_its_certificate_ends(world: World) -> None:
    signer = StatementSigner.generate()
    assert world.refused(signer, "before") is Reason.UNKNOWN_SIGNER
    world.keys.admit(signer.public_key, ROBOT, CERTIFICATE, UNTIL)
    world.say(signer, "1")
    world.clock.at = UNTIL - timedelta(seconds=1)
    world.keys.retire_ended()
    world.say(signer, "2")
    world.clock.at = UNTIL
    world.keys.retire_ended()
    assert world.refused(signer, "3") is Reason.KEY_REVOKED


def test_a_certified_key_speaks_for_its_principal_only(world: World) -> None:
    signer = StatementSigner.generate()
    world.keys.admit(signer.public_key, ROBOT, CERTIFICATE, UNTIL)
    data = signer.sign(dataset_statement(name="acme/reviews")).to_bytes()
    for caller, reason in ((ROBOT, Reason.NAMESPACE), (ACME, Reason.KEY_NOT_YOURS)):
        with pytest.raises(RegistryError) as error:
            world.services.registration.register(data, caller)
        assert error.value.reason is reason


def test_only_who_has_no_lasting_key_may_have_short_lived_ones(world: World) -> None:
    assert world.keys.may(ROBOT)
    assert not world.keys.may(ACME)
    world.keys.admit(StatementSigner.generate().public_key, ROBOT, CERTIFICATE, UNTIL)
    assert world.keys.may(ROBOT)


def test_a_key_is_certified_once(world: World) -> None:
    key = StatementSigner.generate().public_key
    world.keys.admit(key, ROBOT, CERTIFICATE, UNTIL)
    with pytest.raises(RegistryError) as error:
        world.keys.admit(key, ROBOT, CERTIFICATE, UNTIL)
    assert error.value.reason is Reason.KEY_KNOWN


def test_a_key_can_be_retired_before_its_end(world: World) -> None:
    signer = StatementSigner.generate()
    world.keys.admit(signer.public_key, ROBOT, CERTIFICATE, UNTIL)
    world.keys.retire(signer.public_key)
    assert world.refused(signer, "1") is Reason.KEY_REVOKED


def test_revoking_a_principal_ends_its_short_lived_keys_too(world: World) -> None:
    signer = StatementSigner.generate()
    world.keys.admit(signer.public_key, ROBOT, CERTIFICATE, UNTIL)
    world.services.access.revoke("robot", compromised=False)
    assert world.refused(signer, "1") is Reason.KEY_REVOKED


def test_a_registry_that_was_stopped_retires_at_its_start_what_ended(tmp_path: Path) -> None:
    signer = StatementSigner.generate()
    with open_services(ServerSettings(tmp_path / "data")) as (services, _):
        world = World(services)
        world.keys.admit(signer.public_key, ROBOT, CERTIFICATE, UNTIL)
        world.keys.close()
    with open_services(ServerSettings(tmp_path / "data")) as (services, _):
        # The registry's own clock is long after that day.
        events = services.access._keyring.events(signer.public_key.key_id)
        assert [item.event.action for item in events] == ["add", "retire"]


def test_a_log_that_takes_nothing_is_complained_of_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.keys.admit(StatementSigner.generate().public_key, ROBOT, CERTIFICATE, UNTIL)
    world.clock.at = UNTIL
    world.services.sequencer.close()
    world.services.sequencer._latched = UnavailableError(Reason.LOG_LATCHED, "the log stopped")
    for _ in range(3):
        world.keys._look()
    assert [record.levelname for record in caplog.records if "retired" in record.message] == [
        "WARNING"
    ]


def test_the_log_says_of_a_key_how_long_it_lives_and_by_which_certificate(world: World) -> None:
    signer = StatementSigner.generate()
    world.keys.admit(signer.public_key, ROBOT, CERTIFICATE, UNTIL)
    (item,) = world.services.access._keyring.events(signer.public_key.key_id)
    assert key_event.ephemeral_until(item.event) == UNTIL
    assert "certificate sha256:" in item.event.note


@pytest.mark.parametrize(
    "note", ["", "ephemeral until noon", "ephemeral until 2026-09-01T12:14:00Z", "x"]
)
def test_any_other_note_makes_no_short_lived_key(world: World, note: str) -> None:
    signer = StatementSigner.generate()
    said = key_event.statement(
        "add",
        signer.public_key,
        "robot",
        roles=ROBOT.roles,
        namespaces=ROBOT.namespaces,
        issued_at=NOON,
        note=note,
    )
    world.services.access._operator.say(said)
    assert not world.keys.may(ROBOT)
    world.clock.at = UNTIL + timedelta(days=999)
    world.keys.retire_ended()
    world.say(signer, "1")
