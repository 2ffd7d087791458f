"""Tests of registry.core.evidence.sev_snp.chain and certificate: authorities that may not issue."""

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from registry.core.evidence.checks import CheckError
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.sev_snp import chain
from registry.core.evidence.sev_snp.certificate import PSS_SHA384_TRAILER, EndorsementKey
from registry.core.evidence.sev_snp.findings import SNPFinding
from registry.core.evidence.sev_snp.product import ProductLine
from registry.core.evidence.sev_snp.rules import RULES
from tests.core.evidence.sev_snp.minted import refused
from tools.fake_vendor import fixed_rsa, pki
from tools.fake_vendor.amd import NOON, Spec, key_certificate, mint, roots
from tools.fake_vendor.amd_certificates import (
    amd_name,
    authorities,
    authority_keys,
    certificate,
    sequence,
    tlv,
)

MILAN = ProductLine.MILAN
AUTHORITY = bytes.fromhex("300f0603551d130101ff040530030101ff")
LAST = bytes.fromhex("30120603551d130101ff040830060101ff020100")
NO_AUTHORITY = bytes.fromhex("300c0603551d130101ff04023000")
SIGNS = bytes.fromhex("300e0603551d0f0101ff040403020204")
SIGNS_LISTS_ONLY = bytes.fromhex("300e0603551d0f0101ff040403020102")
UNKNOWN = sequence(tlv(0x06, bytes.fromhex("2a0304")), b"\x01\x01\xff", tlv(0x04, b"\x05\x00"))
WEAK = "a weak authority"


def under(
    *extensions: bytes, self_signed: bool = False, root: str = "ARK-Milan"
) -> list[tuple[str, str]]:
    """Examine a good report under an ASK with these extensions, or under a root of that name."""
    root_key, signer_key = authority_keys(forged=False)
    der = certificate(
        0x10001,
        amd_name(root),
        (pki.START, pki.FOREVER),
        amd_name("SEV-Milan"),
        signer_key.public_key(),
        extensions,
        signer_key if self_signed else root_key,
    )
    ark = authorities(MILAN).ark.der
    if root != "ARK-Milan":
        ark = certificate(
            0x10000,
            amd_name(root),
            (pki.START, pki.FOREVER),
            amd_name(root),
            root_key.public_key(),
            (AUTHORITY, SIGNS),
            root_key,
        )
    held_chain = b"".join(
        x509.load_der_x509_certificate(item).public_bytes(serialization.Encoding.PEM)
        for item in (der, ark)
    )
    minted = mint()
    held = Endorsements.of([(Role.AMD_VEK, minted.key_certificate), (Role.AMD_CHAIN, held_chain)])
    return refused(RULES.examine(minted.evidence, held, NOON, roots()))


def test_an_authority_as_amd_makes_it_may_issue() -> None:
    assert under(LAST, SIGNS) == []


@pytest.mark.parametrize(
    "extensions",
    [
        (),
        (LAST,),
        (SIGNS,),
        (NO_AUTHORITY, SIGNS),
        (LAST, SIGNS_LISTS_ONLY),
        (LAST, SIGNS, UNKNOWN),
    ],
    ids=["nothing", "no usage", "no constraints", "no CA", "lists only", "unknown critical"],
)
def test_an_authority_that_may_not_issue_is_refused(extensions: tuple[bytes, ...]) -> None:
    assert under(*extensions) == [("S4", SNPFinding.CHAIN_MALFORMED)]


def test_an_authority_that_the_root_did_not_sign_is_refused() -> None:
    assert under(LAST, SIGNS, self_signed=True) == [("S4", SNPFinding.ASK_SIGNATURE)]


def test_a_root_of_no_product_line_is_refused() -> None:
    assert under(LAST, SIGNS, root="ARK-Naples") == [("S4", SNPFinding.CHAIN_MALFORMED)]


