"""Identity events and verifications: what the operator says of signers who are known by name."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from registry.core.attestation.identity import Identity
from registry.core.encoding import write_json
from registry.core.records import identity_event, predicate, verification
from registry.errors import MalformedError, Reason

IDENTITY = Identity("https://issuer.example", "alice@acme.example")
AT = "2026-06-01T12:00:00Z"
EVENT = identity_event.build(
    "add", IDENTITY, "acme", roles=("publisher",), namespaces=("acme/*",), issued_at=AT
)
VERIFIED = verification.build(
    bytes(32),
    {
        "bundle": "11" * 32,
        "trusted_root": "22" * 32,
        "key": "33" * 32,
        "issuer": IDENTITY.issuer,
        "subject_name": IDENTITY.name,
        "signed_at": AT,
        "verified_at": AT,
        "engines": ("sigstore 4.5.1", "provreg 0.1.0"),
    },
)


def refusal(statement: Any, edit: Callable[[Any], object]) -> Reason:
    members = json.loads(write_json(statement))
    edit(members)
    with pytest.raises(MalformedError) as caught:
        predicate.parse(write_json(members))
    return caught.value.reason


@pytest.mark.parametrize("statement", [EVENT, VERIFIED], ids=["identity event", "verification"])
def test_what_is_written_is_read_back(statement: Any) -> None:
    read = predicate.parse(write_json(statement))
    assert read == statement
    assert read.predicate.identity == IDENTITY
    assert predicate.KINDS[read.predicate_type].role == "operator"


def test_an_identity_is_named_by_issuer_and_name_together() -> None:
    digests = {
        identity_event.identity_digest(identity)
        for identity in (IDENTITY, Identity("https://issuer.example" + "a", "lice@acme.example"))
    }
    assert len(digests) == 2


def put(value: object, *names: str | int) -> Callable[[Any], None]:
    def edit(members: Any) -> None:
        for name in names[:-1]:
            members = members[name]
        members[names[-1]] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (put("bob@acme.example", "predicate", "subject_name"), Reason.SUBJECT_MISMATCH),
        (put("rival", "predicate", "principal"), Reason.SUBJECT_MISMATCH),
        (put("Acme", "predicate", "principal"), Reason.MALFORMED_NAME),
        (put(["a b"], "predicate", "namespaces"), Reason.MALFORMED_NAME),
        (put("", "predicate", "issuer"), Reason.MALFORMED_STATEMENT),
        (put("compromise", "predicate", "action"), Reason.MALFORMED_STATEMENT),
    ],
    ids=["name", "principal", "no principal", "namespace", "issuer", "action"],
)
def test_an_identity_event_is_refused_with_another(
    edit: Callable[[Any], None], reason: Reason
) -> None:
    assert refusal(EVENT, edit) is reason


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (put("else", "subject", 0, "name"), Reason.SUBJECT_MISMATCH),
        (put([], "predicate", "engines"), Reason.MALFORMED_STATEMENT),
        (put("11", "predicate", "bundle"), Reason.MALFORMED_STATEMENT),
        (put("today", "predicate", "verified_at"), Reason.MALFORMED_STATEMENT),
    ],
    ids=["subject", "engines", "bundle", "time"],
)
def test_a_verification_is_refused_with_another(
    edit: Callable[[Any], None], reason: Reason
) -> None:
    assert refusal(VERIFIED, edit) is reason
