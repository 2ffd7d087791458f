"""Sigstore bundles: any spelling, one meaning; read back what was written; the rest refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.core import encoding
from registry.core.attestation.bundle import (
    MAX_BUNDLE_BYTES,
    MAX_TIMESTAMP_BYTES,
    MAX_TIMESTAMPS,
    Bundle,
    Message,
)
from registry.core.attestation.dsse import Envelope
from registry.core.tlog import entry
from registry.errors import MalformedError, Reason, RegistryError
from tests.private_sigstore import Sigstore

OURS = Sigstore()
MESSAGE = OURS.sign()
ATTESTED = OURS.attest()
BARE = OURS.sign(certified=False)
OLD = "application/vnd.dev.sigstore.bundle+json;version=0."

Edit = Callable[[Any], object]


def edited(edit: Edit, bundle: Bundle = MESSAGE) -> bytes:
    members = json.loads(bundle.to_bytes())
    edit(members)
    return json.dumps(members).encode()


def refusal(data: bytes) -> Reason:
    with pytest.raises(MalformedError) as caught:
        Bundle.parse(data)
    return caught.value.reason


@pytest.mark.parametrize("bundle", [MESSAGE, ATTESTED, BARE], ids=["bytes", "statement", "key"])
def test_what_is_written_is_read_back(bundle: Bundle) -> None:
    assert Bundle.parse(bundle.to_bytes()) == bundle


def test_another_spelling_means_the_same() -> None:
    spread = json.dumps(json.loads(MESSAGE.to_bytes()), indent=2).encode()
    assert Bundle.parse(spread) == MESSAGE


def test_null_is_absent() -> None:
    def edit(members: Any) -> None:
        members["dsseEnvelope"] = None
        members["verificationMaterial"]["publicKey"] = None
        members["verificationMaterial"]["tlogEntries"][0]["inclusionPromise"] = None

    assert Bundle.parse(edited(edit)) == MESSAGE


def test_zero_and_empty_lists_may_be_left_out() -> None:
    def edit(members: Any) -> None:
        logged = members["verificationMaterial"]["tlogEntries"][0]
        del logged["logIndex"], logged["inclusionProof"]["logIndex"]
        del logged["inclusionProof"]["hashes"]

    read = Bundle.parse(edited(edit)).entry
    assert (read.index, read.leaf_index, read.proof) == (0, 0, ())


def chained(members: Any, *more: bytes, version: int = 2) -> None:
    """The bundle as older versions had it."""
    members["mediaType"] = f"{OLD}{version}"
    material = members["verificationMaterial"]
    leaf = material.pop("certificate")
    above = [{"rawBytes": encoding.base64_text(der)} for der in more]
    material["x509CertificateChain"] = {"certificates": [leaf, *above]}
    if version == 1:
        material["tlogEntries"][0]["inclusionPromise"] = {"signedEntryTimestamp": "AAAA"}


@pytest.mark.parametrize("version", [1, 2])
def test_older_versions_have_a_chain(version: int) -> None:
    read = Bundle.parse(edited(lambda members: chained(members, version=version)))
    assert (read.version, read.certificate) == ((0, version), MESSAGE.certificate)


def test_intermediates_in_a_chain_do_no_harm() -> None:
    data = edited(lambda members: chained(members, OURS.ca.der))
    assert Bundle.parse(data).certificate == MESSAGE.certificate


def test_a_root_in_a_chain_is_refused() -> None:
    data = edited(lambda members: chained(members, *OURS.ca.chain))
    assert refusal(data) is Reason.SIGSTORE_BUNDLE


def test_the_third_version_was_once_named_as_the_others() -> None:
    data = edited(lambda members: members.update(mediaType=f"{OLD}3"))
    assert Bundle.parse(data) == MESSAGE


def material(edit: Edit) -> Edit:
    return lambda members: edit(members["verificationMaterial"])


def logged(edit: Edit) -> Edit:
    return lambda members: edit(members["verificationMaterial"]["tlogEntries"][0])


def drop(*names: str) -> Edit:
    def edit(members: Any) -> None:
        for name in names[:-1]:
            members = members[name]
        del members[names[-1]]

    return edit


def put(value: object, *names: str) -> Edit:
    def edit(members: Any) -> None:
        for name in names[:-1]:
            members = members[name]
        members[names[-1]] = value

    return edit


def both(first: Edit, second: Edit) -> Edit:
    return lambda members: [first(members), second(members)]


def twice(members: Any) -> None:
    stamps = members["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    stamps.append(stamps[0])


def first_version_without_promise(members: Any) -> None:
    chained(members, version=1)
    del members["verificationMaterial"]["tlogEntries"][0]["inclusionPromise"]


BUNDLE = Reason.SIGSTORE_BUNDLE
LOG_ENTRY = Reason.MALFORMED_LOG_ENTRY
CERTIFICATE = {"rawBytes": encoding.base64_text(MESSAGE.certificate)}
DSSE = json.loads(ATTESTED.to_bytes())["dsseEnvelope"]
STAMP = "timestampVerificationData"

BAD: dict[str, tuple[Edit, Reason]] = {
    "an unknown version": (put(f"{OLD}4", "mediaType"), BUNDLE),
    "no version": (drop("mediaType"), BUNDLE),
    "an unknown member": (put(1, "more"), BUNDLE),
    "an unknown member inside": (material(put(1, "more")), BUNDLE),
    "a wrong type": (put([], "verificationMaterial"), BUNDLE),
    "no material": (drop("verificationMaterial"), BUNDLE),
    "no signer": (material(drop("certificate")), BUNDLE),
    "two signers": (material(put({"hint": "x"}, "publicKey")), BUNDLE),
    "an empty chain": (
        both(chained, put([], "verificationMaterial", "x509CertificateChain", "certificates")),
        BUNDLE,
    ),
    "a chain in version 0.3": (
        both(chained, put(f"{OLD}3", "mediaType")),
        BUNDLE,
    ),
    "a certificate in version 0.2": (put(f"{OLD}2", "mediaType"), BUNDLE),
    "version 0.1 without a promise": (first_version_without_promise, BUNDLE),
    "a certificate that is no base64": (
        material(put("!", "certificate", "rawBytes")),
        Reason.MALFORMED_BASE64,
    ),
    "a certificate in unpadded base64": (
        material(put("AA", "certificate", "rawBytes")),
        Reason.MALFORMED_BASE64,
    ),
    "no log entry": (material(put([], "tlogEntries")), BUNDLE),
    "two log entries": (
        material(lambda found: found["tlogEntries"].append(found["tlogEntries"][0])),
        BUNDLE,
    ),
    "one timestamp twice": (twice, BUNDLE),
    "an empty timestamp": (
        material(put([{"signedTimestamp": ""}], STAMP, "rfc3161Timestamps")),
        BUNDLE,
    ),
    "a huge timestamp": (
        material(
            put(
                [{"signedTimestamp": encoding.base64_text(bytes(MAX_TIMESTAMP_BYTES + 1))}],
                STAMP,
                "rfc3161Timestamps",
            )
        ),
        BUNDLE,
    ),
    "too many timestamps": (
        material(
            put(
                [
                    {"signedTimestamp": encoding.base64_text(bytes([i + 1]))}
                    for i in range(MAX_TIMESTAMPS + 1)
                ],
                STAMP,
                "rfc3161Timestamps",
            )
        ),
        BUNDLE,
    ),
    "nothing signed": (drop("messageSignature"), BUNDLE),
    "two things signed": (put(DSSE, "dsseEnvelope"), BUNDLE),
    "another digest algorithm": (
        put("SHA2_512", "messageSignature", "messageDigest", "algorithm"),
        BUNDLE,
    ),
    "a short digest": (put("AAAA", "messageSignature", "messageDigest", "digest"), BUNDLE),
    "a signature that is none": (
        put("AAAA", "messageSignature", "signature"),
        Reason.MALFORMED_SIGNATURE,
    ),
    "a negative index": (logged(put("-1", "logIndex")), LOG_ENTRY),
    "an index of another spelling": (logged(put("02", "logIndex")), LOG_ENTRY),
    "an index over 63 bits": (logged(put(str(2**63), "logIndex")), LOG_ENTRY),
    "an index that is a number": (logged(put(2, "logIndex")), BUNDLE),
    "no proof": (logged(drop("inclusionProof")), LOG_ENTRY),
    "no checkpoint": (logged(drop("inclusionProof", "checkpoint")), LOG_ENTRY),
    "too many hashes": (logged(put(["AAAA"] * 64, "inclusionProof", "hashes")), LOG_ENTRY),
    "a hash that is no base64": (logged(put(["!"], "inclusionProof", "hashes")), LOG_ENTRY),
    "a short log name": (logged(put("AAAA", "logId", "keyId")), LOG_ENTRY),
    "an empty body": (logged(put("", "canonicalizedBody")), LOG_ENTRY),
    "no body": (logged(drop("canonicalizedBody")), BUNDLE),
    "no log name": (logged(drop("logId")), BUNDLE),
}


@pytest.mark.parametrize(("edit", "reason"), BAD.values(), ids=BAD)
def test_a_bundle_is_refused_with(edit: Edit, reason: Reason) -> None:
    assert refusal(edited(edit)) is reason


BAD_ENVELOPES: dict[str, tuple[Edit, Reason]] = {
    "another type": (put("text/plain", "dsseEnvelope", "payloadType"), Reason.PAYLOAD_TYPE),
    "no signature": (put([], "dsseEnvelope", "signatures"), Reason.SIGNATURE_COUNT),
    "two signatures": (
        put(DSSE["signatures"] * 2, "dsseEnvelope", "signatures"),
        Reason.SIGNATURE_COUNT,
    ),
    "a payload that is no base64": (put("!", "dsseEnvelope", "payload"), Reason.MALFORMED_BASE64),
    "a signature that is none": (
        put([{"sig": "AAAA"}], "dsseEnvelope", "signatures"),
        Reason.MALFORMED_SIGNATURE,
    ),
}


@pytest.mark.parametrize(("edit", "reason"), BAD_ENVELOPES.values(), ids=BAD_ENVELOPES)
def test_an_envelope_is_refused_with(edit: Edit, reason: Reason) -> None:
    assert refusal(edited(edit, ATTESTED)) is reason


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", MESSAGE.to_bytes()[:-1], bytes(MAX_BUNDLE_BYTES + 1)],
    ids=["empty", "open", "a list", "null", "truncated", "huge"],
)
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    assert refusal(data) is Reason.SIGSTORE_BUNDLE


def test_a_member_that_stands_there_twice_is_refused() -> None:
    data = MESSAGE.to_bytes()
    assert refusal(data.replace(b"{", b'{"mediaType":"x",', 1)) is Reason.SIGSTORE_BUNDLE


@given(st.integers(0, len(ATTESTED.to_bytes()) - 1), st.binary(min_size=1, max_size=3))
def test_a_changed_bundle_is_refused_or_read_back(at: int, by: bytes) -> None:
    data = ATTESTED.to_bytes()
    changed = data[:at] + by + data[at + len(by) :]
    try:
        read = Bundle.parse(changed)
    except RegistryError:
        return
    if not read.entry.integrated_time:
        assert Bundle.parse(read.to_bytes()) == replace(read, version=(0, 3))


# Around one of our own entries.


def test_a_bundle_around_an_entry_is_the_one_that_a_signer_would_get() -> None:
    content = ATTESTED.content
    assert isinstance(content, Envelope)
    assert Bundle.proved(ATTESTED.entry, content, ATTESTED.timestamps) == ATTESTED
    assert Bundle.proved(MESSAGE.entry, None, MESSAGE.timestamps) == MESSAGE
    assert Bundle.proved(BARE.entry, None, BARE.timestamps) == BARE


def test_another_envelope_around_an_entry_is_refused() -> None:
    content = ATTESTED.content
    assert isinstance(content, Envelope)
    for other in (replace(content, payload=b"{}"), replace(content, signature=MESSAGE.signature)):
        with pytest.raises(MalformedError) as caught:
            Bundle.proved(ATTESTED.entry, other)
        assert caught.value.reason is Reason.SIGSTORE_BUNDLE


@pytest.mark.parametrize("stamps", [(b"a", b"a"), tuple(bytes([i]) for i in range(33))])
def test_a_bundle_never_gets_a_timestamp_twice_or_too_many(stamps: tuple[bytes, ...]) -> None:
    with pytest.raises(MalformedError):
        Bundle.proved(MESSAGE.entry, None, stamps)


def test_an_entry_of_another_log_s_kind_makes_no_bundle() -> None:
    with pytest.raises(MalformedError) as caught:
        Bundle.proved(replace(MESSAGE.entry, body=b"{}"))
    assert caught.value.reason is Reason.MALFORMED_ENTRY
    assert entry.parse(MESSAGE.entry.body).certificate_der == MESSAGE.certificate
    assert isinstance(MESSAGE.content, Message)
