"""Keys: ECDSA P-256 in one spelling, and nothing else."""

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from registry.core.digest import sha256
from registry.core.keys import MAX_KEY_BYTES, MAX_SIGNATURE_BYTES, PublicKey, parse_signature
from registry.errors import MalformedError, Reason, VerificationError

PRIVATE = ec.derive_private_key(2026, ec.SECP256R1())
KEY = PublicKey(PRIVATE.public_key())
MESSAGE = b"what was said"
SIGNATURE = PRIVATE.sign(MESSAGE, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def der(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def pem(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def refusal(data: bytes) -> Reason:
    with pytest.raises(MalformedError) as caught:
        PublicKey.parse(data)
    return caught.value.reason


def test_a_key_is_read_from_der_and_from_pem() -> None:
    assert PublicKey.parse(KEY.der) == KEY
    assert PublicKey.parse(pem(PRIVATE.public_key())) == KEY


def test_a_key_is_named_by_the_digest_of_its_der() -> None:
    assert KEY.key_id == sha256(KEY.der).hex()


def test_equal_keys_are_one_member_of_a_set() -> None:
    assert len({KEY, PublicKey.parse(KEY.der)}) == 1


OTHERS: list[PublicKeyTypes] = [
    ec.generate_private_key(ec.SECP384R1()).public_key(),
    ec.generate_private_key(ec.SECP521R1()).public_key(),
    ec.generate_private_key(ec.SECP256K1()).public_key(),
    ed25519.Ed25519PrivateKey.generate().public_key(),
    rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key(),
]


@pytest.mark.parametrize("key", OTHERS, ids=["P-384", "P-521", "secp256k1", "Ed25519", "RSA"])
@pytest.mark.parametrize("spell", [der, pem], ids=["DER", "PEM"])
def test_a_key_of_another_algorithm_is_refused(key: PublicKeyTypes, spell: object) -> None:
    assert callable(spell)
    assert refusal(spell(key)) is Reason.KEY_ALGORITHM


def test_a_compressed_point_is_a_second_spelling() -> None:
    point = PRIVATE.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    assert refusal(head + point) is Reason.MALFORMED_KEY


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        KEY.der[:-1],
        KEY.der + b"\x00",
        b"\x30\x81" + KEY.der[1:],
        KEY.der[:-1] + bytes([KEY.der[-1] ^ 1]),
        b"-----BEGIN PUBLIC KEY-----\n",
        b"-----BEGIN PUBLIC KEY-----\n!!!!\n-----END PUBLIC KEY-----\n",
        b"x" * (MAX_KEY_BYTES + 1),
    ],
)
def test_what_is_no_key_is_refused(data: bytes) -> None:
    assert refusal(data) is Reason.MALFORMED_KEY


def test_a_signature_verifies() -> None:
    KEY.verify(SIGNATURE, MESSAGE)


def test_a_signature_over_something_else_is_refused() -> None:
    with pytest.raises(VerificationError) as caught:
        KEY.verify(SIGNATURE, b"what was not said")
    assert caught.value.reason is Reason.BAD_SIGNATURE


def test_a_signature_by_another_key_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(VerificationError):
        KEY.verify(other.sign(MESSAGE, ec.ECDSA(hashes.SHA256())), MESSAGE)


def test_a_signature_with_another_hash_is_refused() -> None:
    with pytest.raises(VerificationError):
        KEY.verify(PRIVATE.sign(MESSAGE, ec.ECDSA(hashes.SHA384())), MESSAGE)


def long_form(signature: bytes) -> bytes:
    """The same DER with a length in two bytes where one would do."""
    return b"\x30\x81" + signature[1:]


def padded(signature: bytes) -> bytes:
    """The same DER with a zero too many before r."""
    length = signature[3]
    return bytes([0x30, signature[1] + 1, 0x02, length + 1, 0x00]) + signature[4:]


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"\x00" * 64,
        SIGNATURE[:-1],
        SIGNATURE + b"\x00",
        long_form(SIGNATURE),
        padded(SIGNATURE),
        b"\x30" * (MAX_SIGNATURE_BYTES + 1),
    ],
)
def test_a_signature_that_is_not_strict_der_is_refused(signature: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        KEY.verify(signature, MESSAGE)
    assert caught.value.reason is Reason.MALFORMED_SIGNATURE


def test_a_strict_signature_is_read_into_two_numbers() -> None:
    assert parse_signature(SIGNATURE) == decode_dss_signature(SIGNATURE)


@pytest.mark.parametrize(("r", "s"), [(0, 0), (1, 1), (2**256 - 1, 2**256 - 1)])
def test_numbers_that_no_signature_has_do_not_verify(r: int, s: int) -> None:
    with pytest.raises(VerificationError):
        KEY.verify(encode_dss_signature(r, s), MESSAGE)


def test_a_key_shows_its_id_and_nothing_else() -> None:
    assert repr(KEY) == f"PublicKey({KEY.key_id[:16]}…)"


def test_a_signature_verifies_over_the_digest_alone() -> None:
    KEY.verify_digest(SIGNATURE, hashlib.sha256(MESSAGE).digest())


@pytest.mark.parametrize("digest", [hashlib.sha256(b"other").digest(), b"short", b""])
def test_a_signature_over_another_digest_is_refused(digest: bytes) -> None:
    with pytest.raises(VerificationError) as caught:
        KEY.verify_digest(SIGNATURE, digest)
    assert caught.value.reason is Reason.BAD_SIGNATURE
