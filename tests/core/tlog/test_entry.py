"""Entries: the exact leaf that every Sigstore client derives by itself."""

import base64
from typing import Any

import pytest
import rfc8785

from registry.core.digest import sha256
from registry.core.encoding import base64_text
from registry.core.tlog import entry
from registry.errors import MalformedError, Reason
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
