"""Tests of registry.core.evidence.crl: whose list it is, what it is about, and when it counts."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from registry.core.evidence.checks import CheckError, Finding
from registry.core.evidence.crl import (
    MAX_CRL_BYTES,
    CRLFinding,
    RevocationList,
    check_not_revoked,
    read,
)
from registry.core.evidence.validity import seconds
from tools.fake_vendor import pki
from tools.fake_vendor.pki import START, Holder, PrivateKey

DAY = timedelta(days=1)
AUTHORITY = pki.issue(pki.name("Authority"), pki.p384("authority"), None)
CHILD = pki.issue(pki.name("Child"), pki.p384("child"), AUTHORITY, ca=False)
GOOD = pki.revocation_list(AUTHORITY)


def finding_of(act: Callable[[], object]) -> str:
    with pytest.raises(CheckError) as error:
        act()
    return str(error.value.finding)


def built(edit: Callable[[x509.CertificateRevocationListBuilder], object]) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(AUTHORITY.certificate.subject)
        .last_update(START)
        .next_update(START + 30 * DAY)
    )
    edited = edit(builder)
    assert isinstance(edited, x509.CertificateRevocationListBuilder)
    return edited.sign(AUTHORITY.key, hashes.SHA384()).public_bytes(Encoding.DER)


def scope(**changes: object) -> x509.IssuingDistributionPoint:
    said = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**said | changes)  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    ("key", "pss"),
    [(pki.p256("a"), False), (pki.p384("a"), False), (pki.rsa4096("a"), True)],
    ids=["P-256", "P-384", "RSA-PSS"],
)
def test_a_list_by_the_authority_is_verified(key: PrivateKey, pss: bool) -> None:
    authority = pki.issue(pki.name("Authority"), key, None)
    crl = read(pki.revocation_list(authority, pss=pss))
    crl.verify(authority.der)
    assert (crl.window.start, crl.window.end) == (seconds(START), seconds(START + 30 * DAY) - 1)
    assert crl.entry(CHILD.certificate.serial_number) is None


def _holder(name: str, key: str, **more: bool) -> Holder:
    return pki.issue(pki.name(name), pki.p384(key), None, **more)  # type: ignore[arg-type]  # flags


@pytest.mark.parametrize(
    ("holder", "finding"),
    [
        (_holder("Somebody", "authority"), CRLFinding.CRL_ISSUER),
        (_holder("Authority", "somebody"), CRLFinding.CRL_SIGNATURE),
        (_holder("Authority", "authority", ca=False), CRLFinding.CRL_ISSUER),
    ],
    ids=["other name", "other key", "key for something else"],
)
def test_a_list_by_somebody_else_is_refused(holder: Holder, finding: str) -> None:
    assert finding_of(lambda: read(GOOD).verify(holder.der)) == finding


def test_a_list_signed_over_something_else_is_refused() -> None:
    flipped = bytearray(GOOD)
    flipped[-1] ^= 1
    assert finding_of(lambda: read(bytes(flipped)).verify(AUTHORITY.der)) in (
        CRLFinding.CRL_SIGNATURE,
        CRLFinding.CRL_MALFORMED,
    )


@pytest.mark.parametrize(
    "data",
    [b"", b"\x30\x00", GOOD[:-1], GOOD + b"\0", AUTHORITY.der, bytes(MAX_CRL_BYTES + 1)],
    ids=["empty", "nothing", "cut", "trailing", "a certificate", "too long"],
)
def test_what_is_no_list_is_refused(data: bytes) -> None:
    assert finding_of(lambda: read(data)) == CRLFinding.CRL_MALFORMED


def test_a_name_of_a_type_that_its_attribute_may_not_have_is_refused() -> None:
    # A title, as a BIT STRING, in place of a common name.
    strange = GOOD.replace(b"\x06\x03\x55\x04\x03\x0c", b"\x06\x03\x55\x04\x0c\x03")
    assert strange != GOOD
    assert finding_of(lambda: read(strange)) == CRLFinding.CRL_MALFORMED


def test_a_name_of_a_form_that_nobody_reads_is_refused() -> None:
    named = scope(full_name=[x509.UniformResourceIdentifier("http://crl.example/x")])
    data = built(lambda builder: builder.add_extension(named, critical=True))
    assert read(data).issuer == AUTHORITY.certificate.subject
    # An X.400 address where the URI was.
    strange = data.replace(b"\x86\x14http", b"\xa3\x14http")
    assert strange != data
    assert finding_of(lambda: read(strange)) == CRLFinding.CRL_MALFORMED


@pytest.mark.parametrize(
    "extension",
    [
        scope(only_contains_user_certs=True),
        scope(only_contains_attribute_certs=True),
        scope(
            indirect_crl=True,
            full_name=[x509.UniformResourceIdentifier("http://crl.example/x")],
        ),
        scope(only_some_reasons=frozenset([x509.ReasonFlags.superseded])),
        x509.DeltaCRLIndicator(1),
    ],
    ids=["users only", "attributes only", "indirect", "some reasons", "delta"],
)
def test_a_list_that_says_too_little_is_refused(extension: x509.ExtensionType) -> None:
    data = built(lambda builder: builder.add_extension(extension, critical=True))
    assert finding_of(lambda: read(data)) == CRLFinding.CRL_SCOPE


def test_a_list_of_authorities_only_says_nothing_of_others() -> None:
    point = scope(only_contains_ca_certs=True)
    crl = read(built(lambda builder: builder.add_extension(point, critical=True)))
    crl.verify(AUTHORITY.der)
    at = seconds(START)
    check_not_revoked(crl, AUTHORITY.certificate, at)
    assert finding_of(lambda: check_not_revoked(crl, CHILD.certificate, at)) == (
        CRLFinding.CRL_SCOPE
    )


def revoking(days: int, reason: x509.ReasonFlags | None = None) -> RevocationList:
    entry = (CHILD.certificate.serial_number, START + days * DAY, reason)
    return read(pki.revocation_list(AUTHORITY, [entry]))


@pytest.mark.parametrize(
    ("days", "reason", "revoked"),
    [
        (1, None, True),
        (2, None, True),
        (3, None, False),
        (3, x509.ReasonFlags.certificate_hold, False),
        (3, x509.ReasonFlags.key_compromise, True),
        (3, x509.ReasonFlags.ca_compromise, True),
    ],
)
def test_an_entry_counts_from_its_date_unless_the_key_was_stolen(
    days: int, reason: x509.ReasonFlags | None, revoked: bool
) -> None:
    crl, at = revoking(days, reason), seconds(START + 2 * DAY)
    if revoked:
        act = lambda: check_not_revoked(crl, CHILD.certificate, at)  # noqa: E731 - told to pytest
        assert finding_of(act) == Finding.REVOKED
    else:
        check_not_revoked(crl, CHILD.certificate, at)
    check_not_revoked(crl, AUTHORITY.certificate, at)
