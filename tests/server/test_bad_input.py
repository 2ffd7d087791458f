"""Bad input, each with its own reason, and nothing stored."""

import itertools
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from registry.api.v1 import (
    artifact_service_pb2,
    journal_service_pb2,
    lineage_service_pb2,
    log_service_pb2,
    statement_service_pb2,
)
from registry.core.attestation.dsse import MAX_ENVELOPE_BYTES, PAYLOAD_TYPE, pae
from registry.core.digest import sha256
from registry.core.encoding import base64_text, write_json
from registry.core.keys import MAX_SIGNATURE_BYTES
from registry.core.records import dataset
from registry.errors import Reason
from registry.signing.file import StatementSigner
from registry.storage.blobs.port import CHUNK_BYTES
from tests.mint import dataset_statement, key_event_statement, sign_bytes
from tests.server.served import SECONDS, Served, chunk, chunks, fresh, header

Make = Callable[[Served], bytes]


def honest(registry: Served) -> bytes:
    """An envelope that would be registered."""
    return registry.acme.signer.sign(dataset_statement(version=fresh())).to_bytes()


def test_an_honest_envelope_is_registered(registry: Served) -> None:
    before = registry.stored().entries
    registry.register(honest(registry), registry.acme)
    assert registry.stored().entries == before + 1


def test_a_duplicate_envelope_is_not_stored_again(registry: Served) -> None:
    envelope = honest(registry)
    first = registry.register(envelope, registry.acme)
    before = registry.stored()
    assert registry.register(envelope, registry.acme).index == first.index
    assert registry.stored() == before


def edit(old: bytes, new: bytes) -> Make:
    """An envelope with something replaced."""

    def make(registry: Served) -> bytes:
        envelope = honest(registry)
        assert envelope.count(old) == 1
        return envelope.replace(old, new)

    return make


def with_stray_bits(registry: Served) -> bytes:
    # A payload of 3n + 1 bytes ends in four bits that mean nothing.
    for length in itertools.count(1):
        said = dataset_statement(version=fresh(), description="x" * length)
        envelope = registry.acme.signer.sign(said)
        if len(envelope.payload) % 3 == 1:
            text = base64_text(envelope.payload).encode()
            spoilt = text[:-3] + bytes([text[-3] + 1]) + b"=="
            return envelope.to_bytes().replace(text, spoilt)
    raise AssertionError


def twice_signed(registry: Served) -> bytes:
    signature = honest(registry).partition(b'"signatures":[')[2].partition(b"]")[0]
    return honest(registry).replace(b'"signatures":[', b'"signatures":[' + signature + b",")


def of_somebody_unknown(_: Served) -> bytes:
    return StatementSigner.generate().sign(dataset_statement(version=fresh())).to_bytes()


def signed_with_p384(registry: Served) -> bytes:
    payload = write_json(dataset_statement(version=fresh()))
    key = ec.generate_private_key(ec.SECP384R1())
    return envelope_of(
        payload, key.sign(pae(PAYLOAD_TYPE, payload), ec.ECDSA(hashes.SHA256())), registry
    )


def envelope_of(payload: bytes, signature: bytes, registry: Served) -> bytes:
    return (
        b'{"payload":"%s","payloadType":"application/vnd.in-toto+json",'
        b'"signatures":[{"keyid":"%s","sig":"%s"}]}'
        % (
            base64_text(payload).encode(),
            registry.acme.signer.public_key.key_id.encode(),
            base64_text(signature).encode(),
        )
    )


def signed_over_something_else(registry: Served) -> bytes:
    signer = registry.acme.signer
    signature = signer.sign(dataset_statement(version="other")).signature
    return envelope_of(write_json(dataset_statement(version=fresh())), signature, registry)


def long_der(registry: Served) -> bytes:
    # One byte behind the sequence, which lenient readers pass over; a signature of the greatest
    # length would be refused for its length.
    while True:
        envelope = registry.acme.signer.sign(dataset_statement(version=fresh()))
        if len(envelope.signature) < MAX_SIGNATURE_BYTES:
            return envelope_of(envelope.payload, envelope.signature + b"\0", registry)


