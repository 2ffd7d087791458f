"""Signatures logged by Sigstore clients, over HTTP and over gRPC."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from sigstore._internal.rekor import RekorClientError
from sigstore._internal.rekor.client_v2 import RekorV2Client
from sigstore.hashes import Hashed
from sigstore_models.common.v1 import HashAlgorithm

from registry.api.sigstore import common_pb2, rekor_v1_pb2, rekor_v2_pb2, rekor_v2_pb2_grpc
from registry.core.attestation.identity import Identity
from registry.core.digest import sha256
from registry.core.encoding import base64_bytes, base64_text
from registry.core.tlog import entry
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.merkle import leaf_hash, verify_inclusion
from registry.core.tlog.rekor import TransparencyLogEntry, log_id
from registry.errors import Reason, RegistryError, UnavailableError
from registry.signing.authority import CertificateAuthority
from registry.signing.file import StatementSigner
from tests.mint import dataset_statement
from tests.rekor import MESSAGE, PATH, body_of, request_of, sign
from tests.server.http.facing import SECONDS, Answer, address_of, ask
from tests.server.served import Served, served

ISSUER = "https://issuer.example"
NOW = datetime.now(UTC)
AUTHORITY = CertificateAuthority.generate("ca.example", NOW)
STRANGER = CertificateAuthority.generate("ca.example", NOW)
ALICE = StatementSigner.generate()
FRIEND = StatementSigner.generate()


def certificate(
    name: str = "alice@example.com", authority: CertificateAuthority = AUTHORITY
) -> bytes:
    return authority.issue(ALICE.public_key, Identity(ISSUER, name), datetime.now(UTC)).der


@pytest.fixture(scope="module")
def admission(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An admission policy that takes Alice's certificates and a friend's key."""
    folder = tmp_path_factory.mktemp("policy")
    (folder / "ca.pem").write_text(AUTHORITY.certificate_pem)
    file = folder / "admit"
    file.write_text(
        f"authority ca.pem\nidentity {ISSUER} alice@*\nkey {FRIEND.public_key.key_id}\n"
    )
    return file


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, admission: Path) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("registry") / "data", admit=admission) as registry:
        yield registry


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A registry without a policy that refuses duplicates."""
    folder = tmp_path_factory.mktemp("strict") / "data"
    with served(folder, refuse_duplicates=True) as registry:
        yield registry


def post(registry: Served, body: bytes, headers: dict[str, str] | None = None) -> Answer:
    sent = {"content-type": "application/json", **(headers or {})}
    return ask(address_of(registry.url), "POST", PATH, body, sent)


def check(registry: Served, answer: bytes) -> TransparencyLogEntry:
    """Check an answer as a client would; every rule that some client breaks on."""
    members = json.loads(answer)
    assert set(members) == {
        "logIndex", "logId", "kindVersion", "inclusionProof", "canonicalizedBody",
    }  # fmt: skip
    assert set(members["inclusionProof"]) == {
        "logIndex", "treeSize", "rootHash", "hashes", "checkpoint",
    }  # fmt: skip
    key = registry.services.signer.key
    assert base64_bytes(members["logId"]["keyId"]) == log_id(key)
    assert members["kindVersion"] == {"kind": "hashedrekord", "version": "0.0.2"}
    found = TransparencyLogEntry.parse(answer)
    head = SignedCheckpoint.open(found.checkpoint, key).checkpoint
    assert (found.index, found.size, found.root) == (found.leaf_index, head.size, head.root)
    verify_inclusion(leaf_hash(found.body), found.index, head.size, found.proof, head.root)
    return found


def test_a_publishers_signature_is_logged_and_proven(registry: Served) -> None:
    signature = sign(registry.acme.signer)
    answer = post(registry, request_of(registry.acme.signer, signature=signature))
    assert (answer.status, answer.headers["content-type"]) == (201, "application/json")
    found = check(registry, answer.body)
    assert answer.headers["x-log-index"] == str(found.index)
    assert found.body == entry.write(
        sha256(MESSAGE), signature, registry.acme.signer.public_key.der
    )


def test_the_checkpoint_of_the_proof_is_public_at_once(registry: Served) -> None:
    found = check(registry, post(registry, request_of(registry.acme.signer)).body)
    shown = ask(address_of(registry.url), "GET", "/api/v2/checkpoint").body
    assert SignedCheckpoint.open(shown, registry.services.signer.key).checkpoint.size >= found.size


def test_a_certified_identity_is_logged_if_the_policy_names_it(registry: Served) -> None:
    found = check(registry, post(registry, request_of(ALICE, certificate())).body)
    assert entry.parse(found.body).key_der == ALICE.public_key.der


def test_a_key_is_logged_if_the_policy_names_it(registry: Served) -> None:
    check(registry, post(registry, request_of(FRIEND)).body)


def not_admitted(registry: Served, body: bytes, reason: str = "NOT_ADMITTED") -> None:
    before = registry.stored()
    answer = post(registry, body)
    assert answer.reason == reason
    assert answer.status == (403 if reason == "NOT_ADMITTED" else 400)
    assert registry.stored() == before


def test_nobody_else_is_admitted(registry: Served) -> None:
    not_admitted(registry, request_of(ALICE))
    not_admitted(registry, request_of(registry.node.signer))
    not_admitted(registry, request_of(registry.auditor.signer))
    not_admitted(registry, request_of(ALICE, certificate("mallory@example.com")))
    forged = certificate(authority=STRANGER)
    not_admitted(registry, request_of(ALICE, forged), "CERTIFICATE_CHAIN")


def test_without_a_policy_no_certificate_is_admitted(strict: Served) -> None:
    not_admitted(strict, request_of(ALICE, certificate()))
    not_admitted(strict, request_of(FRIEND))


def test_a_key_that_was_revoked_is_not_admitted(registry: Served) -> None:
    gone = registry.admit("gone", "publisher", namespaces=["gone/*"])
    check(registry, post(registry, request_of(gone.signer)).body)
    registry.services.access.revoke("gone", compromised=False)
    not_admitted(registry, request_of(gone.signer))


def test_a_signature_logged_twice_keeps_its_index_and_gets_a_fresh_proof(registry: Served) -> None:
    body = request_of(registry.acme.signer)
    first = check(registry, post(registry, body).body)
    check(registry, post(registry, request_of(registry.acme.signer)).body)
    again = post(registry, body)
    assert again.status == 201
    second = check(registry, again.body)
    assert second.index == first.index
    assert second.size > first.size


def test_a_duplicate_is_refused_where_the_operator_wants_that(strict: Served) -> None:
    body = request_of(strict.acme.signer)
    first = check(strict, post(strict, body).body)
    again = post(strict, body)
    assert (again.status, again.reason) == (409, "ENTRY_EXISTS")
    assert again.headers["x-log-index"] == str(first.index)
    assert again.json["code"] == 6


def test_of_many_equal_requests_one_is_logged(strict: Served, registry: Served) -> None:
    body = request_of(strict.acme.signer)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(strict, body), range(8)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7
    body = request_of(registry.acme.signer)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(registry, body), range(8)))
    assert {answer.status for answer in answers} == {201}
    assert len({check(registry, answer.body).index for answer in answers}) == 1


def test_a_statement_can_be_registered_after_its_signature(registry: Served) -> None:
    envelope = registry.acme.signer.sign(dataset_statement(version="signature-first"))
    members = body_of(registry.acme.signer, signature=envelope.signature)
    members["hashedRekordRequestV002"]["digest"] = base64_text(envelope.record_id)
    logged = check(registry, post(registry, json.dumps(members).encode()).body)
    receipt = registry.register(envelope.to_bytes(), registry.acme)
    assert receipt.index == logged.index


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "MALFORMED_JSON"),
        (b"null", "MALFORMED_JSON"),
        (b'{"hashedRekordRequestV002":{},"x":1}', "MALFORMED_FIELD"),
        (b'{"dsseRequestV002":{}}', "MALFORMED_FIELD"),
    ],
)
def test_what_is_no_request_is_refused(registry: Served, body: bytes, reason: str) -> None:
    before = registry.stored()
    answer = post(registry, body)
    assert (answer.status, answer.reason, answer.json["code"]) == (400, reason, 3)
    assert registry.stored() == before


def test_a_body_of_more_than_4_mib_is_refused(registry: Served) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {5 << 20}\r\n\r\n"
    with socket.create_connection(address_of(registry.url), timeout=SECONDS) as connection:
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_post_logs(registry: Served, method: str) -> None:
    answer = ask(address_of(registry.url), method, PATH)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_a_client_that_leaves_may_still_have_logged(registry: Served) -> None:
    body = request_of(registry.acme.signer)
    before = registry.stored().entries
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(address_of(registry.url), timeout=SECONDS) as connection:
        connection.sendall(head.encode() + body)
    for _ in range(500):
        if registry.stored().entries == before + 1:
            break
        time.sleep(0.01)
    assert registry.stored().entries == before + 1
    check(registry, post(registry, body).body)
    assert registry.stored().entries == before + 1


def test_a_log_that_cannot_take_more_answers_503(
    registry: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(_submission: object) -> None:
        raise UnavailableError(Reason.LOG_BUSY, "too many statements wait for the log")

    monkeypatch.setattr(registry.services.sequencer, "submit", busy)
    answer = post(registry, request_of(registry.acme.signer))
    assert (answer.status, answer.reason, answer.json["code"]) == (503, "LOG_BUSY", 14)
    assert answer.headers["retry-after"] == "1"


# --- gRPC ---


def message_of(
    signer: StatementSigner, certificate: bytes = b""
) -> rekor_v2_pb2.CreateEntryRequest:
    details = common_pb2.PKIX_ECDSA_P256_SHA_256
    if certificate:
        by = common_pb2.X509Certificate(raw_bytes=certificate)
        verifier = rekor_v2_pb2.Verifier(key_details=details, x509_certificate=by)
    else:
        key = rekor_v2_pb2.PublicKey(raw_bytes=signer.public_key.der)
        verifier = rekor_v2_pb2.Verifier(key_details=details, public_key=key)
    return rekor_v2_pb2.CreateEntryRequest(
        hashed_rekord_request_v002=rekor_v2_pb2.HashedRekordRequestV002(
            digest=sha256(MESSAGE),
            signature=rekor_v2_pb2.Signature(
                content=sign(signer),
                verifier=verifier,
            ),
        )
    )


def create(registry: Served, request: Any) -> rekor_v1_pb2.TransparencyLogEntry:
    stub = rekor_v2_pb2_grpc.RekorStub(registry.channel)
    answer: rekor_v1_pb2.TransparencyLogEntry = stub.CreateEntry(request, timeout=SECONDS)
    return answer


@pytest.mark.parametrize("certified", [False, True])
def test_the_same_is_answered_over_grpc(registry: Served, certified: bool) -> None:
    signer = ALICE if certified else registry.acme.signer
    answer = create(registry, message_of(signer, certificate() if certified else b""))
    proof = answer.inclusion_proof
    head = SignedCheckpoint.open(
        proof.checkpoint.envelope.encode(), registry.services.signer.key
    ).checkpoint
    assert (answer.log_index, proof.tree_size, proof.root_hash) == (
        proof.log_index, head.size, head.root,
    )  # fmt: skip
    assert answer.log_id.key_id == log_id(registry.services.signer.key)
    leaf = leaf_hash(answer.canonicalized_body)
    verify_inclusion(leaf, answer.log_index, head.size, list(proof.hashes), head.root)


@pytest.mark.parametrize(
    ("request_bytes", "reason"),
    [
        (b"", "MALFORMED_FIELD"),
        (b"\x12\x00", "MALFORMED_FIELD"),
        (b"\x0a\x02\x18\x01", "MALFORMED_FIELD"),
    ],
    ids=["nothing", "dsse", "unknown field"],
)
def test_what_is_no_request_is_refused_over_grpc(
    registry: Served, request_bytes: bytes, reason: str
) -> None:
    message = rekor_v2_pb2.CreateEntryRequest.FromString(request_bytes)
    assert registry.refused(lambda: create(registry, message)) == reason


def test_another_algorithm_is_refused_over_grpc(registry: Served) -> None:
    message = message_of(registry.acme.signer)
    verifier = message.hashed_rekord_request_v002.signature.verifier
    verifier.key_details = 7  # type: ignore[assignment]  # Sigstore knows more than we do
    assert registry.refused(lambda: create(registry, message)) == "KEY_ALGORITHM"


def test_nobody_else_is_admitted_over_grpc(registry: Served) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        create(registry, message_of(ALICE))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


# --- Sigstore's own client ---


def hashed() -> Hashed:
    return Hashed(algorithm=HashAlgorithm.SHA2_256, digest=sha256(MESSAGE))


def test_sigstores_own_client_logs_a_signature(registry: Served) -> None:
    client = RekorV2Client(registry.url)
    der = certificate()
    payload = client._build_hashed_rekord_request(
        hashed(), sign(ALICE), x509.load_der_x509_certificate(der)
    )
    for _ in range(2):
        logged = client.create_entry(payload)
        found = check(registry, logged._inner.to_json().encode())
        assert entry.parse(found.body).certificate_der == der


def test_sigstores_own_client_says_why_it_was_refused(strict: Served) -> None:
    client = RekorV2Client(strict.url)
    payload = client._build_hashed_rekord_request(
        hashed(), sign(ALICE), x509.load_der_x509_certificate(certificate())
    )
    with pytest.raises(RekorClientError, match="7: NOT_ADMITTED"):
        client.create_entry(payload)


# --- Settings ---


@pytest.mark.parametrize(
    "text", ["admit everybody", "authority missing.pem", "key abc", "authority admit", b"\xff"]
)
def test_what_is_no_policy_keeps_the_registry_from_starting(
    tmp_path: Path, text: str | bytes
) -> None:
    file = tmp_path / "admit"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(RegistryError, match="BAD_SETTING"), served(tmp_path / "data", admit=file):
        pass
