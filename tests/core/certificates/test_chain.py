"""Chains: each certificate issued by the next, all of them valid at the time that counts."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from registry.core.certificates.chain import (
    CODE_SIGNING,
    TIME_STAMPING,
    Authority,
    Window,
    issuing_authority,
    load,
    verify_path,
)
from registry.errors import MalformedError, Reason, RegistryError, VerificationError
from tests.authorities import NOON
from tests.private_certificates import CA, Leaf, p256
from tools.fake_vendor.amd_certificates import sequence, tlv

ROOT = CA.root()
MIDDLE = ROOT.below("middle")
MINUTE = timedelta(minutes=1)


def refusal(leaf: bytes, authorities: Sequence[Authority], at: datetime = NOON) -> Reason:
    with pytest.raises(RegistryError) as caught:
        issuing_authority(leaf, authorities, at)
    return caught.value.reason


def test_a_certificate_below_a_root_or_below_an_intermediate_is_accepted() -> None:
    for ca in (ROOT, MIDDLE):
        authority = issuing_authority(Leaf().plain(ca), [ca.authority()], NOON)
        assert authority == ca.authority()


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
    ],
    ids=["P-384", "P-521", "RSA"],
)
def test_an_authority_may_have_a_key_of_another_kind(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
) -> None:
    ca = CA.root(key=key)
    issuing_authority(Leaf().plain(ca), [ca.authority()], NOON)


def test_an_authority_with_a_weak_key_is_refused() -> None:
    for key in (
        rsa.generate_private_key(public_exponent=65537, key_size=1024),  # noqa: S505 - the point
        ec.generate_private_key(ec.SECP256K1()),
    ):
        ca = CA.root(key=key)
        assert refusal(Leaf().plain(ca), [ca.authority()]) is Reason.CERTIFICATE_CHAIN


def test_an_authority_without_a_hash_of_ours_is_refused() -> None:
    ca = CA.root(key=ed25519.Ed25519PrivateKey.generate())
    assert refusal(Leaf().plain(ca), [ca.authority()]) is Reason.CERTIFICATE_CHAIN


def test_the_right_one_of_several_authorities_is_found() -> None:
    other = CA.root("other", key=p256(13))
    twin = CA.root("root", key=p256(14))
    authorities = [other.authority(), twin.authority(), ROOT.authority()]
    assert issuing_authority(Leaf().plain(ROOT), authorities, NOON) == ROOT.authority()


def test_an_unknown_authority_is_refused() -> None:
    other = CA.root("other")
    assert refusal(Leaf().plain(ROOT), [other.authority()]) is Reason.UNKNOWN_AUTHORITY
    assert refusal(Leaf().plain(ROOT), []) is Reason.UNKNOWN_AUTHORITY
    empty = Authority((), Window(NOON))
    assert refusal(Leaf().plain(ROOT), [empty]) is Reason.UNKNOWN_AUTHORITY


def test_an_authority_of_the_same_name_with_another_key_is_refused() -> None:
    twin = CA.root(key=p256(14))
    assert refusal(Leaf().plain(ROOT), [twin.authority()]) is Reason.CERTIFICATE_CHAIN


def test_a_signature_by_another_key_is_refused_without_key_identifiers() -> None:
    twin = CA.root(key=p256(14))
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(twin.certificate.subject)
        .public_key(p256(21).public_key())
        .serial_number(1)
        .not_valid_before(NOON - MINUTE)
        .not_valid_after(NOON + MINUTE)
    )
    for extension, critical in (
        (x509.ExtendedKeyUsage([CODE_SIGNING]), False),
        (Leaf().builder(ROOT)._extensions[0].value, True),
    ):
        builder = builder.add_extension(extension, critical)
    leaf = builder.sign(p256(11), hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    assert refusal(leaf, [twin.authority()]) is Reason.CERTIFICATE_CHAIN
    issuing_authority(leaf, [ROOT.authority()], NOON)


def test_the_time_must_be_within_the_certificate_to_the_second() -> None:
    leaf, authorities = Leaf(), [ROOT.authority()]
    der = leaf.plain(ROOT)
    issuing_authority(der, authorities, leaf.start)
    issuing_authority(der, authorities, leaf.end)
    second = timedelta(seconds=1)
    assert refusal(der, authorities, leaf.start - second) is Reason.CERTIFICATE_TIME
    assert refusal(der, authorities, leaf.end + second) is Reason.CERTIFICATE_TIME


def test_an_authority_must_be_valid_at_the_time_too() -> None:
    middle = ROOT.below("middle", days=1)
    leaf = Leaf(end=NOON + timedelta(days=3)).plain(middle)
    issuing_authority(leaf, [middle.authority()], NOON)
    late = NOON + timedelta(days=2)
    assert refusal(leaf, [middle.authority()], late) is Reason.CERTIFICATE_TIME


def test_the_window_of_an_authority_is_closed_at_both_ends() -> None:
    leaf = Leaf(start=NOON, end=NOON + MINUTE)
    der = leaf.plain(ROOT)
    issuing_authority(der, [ROOT.authority(Window(NOON, NOON))], NOON)
    after = Window(NOON + MINUTE)
    before = Window(NOON - MINUTE, NOON)
    assert refusal(der, [ROOT.authority(after)], NOON + MINUTE) is Reason.CERTIFICATE_TIME
    assert refusal(der, [ROOT.authority(before)], NOON + MINUTE) is Reason.CERTIFICATE_TIME


def test_a_chain_longer_than_allowed_is_refused() -> None:
    low = MIDDLE.below("low", key=p256(15), path_length=None)
    assert refusal(Leaf().plain(low), [low.authority()]) is Reason.CERTIFICATE_CHAIN


def test_a_leaf_cannot_issue() -> None:
    leaf_key = p256(16)
    fake = CA(
        leaf_key,
        x509.load_der_x509_certificate(Leaf(key=leaf_key, subject=x509.Name([])).plain(ROOT)),
        ROOT.chain,
    )
    assert refusal(Leaf().plain(fake), [fake.authority()]) is Reason.CERTIFICATE_CHAIN


def test_an_authority_for_another_purpose_is_refused() -> None:
    def only(purpose: x509.ObjectIdentifier) -> CA:
        return ROOT.below(
            "middle",
            change=lambda builder: builder.add_extension(
                x509.ExtendedKeyUsage([purpose]), critical=False
            ),
        )

    wrong = only(ExtendedKeyUsageOID.TIME_STAMPING)
    assert refusal(Leaf().plain(wrong), [wrong.authority()]) is Reason.CERTIFICATE_CHAIN
    for purpose in (CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE):
        right = only(purpose)
        issuing_authority(Leaf().plain(right), [right.authority()], NOON)


def test_an_authority_with_a_critical_extension_that_is_unknown_is_refused() -> None:
    strange = ROOT.below(
        "middle",
        change=lambda builder: builder.add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), critical=True
        ),
    )
    assert refusal(Leaf().plain(strange), [strange.authority()]) is Reason.MALFORMED_CERTIFICATE


def test_a_path_for_timestamps_needs_their_purpose() -> None:
    leaf = Leaf(purpose=ExtendedKeyUsageOID.TIME_STAMPING).plain(ROOT)
    verify_path((leaf, *ROOT.chain), NOON, TIME_STAMPING)
    with pytest.raises(MalformedError):
        verify_path((leaf, *ROOT.chain), NOON, CODE_SIGNING)


def test_a_path_without_a_leaf_is_one_of_authorities() -> None:
    verify_path(MIDDLE.chain, NOON, CODE_SIGNING, leaf=False)
    with pytest.raises(VerificationError):
        verify_path((Leaf().plain(MIDDLE), *MIDDLE.chain), NOON, CODE_SIGNING, leaf=False)


@pytest.mark.parametrize("chain", [(), (ROOT.der,) * 12], ids=["empty", "of twelve"])
def test_a_path_has_a_sane_length(chain: tuple[bytes, ...]) -> None:
    with pytest.raises(VerificationError) as caught:
        verify_path(chain, NOON, CODE_SIGNING)
    assert caught.value.reason is Reason.CERTIFICATE_CHAIN


@pytest.mark.parametrize("number", [b"\x00", b"\xff"])
def test_a_serial_number_that_is_not_positive_is_refused(number: bytes) -> None:
    # The first integer after the version; CA.root() has the number 1.
    der = ROOT.der.replace(
        b"\xa0\x03\x02\x01\x02\x02\x01\x01", b"\xa0\x03\x02\x01\x02\x02\x01" + number
    )
    assert der != ROOT.der
    with pytest.raises(MalformedError) as caught:
        load(der)
    assert caught.value.reason is Reason.MALFORMED_CERTIFICATE


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_a_serial_number_that_is_not_positive_is_refused_where_it_is_no_more_than_a_warning() -> (
    None
):
    der = ROOT.der.replace(b"\x02\x01\x02\x02\x01\x01", b"\x02\x01\x02\x02\x01\xff")
    with pytest.raises(MalformedError, match="not positive"):
        load(der)


def test_a_window_says_what_it_spans() -> None:
    assert str(Window(NOON)) == "2026-06-01T12:00:00+00:00 to now"


@pytest.mark.parametrize("tag", [b"\0", b"\x03"], ids=["none", "bit string"])
def test_a_certificate_whose_names_cannot_be_read_is_refused_at_once(tag: bytes) -> None:
    der = ROOT.authority().chain[0]
    name = load(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    assert isinstance(name, str)
    # A tag that no text has, in the names of issuer and subject; the signature is not looked at.
    spelled = bytes([0x0C, len(name)]) + name.encode()
    assert spelled in der
    with pytest.raises(MalformedError) as caught:
        load(der.replace(spelled, tag + spelled[1:]))
    assert caught.value.reason is Reason.MALFORMED_CERTIFICATE


def test_a_certificate_signed_by_an_unknown_algorithm_is_refused_at_once() -> None:
    # ecdsa-with-SHA256 is 1.2.840.10045.4.3.2; .9 is nothing.
    known, unknown = bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06082a8648ce3d040309")
    der = ROOT.authority().chain[0]
    assert known in der
    with pytest.raises(MalformedError) as caught:
        load(der.replace(known, unknown))
    assert caught.value.reason is Reason.MALFORMED_CERTIFICATE


@pytest.mark.filterwarnings("default", "ignore:Attribute's length")
def test_a_name_that_is_too_short_is_refused_where_it_is_no_more_than_a_warning() -> None:
    der = ROOT.authority().chain[0]
    name = load(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    assert isinstance(name, str)
    # The common name 2.5.4.3 becomes a country, 2.5.4.6, which has two letters.
    spelled = bytes.fromhex("0603550403") + bytes([0x0C, len(name)]) + name.encode()
    assert spelled in der
    country = spelled.replace(bytes.fromhex("0603550403"), bytes.fromhex("0603550406"))
    with pytest.raises(MalformedError) as caught:
        load(der.replace(spelled, country))
    assert caught.value.reason is Reason.MALFORMED_CERTIFICATE


def with_key(der: bytes, spki: bytes) -> bytes:
    """The same certificate with another key in it; what it is signed over no longer is it."""
    read = x509.load_der_x509_certificate(der)
    old = read.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signed = read.tbs_certificate_bytes
    assert signed.count(old) == 1
    again = sequence(signed[4:].replace(old, spki))
    rest = der[4 + len(signed) :]
    return sequence(again, rest)


def spelled_out(key: ec.EllipticCurvePublicKey) -> bytes:
    """A P-256 key whose curve is described instead of named (RFC 3279 §2.3.5)."""
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    b = "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b"
    base = (
        "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
    )
    order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"
    curve = sequence(
        b"\x02\x01\x01",
        sequence(bytes.fromhex("06072a8648ce3d0101"), tlv(2, b"\0" + prime.to_bytes(32, "big"))),
        sequence(tlv(4, (prime - 3).to_bytes(32, "big")), tlv(4, bytes.fromhex(b))),
        tlv(4, bytes.fromhex(base)),
        tlv(2, b"\0" + bytes.fromhex(order)),
        b"\x02\x01\x01",
    )
    point = key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    return sequence(sequence(bytes.fromhex("06072a8648ce3d0201"), curve), tlv(3, b"\0" + point))


def compressed(key: ec.EllipticCurvePublicKey) -> bytes:
    """A P-256 key whose point is compressed."""
    point = key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )
    named = bytes.fromhex("06072a8648ce3d020106082a8648ce3d030107")
    return sequence(sequence(named), tlv(3, b"\0" + point))


def rsa_spki(modulus: int, exponent: int) -> bytes:
    """An RSA key, however useless."""
    numbers = (value.to_bytes(value.bit_length() // 8 + 1, "big") for value in (modulus, exponent))
    key = sequence(*(tlv(2, number) for number in numbers))
    return sequence(bytes.fromhex("300d06092a864886f70d0101010500"), tlv(3, b"\0" + key))


def test_a_key_has_one_spelling() -> None:  # catalogue row 146
    key = p256(77).public_key()
    der = Leaf(key=p256(77)).plain(ROOT)
    named = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert load(with_key(der, named)).public_key() == key
    for spki in (spelled_out(key), compressed(key)):
        with pytest.raises(MalformedError) as caught:
            load(with_key(der, spki))
        assert caught.value.reason is Reason.MALFORMED_CERTIFICATE


@pytest.mark.parametrize(
    ("bits", "exponent"), [(2048, 1), (16384, 65537), (8200, 3)], ids=["one", "huge", "large"]
)
def test_useless_and_costly_keys_are_refused(bits: int, exponent: int) -> None:  # row 146
    der = Leaf(key=p256(77)).plain(ROOT)
    modulus = 2 ** (bits - 1) + 2 ** (bits // 2) + 1
    with pytest.raises(MalformedError) as caught:
        load(with_key(der, rsa_spki(modulus, exponent)))
    assert caught.value.reason is Reason.MALFORMED_CERTIFICATE