ENVELOPES: dict[str, tuple[Make, str]] = {
    "no bytes": (lambda _: b"", "MALFORMED_ENVELOPE"),
    "no JSON": (lambda _: b"\xff\x00nonsense", "MALFORMED_ENVELOPE"),
    "a JSON list": (lambda _: b"[]", "MALFORMED_ENVELOPE"),
    "deep nesting": (lambda _: b"[" * 100_000, "MALFORMED_ENVELOPE"),
    "too many bytes": (lambda _: b" " * (MAX_ENVELOPE_BYTES + 1), "ENVELOPE_TOO_LARGE"),
    "white space": (edit(b'{"payload":', b'{ "payload":'), "NOT_CANONICAL"),
    "a duplicate key": (edit(b'{"payload":', b'{"payload":"","payload":'), "NOT_CANONICAL"),
    "an unknown member": (edit(b'{"payload":', b'{"extra":1,"payload":'), "MALFORMED_ENVELOPE"),
    "another payload type": (edit(b"vnd.in-toto+json", b"json"), "PAYLOAD_TYPE"),
    "base64 for URLs": (edit(b'{"payload":"', b'{"payload":"-_'), "MALFORMED_BASE64"),
    "base64 with stray bits": (with_stray_bits, "MALFORMED_BASE64"),
    "base64 without padding": (edit(b'{"payload":"', b'{"payload":"A'), "MALFORMED_BASE64"),
    "two signatures": (twice_signed, "SIGNATURE_COUNT"),
    "an unknown signer": (of_somebody_unknown, "UNKNOWN_SIGNER"),
    "a P-384 signature": (signed_with_p384, "MALFORMED_SIGNATURE"),
    "a signature that is no strict DER": (long_der, "MALFORMED_SIGNATURE"),
    "a signature of something else": (signed_over_something_else, "BAD_SIGNATURE"),
}


@pytest.mark.parametrize("what", ENVELOPES)
def test_an_envelope_with_this_is_refused(registry: Served, what: str) -> None:
    make, reason = ENVELOPES[what]
    envelope = make(registry)
    assert registry.refused(lambda: registry.register(envelope, registry.acme)) == reason


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """A payload with something replaced."""

    def make(payload: bytes) -> bytes:
        assert old in payload
        return payload.replace(old, new, 1)

    return make


PAYLOADS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "no JSON": (lambda _: b"nonsense", "MALFORMED_STATEMENT"),
    "duplicate keys": (replaced(b'"licence":', b'"licence":"MIT","licence":'), "NOT_CANONICAL"),
    "white space": (replaced(b'"licence":', b'"licence": '), "NOT_CANONICAL"),
    "an escape that is not needed": (replaced(b"CC-BY", b"\\u0043C-BY"), "NOT_CANONICAL"),
    "NaN": (replaced(b'"share":5', b'"share":NaN'), "MALFORMED_STATEMENT"),
    "Infinity": (replaced(b'"share":5', b'"share":Infinity'), "MALFORMED_STATEMENT"),
    "a fraction": (replaced(b'"share":5', b'"share":5.5'), "MALFORMED_STATEMENT"),
    "a float that is whole": (replaced(b'"share":5', b'"share":5.0'), "MALFORMED_STATEMENT"),
    "a share of nothing": (replaced(b'"share":5', b'"share":0'), "MALFORMED_STATEMENT"),
    "a share above 2^53": (
        replaced(b'"share":5', b'"share":9007199254740992'),
        "MALFORMED_STATEMENT",
    ),
    "a contributor twice": (replaced(b'"id":"bob"', b'"id":"alice"'), "SHARES"),
    "an unknown member": (
        replaced(b'"licence":', b'"licencf":1,"licence":'),
        "MALFORMED_STATEMENT",
    ),
    "another statement type": (replaced(b"Statement/v1", b"Statement/v0.1"), "MALFORMED_STATEMENT"),
    "a foreign predicate": (replaced(b"/dataset/v1", b"/dataset/v2"), "FOREIGN_PREDICATE"),
    "a predicate of somebody else": (
        lambda _: write_json(
            {"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/x"}
        ),
        "FOREIGN_PREDICATE",
    ),
    "a subject of another name": (
        replaced(b'"name":"acme/d@', b'"name":"acme/e@'),
        "SUBJECT_MISMATCH",
    ),
    "a path out of the folder": (replaced(b"rows.csv", b"../rows"), "UNSAFE_PATH"),
    "an absolute path": (replaced(b"rows.csv", b"/etc/passwd"), "UNSAFE_PATH"),
    "a name in capitals": (replaced(b'"name":"acme/d"', b'"name":"Acme/d"'), "MALFORMED_STATEMENT"),
    "a name out of its namespace": (
        replaced(b'"name":"acme/d"', b'"name":"acme/../x"'),
        "MALFORMED_STATEMENT",
    ),
    "another Merkle root": (
        replaced(b'"merkle_root":"', b'"merkle_root":"00'),
        "MALFORMED_STATEMENT",
    ),
}


