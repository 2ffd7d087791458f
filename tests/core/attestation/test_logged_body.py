"""What old entries of the public log say: Rekor v1, with its promise of a time."""

import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.core import encoding
from registry.core.attestation.bundle import Bundle
from registry.core.attestation.inclusion import open_entry
from registry.core.attestation.trusted_root import LogKey, Trust
from registry.core.attestation.verify import open_bundle
from registry.core.certificates.chain import Window
from registry.core.digest import sha256
from registry.core.tlog.merkle import leaf_hash
from registry.core.tlog.rekor import TransparencyLogEntry
from registry.errors import Reason, RegistryError
from tests.authorities import NOON
from tests.private_certificates import Leaf, p256, spki
from tests.private_sigstore import ARTIFACT, ECDSA, SIGNER, STATEMENT, Sigstore

OURS = Sigstore()
MESSAGE, ATTESTED = OURS.sign(), OURS.attest()
KEY = p256(61)
LOG = LogKey(
    sha256(spki(KEY)), "rekor.example", "rekor.example:8000", spki(KEY), Window(OURS.instance.start)
)
TRUST = replace(Trust.of(OURS.root), logs=(LOG,))
AT = int(NOON.timestamp())


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def certificate_pem(bundle: Bundle) -> str:
    loaded = x509.load_der_x509_certificate(bundle.certificate)
    return b64(loaded.public_bytes(Encoding.PEM))


def record(bundle: Bundle) -> Any:
    return {
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": sha256(ARTIFACT).hex()}},
            "signature": {
                "content": b64(bundle.signature),
                "publicKey": {"content": certificate_pem(bundle)},
            },
        },
    }


def dsse(bundle: Bundle) -> Any:
    return {
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": {"algorithm": "sha256", "value": "00" * 32},
            "payloadHash": {"algorithm": "sha256", "value": sha256(STATEMENT).hex()},
            "signatures": [
                {"signature": b64(bundle.signature), "verifier": certificate_pem(bundle)}
            ],
        },
    }


def intoto(bundle: Bundle) -> Any:
    return {
        "apiVersion": "0.0.2",
        "kind": "intoto",
        "spec": {
            "content": {
                "envelope": {
                    "payloadType": "application/vnd.in-toto+json",
                    "signatures": [
                        {
                            "publicKey": certificate_pem(bundle),
                            "sig": b64(b64(bundle.signature).encode()),
                        }
                    ],
                },
                "hash": {"algorithm": "sha256", "value": "00" * 32},
                "payloadHash": {"algorithm": "sha256", "value": sha256(STATEMENT).hex()},
            }
        },
    }


def promised(entry: TransparencyLogEntry) -> bytes:
    signed = encoding.write_json(
        {
            "body": b64(entry.body),
            "integratedTime": entry.integrated_time,
            "logID": entry.log_id.hex(),
            "logIndex": entry.index,
        }
    )
    return KEY.sign(signed, ECDSA)


def rekor_v1(bundle: Bundle, body: Any, *, at: int = AT, name: str = "rekor.example") -> Bundle:
    """The bundle, logged as Rekor v1 would have: one leaf of one shard, promised at a time."""
    raw = encoding.write_json(body) if isinstance(body, dict) else body
    text = f"{name} - 4711\n1\n{b64(leaf_hash(raw))}\nTimestamp: 1\n"
    line = b64(LOG.log_id[:4] + KEY.sign(text.encode(), ECDSA))
    kind = json.loads(raw)
    entry = TransparencyLogEntry(
        index=100_000,
        log_id=LOG.log_id,
        kind=kind["kind"],
        version=kind["apiVersion"],
        integrated_time=at,
        promise=b"",
        leaf_index=0,
        size=1,
        root=leaf_hash(raw),
        proof=(),
        checkpoint=f"{text}\n— {name} {line}\n".encode(),
        body=raw,
    )
    return replace(bundle, entry=replace(entry, promise=promised(entry)), timestamps=())


def opened(bundle: Bundle) -> None:
    read = Bundle.parse(bundle.to_bytes())
    result = open_bundle(read, TRUST, SIGNER, artifact=sha256(ARTIFACT))
    assert result.times == (NOON,)


def refusal(bundle: Bundle) -> Reason:
    with pytest.raises(RegistryError) as caught:
        opened(bundle)
    return caught.value.reason


KINDS = [(MESSAGE, record), (ATTESTED, dsse), (ATTESTED, intoto)]
kinds = pytest.mark.parametrize(("bundle", "body"), KINDS, ids=["hashedrekord", "dsse", "intoto"])


@kinds
def test_an_entry_with_a_promise_needs_no_timestamp(bundle: Bundle, body: Any) -> None:
    opened(rekor_v1(bundle, body(bundle)))


@kinds
@pytest.mark.parametrize("columns", [10_000, 76], ids=["one line", "76 columns"])
def test_pem_may_be_broken_into_other_lines(bundle: Bundle, body: Any, columns: int) -> None:
    text = b64(bundle.certificate)
    lines = "\n".join(text[i : i + columns] for i in range(0, len(text), columns))
    pem = f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"
    other = json.loads(json.dumps(body(bundle)).replace(certificate_pem(bundle), b64(pem.encode())))
    opened(rekor_v1(bundle, other))


