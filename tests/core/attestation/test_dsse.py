"""DSSE envelopes: one payload, one signature, one spelling."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from registry.core.attestation.dsse import MAX_ENVELOPE_BYTES, PAYLOAD_TYPE, Envelope, pae
from registry.core.digest import sha256
from registry.errors import LimitExceededError, MalformedError, Reason, VerificationError
from registry.signing.file import StatementSigner
from tests.mint import World, dataset_statement

WORLD = World()
SIGNER = WORLD.operator
ENVELOPE = SIGNER.sign(dataset_statement())
DATA = ENVELOPE.to_bytes()


def spelled(change: Any) -> bytes:
    """The envelope after ``change`` to its members, in canonical spelling."""
    members = json.loads(DATA)
    change(members)
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode()


def refusal(data: bytes) -> Reason:
    with pytest.raises((MalformedError, LimitExceededError)) as caught:
        Envelope.parse(data)
    return caught.value.reason


def test_an_envelope_is_read_back() -> None:
    assert Envelope.parse(DATA) == ENVELOPE
    assert Envelope.parse(DATA).to_bytes() == DATA


def test_an_envelope_verifies_under_its_signers_key() -> None:
    ENVELOPE.verify(SIGNER.public_key)


def test_the_pae_is_that_of_the_specification() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@given(st.text(st.characters(codec="utf-8"), max_size=20), st.binary(max_size=40))
def test_the_pae_counts_bytes_and_not_characters(kind: str, payload: bytes) -> None:
    raw = kind.encode()
    expected = b" ".join(
        [b"DSSEv1", str(len(raw)).encode(), raw, str(len(payload)).encode(), payload]
    )
    assert pae(kind, payload) == expected


def test_a_letter_of_two_bytes_counts_twice() -> None:
    assert pae("application/é", b"").startswith(b"DSSEv1 14 ")


def test_the_record_id_is_the_digest_of_what_was_signed() -> None:
    assert ENVELOPE.record_id == sha256(pae(PAYLOAD_TYPE, ENVELOPE.payload))


def test_the_record_id_does_not_depend_on_the_signer() -> None:
    other = StatementSigner.generate().sign(dataset_statement())
    assert other.record_id == ENVELOPE.record_id
    assert other != ENVELOPE


def test_two_signatures_are_refused() -> None:
    def twice(members: Any) -> None:
        members["signatures"] *= 2

    assert refusal(spelled(twice)) is Reason.SIGNATURE_COUNT


def test_no_signature_is_refused() -> None:
    def none(members: Any) -> None:
        members["signatures"] = []

    assert refusal(spelled(none)) is Reason.SIGNATURE_COUNT


def test_a_foreign_payload_type_is_refused() -> None:
    def foreign(members: Any) -> None:
        members["payloadType"] = "text/plain"

    assert refusal(spelled(foreign)) is Reason.PAYLOAD_TYPE


def test_an_oversized_envelope_is_refused_unread() -> None:
    assert refusal(b"{" * (MAX_ENVELOPE_BYTES + 1)) is Reason.ENVELOPE_TOO_LARGE


def test_the_largest_envelope_is_read() -> None:
    room = MAX_ENVELOPE_BYTES - len(DATA)
    payload = ENVELOPE.payload + b" " * (room // 4 * 3)
    large = Envelope(payload, ENVELOPE.signature, ENVELOPE.keyid)
    assert MAX_ENVELOPE_BYTES - 8 < len(large.to_bytes()) <= MAX_ENVELOPE_BYTES
    assert Envelope.parse(large.to_bytes()) == large


@pytest.mark.parametrize(
    ("member", "text"),
    [("payload", "QR=="), ("payload", "QQ"), ("payload", "Q-_="), ("payload", "QQ==\\n")],
)
def test_a_payload_in_other_base64_is_refused(member: str, text: str) -> None:
    def other(members: Any) -> None:
        members[member] = text

    assert refusal(spelled(other)) is Reason.MALFORMED_BASE64


def test_a_signature_in_other_base64_is_refused() -> None:
    def other(members: Any) -> None:
        members["signatures"][0]["sig"] = members["signatures"][0]["sig"].rstrip("=") + "!"

    assert refusal(spelled(other)) is Reason.MALFORMED_BASE64


def test_a_signature_that_is_not_strict_der_is_refused() -> None:
    def other(members: Any) -> None:
        members["signatures"][0]["sig"] = base64.b64encode(b"\x00" * 64).decode()

    assert refusal(spelled(other)) is Reason.MALFORMED_SIGNATURE


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.MALFORMED_ENVELOPE),
        (b"null", Reason.MALFORMED_ENVELOPE),
        (b"{}", Reason.MALFORMED_ENVELOPE),
        (DATA[:-1], Reason.MALFORMED_ENVELOPE),
        (DATA + b"{}", Reason.MALFORMED_ENVELOPE),
        (DATA.replace(b'{"payload"', b'{"extra":1,"payload"'), Reason.MALFORMED_ENVELOPE),
        (DATA.replace(b'"keyid":', b'"cert":'), Reason.MALFORMED_ENVELOPE),
        (DATA + b"\n", Reason.NOT_CANONICAL),
        (DATA.replace(b'":', b'": '), Reason.NOT_CANONICAL),
        (DATA.replace(b"vnd.in-toto+json", b"vnd.in-toto\\u002bjson"), Reason.NOT_CANONICAL),
        (DATA[:-1] + b',"payloadType":"' + PAYLOAD_TYPE.encode() + b'"}', Reason.NOT_CANONICAL),
    ],
)
def test_what_is_not_exactly_an_envelope_is_refused(data: bytes, reason: Reason) -> None:
    assert refusal(data) is reason


def refusal_of_verify(envelope: Envelope, signer: StatementSigner = SIGNER) -> Reason:
    with pytest.raises(VerificationError) as caught:
        envelope.verify(signer.public_key)
    return caught.value.reason


def test_a_changed_payload_is_refused() -> None:
    changed = Envelope(ENVELOPE.payload + b" ", ENVELOPE.signature, ENVELOPE.keyid)
    assert refusal_of_verify(changed) is Reason.BAD_SIGNATURE


def test_a_signature_over_the_bare_payload_is_refused() -> None:
    private = SIGNER._key
    bare = private.sign(ENVELOPE.payload, ec.ECDSA(hashes.SHA256()))
    assert (
        refusal_of_verify(Envelope(ENVELOPE.payload, bare, ENVELOPE.keyid)) is Reason.BAD_SIGNATURE
    )


def test_an_envelope_that_names_another_key_is_refused() -> None:
    assert refusal_of_verify(ENVELOPE, StatementSigner.generate()) is Reason.UNKNOWN_SIGNER


def test_an_envelope_that_names_no_key_verifies() -> None:
    Envelope(ENVELOPE.payload, ENVELOPE.signature, "").verify(SIGNER.public_key)


def test_signing_twice_gives_the_same_envelope() -> None:
    assert SIGNER.sign(dataset_statement()) == ENVELOPE
