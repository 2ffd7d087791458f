"""Trusted roots: read strictly, and every key, certificate and time in them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from registry.core import encoding
from registry.core.attestation.trusted_root import (
    MAX_TRUSTED_ROOT_BYTES,
    LogKey,
    Trust,
    ValidFor,
    host_of,
)
from registry.core.certificates.chain import Window
from registry.errors import MalformedError, Reason, VerificationError
from tests.authorities import NOON
from tests.private_certificates import p256, spki
from tests.private_sigstore import ECDSA, HOST, Sigstore

OURS = Sigstore()

Edit = Callable[[Any], object]


def edited(edit: Edit) -> bytes:
    members = json.loads(OURS.root.to_bytes())
    edit(members)
    return json.dumps(members).encode()


def refusal(data: bytes) -> Reason:
    with pytest.raises(MalformedError) as caught:
        Trust.parse(data)
    return caught.value.reason


def test_what_is_written_is_read_back() -> None:
    trust = Trust.parse(OURS.root.to_bytes())
    assert trust.root == OURS.root
    assert trust.logs[0].host == trust.logs[0].netloc == HOST
    assert trust.authorities[0].chain == OURS.ca.chain
    assert trust.timestamp_authorities[0].chain == OURS.tsa.chain
    assert trust.ct_keys[0].key == OURS.ct.trusted().key


def test_null_is_absent_and_an_open_end_is_no_end() -> None:
    def edit(members: Any) -> None:
        members["tlogs"][0]["publicKey"]["validFor"]["end"] = None
        members["tlogs"][0]["operator"] = None

    assert Trust.parse(edited(edit)).logs[0].window.end is None


def test_a_key_of_a_kind_that_is_not_accepted_matches_nothing() -> None:
    der = (
        rsa.generate_private_key(public_exponent=65537, key_size=2048)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )

    def edit(members: Any) -> None:
        for log in (members["ctlogs"][0], members["tlogs"][0]):
            log["publicKey"]["rawBytes"] = encoding.base64_text(der)
            log["publicKey"]["keyDetails"] = "PKCS1_RSA_PKCS1V5"

    trust = Trust.parse(edited(edit))
    assert trust.ct_keys == ()
    with pytest.raises(VerificationError) as caught:
        trust.logs[0].verify(b"signature", b"message")
    assert caught.value.reason is Reason.LOG_SIGNATURE


@pytest.mark.parametrize("member", ["tlogs", "ctlogs"])
def test_a_log_whose_window_has_no_start_is_refused(member: str) -> None:
    def edit(members: Any) -> None:
        del members[member][0]["publicKey"]["validFor"]["start"]

    assert refusal(edited(edit)) is Reason.MALFORMED_TRUSTED_ROOT


@pytest.mark.parametrize("member", ["certificateAuthorities", "timestampAuthorities"])
def test_an_authority_whose_window_has_no_start_is_refused(member: str) -> None:
    def edit(members: Any) -> None:
        del members[member][0]["validFor"]["start"]

    assert refusal(edited(edit)) is Reason.MALFORMED_TRUSTED_ROOT


def put(value: object, *names: str | int) -> Edit:
    def edit(members: Any) -> None:
        for name in names[:-1]:
            members = members[name]
        members[names[-1]] = value

    return edit


BAD: dict[str, Edit] = {
    "another version": put("application/vnd.dev.sigstore.trustedroot+json;version=9", "mediaType"),
    "an unknown member": put(1, "more"),
    "no list": put({}, "tlogs"),
    "another hash": put("SHA2_512", "tlogs", 0, "hashAlgorithm"),
    "a URL without a host": put("log.example", "tlogs", 0, "baseUrl"),
    "a log name that is no base64": put("!", "tlogs", 0, "logId", "keyId"),
    "a key that is no base64": put("!", "tlogs", 0, "publicKey", "rawBytes"),
    "a CT key that is none": put("AAAA", "ctlogs", 0, "publicKey", "rawBytes"),
    "no certificates": put([], "certificateAuthorities", 0, "certChain", "certificates"),
    "a certificate that is none": put(
        [{"rawBytes": "AAAA"}], "certificateAuthorities", 0, "certChain", "certificates"
    ),
    "a time without a zone": put(
        "2026-01-01T00:00:00", "tlogs", 0, "publicKey", "validFor", "start"
    ),
    "a time that does not exist": put(
        "2026-02-30T00:00:00Z", "tlogs", 0, "publicKey", "validFor", "start"
    ),
    "a time in other digits": put(
        "2026-01-01T00:00:0٣Z", "tlogs", 0, "publicKey", "validFor", "start"
    ),
}


@pytest.mark.parametrize("edit", BAD.values(), ids=BAD)
def test_a_trusted_root_is_refused_with(edit: Edit) -> None:
    assert refusal(edited(edit)) is Reason.MALFORMED_TRUSTED_ROOT


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", bytes(MAX_TRUSTED_ROOT_BYTES + 1)])
def test_what_is_no_trusted_root_is_refused(data: bytes) -> None:
    assert refusal(data) is Reason.MALFORMED_TRUSTED_ROOT


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-06-01T12:00:00Z", NOON),
        ("2026-06-01T14:00:00+02:00", NOON),
        ("2026-06-01T12:00:00.5Z", datetime(2026, 6, 1, 12, 0, 0, 500_000, UTC)),
        ("2026-06-01T12:00:00.999999999Z", datetime(2026, 6, 1, 12, 0, 0, 999_999, UTC)),
    ],
)
def test_times_are_read_as_rfc_3339_writes_them(text: str, at: datetime) -> None:
    assert ValidFor(start=text).window.start == at


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://log.example", ("log.example", "log.example")),
        ("http://localhost:8000/api", ("localhost", "localhost:8000")),
    ],
)
def test_the_host_of_a_url_is_its_origin(url: str, hosts: tuple[str, str]) -> None:
    assert host_of(url) == hosts


@pytest.mark.parametrize(
    "url",
    ["https://user@log.example", "https://[::1]/", "https://a b", "https://log.example:x", "x://y"],
)
def test_a_url_in_another_form_has_no_host(url: str) -> None:
    with pytest.raises(MalformedError):
        host_of(url)


def test_a_log_may_have_a_p256_key() -> None:
    log = LogKey(bytes(32), HOST, HOST, spki(p256(5)), Window(NOON))
    log.verify(p256(5).sign(b"text", ECDSA), b"text")
    with pytest.raises(VerificationError) as caught:
        log.verify(p256(6).sign(b"text", ECDSA), b"text")
    assert caught.value.reason is Reason.LOG_SIGNATURE
