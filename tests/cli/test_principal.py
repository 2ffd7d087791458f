"""Principals from the command line."""

import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Shell


@pytest.fixture
def who(name: str) -> str:
    return name.removeprefix("acme/")


def test_a_token_is_shown_once(admin: Shell, who: str) -> None:
    said = admin("principal", "add", who, "--role", "auditor", "--json")
    assert said.status == 0
    assert said.value["token"].startswith("provreg_")
    assert said.value["token"] not in admin("principal", "list").out


def test_a_token_in_a_file_is_for_its_owner_only(admin: Shell, who: str, home: Path) -> None:
    said = admin("principal", "add", who, "--role", "auditor", "--token-out", "t")
    assert said.status == 0
    assert (home / "t").read_text().startswith("provreg_")
    assert (home / "t").read_text().strip() not in said.out
    assert stat.S_IMODE((home / "t").stat().st_mode) == 0o600


def test_nobody_is_added_whose_token_has_no_place(admin: Shell, who: str, home: Path) -> None:
    (home / "t").write_text("mine")
    said = admin("principal", "add", who, "--role", "auditor", "--token-out", "t")
    assert (said.status, "TARGET_EXISTS" in said.err) == (1, True)
    assert (home / "t").read_text() == "mine"
    assert who not in admin("principal", "list").out


def test_a_failed_addition_leaves_no_token_file(acme: Shell, who: str, home: Path) -> None:
    assert acme("principal", "add", who, "--role", "auditor", "--token-out", "t").status == 1
    assert not (home / "t").exists()


def test_a_publisher_is_listed_with_key_namespace_and_expiry(admin: Shell, who: str) -> None:
    admin("key", "generate", "k.pem")
    key_id = admin("key", "show", "k.pem.pub").out.strip()
    said = admin(
        "principal", "add", who, "--role", "publisher", "--namespace", f"{who[:60]}/*",
        "--key", "k.pem.pub", "--expires", "2099-01-01",
    )  # fmt: skip
    assert said.status == 0
    [listed] = [item for item in admin("principal", "list", "--json").value if item["name"] == who]
    assert listed == {
        "name": who,
        "roles": ["publisher"],
        "namespaces": [f"{who[:60]}/*"],
        "key_ids": [key_id],
        "identities": [],
        "expires_at": "2099-01-01T00:00:00Z",
        "revoked_at": "",
    }


def test_a_revoked_principal_is_marked(admin: Shell, who: str) -> None:
    admin("principal", "add", who, "--role", "node")
    said = admin("principal", "revoke", who, "--compromised", "--json")
    assert said.status == 0
    assert said.value["revoked_at"]


def test_since_when_a_key_is_compromised_is_said_in_utc(admin: Shell, who: str) -> None:
    admin("principal", "add", who, "--role", "node")
    said = admin("principal", "revoke", who, "--compromised-since", "2026-01-01T00:00:00Z")
    assert said.status == 0
    said = admin("principal", "revoke", who, "--compromised-since", "9999-01-01")
    assert (said.status, "MALFORMED_FIELD" in said.err) == (1, True)


def test_nobody_revokes_a_stranger(admin: Shell) -> None:
    said = admin("principal", "revoke", "stranger")
    assert (said.status, "UNKNOWN_PRINCIPAL" in said.err) == (1, True)


def test_only_administrators_list_principals(acme: Shell) -> None:
    said = acme("principal", "list")
    assert (said.status, "ROLE" in said.err) == (1, True)


@pytest.mark.parametrize("role", ["operator", "nonsense"])
def test_a_role_that_cannot_be_given_is_not_understood(admin: Shell, who: str, role: str) -> None:
    assert admin("principal", "add", who, "--role", role).status == 2


@pytest.mark.parametrize(
    "options", [["--role", "publisher"], ["--role", "auditor", "--expires", "2020-01-01"]]
)
def test_nobody_is_added_who_can_do_nothing(admin: Shell, who: str, options: list[str]) -> None:
    assert admin("principal", "add", who, *options).status == 2
    assert who not in admin("principal", "list").out


def test_a_private_key_is_not_admitted(admin: Shell, who: str) -> None:
    admin("key", "generate", "k.pem")
    said = admin("principal", "add", who, "--role", "node", "--key", "k.pem", "--json")
    assert (said.status, said.error["reason"]) == (1, "MALFORMED_KEY")
    assert said.error["actual"] == "a private key"
    assert ".pub" in said.error["hint"]
