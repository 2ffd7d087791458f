"""Requests to log a signature: what Rekor v2 takes, in its order, and P-256 only."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from registry.core.attestation.identity import Identity
from registry.core.digest import sha256
from registry.core.encoding import base64_text
from registry.core.tlog import entry, entry_request
from registry.core.tlog.entry_request import EntryRequest
from registry.errors import MalformedError, Reason, RegistryError
from registry.signing.authority import CertificateAuthority
from registry.signing.file import StatementSigner
from tests.rekor import MESSAGE, NOON, body_of, request_of, sign

SIGNER = StatementSigner.generate()
AUTHORITY = CertificateAuthority.generate("log.example", NOON)
CERTIFICATE = AUTHORITY.issue(
    SIGNER.public_key, Identity("https://issuer.example", "alice@example.com"), NOON
).der


def test_a_request_by_a_key_is_verified() -> None:
    verified = EntryRequest.parse(request_of(SIGNER)).verified()
    assert verified.certificate is None
    assert verified.key == SIGNER.public_key
    assert entry.parse(verified.entry.to_bytes()) == verified.entry


def test_a_request_by_a_certificate_is_verified() -> None:
    verified = EntryRequest.parse(request_of(SIGNER, CERTIFICATE)).verified()
    assert verified.certificate is not None
    assert verified.certificate.identity == "alice@example.com"
    assert entry.parse(verified.entry.to_bytes()).certificate_der == CERTIFICATE


def test_any_spelling_of_the_json_means_the_same() -> None:
    members = body_of(SIGNER)
    members["hashedRekordRequestV002"]["signature"]["verifier"]["x509Certificate"] = None
    spelled = json.dumps(members, indent=3, sort_keys=True).encode()
    parsed = EntryRequest.parse(request_of(SIGNER))
    # Another signature: ours are not deterministic here.
    assert EntryRequest.parse(spelled).digest == parsed.digest


def change(path: str, value: Any) -> bytes:
    """A good request with one member changed; None removes it."""
    members = body_of(SIGNER)
    *parents, last = path.split(".")
    found = members
    for name in parents:
        found = found[name]
    if value is None:
        del found[last]
    else:
        found[last] = value
    return json.dumps(members).encode()


R = "hashedRekordRequestV002"
CHANGES: list[tuple[str, Any, str]] = [
    ("more", 1, "MALFORMED_FIELD"),
    (f"{R}.more", "x", "MALFORMED_FIELD"),
    (f"{R}.signature.verifier.more", "x", "MALFORMED_FIELD"),
    (R, None, "MALFORMED_FIELD"),
    (f"{R}.signature", None, "MALFORMED_FIELD"),
    (f"{R}.signature.content", None, "MALFORMED_FIELD"),
    (f"{R}.signature.content", "", "MALFORMED_FIELD"),
    (f"{R}.digest", None, "MALFORMED_FIELD"),
    (f"{R}.digest", 7, "MALFORMED_FIELD"),
    (f"{R}.signature.verifier", None, "MALFORMED_FIELD"),
    (f"{R}.signature.verifier.publicKey", None, "MALFORMED_FIELD"),
    (f"{R}.signature.verifier.publicKey", {}, "MALFORMED_FIELD"),
    (f"{R}.digest", "!", "MALFORMED_BASE64"),
    (f"{R}.digest", base64_text(b"x" * 31), "MALFORMED_FIELD"),
    (f"{R}.digest", base64_text(b"x" * 48), "MALFORMED_FIELD"),
    (f"{R}.digest", base64_text(b"x" * 32), "BAD_SIGNATURE"),
    (f"{R}.signature.content", base64_text(b"x"), "MALFORMED_SIGNATURE"),
    (f"{R}.signature.content", base64_text(b"x" * 100), "MALFORMED_SIGNATURE"),
    (f"{R}.signature.verifier.keyDetails", None, "KEY_ALGORITHM"),
    (f"{R}.signature.verifier.keyDetails", "PKIX_ED25519_PH", "KEY_ALGORITHM"),
    (f"{R}.signature.verifier.keyDetails", 5, "MALFORMED_FIELD"),
    (f"{R}.signature.verifier.publicKey", {"rawBytes": "eA=="}, "MALFORMED_KEY"),
    (f"{R}.signature.verifier.x509Certificate", {"rawBytes": "eA=="}, "MALFORMED_FIELD"),
]


@pytest.mark.parametrize(("path", "value", "reason"), CHANGES)
def test_a_request_that_is_not_in_order_is_refused(path: str, value: Any, reason: str) -> None:
    with pytest.raises(RegistryError) as refused:
        EntryRequest.parse(change(path, value)).verified()
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "MALFORMED_JSON"),
        (b"[]", "MALFORMED_JSON"),
        (b"{} {}", "MALFORMED_JSON"),
        (b"{}", "MALFORMED_FIELD"),
        (b'{"dsseRequestV002":{}}', "MALFORMED_FIELD"),
    ],
)
def test_what_is_no_request_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(RegistryError) as refused:
        EntryRequest.parse(data)
    assert refused.value.reason == reason


def test_a_member_that_stands_there_twice_is_refused() -> None:
    data = request_of(SIGNER)
    with pytest.raises(MalformedError):
        EntryRequest.parse(data[:-1] + b"," + data[1:])


def spki(key: Any) -> bytes:
    data: bytes = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return data


@pytest.mark.parametrize(
    "generate",
    [
        lambda: ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate,
        lambda: rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-384", "Ed25519", "RSA"],
)
def test_any_other_algorithm_is_refused(generate: Callable[[], Any]) -> None:
    key = generate()
    with pytest.raises(MalformedError) as refused:
        EntryRequest(
            sha256(MESSAGE), sign(SIGNER), "PKIX_ECDSA_P256_SHA_256", spki(key), b""
        ).verified()
    assert refused.value.reason is Reason.KEY_ALGORITHM


def test_a_key_that_is_spelled_otherwise_is_refused() -> None:
    point = SIGNER.public_key._key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )
    prefix = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    with pytest.raises(MalformedError) as refused:
        EntryRequest(
            sha256(MESSAGE), sign(SIGNER), "PKIX_ECDSA_P256_SHA_256", prefix + point, b""
        ).verified()
    assert refused.value.reason is Reason.MALFORMED_KEY


def test_a_signature_by_another_key_is_refused() -> None:
    other = StatementSigner.generate()
    request = EntryRequest(
        sha256(MESSAGE), sign(other), "PKIX_ECDSA_P256_SHA_256", SIGNER.public_key.der, b""
    )
    with pytest.raises(RegistryError, match="BAD_SIGNATURE"):
        request.verified()


def test_a_signature_over_another_hash_is_refused() -> None:
    signature = SIGNER._key.sign(MESSAGE, ec.ECDSA(hashes.SHA384()))
    request = EntryRequest(
        sha256(MESSAGE), signature, "PKIX_ECDSA_P256_SHA_256", SIGNER.public_key.der, b""
    )
    with pytest.raises(RegistryError, match="BAD_SIGNATURE"):
        request.verified()


@given(st.binary(max_size=300))
def test_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        EntryRequest.parse(data)
    except MalformedError:
        return


@given(
    st.builds(
        EntryRequest,
        st.binary(max_size=40),
        st.binary(max_size=80),
        st.sampled_from(["", "PKIX_ECDSA_P256_SHA_256", "5"]),
        st.one_of(st.just(SIGNER.public_key.der), st.binary(max_size=100)),
        st.one_of(st.just(CERTIFICATE), st.binary(max_size=100)),
    )
)
def test_no_request_breaks_the_checks(request: EntryRequest) -> None:
    with pytest.raises(RegistryError):
        request.verified()


def spelled(members: list[tuple[str, Any]]) -> str:
    """JSON of an object, with members as often as they are given."""
    texts = (
        f"{json.dumps(name)}:{spelled(item) if isinstance(item, list) else json.dumps(item)}"
        for name, item in members
    )
    return "{" + ",".join(texts) + "}"


TEXTS = st.sampled_from(["", "eA==", "PKIX_ECDSA_P256_SHA_256", None, 5, "\\", "\ud7ff"])
RAW = st.lists(st.tuples(st.just("rawBytes"), TEXTS), max_size=2)
VERIFIER = st.lists(
    st.one_of(
        st.tuples(st.just("keyDetails"), TEXTS),
        st.tuples(st.sampled_from(["publicKey", "x509Certificate"]), RAW),
    ),
    max_size=3,
)
SIGNATURE = st.lists(
    st.one_of(st.tuples(st.just("content"), TEXTS), st.tuples(st.just("verifier"), VERIFIER)),
    max_size=3,
)
RECORD = st.lists(
    st.one_of(st.tuples(st.just("digest"), TEXTS), st.tuples(st.just("signature"), SIGNATURE)),
    max_size=3,
)


@given(st.lists(st.tuples(st.just(R), RECORD), max_size=2).map(spelled))
def test_reading_quickly_gives_what_reading_slowly_gives(text: str) -> None:
    def outcome() -> object:
        try:
            return EntryRequest.parse(text.encode())
        except MalformedError as error:
            return error.reason

    quick = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry_request, "_STRINGS", -1)
        assert outcome() == quick


def test_no_member_that_stands_there_twice_is_read_quickly() -> None:
    # As many strings as a good request has, but one member twice and another one not at all.
    text = request_of(SIGNER).decode().replace('"keyDetails": "PKIX_ECDSA_P256_SHA_256", ', "")
    twice = text.replace('"publicKey": {', '"publicKey": {"rawBytes": "eA==", ')
    assert twice.count('"') == 24
    with pytest.raises(MalformedError, match="twice"):
        EntryRequest.parse(twice.encode())