@pytest.mark.parametrize("what", PAYLOADS)
def test_a_statement_with_this_is_refused(registry: Served, what: str) -> None:
    make, reason = PAYLOADS[what]
    payload = make(write_json(dataset_statement(name="acme/d", version=fresh())))
    envelope = sign_bytes(registry.acme.signer, payload).to_bytes()
    assert registry.refused(lambda: registry.register(envelope, registry.acme)) == reason


def test_a_publisher_stays_in_its_namespace(registry: Served) -> None:
    said = dataset_statement(name="rival/x", version=fresh())
    assert registry.refused(lambda: registry.say(said, registry.acme)) == Reason.NAMESPACE


def test_a_namespace_is_no_prefix_of_another(registry: Served) -> None:
    said = dataset_statement(name="acmegroup/x", version=fresh())
    assert registry.refused(lambda: registry.say(said, registry.acme)) == Reason.NAMESPACE


def test_a_statement_is_signed_by_whoever_sends_it(registry: Served) -> None:
    envelope = honest(registry)
    assert registry.refused(lambda: registry.register(envelope, registry.rival)) == (
        Reason.KEY_NOT_YOURS
    )


def test_a_node_publishes_nothing(registry: Served) -> None:
    both = registry.admit(fresh("both"), "node", "publisher", namespaces=["acme/*"])
    said = dataset_statement(version=fresh())
    envelope = registry.node.signer.sign(said).to_bytes()
    assert registry.refused(lambda: registry.register(envelope, both)) == Reason.KEY_NOT_YOURS


def test_a_version_is_never_given_again(registry: Served) -> None:
    version = fresh()
    registry.say(dataset_statement(version=version), registry.acme)
    other = dataset_statement(version=version, description="other")
    assert registry.refused(lambda: registry.say(other, registry.acme)) == Reason.VERSION_EXISTS


def test_what_is_named_must_be_registered(registry: Served) -> None:
    said = dataset_statement(version=fresh(), derived_from=("sha256:" + "0" * 64,))
    assert registry.refused(lambda: registry.say(said, registry.acme)) == Reason.UNKNOWN_REFERENCE


def test_the_registry_alone_makes_key_events(registry: Served) -> None:
    said = key_event_statement(registry.acme.signer, "acme", roles=["admin"])
    assert registry.refused(lambda: registry.say(said, registry.acme)) == Reason.ROLE


DATA = b"some bytes that are sent"
NAME = sha256(DATA)
UPLOADS: dict[str, tuple[list[Any], str]] = {
    "no parts": ([], "MALFORMED_FIELD"),
    "no header": ([chunk(0, DATA)], "MALFORMED_FIELD"),
    "an empty part": ([artifact_service_pb2.UploadRequest()], "MALFORMED_FIELD"),
    "two headers": ([header(NAME, len(DATA)), header(NAME, len(DATA))], "MALFORMED_FIELD"),
    "a digest of 31 bytes": ([header(NAME[:31], len(DATA)), chunk(0, DATA)], "MALFORMED_DIGEST"),
    "a path as its digest": ([header(b"../../../etc/passwd", 1)], "MALFORMED_DIGEST"),
    "an unthinkable size": ([header(NAME, 2**63)], "BLOB_TOO_LARGE"),
    "chunks out of order": (
        [header(NAME, len(DATA)), chunk(10, DATA[10:]), chunk(0, DATA[:10])],
        "CHUNK_OUT_OF_ORDER",
    ),
    "a chunk twice": (
        [header(NAME, len(DATA)), chunk(0, DATA[:10]), chunk(0, DATA[:10])],
        "CHUNK_OUT_OF_ORDER",
    ),
    "a hole": (
        [header(NAME, len(DATA)), chunk(0, DATA[:10]), chunk(11, DATA[11:])],
        "CHUNK_OUT_OF_ORDER",
    ),
    "a chunk too large": (
        [header(NAME, 2 * CHUNK_BYTES), chunk(0, bytes(CHUNK_BYTES + 1))],
        "CHUNK_TOO_LARGE",
    ),
    "other bytes": ([header(NAME, len(DATA)), chunk(0, DATA[::-1])], "DIGEST_MISMATCH"),
    "other bytes of many chunks": (
        [header(NAME, 6 * CHUNK_BYTES), *chunks(bytes(6 * CHUNK_BYTES))],
        "DIGEST_MISMATCH",
    ),
    "too few bytes": ([header(NAME, len(DATA)), chunk(0, DATA[:-1])], "TRUNCATED_UPLOAD"),
    "only a header": ([header(NAME, len(DATA))], "TRUNCATED_UPLOAD"),
    "10 GB that are 1 KB": ([header(NAME, 10**10), chunk(0, bytes(1024))], "TRUNCATED_UPLOAD"),
    "too many bytes": ([header(NAME, len(DATA)), chunk(0, DATA + b"!")], "SIZE_MISMATCH"),
    "more behind the end": (
        [header(NAME, len(DATA)), chunk(0, DATA), chunk(len(DATA), DATA)],
        "SIZE_MISMATCH",
    ),
}