def test_authorities_with_keys_of_another_kind_are_refused() -> None:
    holder = pki.issue(amd_name("SEV-Milan"), pki.p384(WEAK), None)
    minted = mint()
    held = Endorsements.of([(Role.AMD_VEK, minted.key_certificate), (Role.AMD_CHAIN, holder.pem)])
    examination = RULES.examine(minted.evidence, held, NOON, roots())
    assert refused(examination) == [("S4", SNPFinding.CHAIN_MALFORMED)]


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        (lambda: fixed_rsa.private_key("azure vtpm", 2048).public_key().public_numbers(), "kind"),
        (lambda: rsa.RSAPublicNumbers(3, _modulus()), "exponent"),
    ],
    ids=["2048 bits", "exponent 3"],
)
def test_an_authority_with_another_rsa_key_than_amds_is_refused(
    numbers: Callable[[], rsa.RSAPublicNumbers], why: str
) -> None:
    key = numbers().public_key()
    by = authority_keys(forged=False)[0]
    name, period = amd_name("SEV-Milan"), (pki.START, pki.FOREVER)
    der = certificate(0x10001, amd_name("ARK-Milan"), period, name, key, (LAST, SIGNS), by)
    pem = x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(CheckError) as caught:
        chain.authorities(pem)
    assert caught.value.finding is SNPFinding.CHAIN_MALFORMED
    assert why in caught.value.what


def _modulus() -> int:
    return authority_keys(forged=False)[1].public_key().public_numbers().n


def test_a_key_in_another_spelling_is_refused() -> None:
    # The hybrid form of X9.62 names the same point in as many bytes.
    data = key_certificate(Spec())
    start = data.index(b"\x03\x62\x00\x04") + 3
    odd = data[start + 96] & 1
    with pytest.raises(CheckError) as caught:
        EndorsementKey.parse(data[:start] + bytes([6 | odd]) + data[start + 1 :])
    assert caught.value.finding is SNPFinding.VEK_KEY
    assert "spelled" in caught.value.what


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("a203020130", "a203020120", SNPFinding.VEK_ALGORITHM),
        ("0609608648016503040202", "0609608648016503040201", SNPFinding.VEK_ALGORITHM),
        ("06092a864886f70d01010a", "06092a864886f70d01010b", SNPFinding.VEK_ALGORITHM),
        ("a003020102", "a003020101", SNPFinding.VEK_MALFORMED),
        ("06052b81040022", "06052b81040023", SNPFinding.VEK_KEY),
    ],
    ids=["salt", "SHA-256", "PKCS #1", "version 2", "P-521"],
)
def test_a_certificate_that_is_signed_or_made_otherwise_is_refused(
    old: str, new: str, finding: SNPFinding
) -> None:
    data = key_certificate(Spec())
    assert bytes.fromhex(old) in data
    with pytest.raises(CheckError) as caught:
        EndorsementKey.parse(data.replace(bytes.fromhex(old), bytes.fromhex(new)))
    assert caught.value.finding is finding


def test_only_one_of_the_two_algorithms_in_a_certificate_is_not_enough() -> None:
    data = key_certificate(Spec())
    with pytest.raises(CheckError) as caught:
        salt = bytes.fromhex("a203020130")
        EndorsementKey.parse(data.replace(salt, bytes.fromhex("a203020120"), 1))
    assert caught.value.finding is SNPFinding.VEK_ALGORITHM
    assert len(PSS_SHA384_TRAILER) == 72


@pytest.mark.parametrize("data", [b"", b"\x30\x00", bytes(40_000)], ids=["0", "1", "long"])
def test_what_is_no_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(CheckError) as caught:
        EndorsementKey.parse(data)
    assert caught.value.finding is SNPFinding.VEK_MALFORMED


def test_a_certificate_has_one_spelling() -> None:
    data = key_certificate(Spec())
    long_form = b"\x30\x83\x00" + data[2:]
    for bad in (long_form, data + b"\x00", data[:-1]):
        with pytest.raises(CheckError) as caught:
            EndorsementKey.parse(bad)
        assert caught.value.finding is SNPFinding.VEK_MALFORMED
