"""Certificates of the private authority, as stock Sigstore clients read them."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from OpenSSL import crypto
from sigstore._internal.sct import verify_sct as stock_verify_sct
from sigstore._internal.trust import CTKeyring, Keyring
from sigstore_models.common.v1 import PublicKey as StockKey
from sigstore_models.common.v1 import PublicKeyDetails, TimeRange

from registry.core.attestation.identity import Identity
from registry.core.certificates.chain import issuing_authority
from registry.core.certificates.sct import verify_sct
from registry.core.certificates.signing import SigningCertificate
from registry.core.digest import sha256
from registry.core.encoding import base64_text
from registry.core.keys import PublicKey
from registry.errors import Reason, RegistryError
from registry.signing.authority import (
    AUTHORITY_LIFETIME,
    BACKDATED,
    CERTIFICATE_LIFETIME,
    CertificateAuthority,
    self_signed,
)

NOON = datetime(2026, 9, 1, 12, 0, 0, 123456, UTC)
KEY = PublicKey(ec.generate_private_key(ec.SECP256R1()).public_key())
ISSUER = "https://accounts.example"
ADA = Identity(ISSUER, "ada@acme.example")
ROBOT = Identity(ISSUER, "https://ci.example/acme/models")


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority.generate("log.example", NOON)


def issue(authority: CertificateAuthority, identity: Identity = ADA) -> x509.Certificate:
    return x509.load_der_x509_certificate(authority.issue(KEY, identity, NOON).der)


@pytest.mark.parametrize("identity", [ADA, ROBOT])
def test_a_certificate_says_whose_key_it_is(
    authority: CertificateAuthority, identity: Identity
) -> None:
    issued = authority.issue(KEY, identity, NOON)
    assert (issued.key, issued.identity, issued.issuer) == (KEY, identity.name, ISSUER)
    assert SigningCertificate.parse(issued.der) == issued


def test_the_extensions_stand_in_the_order_and_with_the_weight_that_clients_expect(
    authority: CertificateAuthority,
) -> None:
    made = issue(authority)
    assert [(item.oid.dotted_string, item.critical) for item in made.extensions] == [
        (ExtensionOID.KEY_USAGE.dotted_string, True),
        (ExtensionOID.EXTENDED_KEY_USAGE.dotted_string, False),
        (ExtensionOID.SUBJECT_KEY_IDENTIFIER.dotted_string, False),
        (ExtensionOID.AUTHORITY_KEY_IDENTIFIER.dotted_string, False),
        (ExtensionOID.SUBJECT_ALTERNATIVE_NAME.dotted_string, True),
        ("1.3.6.1.4.1.57264.1.1", False),
        ("1.3.6.1.4.1.57264.1.8", False),
        ("1.3.6.1.4.1.11129.2.4.2", False),
    ]
    assert made.version is x509.Version.v3
    assert not list(made.subject)
    usage = made.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    purposes = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CODE_SIGNING]


def test_the_issuer_stands_there_raw_and_as_der(authority: CertificateAuthority) -> None:
    made = issue(authority)
    values = {
        item.oid.dotted_string: item.value.value
        for item in made.extensions
        if isinstance(item.value, x509.UnrecognizedExtension)
    }
    assert values["1.3.6.1.4.1.57264.1.1"] == ISSUER.encode()
    assert values["1.3.6.1.4.1.57264.1.8"] == b"\x0c" + bytes((len(ISSUER),)) + ISSUER.encode()


def test_a_certificate_lives_a_quarter_of_an_hour_around_its_making(
    authority: CertificateAuthority,
) -> None:
    made = issue(authority)
    assert made.not_valid_before_utc == NOON.replace(microsecond=0) - BACKDATED
    assert made.not_valid_after_utc - made.not_valid_before_utc == CERTIFICATE_LIFETIME
    assert timedelta(minutes=15) == CERTIFICATE_LIFETIME


def test_serial_numbers_are_random_and_positive(authority: CertificateAuthority) -> None:
    serials = {issue(authority).serial_number for _ in range(8)}
    assert len(serials) == 8
    assert all(0 < serial < 2**159 for serial in serials)


def test_the_authority_is_one_for_signers_only(authority: CertificateAuthority) -> None:
    own = x509.load_der_x509_certificate(authority.certificate_der)
    constraints = own.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 1)
    usage = own.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature
    named = own.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    leaf = issue(authority).extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert leaf.key_identifier == named.digest


def test_chain_and_sct_verify_as_ours_are_verified(authority: CertificateAuthority) -> None:
    der = authority.issue(KEY, ADA, NOON).der
    found = issuing_authority(der, [authority.authority], NOON)
    verify_sct(der, found.chain[0], [authority.promises])


def test_the_chain_verifies_with_openssl(authority: CertificateAuthority) -> None:
    store = crypto.X509Store()
    store.add_cert(
        crypto.X509.from_cryptography(x509.load_der_x509_certificate(authority.certificate_der))
    )
    store.set_flags(crypto.X509StoreFlags.X509_STRICT)
    store.set_time(NOON)
    leaf = crypto.X509.from_cryptography(issue(authority))
    assert len(crypto.X509StoreContext(store, leaf).get_verified_chain()) == 2


def test_the_sct_verifies_with_sigstore(authority: CertificateAuthority) -> None:
    own = x509.load_der_x509_certificate(authority.certificate_der)
    key = StockKey(
        raw_bytes=base64_text(authority.ct_key.der).encode(),
        key_details=PublicKeyDetails.PKIX_ECDSA_P256_SHA_256,
        valid_for=TimeRange(start=NOON),
    )
    stock_verify_sct(issue(authority), [own], CTKeyring(Keyring([key])))


def test_the_sct_is_the_last_extension_and_stands_there_once(
    authority: CertificateAuthority,
) -> None:
    found = list(issue(authority).extensions)[-1].value
    assert isinstance(found, x509.PrecertificateSignedCertificateTimestamps)
    (sct,) = found
    assert sct.log_id == sha256(authority.ct_key.der)
    assert sct.extension_bytes == b""
    assert sct.timestamp.replace(tzinfo=UTC) == NOON.replace(microsecond=123000)


def test_another_authority_did_not_issue_it(authority: CertificateAuthority) -> None:
    other = CertificateAuthority.generate("log.example", NOON)
    with pytest.raises(RegistryError) as refused:
        issuing_authority(authority.issue(KEY, ADA, NOON).der, [other.authority], NOON)
    assert refused.value.reason is Reason.CERTIFICATE_CHAIN


def test_an_authority_that_has_expired_issues_nothing(authority: CertificateAuthority) -> None:
    with pytest.raises(RegistryError) as refused:
        authority.issue(KEY, ADA, NOON + AUTHORITY_LIFETIME)
    assert refused.value.reason is Reason.CERTIFICATE_TIME


def test_an_authority_does_not_take_another_ones_certificate() -> None:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    pem = self_signed(keys[2], "log.example", NOON).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(RegistryError) as refused:
        CertificateAuthority.load(keys[0], keys[1], pem)
    assert refused.value.reason is Reason.STORED_BYTES
    assert CertificateAuthority.load(keys[2], keys[1], pem).ct_key == PublicKey(
        keys[1].public_key()
    )


@pytest.mark.parametrize("pem", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(pem: bytes) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(RegistryError) as refused:
        CertificateAuthority.load(key, key, pem)
    assert refused.value.reason is Reason.MALFORMED_CERTIFICATE
