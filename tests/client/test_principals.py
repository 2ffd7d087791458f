"""Letting principals in and out again."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from registry.api.v1 import access_service_pb2 as pb
from registry.client.principals import PrincipalCalls
from registry.client.registry import RegistryClient
from registry.errors import Reason, RegistryError
from registry.signing.file import StatementSigner
from tests.client.conftest import Place
from tests.client.liar import Liar

LATER = datetime(2099, 1, 1, tzinfo=UTC)


@pytest.fixture
def name(fresh_name: Callable[[], str]) -> str:
    return fresh_name().removeprefix("acme/")


def refusal(act: Callable[[], object]) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        act()
    return caught.value


def test_a_new_principal_is_listed_with_what_it_may_do(admin: RegistryClient, name: str) -> None:
    key = StatementSigner.generate().public_key
    _, added = PrincipalCalls(admin).add(name, ["publisher"], ["acme/x"], [key], LATER)
    [listed] = [item for item in PrincipalCalls(admin).list() if item.name == name]
    assert listed == added
    assert (added.roles, added.namespaces, added.key_ids, added.expires_at) == (
        ("publisher",),
        ("acme/x",),
        (key.key_id,),
        LATER,
    )


def test_the_token_of_a_new_principal_works(place: Place, admin: RegistryClient, name: str) -> None:
    token, _ = PrincipalCalls(admin).add(name, ["auditor"], [], [], None)
    with place.client(token) as client:
        assert client.find_missing([bytes(32)]) == [bytes(32)]


def test_the_token_of_a_revoked_principal_does_not(
    place: Place, admin: RegistryClient, name: str
) -> None:
    token, _ = PrincipalCalls(admin).add(name, ["auditor"], [], [], None)
    assert PrincipalCalls(admin).revoke(name, compromised=False).revoked_at is not None
    with place.client(token) as client:
        assert refusal(lambda: client.find_missing([bytes(32)])).reason is Reason.TOKEN_REVOKED


def test_the_key_of_a_revoked_principal_is_ended_in_the_log(
    admin: RegistryClient, name: str
) -> None:
    key = StatementSigner.generate().public_key
    PrincipalCalls(admin).add(name, ["node"], [], [key], None)
    PrincipalCalls(admin).revoke(name, compromised=True)
    assert admin.keyring().keys_of(name) == ()


SINCE = datetime(2026, 9, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("retired", [False, True])
def test_the_log_says_since_when_a_key_is_compromised(
    admin: RegistryClient, name: str, retired: bool
) -> None:
    key = StatementSigner.generate().public_key
    PrincipalCalls(admin).add(name, ["node"], [], [key], None)
    if retired:
        PrincipalCalls(admin).revoke(name, compromised=False)
    PrincipalCalls(admin).revoke(name, compromised=True, compromised_since=SINCE)
    last = admin.keyring().events(key.key_id)[-1].event
    assert (last.action, last.compromised_since) == ("compromise", "2026-09-01T12:00:00Z")


@pytest.mark.parametrize(
    ("compromised", "since"),
    [(False, SINCE), (True, datetime(9999, 1, 1, tzinfo=UTC))],
    ids=["without compromise", "to come"],
)
def test_a_time_of_compromise_that_makes_no_sense_is_refused(
    admin: RegistryClient, name: str, compromised: bool, since: datetime
) -> None:
    key = StatementSigner.generate().public_key
    PrincipalCalls(admin).add(name, ["node"], [], [key], None)
    error = refusal(
        lambda: PrincipalCalls(admin).revoke(name, compromised=compromised, compromised_since=since)
    )
    assert error.reason is Reason.MALFORMED_FIELD
    assert admin.keyring().keys_of(name) == (key,)


def test_a_registry_that_logs_another_time_of_compromise_is_caught(
    place: Place, liar: Liar, admin: RegistryClient, name: str
) -> None:
    key = StatementSigner.generate().public_key
    PrincipalCalls(admin).add(name, ["node"], [], [key], None)

    def forget(raw: bytes) -> bytes:
        message = pb.RevokePrincipalRequest.FromString(raw)
        message.ClearField("compromised_since")
        return message.SerializeToString()

    liar.requests["AccessService/RevokePrincipal"] = forget
    with place.client(place.admin_token, liar.address) as misled:
        calls = PrincipalCalls(misled)
        error = refusal(lambda: calls.revoke(name, compromised=True, compromised_since=SINCE))
    assert error.reason is Reason.UNKNOWN_SIGNER


def test_a_publisher_may_not_add_principals(client: RegistryClient, name: str) -> None:
    error = refusal(lambda: PrincipalCalls(client).add(name, ["admin"], [], [], None))
    assert error.reason is Reason.ROLE


def test_a_name_is_given_once(admin: RegistryClient, name: str) -> None:
    PrincipalCalls(admin).add(name, ["node"], [], [], None)
    error = refusal(lambda: PrincipalCalls(admin).add(name, ["node"], [], [], None))
    assert error.reason is Reason.PRINCIPAL_EXISTS


def test_a_registry_that_logs_another_namespace_than_was_asked_for_is_caught(
    place: Place, liar: Liar, name: str
) -> None:
    def widen(raw_request: bytes) -> bytes:
        message = pb.AddPrincipalRequest.FromString(raw_request)
        message.namespaces[:] = ["*"]
        return message.SerializeToString()

    liar.requests["AccessService/AddPrincipal"] = widen
    key = StatementSigner.generate().public_key
    with place.client(place.admin_token, liar.address) as admin:
        error = refusal(
            lambda: PrincipalCalls(admin).add(name, ["publisher"], ["acme/x"], [key], None)
        )
    assert (error.reason, key.key_id in error.where) == (Reason.UNKNOWN_SIGNER, True)


def test_a_registry_that_only_says_that_it_revoked_is_caught(
    place: Place, liar: Liar, admin: RegistryClient, name: str
) -> None:
    key = StatementSigner.generate().public_key
    PrincipalCalls(admin).add(name, ["node"], [], [key], None)
    PrincipalCalls(admin).add(f"{name}-2", ["node"], [], [], None)

    def another(_: bytes) -> bytes:
        return pb.RevokePrincipalRequest(name=f"{name}-2").SerializeToString()

    liar.requests["AccessService/RevokePrincipal"] = another
    with place.client(place.admin_token, liar.address) as misled:
        error = refusal(lambda: PrincipalCalls(misled).revoke(name, compromised=False))
    assert error.reason is Reason.UNKNOWN_SIGNER
