"""Admission policies: nobody is admitted, but for what the operator says."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core.attestation.admission import MAX_RULES, AdmissionPolicy
from registry.core.attestation.identity import Identity
from registry.core.certificates.chain import Authority
from registry.core.certificates.signing import SigningCertificate
from registry.errors import MalformedError, Reason, RegistryError
from registry.signing.authority import CertificateAuthority
from registry.signing.file import StatementSigner
from tests.rekor import NOON

OURS = CertificateAuthority.generate("ours.example", NOON)
OTHER = CertificateAuthority.generate("other.example", NOON)
ISSUER = "https://issuer.example"
ALICE = Identity(ISSUER, "alice@example.com")
KEY = "0123456789abcdef" * 4


def read(name: str) -> Authority:
    return {"ours.pem": OURS, "other.pem": OTHER}[name].authority


def policy(text: str) -> AdmissionPolicy:
    return AdmissionPolicy.parse(text, read)


def certificate(
    identity: Identity = ALICE, authority: CertificateAuthority = OURS
) -> SigningCertificate:
    return authority.issue(StatementSigner.generate().public_key, identity, NOON)


POLICY = f"""
# A comment, and an empty line before it.

authority ours.pem
identity\t {ISSUER}  alice@example.com
identity {ISSUER} https://ci.example/acme/*
key {KEY}
"""


def test_what_the_policy_names_is_admitted() -> None:
    read_back = policy(POLICY)
    read_back.verify_admitted(certificate(), NOON)
    read_back.verify_admitted(certificate(Identity(ISSUER, "https://ci.example/acme/x")), NOON)
    assert read_back.admits_key(KEY)


@pytest.mark.parametrize(
    "identity",
    [
        replace(ALICE, name="alice@example.co"),
        replace(ALICE, name="alice@example.comm"),
        replace(ALICE, name="Alice@example.com"),
        replace(ALICE, issuer=f"{ISSUER}/"),
        replace(ALICE, issuer="https://issuer.examplE"),
        Identity(ISSUER, "https://ci.example/acm"),
        Identity(ISSUER, "https://ci.example/other/x"),
    ],
)
def test_anybody_else_is_not(identity: Identity) -> None:
    with pytest.raises(RegistryError) as refused:
        policy(POLICY).verify_admitted(certificate(identity), NOON)
    assert refused.value.reason is Reason.NOT_ADMITTED


def test_the_empty_policy_admits_nobody() -> None:
    with pytest.raises(RegistryError, match="NOT_ADMITTED"):
        AdmissionPolicy().verify_admitted(certificate(), NOON)
    assert not AdmissionPolicy().admits_key(KEY)
    assert policy("") == AdmissionPolicy()


def test_an_identity_that_nobody_vouches_for_is_not_admitted() -> None:
    with pytest.raises(RegistryError) as refused:
        policy(POLICY).verify_admitted(certificate(authority=OTHER), NOON)
    assert refused.value.reason is Reason.UNKNOWN_AUTHORITY


@pytest.mark.parametrize("late", [timedelta(hours=-1), timedelta(hours=1)])
def test_a_certificate_is_admitted_while_it_is_valid(late: timedelta) -> None:
    with pytest.raises(RegistryError) as refused:
        policy(POLICY).verify_admitted(certificate(), NOON + late)
    assert refused.value.reason is Reason.CERTIFICATE_TIME


def test_the_registrys_own_authority_needs_no_line() -> None:
    own = AdmissionPolicy.parse(f"identity {ISSUER} *", read, (OTHER.authority,))
    own.verify_admitted(certificate(authority=OTHER), NOON)


@pytest.mark.parametrize(
    "text",
    [
        "identity",
        f"identity {ISSUER}",
        "authority",
        "authority ours.pem more",
        f"authority ours.pem\nidentity {ISSUER} a b",
        f"authority ours.pem\nidentity {ISSUER} a*b",
        f"authority ours.pem\nidentity {ISSUER} **",
        f"authority ours.pem\nidentity {ISSUER} a\nidentity {ISSUER} a",
        f"identity {ISSUER} alice@example.com",
        "key",
        "key abc",
        f"key {KEY.upper()}",
        f"key {KEY}\nkey {KEY}",
        f"KEY {KEY}",
        "admit everybody",
        " # not a comment",
        "\n" * (MAX_RULES + 1),
    ],
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(MalformedError) as refused:
        policy(text)
    assert refused.value.reason is Reason.MALFORMED_POLICY


@given(st.text("authoriyden k#*\t\n:/.0123abcdef", max_size=60))
def test_text_is_read_or_refused(text: str) -> None:
    try:
        found = AdmissionPolicy.parse(text, lambda _name: OURS.authority)
    except MalformedError:
        return
    assert len(found.identities) + len(found.keys) <= text.count("\n") + 1