@pytest.mark.parametrize("what", UPLOADS)
def test_an_upload_with_this_is_refused(registry: Served, what: str) -> None:
    parts, reason = UPLOADS[what]
    assert registry.refused(lambda: registry.upload(*parts)) == reason


def test_an_upload_that_the_client_gives_up_leaves_nothing(registry: Served) -> None:
    before = registry.stored()
    incoming = registry.folder / "blobs" / "incoming"

    def parts() -> Any:
        yield header(sha256(b"given up"), 8)
        yield chunk(0, b"given")
        # The server has begun to write: only now it can be left alone with half a file.
        while not list(incoming.iterdir()):
            pass
        call.cancel()

    call = registry.artifacts.Upload.future(parts(), metadata=registry.acme.metadata)
    with pytest.raises(grpc.FutureCancelledError):
        call.result(SECONDS)
    while list(incoming.iterdir()):
        pass
    assert registry.stored() == before


def test_an_honest_upload_is_stored_and_given_back(registry: Served) -> None:
    data = bytes(range(256)) * 3000
    name = registry.put(data)
    answers = registry.artifacts.Download(
        artifact_service_pb2.DownloadRequest(sha256=name, offset=1000),
        metadata=registry.auditor.metadata,
        timeout=SECONDS,
    )
    assert b"".join(answer.chunk.data for answer in answers) == data[1000:]


Ask = Callable[[Served, Any], object]
QUESTIONS: dict[str, tuple[Ask, str]] = {
    "a blob that is unknown": (
        lambda r, m: r.artifacts.Stat(
            artifact_service_pb2.StatRequest(sha256=b"x" * 32), metadata=m
        ),
        "UNKNOWN_BLOB",
    ),
    "a digest that is none": (
        lambda r, m: r.artifacts.Stat(artifact_service_pb2.StatRequest(sha256=b"x"), metadata=m),
        "MALFORMED_DIGEST",
    ),
    "too many blobs": (
        lambda r, m: r.artifacts.FindMissing(
            artifact_service_pb2.FindMissingRequest(sha256=[b"x" * 32] * 10_001), metadata=m
        ),
        "MESSAGE_TOO_LARGE",
    ),
    "bytes behind the end of a blob": (
        lambda r, m: list(
            r.artifacts.Download(
                artifact_service_pb2.DownloadRequest(sha256=r.put(DATA), offset=2**63), metadata=m
            )
        ),
        "OFFSET_OUT_OF_RANGE",
    ),
    "a statement that is unknown": (
        lambda r, m: r.statements.GetStatement(
            statement_service_pb2.GetStatementRequest(record_id=b"x" * 32), metadata=m
        ),
        "UNKNOWN_RECORD",
    ),
    "statements of no kind": (
        lambda r, m: r.statements.ListStatements(
            statement_service_pb2.ListStatementsRequest(), metadata=m
        ),
        "MALFORMED_FIELD",
    ),
    "a page that is none": (
        lambda r, m: r.statements.ListStatements(
            statement_service_pb2.ListStatementsRequest(
                predicate_type=dataset.PREDICATE_TYPE,
                page_token="-1",  # noqa: S106 - no secret
            ),
            metadata=m,
        ),
        "MALFORMED_DECIMAL",
    ),
    "a shim that is none": (
        lambda r, m: r.statements.GetShimHead(
            statement_service_pb2.GetShimHeadRequest(shim_id=b"x"), metadata=m
        ),
        "MALFORMED_FIELD",
    ),
    "no entry": (
        lambda r, m: r.log.GetProof(log_service_pb2.GetProofRequest(), metadata=m),
        "MALFORMED_FIELD",
    ),
    "an entry behind the end": (
        lambda r, m: r.log.GetProof(log_service_pb2.GetProofRequest(index=10**9), metadata=m),
        "BEYOND_TREE",
    ),
    "an entry beyond all numbers": (
        lambda r, m: r.log.GetProof(log_service_pb2.GetProofRequest(index=2**64 - 1), metadata=m),
        "BEYOND_TREE",
    ),
    "consistency with an empty log": (
        lambda r, m: r.log.GetConsistency(
            log_service_pb2.GetConsistencyRequest(size=0), metadata=m
        ),
        "BEYOND_TREE",
    ),
    "consistency with the future": (
        lambda r, m: r.log.GetConsistency(
            log_service_pb2.GetConsistencyRequest(size=2**63), metadata=m
        ),
        "BEYOND_TREE",
    ),
    "an output that is unknown": (
        lambda r, m: r.lineage.Trace(
            lineage_service_pb2.TraceRequest(content_digests=[b"x" * 32]), metadata=m
        ),
        "UNKNOWN_OUTPUT",
    ),
    "an output without a digest": (
        lambda r, m: r.lineage.FindOutput(
            lineage_service_pb2.FindOutputRequest(content_digests=[b""]), metadata=m
        ),
        "MALFORMED_DIGEST",
    ),
    "too many outputs": (
        lambda r, m: r.lineage.FindOutput(
            lineage_service_pb2.FindOutputRequest(content_digests=[b"x" * 32] * 9), metadata=m
        ),
        "MESSAGE_TOO_LARGE",
    ),
    "a record of a shim without an id": (
        lambda r, m: r.journals.GetRecord(journal_service_pb2.GetRecordRequest(n=1), metadata=m),
        "MALFORMED_FIELD",
    ),
    "a record beyond all numbers": (
        lambda r, m: r.journals.GetRecord(
            journal_service_pb2.GetRecordRequest(shim_id=bytes(16), n=2**64 - 1), metadata=m
        ),
        "MALFORMED_FIELD",
    ),
    "a record that is unknown": (
        lambda r, m: r.journals.GetRecord(
            journal_service_pb2.GetRecordRequest(shim_id=bytes(16), n=7), metadata=m
        ),
        "UNKNOWN_RECORD",
    ),
    "a call beyond all numbers": (
        lambda r, m: r.journals.FindAbout(
            journal_service_pb2.FindAboutRequest(shim_id=bytes(16), intent_n=2**53), metadata=m
        ),
        "MALFORMED_FIELD",
    ),
    "batches of a shim with too long an id": (
        lambda r, m: r.journals.ListBatches(
            journal_service_pb2.ListBatchesRequest(shim_id=bytes(17)), metadata=m
        ),
        "MALFORMED_FIELD",
    ),
    "shims after something that is no id": (
        lambda r, m: r.journals.ListShims(
            journal_service_pb2.ListShimsRequest(after=b"x"), metadata=m
        ),
        "MALFORMED_FIELD",
    ),
}


