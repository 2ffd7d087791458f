"""Signing certificates: one key, one identity, one issuer, or refused."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from registry.core.certificates.chain import MAX_CERTIFICATE_BYTES
from registry.core.certificates.signing import OTHER_NAME, SigningCertificate, utf8_string
from registry.errors import MalformedError, Reason
from tests.authorities import NOON
from tests.private_certificates import CA, IDENTITY, OIDC_ISSUER, Leaf, name, p256, spki

ROOT = CA.root()


def refusal(leaf: Leaf) -> MalformedError:
    with pytest.raises(MalformedError) as caught:
        SigningCertificate.parse(leaf.plain(ROOT))
    return caught.value


def test_a_certificate_says_who_signs_and_who_vouches_for_it() -> None:
    der = Leaf().plain(ROOT)
    parsed = SigningCertificate.parse(der)
    assert (parsed.identity, parsed.issuer, parsed.der) == (IDENTITY, OIDC_ISSUER, der)
    assert parsed.key.der == spki(p256(21))
    assert NOON in parsed.window


@pytest.mark.parametrize(
    ("general", "identity"),
    [
        (x509.RFC822Name("alice@acme.example"), "alice@acme.example"),
        (x509.OtherName(OTHER_NAME, utf8_string(b"alice!acme")), "alice!acme"),
        (x509.OtherName(OTHER_NAME, utf8_string(b"a" * 200)), "a" * 200),
        (x509.OtherName(OTHER_NAME, utf8_string(b"a" * 300)), "a" * 300),
    ],
    ids=["e-mail", "other name", "other name of 200", "other name of 300"],
)
def test_an_identity_may_be_of_three_kinds(general: x509.GeneralName, identity: str) -> None:
    assert SigningCertificate.parse(Leaf(names=(general,)).plain(ROOT)).identity == identity


@pytest.mark.parametrize("leaf", [Leaf(issuer=None), Leaf(issuer_raw=None)], ids=["raw", "DER"])
def test_either_issuer_extension_is_enough(leaf: Leaf) -> None:
    assert SigningCertificate.parse(leaf.plain(ROOT)).issuer == OIDC_ISSUER


BAD = {
    "no identity": Leaf(names=()),
    "two identities": Leaf(
        names=(x509.RFC822Name("a@acme.example"), x509.RFC822Name("b@acme.example"))
    ),
    "a host name": Leaf(names=(x509.DNSName("acme.example"),)),
    "another kind of other name": Leaf(
        names=(x509.OtherName(x509.ObjectIdentifier("1.2.3.4"), utf8_string(b"a")),)
    ),
    "an other name that is no text": Leaf(names=(x509.OtherName(OTHER_NAME, b"\x04\x01a"),)),
    "an issuer with trailing bytes": Leaf(issuer=b"\x0c\x01ab", issuer_raw=None),
    "an issuer in a longer encoding": Leaf(issuer=b"\x0c\x81\x01a", issuer_raw=None),
    "an issuer that is no text": Leaf(issuer=b"\x04\x01a", issuer_raw=None),
    "an other name that is not UTF-8": Leaf(names=(x509.OtherName(OTHER_NAME, b"\x0c\x01\xff"),)),
    "an empty identity": Leaf(names=(x509.OtherName(OTHER_NAME, utf8_string(b"")),)),
    "an identity that may be overlooked": Leaf(names_critical=False),
    "no issuer": Leaf(issuer=None, issuer_raw=None),
    "two issuers": Leaf(issuer=utf8_string(b"https://other.example")),
    "an issuer that is not UTF-8": Leaf(issuer=None, issuer_raw=b"\xff"),
    "an empty issuer": Leaf(issuer=None, issuer_raw=b""),
    "a key that is not for signatures": Leaf(sign=False),
    "a key for servers": Leaf(purpose=ExtendedKeyUsageOID.SERVER_AUTH),
    "a critical extension that is unknown": Leaf(
        change=lambda builder: builder.add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), critical=True
        )
    ),
    "an authority's certificate": Leaf(
        change=lambda builder: builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
    ),
}


@pytest.mark.parametrize("leaf", BAD.values(), ids=BAD)
def test_a_certificate_is_refused_with(leaf: Leaf) -> None:
    assert refusal(leaf).reason is Reason.MALFORMED_CERTIFICATE


def test_a_named_subject_makes_the_identity_easy_to_see() -> None:
    leaf = Leaf(subject=name("alice"), names_critical=False)
    assert SigningCertificate.parse(leaf.plain(ROOT)).identity == IDENTITY


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["P-384", "RSA", "Ed25519"],
)
def test_another_kind_of_key_is_refused(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
) -> None:
    assert refusal(Leaf(key=key)).reason is Reason.KEY_ALGORITHM


@pytest.mark.parametrize("data", [b"", b"0", b"\x30\x82", bytes(MAX_CERTIFICATE_BYTES + 1)])
def test_what_is_no_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        SigningCertificate.parse(data)
    assert caught.value.reason is Reason.MALFORMED_CERTIFICATE


GOOD = Leaf().plain(ROOT)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_byte_gives_an_error_of_ours_or_another_certificate(at: int, by: int) -> None:
    changed = GOOD[:at] + bytes([GOOD[at] ^ by]) + GOOD[at + 1 :]
    try:
        parsed = SigningCertificate.parse(changed)
    except MalformedError:
        return
    assert parsed.der == changed


@given(st.binary(max_size=40))
def test_bytes_after_a_certificate_are_refused(more: bytes) -> None:
    if more:
        with pytest.raises(MalformedError):
            SigningCertificate.parse(GOOD + more)
