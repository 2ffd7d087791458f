"""Who may call: every method, every kind of call, every way not to be allowed."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from registry.api.v1 import (
    access_pb2,
    access_service_pb2,
    artifact_service_pb2,
    journal_service_pb2,
    lineage_service_pb2,
    log_service_pb2,
    statement_service_pb2,
)
from registry.core.digest import sha256
from registry.errors import Reason, UnauthenticatedError
from registry.server.guard import ANYBODY, PUBLIC, RULES
from registry.signing.file import StatementSigner
from registry.wire.status import from_rpc_error
from tests.mint import dataset_statement
from tests.running import Metadata, bearer
from tests.server.served import SECONDS, Served, fresh, header, served

_MODULES = {
    "AccessService": access_service_pb2,
    "ArtifactService": artifact_service_pb2,
    "JournalService": journal_service_pb2,
    "LineageService": lineage_service_pb2,
    "LogService": log_service_pb2,
    "StatementService": statement_service_pb2,
}
METHODS = {
    f"/{service.full_name}/{method.name}": method
    for name, module in _MODULES.items()
    for service in [module.DESCRIPTOR.services_by_name[name]]
    for method in service.methods
}
GUARDED = sorted(name for name in METHODS if RULES[name] != PUBLIC)
LIMITED = sorted(name for name in METHODS if RULES[name] not in (PUBLIC, ANYBODY))


def call(registry: Served, name: str, metadata: Metadata) -> None:
    """Call a method with an empty request, whatever kind of method it is."""
    method = METHODS[name]
    several_in, several_out = method.client_streaming, method.server_streaming
    kind = f"{'stream' if several_in else 'unary'}_{'stream' if several_out else 'unary'}"
    ask: Any = getattr(registry.channel, kind)(
        name, request_serializer=bytes, response_deserializer=bytes
    )
    answer = ask(iter([b""]) if several_in else b"", metadata=metadata, timeout=SECONDS)
    if several_out:
        list(answer)


def test_every_method_has_a_rule() -> None:
    assert set(METHODS) <= set(RULES)


def test_all_kinds_of_streams_are_among_the_guarded_methods() -> None:
    kinds = {(METHODS[n].client_streaming, METHODS[n].server_streaming) for n in GUARDED}
    assert kinds >= {(False, False), (True, False), (False, True)}


@pytest.mark.parametrize("name", GUARDED)
def test_nobody_calls_without_a_token(registry: Served, name: str) -> None:
    assert registry.refused(lambda: call(registry, name, ())) == Reason.NO_TOKEN


@pytest.mark.parametrize("name", GUARDED)
def test_nobody_calls_with_an_unknown_token(registry: Served, name: str) -> None:
    metadata = bearer("provreg_" + "x" * 43)
    assert registry.refused(lambda: call(registry, name, metadata)) == Reason.UNKNOWN_TOKEN


@pytest.mark.parametrize("value", ["", "Bearer ", "Basic YTpi", "provreg_x", "bearer x"])
def test_only_a_bearer_token_is_a_token(registry: Served, value: str) -> None:
    metadata = (("authorization", value),)
    name = "/registry.api.v1.StatementService/ListStatements"
    assert registry.refused(lambda: call(registry, name, metadata)) == Reason.NO_TOKEN


def test_a_very_long_token_is_unknown(registry: Served) -> None:
    metadata = bearer(registry.acme.token + "x" * 4000)
    name = "/registry.api.v1.ArtifactService/Stat"
    assert registry.refused(lambda: call(registry, name, metadata)) == Reason.UNKNOWN_TOKEN


@pytest.fixture(scope="module")
def expired(registry: Served) -> Metadata:
    """A token whose time is over, of somebody with all roles."""
    return add(registry, "past", datetime(2020, 1, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def revoked(registry: Served) -> Metadata:
    """A token that was revoked, of somebody with all roles."""
    metadata = add(registry, "gone", None)
    registry.access.RevokePrincipal(
        access_service_pb2.RevokePrincipalRequest(name="gone"), metadata=registry.admin.metadata
    )
    return metadata


def add(registry: Served, name: str, expires_at: datetime | None) -> Metadata:
    at = None
    if expires_at is not None:
        at = Timestamp()
        at.FromDatetime(expires_at)
    answer = registry.access.AddPrincipal(
        access_service_pb2.AddPrincipalRequest(
            name=name,
            roles=[
                access_pb2.ROLE_PUBLISHER,
                access_pb2.ROLE_NODE,
                access_pb2.ROLE_AUDITOR,
                access_pb2.ROLE_ADMIN,
            ],
            namespaces=["*"],
            expires_at=at,
        ),
        metadata=registry.admin.metadata,
    )
    return bearer(answer.token)


@pytest.mark.parametrize("name", GUARDED)
def test_nobody_calls_with_an_expired_token(registry: Served, expired: Metadata, name: str) -> None:
    assert registry.refused(lambda: call(registry, name, expired)) == Reason.TOKEN_EXPIRED


@pytest.mark.parametrize("name", GUARDED)
def test_nobody_calls_with_a_revoked_token(registry: Served, revoked: Metadata, name: str) -> None:
    assert registry.refused(lambda: call(registry, name, revoked)) == Reason.TOKEN_REVOKED


@pytest.mark.parametrize("name", LIMITED)
def test_an_auditor_may_read_and_say_what_auditors_say(registry: Served, name: str) -> None:
    if "auditor" in RULES[name]:
        return
    metadata = registry.auditor.metadata
    assert registry.refused(lambda: call(registry, name, metadata)) == Reason.ROLE


def test_an_auditor_may_not_publish(registry: Served) -> None:
    data = registry.auditor.signer.sign(dataset_statement(version=fresh())).to_bytes()
    assert registry.refused(lambda: registry.register(data, registry.auditor)) == Reason.ROLE


def test_a_node_may_register_batches_only(registry: Served) -> None:
    name = "/registry.api.v1.StatementService/Register"
    metadata = registry.node.metadata
    assert registry.refused(lambda: call(registry, name, metadata)) == Reason.ROLE


def test_a_node_may_not_upload(registry: Served) -> None:
    parts = [header(sha256(b""), 0)]
    assert registry.refused(lambda: registry.upload(*parts, caller=registry.node)) == Reason.ROLE


def test_a_publisher_may_not_register_batches(registry: Served) -> None:
    name = "/registry.api.v1.StatementService/RegisterBatch"
    metadata = registry.acme.metadata
    assert registry.refused(lambda: call(registry, name, metadata)) == Reason.ROLE


def test_a_method_without_a_rule_is_refused_to_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "/registry.api.v1.LogService/GetCheckpoint"
    monkeypatch.delitem(RULES, name)
    with served(tmp_path / "data") as registry:
        metadata = add(registry, "all", None)
        assert registry.refused(lambda: call(registry, name, metadata)) == Reason.ROLE


def test_a_method_that_does_not_exist_is_not_known(registry: Served) -> None:
    ask: Any = registry.channel.unary_unary("/registry.api.v1.LogService/Nonsense")
    with pytest.raises(grpc.RpcError) as refused:
        ask(b"", metadata=registry.admin.metadata, timeout=SECONDS)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_class_and_all_parts_of_an_error_arrive(registry: Served) -> None:
    refused = registry.refusal(lambda: call(registry, GUARDED[0], ()))
    assert (type(refused), refused.what, refused.hint) == (
        UnauthenticatedError,
        "this call needs a token",
        "set PROVREG_TOKEN, or use --token-file",
    )


def test_an_error_arrives_before_the_first_item_of_a_stream(registry: Served) -> None:
    request = artifact_service_pb2.DownloadRequest(sha256=b"x" * 32)
    answers: Iterator[object] = registry.artifacts.Download(
        request, metadata=registry.acme.metadata, timeout=SECONDS
    )
    with pytest.raises(grpc.RpcError) as refused:
        next(answers)
    assert from_rpc_error(refused.value).reason is Reason.UNKNOWN_BLOB


def test_health_is_told_to_everybody(registry: Served) -> None:
    stub: Any = health_pb2_grpc.HealthStub(registry.channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_health_is_watched_by_everybody(registry: Served) -> None:
    stub: Any = health_pb2_grpc.HealthStub(registry.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    first = next(watch)
    watch.cancel()
    assert first.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_names_all_services(registry: Served) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(registry.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    [answer] = stub.ServerReflectionInfo(iter([request]), timeout=SECONDS)
    names = {service.name for service in answer.list_services_response.service}
    assert names >= {f"registry.api.v1.{name}" for name in _MODULES}


def test_a_revoked_key_signs_no_more(registry: Served) -> None:
    leaver = registry.admit(fresh("leaver"), "publisher", namespaces=["acme/*"])
    registry.access.RevokePrincipal(
        access_service_pb2.RevokePrincipalRequest(name=leaver.name),
        metadata=registry.admin.metadata,
    )
    envelope = leaver.signer.sign(dataset_statement(version=fresh())).to_bytes()
    assert registry.refused(lambda: registry.register(envelope, registry.acme)) == (
        Reason.KEY_REVOKED
    )


def test_the_last_administrator_cannot_be_revoked(registry: Served) -> None:
    add(registry, name := fresh("root"), None)
    for gone in [item.name for item in registry.services.access.list() if "admin" in item.roles]:
        if gone != "admin" and registry.services.access.describe(gone).revoked_at is None:
            registry.access.RevokePrincipal(
                access_service_pb2.RevokePrincipalRequest(name=gone),
                metadata=registry.admin.metadata,
            )
    assert registry.services.access.describe(name).revoked_at is not None
    request = access_service_pb2.RevokePrincipalRequest(name="admin")
    assert (
        registry.refused(
            lambda: registry.access.RevokePrincipal(request, metadata=registry.admin.metadata)
        )
        == Reason.ROLE
    )


def test_an_unknown_principal_cannot_be_revoked(registry: Served) -> None:
    request = access_service_pb2.RevokePrincipalRequest(name="nobody")
    assert (
        registry.refused(
            lambda: registry.access.RevokePrincipal(request, metadata=registry.admin.metadata)
        )
        == Reason.UNKNOWN_PRINCIPAL
    )


def _spki(key: Any) -> bytes:
    encoded: bytes = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def _compressed() -> bytes:
    point = (
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    )
    return bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point


NEW_PRINCIPALS: dict[str, tuple[dict[str, Any], str]] = {
    "a P-384 key": ({"keys": [_spki(ec.generate_private_key(ec.SECP384R1()))]}, "KEY_ALGORITHM"),
    "a secp256k1 key": (
        {"keys": [_spki(ec.generate_private_key(ec.SECP256K1()))]},
        "KEY_ALGORITHM",
    ),
    "an RSA key": ({"keys": [_spki(rsa.generate_private_key(65537, 2048))]}, "KEY_ALGORITHM"),
    "an Ed25519 key": ({"keys": [_spki(ed25519.Ed25519PrivateKey.generate())]}, "KEY_ALGORITHM"),
    "a compressed key": ({"keys": [_compressed()]}, "MALFORMED_KEY"),
    "no key at all": ({"keys": [b"key"]}, "MALFORMED_KEY"),
    "a name with a slash": ({"name": "../admin"}, "MALFORMED_NAME"),
    "a name that is known": ({"name": "acme"}, "PRINCIPAL_EXISTS"),
    "the name of the operator": ({"name": "operator"}, "MALFORMED_FIELD"),
    "no role": ({"roles": []}, "MALFORMED_FIELD"),
    "an unknown role": ({"roles": [99]}, "MALFORMED_FIELD"),
    "a namespace that is none": ({"namespaces": ["acme/*/x"]}, "MALFORMED_NAME"),
}


@pytest.mark.parametrize("what", NEW_PRINCIPALS)
def test_a_principal_with_this_is_refused(registry: Served, what: str) -> None:
    members, reason = NEW_PRINCIPALS[what]
    given: dict[str, Any] = {"name": fresh("new"), "roles": [access_pb2.ROLE_NODE]}
    request = access_service_pb2.AddPrincipalRequest(**(given | members))
    metadata = registry.admin.metadata
    assert registry.refused(lambda: registry.access.AddPrincipal(request, metadata=metadata)) == (
        reason
    )


def test_a_key_is_admitted_only_once(registry: Served) -> None:
    request = access_service_pb2.AddPrincipalRequest(
        name=fresh("new"),
        roles=[access_pb2.ROLE_NODE],
        keys=[registry.acme.signer.public_key.der],
    )
    metadata = registry.admin.metadata
    assert registry.refused(lambda: registry.access.AddPrincipal(request, metadata=metadata)) == (
        Reason.KEY_KNOWN
    )


def test_one_key_given_twice_is_admitted_once(registry: Served) -> None:
    key = StatementSigner.generate().public_key.der
    before = registry.stored().entries
    registry.access.AddPrincipal(
        access_service_pb2.AddPrincipalRequest(
            name=fresh("twice"), roles=[access_pb2.ROLE_NODE], keys=[key, key]
        ),
        metadata=registry.admin.metadata,
    )
    assert registry.stored().entries == before + 1


def test_tokens_are_stored_only_as_hashes(registry: Served) -> None:
    held = b"".join(path.read_bytes() for path in registry.folder.glob("registry.sqlite3*"))
    assert sha256(registry.acme.token.encode()) in held
    assert registry.acme.token.encode() not in held
