"""The registration policy: which key may say what, from which entry of the log until which."""

from typing import Any

import pytest

from registry.core.attestation.statement import Statement
from registry.core.records.key_event import KeyEvent
from registry.core.registration import LoggedKeyEvent, admit, grant, published_name
from registry.errors import ForbiddenError, Reason, VerificationError
from registry.signing.file import StatementSigner
from tests.mint import (
    Journal,
    World,
    a_manifest,
    attribution_statement,
    dataset_statement,
    key_event_statement,
    release_statement,
)

KEY = StatementSigner.generate()


def event(action: str = "add", **members: Any) -> KeyEvent:
    said: KeyEvent = key_event_statement(KEY, "acme", action=action, **members).predicate
    return said


def history(*actions: tuple[int, str]) -> list[LoggedKeyEvent]:
    return [LoggedKeyEvent(index, event(action)) for index, action in actions]


@pytest.mark.parametrize(
    ("events", "before", "expected"),
    [
        ([], 5, Reason.UNKNOWN_SIGNER),
        ([(3, "add")], 4, None),
        ([(3, "add")], 3, Reason.UNKNOWN_SIGNER),
        ([(3, "add")], 2, Reason.UNKNOWN_SIGNER),
        ([(3, "add"), (7, "retire")], 6, None),
        ([(3, "add"), (7, "retire")], 7, None),
        ([(3, "add"), (7, "retire")], 8, Reason.KEY_REVOKED),
        ([(3, "add"), (7, "compromise")], 7, None),
        ([(3, "add"), (7, "compromise")], 8, Reason.KEY_REVOKED),
        ([(3, "add"), (7, "retire"), (9, "add")], 10, Reason.KEY_REVOKED),
        ([(7, "retire")], 8, Reason.KEY_REVOKED),
    ],
)
def test_a_key_speaks_from_the_entry_that_adds_it_to_the_entry_that_ends_it(
    events: list[tuple[int, str]], before: int, expected: Reason | None
) -> None:
    if expected is None:
        assert grant(history(*events), before).action == "add"
        return
    with pytest.raises(VerificationError) as caught:
        grant(history(*events), before)
    assert caught.value.reason is expected


def test_the_newest_grant_before_the_entry_counts() -> None:
    narrow, wide = event(namespaces=["acme/x"]), event(namespaces=["acme/*"])
    events = [LoggedKeyEvent(1, narrow), LoggedKeyEvent(5, wide)]
    assert grant(events, 4) == narrow
    assert grant(events, 6) == wide


WORLD = World()
WORLD.keys["acme"] = StatementSigner.generate()
RELEASE = WORLD.register(release_statement(a_manifest()), "acme")
DATASET = WORLD.register(dataset_statement(), "acme")
JOURNAL = Journal()
JOURNAL.boot()
STATEMENTS: dict[str, Statement[Any]] = {
    "release": RELEASE.statement,
    "dataset": DATASET.statement,
    "attribution": attribution_statement(RELEASE, [DATASET]),
    "batch": JOURNAL.batch_statement(),
    "key event": WORLD.key_events[0].statement,
}
ROLES = {
    "release": "publisher",
    "dataset": "publisher",
    "attribution": "publisher",
    "batch": "node",
    "key event": "operator",
}


@pytest.mark.parametrize("role", ["publisher", "node", "auditor", "admin", "operator"])
@pytest.mark.parametrize("noun", STATEMENTS)
def test_each_kind_of_statement_needs_its_own_role(noun: str, role: str) -> None:
    granted = event(roles=[role], namespaces=["*"])
    if ROLES[noun] == role:
        admit(STATEMENTS[noun], granted)
        return
    with pytest.raises(ForbiddenError) as caught:
        admit(STATEMENTS[noun], granted)
    assert caught.value.reason is Reason.ROLE


@pytest.mark.parametrize(
    ("namespaces", "admitted"),
    [
        ([], False),
        (["*"], True),
        (["acme/*"], True),
        (["acme/x", "acme/reviews"], True),
        (["other/*"], False),
        (["acme/y"], False),
        (["other/*", "acme/*"], True),
    ],
)
@pytest.mark.parametrize("noun", ["release", "dataset", "attribution"])
def test_a_publisher_speaks_within_its_namespaces_only(
    noun: str, namespaces: list[str], admitted: bool
) -> None:
    granted = event(roles=["publisher"], namespaces=namespaces)
    if admitted:
        admit(STATEMENTS[noun], granted)
        return
    with pytest.raises(ForbiddenError) as caught:
        admit(STATEMENTS[noun], granted)
    assert caught.value.reason is Reason.NAMESPACE


def test_a_batch_publishes_no_name_and_needs_no_namespace() -> None:
    assert published_name(STATEMENTS["batch"]) is None
    admit(STATEMENTS["batch"], event(roles=["node"]))


def test_one_principal_may_have_several_roles() -> None:
    granted = event(roles=["node", "publisher"], namespaces=["acme/*"])
    admit(STATEMENTS["batch"], granted)
    admit(STATEMENTS["release"], granted)
