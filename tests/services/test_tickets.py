"""Tickets: good for one blob, one minute and one principal."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.config import ServerSettings
from registry.core.digest import sha256
from registry.errors import Reason, UnauthenticatedError
from registry.server.app import Services, open_services
from registry.services.tickets import PREFIX, SECONDS, Right, Tickets

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
BLOB = sha256(b"a blob")
READ = Right.to_read(BLOB)


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with open_services(ServerSettings(tmp_path_factory.mktemp("r") / "data")) as (services, _):
        services.access.add("node-1", ("node",), (), (), None)
        yield services


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tickets(services: Services, clock: Clock) -> Tickets:
    return Tickets(services.access, clock)


def refused(act: Callable[[], object]) -> Reason:
    with pytest.raises(UnauthenticatedError) as caught:
        act()
    return caught.value.reason


def test_a_ticket_says_who_was_given_it(tickets: Tickets) -> None:
    principal = tickets.authenticate(tickets.issue("node-1", READ), READ)
    assert (principal.name, principal.roles) == ("node-1", ("node",))


def test_a_ticket_is_for_one_blob(tickets: Tickets) -> None:
    ticket = tickets.issue("node-1", READ)
    assert (
        refused(lambda: tickets.authenticate(ticket, Right.to_read(sha256(b"b"))))
        is Reason.UNKNOWN_TOKEN
    )


def test_a_ticket_is_good_for_a_minute(tickets: Tickets, clock: Clock) -> None:
    ticket = tickets.issue("node-1", READ)
    clock.now = NOON + timedelta(seconds=SECONDS - 1)
    tickets.authenticate(ticket, READ)
    clock.now = NOON + timedelta(seconds=SECONDS)
    assert refused(lambda: tickets.authenticate(ticket, READ)) is Reason.TOKEN_EXPIRED


def test_a_ticket_of_somebody_who_was_revoked_is_refused(
    services: Services, tickets: Tickets
) -> None:
    services.access.add("gone", ("node",), (), (), None)
    ticket = tickets.issue("gone", READ)
    services.access.revoke("gone", compromised=False)
    assert refused(lambda: tickets.authenticate(ticket, READ)) is Reason.TOKEN_REVOKED


def test_a_ticket_of_another_process_is_unknown(
    services: Services, tickets: Tickets, clock: Clock
) -> None:
    ticket = Tickets(services.access, clock).issue("node-1", READ)
    assert refused(lambda: tickets.authenticate(ticket, READ)) is Reason.UNKNOWN_TOKEN


@pytest.mark.parametrize(
    "text",
    ["", PREFIX, f"{PREFIX}1.2.3", f"{PREFIX}..", f"{PREFIX}1.{'0' * 64}.\udc80"],
    ids=["nothing", "only the prefix", "short", "dots", "no text"],
)
def test_what_is_no_ticket_is_unknown(tickets: Tickets, text: str) -> None:
    assert refused(lambda: tickets.authenticate(text, READ)) is Reason.UNKNOWN_TOKEN


@given(place=st.integers(0), other=st.characters())
def test_a_ticket_with_another_character_is_refused(
    services: Services, place: int, other: str
) -> None:
    tickets = Tickets(services.access, Clock())
    ticket = tickets.issue("node-1", READ)
    place = len(PREFIX) + place % (len(ticket) - len(PREFIX))
    changed = ticket[:place] + other + ticket[place + 1 :]
    if changed != ticket:
        assert refused(lambda: tickets.authenticate(changed, READ)) is Reason.UNKNOWN_TOKEN


def test_a_ticket_that_goes_on_is_unknown(tickets: Tickets) -> None:
    ticket = tickets.issue("node-1", READ)
    assert refused(lambda: tickets.authenticate(ticket + "x" * 999, READ)) is Reason.UNKNOWN_TOKEN