@pytest.mark.parametrize("what", QUESTIONS)
def test_a_question_for_this_is_refused(registry: Served, what: str) -> None:
    ask, reason = QUESTIONS[what]
    registry.put(DATA)
    assert registry.refused(lambda: ask(registry, registry.acme.metadata)) == reason


METHODS = [
    "/registry.api.v1.StatementService/Register",
    "/registry.api.v1.LogService/GetLogKey",
    "/registry.api.v1.LogService/GetProof",
    "/registry.api.v1.LogService/Watch",
    "/registry.api.v1.LineageService/Trace",
    "/dev.sigstore.rekor.v2.Rekor/CreateEntry",
]


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x05ab", b"\x00"], ids=bytes.hex)
@pytest.mark.parametrize("method", METHODS)
def test_a_message_that_is_none_is_refused(registry: Served, method: str, data: bytes) -> None:
    # As an answer that is a stream of one, whatever the method's is.
    call: grpc.UnaryStreamMultiCallable[bytes, bytes] = registry.channel.unary_stream(method)
    refused = registry.refused(
        lambda: list(call(data, metadata=registry.acme.metadata, timeout=SECONDS))
    )
    assert refused == "MALFORMED_MESSAGE"


def test_a_message_that_is_none_in_a_stream_is_refused(registry: Served) -> None:
    method = "/registry.api.v1.ArtifactService/Upload"
    call: grpc.StreamUnaryMultiCallable[bytes, bytes] = registry.channel.stream_unary(method)
    first = header(sha256(DATA), len(DATA)).SerializeToString()
    for sent in ([b"\xff"], [first, b"\xff"]):
        refused = registry.refused(
            lambda sent=sent: call(  # type: ignore[misc]
                iter(sent), metadata=registry.acme.metadata, timeout=SECONDS
            )
        )
        assert refused == "MALFORMED_MESSAGE"


def test_who_may_not_call_is_not_told_what_is_wrong_with_the_message(registry: Served) -> None:
    method = "/registry.api.v1.StatementService/Register"
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = registry.channel.unary_unary(method)
    assert registry.refused(lambda: call(b"\xff", timeout=SECONDS)) == "NO_TOKEN"
