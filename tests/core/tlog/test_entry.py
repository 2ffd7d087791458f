"""Entries: the exact leaf that every Sigstore client derives by itself."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
import rfc8785
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from registry.core.digest import sha256
from registry.core.encoding import base64_text
from registry.core.tlog import entry
from registry.errors import MalformedError, Reason
from tests.certificates import certificate
from tests.mint import World


@pytest.fixture(scope="module")
def body() -> bytes:
    world = World()
    envelope = world.key_events[0].envelope
    return entry.write(envelope.record_id, envelope.signature, world.operator.public_key.der)


def test_an_entry_is_the_rfc_8785_form_of_a_hashedrekord() -> None:
    world = World()
    envelope, key = world.key_events[0].envelope, world.operator.public_key.der
    expected: dict[str, Any] = {
        "apiVersion": "0.0.2",
        "kind": "hashedrekord",
        "spec": {
            "hashedRekordV002": {
                "data": {
                    "algorithm": "SHA2_256",
                    "digest": base64.b64encode(sha256(envelope.signed_bytes)).decode(),
                },
                "signature": {
                    "content": base64.b64encode(envelope.signature).decode(),
                    "verifier": {
                        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                        "publicKey": {"rawBytes": base64.b64encode(key).decode()},
                    },
                },
            }
        },
    }
    written = entry.write(envelope.record_id, envelope.signature, key)
    assert written == rfc8785.dumps(expected)


@pytest.fixture(scope="module")
def certified() -> bytes:
    envelope = World().key_events[0].envelope
    pem, _ = certificate()
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    return entry.write_certified(envelope.record_id, envelope.signature, der)


def test_an_entry_with_a_certificate_is_read_back(certified: bytes) -> None:
    read = entry.parse(certified)
    assert read.to_bytes() == certified
    assert entry.certified_key(read.certificate_der).der == read.key_der


def test_an_entry_with_a_certificate_is_the_rfc_8785_form(certified: bytes) -> None:
    assert rfc8785.dumps(json.loads(certified)) == certified


def test_an_entry_that_names_its_signer_twice_is_refused(body: bytes, certified: bytes) -> None:
    key = body.index(b'"publicKey"')
    at = certified.index(b'"x509Certificate"')
    both = certified[:at] + body[key:-5] + b"," + certified[at:]
    with pytest.raises(MalformedError, match="one way"):
        entry.parse(both)


def test_an_entry_without_a_signer_is_refused(body: bytes) -> None:
    key = body.index(b',"publicKey"')
    with pytest.raises(MalformedError, match="one way"):
        entry.parse(body[:key] + body[-5:])


@pytest.mark.parametrize("curve", [ec.SECP384R1(), None], ids=["P-384", "no certificate"])
def test_an_entry_with_another_certificate_is_refused(curve: ec.EllipticCurve | None) -> None:
    der = b"0\x03\x02\x01\x00" if curve is None else certificate_of(curve)
    envelope = World().key_events[0].envelope
    with pytest.raises(MalformedError):
        entry.parse(entry.write_certified(envelope.record_id, envelope.signature, der))


def certificate_of(curve: ec.EllipticCurve) -> bytes:
    key = ec.generate_private_key(curve)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "signer")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    made = made.public_key(key.public_key()).not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
    made = made.not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_an_entry_is_read_back(body: bytes) -> None:
    assert entry.parse(body).to_bytes() == body


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"0.0.2"', b'"0.0.1"'),
        (b"hashedrekord", b"dsse"),
        (b"SHA2_256", b"SHA2_512"),
        (b"PKIX_ECDSA_P256_SHA_256", b"PKIX_ED25519"),
        (b'{"algorithm"', b'{ "algorithm"'),
        (b'{"apiVersion":"0.0.2",', b'{"apiVersion":"0.0.2","extra":1,'),
        (b'"digest":"', b'"digest":"AAAA'),
        (b'"content":"', b'"content":"AAAA'),
        (b'"rawBytes":"', b'"rawBytes":"AAAA'),
        (b'"}}}}}}', b'"}}}}}} '),
    ],
)
def test_what_is_not_exactly_an_entry_is_refused(body: bytes, old: bytes, new: bytes) -> None:
    assert old in body
    with pytest.raises(MalformedError) as caught:
        entry.parse(body.replace(old, new, 1))
    assert caught.value.reason is Reason.MALFORMED_ENTRY


def test_a_digest_of_another_length_is_refused(body: bytes) -> None:
    digest = base64_text(entry.parse(body).digest).encode()
    with pytest.raises(MalformedError):
        entry.parse(body.replace(digest, base64_text(b"short").encode()))


def test_an_entry_that_no_tile_could_hold_is_refused_unread() -> None:
    with pytest.raises(MalformedError):
        entry.parse(b" " * (entry.MAX_ENTRY_BYTES + 1))