@kinds
@pytest.mark.parametrize(
    "pem",
    [
        "",
        "-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----\n",
        "-----BEGIN PUBLIC KEY-----\n%s\n-----END PUBLIC KEY-----\n",
        "-----BEGIN CERTIFICATE-----\n%s\n-----END PUBLIC KEY-----\n",
        "-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n\n",
        "\n-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n",
    ],
    ids=["nothing", "empty", "a key", "two labels", "more behind", "more before"],
)
def test_what_is_no_pem_of_the_signer_is_refused(bundle: Bundle, body: Any, pem: str) -> None:
    text = (pem % b64(bundle.certificate)) if "%s" in pem else pem
    other = json.loads(
        json.dumps(body(bundle)).replace(certificate_pem(bundle), b64(text.encode()))
    )
    assert refusal(rekor_v1(bundle, other)) is Reason.ENTRY_MISMATCH


def test_the_statement_may_stand_within_an_entry() -> None:
    body = intoto(ATTESTED)
    body["spec"]["content"]["envelope"]["payload"] = b64(b64(STATEMENT).encode())
    opened(rekor_v1(ATTESTED, body))
    body["spec"]["content"]["envelope"]["payload"] = b64(b64(STATEMENT + b" ").encode())
    assert refusal(rekor_v1(ATTESTED, body)) is Reason.ENTRY_MISMATCH


def test_a_bare_key_is_written_in_pem() -> None:
    bare = OURS.sign(certified=False)
    body = record(MESSAGE)
    pem = OURS.signing_key.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    body["spec"]["signature"] = {"content": b64(bare.signature), "publicKey": {"content": b64(pem)}}
    bundle = rekor_v1(bare, body)
    open_bundle(bundle, TRUST, OURS.public_key, artifact=sha256(ARTIFACT))


@kinds
@pytest.mark.parametrize("part", ["signature", "certificate"])
def test_another_signature_or_signer_is_refused(bundle: Bundle, body: Any, part: str) -> None:
    renewed = replace(OURS, leaf=Leaf(start=NOON - timedelta(minutes=4)))
    again = renewed.sign() if bundle is MESSAGE else renewed.attest()
    assert again.signature != bundle.signature
    if part == "signature":
        other = replace(bundle, content=again.content)
    else:
        other = replace(bundle, certificate=again.certificate)
    assert refusal(rekor_v1(bundle, body(other))) is Reason.ENTRY_MISMATCH


@pytest.mark.parametrize("body", [dsse, intoto], ids=["dsse", "intoto"])
def test_another_statement_is_refused(body: Any) -> None:
    wrong = json.loads(json.dumps(body(ATTESTED)).replace(sha256(STATEMENT).hex(), "11" * 32))
    assert refusal(rekor_v1(ATTESTED, wrong)) is Reason.ENTRY_MISMATCH


@pytest.mark.parametrize("body", [dsse, intoto], ids=["dsse", "intoto"])
def test_an_entry_for_a_statement_is_not_one_for_bytes(body: Any) -> None:
    assert refusal(rekor_v1(MESSAGE, body(MESSAGE))) is Reason.ENTRY_MISMATCH


@kinds
def test_an_unknown_member_is_refused(bundle: Bundle, body: Any) -> None:
    more = body(bundle)
    more["spec"]["more"] = 1
    assert refusal(rekor_v1(bundle, more)) in (Reason.MALFORMED_LOG_ENTRY, Reason.ENTRY_MISMATCH)


@pytest.mark.parametrize("body", [dsse, intoto], ids=["dsse", "intoto"])
def test_an_entry_in_another_spelling_is_refused(body: Any) -> None:
    raw = json.dumps(body(ATTESTED)).encode()
    assert refusal(rekor_v1(ATTESTED, raw)) is Reason.MALFORMED_LOG_ENTRY


# The promise.

GOOD = rekor_v1(MESSAGE, record(MESSAGE))


@pytest.mark.parametrize("member", ["promise", "integrated_time", "index"])
def test_a_promise_for_something_else_is_refused(member: str) -> None:
    wrong = {
        "promise": KEY.sign(b"something else", ECDSA),
        "integrated_time": AT + 1,
        "index": 100_001,
    }[member]
    changed = replace(GOOD.entry, **{member: wrong})  # type: ignore[arg-type]  # one member
    assert refusal(replace(GOOD, entry=changed)) is Reason.INCLUSION_PROMISE


@pytest.mark.parametrize("at", [0, 2**62])
def test_a_promise_for_no_time_is_refused(at: int) -> None:
    assert refusal(rekor_v1(MESSAGE, record(MESSAGE), at=at)) is Reason.INCLUSION_PROMISE


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_time_outside_the_certificate_is_refused(minutes: int) -> None:
    late = rekor_v1(MESSAGE, record(MESSAGE), at=AT + 60 * minutes)
    assert refusal(late) is Reason.CERTIFICATE_TIME


def test_a_time_outside_the_log_s_window_is_refused() -> None:
    early = replace(LOG, window=Window(OURS.instance.start, OURS.instance.start))
    with pytest.raises(RegistryError) as caught:
        open_bundle(GOOD, replace(TRUST, logs=(early,)), SIGNER, artifact=sha256(ARTIFACT))
    assert caught.value.reason is Reason.LOG_TIME


# The origin.


@pytest.mark.parametrize("name", ["rekor.example", "rekor.example:8000"])
def test_an_old_origin_is_the_host_perhaps_with_its_port(name: str) -> None:
    assert open_entry(rekor_v1(MESSAGE, record(MESSAGE), name=name).entry, [LOG]).log == LOG


@pytest.mark.parametrize("name", ["other.example", "rekor.example:8001", "x.rekor.example"])
def test_another_origin_is_refused(name: str) -> None:
    assert refusal(rekor_v1(MESSAGE, record(MESSAGE), name=name)) is Reason.WRONG_LOG
