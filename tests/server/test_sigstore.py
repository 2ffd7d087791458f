"""Statements that come in Sigstore bundles, over gRPC, signed by names instead of keys."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from registry.api.v1.statement_service_pb2 import RegisterRequest
from registry.client.channel import Connection, Target
from registry.client.principals import PrincipalCalls
from registry.client.registry import RegistryClient
from registry.config import ServerSettings
from registry.core.attestation.bundle import Bundle
from registry.core.attestation.identity import Identity
from registry.core.attestation.trusted_root import Trust
from registry.core.attestation.verify import open_bundle
from registry.core.capsule.container import Capsule
from registry.core.capsule.walk import appraise
from registry.core.digest import sha256
from registry.core.encoding import write_json
from registry.core.keys import PublicKey
from registry.core.records import identity_event, verification
from registry.core.records.verification import Verification
from registry.core.tlog.note import Note
from registry.core.tlog.rekor import TransparencyLogEntry
from registry.core.verdict import Verdict
from registry.errors import (
    ConflictError,
    MalformedError,
    Reason,
    RegistryError,
    UnavailableError,
    VerificationError,
)
from registry.server.app import open_services
from registry.services import second_engine
from registry.services.indexing import rebuild
from registry.services.sigstore_statements import MAX_REGISTERED_BYTES
from tests.authorities import NOON
from tests.mint import Journal, Logged, a_manifest, dataset_statement, release_statement
from tests.private_certificates import CTLog, Leaf, p256, spki
from tests.private_sigstore import SIGNER, Log, Sigstore
from tests.running import Caller
from tests.server.served import Served, fresh, served

OURS = Sigstore()
STRANGER = Identity(SIGNER.issuer, "https://ci.example/mallory")
NAME = "acme/corpus"


@dataclass(frozen=True)
class Place:
    """A registry that takes bundles, and a publisher that has a name but no key."""

    registry: Served
    admin: RegistryClient
    token: str

    def client(self) -> RegistryClient:
        return client(self.registry, self.token)

    @property
    def caller(self) -> Caller:
        return Caller("builder", self.token, self.registry.acme.signer)


def client(registry: Served, token: str) -> RegistryClient:
    connection = Connection(Target.parse(registry.address), token=token)
    return RegistryClient(connection, registry.services.signer.key)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("sigstore")
    root = folder / "trusted_root.json"
    root.write_bytes(OURS.root.to_bytes())
    with (
        served(folder / "data", sigstore_root=root) as registry,
        client(registry, registry.admin.token) as admin,
    ):
        token, added = PrincipalCalls(admin).add(
            "builder", ["publisher"], ["acme/*"], [], None, identities=[SIGNER]
        )
        assert added.identities == ((SIGNER.issuer, SIGNER.name),)
        yield Place(registry, admin, token)


def dataset(version: str = "", **members: Any) -> bytes:
    return write_json(dataset_statement(name=NAME, version=version or fresh(), **members))


def signed(payload: bytes, key: int, world: Sigstore = OURS) -> Bundle:
    """A bundle by our signer with a certificate of its own, as each session has."""
    leaf = replace(world.leaf, key=p256(key))
    return replace(world, leaf=leaf).attest(payload)


def refused(place: Place, data: bytes, caller: Caller | None = None, **members: Any) -> str:
    request = RegisterRequest(bundle=data, **members)
    metadata = (caller or place.caller).metadata
    return place.registry.refused(
        lambda: place.registry.statements.Register(request, metadata=metadata)
    )


def test_a_statement_is_registered_and_read_like_every_other(place: Place) -> None:
    payload = dataset("1")
    with place.client() as builder:
        envelope, receipt = builder.register_bundle(signed(payload, 1001).to_bytes())
        read = builder.get_statement(envelope.record_id)
    assert read.envelope.payload == payload
    assert (read.index, read.granted.principal) == (receipt.index, "builder")


def test_what_was_verified_is_in_the_log_and_can_be_verified_again(place: Place) -> None:
    bundle = signed(dataset(), 1002)
    with place.client() as builder:
        envelope, _ = builder.register_bundle(bundle.to_bytes())
        said = [
            item.statement.predicate
            for item in builder.list_statements(verification.PREDICATE_TYPE)
            if item.statement.subject[0].digest.sha256 == envelope.record_id.hex()
        ][-1]
        assert isinstance(said, Verification)
        stored = place.registry.services.artifacts
        kept = stored.read(bytes.fromhex(said.bundle), 1_000_000)
        root = stored.read(bytes.fromhex(said.trusted_root), 1_000_000)
        event = builder.keyring().grant(said.key, builder.keyring().size)
    assert kept == bundle.to_bytes()
    opened = open_bundle(Bundle.parse(kept), Trust.parse(root), said.identity)
    assert (opened.signer, opened.times, opened.payload) == (SIGNER, (NOON,), envelope.payload)
    assert said.signed_at == "2026-06-01T12:00:00Z"
    assert [name.split()[0] for name in said.engines] == ["sigstore", "provreg"]
    assert event.principal == "builder"


def test_the_same_bundle_again_answers_the_original_index(place: Place) -> None:
    data = signed(dataset(), 1003).to_bytes()
    with place.client() as builder:
        _, first = builder.register_bundle(data)
        before = place.registry.stored()
        _, again = builder.register_bundle(data)
    assert again.index == first.index
    assert place.registry.stored() == before


def test_one_certificate_may_sign_several_statements(place: Place) -> None:
    with place.client() as builder:
        for _ in range(2):
            builder.register_bundle(signed(dataset(), 1004).to_bytes())


@pytest.mark.parametrize(
    ("step", "key"), [("_admit", 1061), ("_finish", 1062)], ids=["key event", "statement"]
)
def test_what_died_half_way_is_finished_by_asking_again(
    place: Place, monkeypatch: pytest.MonkeyPatch, step: str, key: int
) -> None:
    service = place.registry.services.sigstore
    data = signed(dataset(), key).to_bytes()

    def die(*_: object) -> None:
        raise UnavailableError(Reason.LOG_BUSY, "the registry died here")

    with place.client() as builder:
        with monkeypatch.context() as dying:
            dying.setattr(service, step, die)
            with pytest.raises(UnavailableError):
                builder.register_bundle(data)
        envelope, receipt = builder.register_bundle(data)
        assert builder.get_statement(envelope.record_id).index == receipt.index
        said = [
            item.statement.subject[0].digest.sha256
            for item in builder.list_statements(verification.PREDICATE_TYPE)
        ]
    assert envelope.record_id.hex() in said


def test_a_rebuilt_catalog_answers_the_same(place: Place) -> None:
    with place.client() as builder:
        before, _ = builder.register_bundle(signed(dataset(), 1005).to_bytes())
        services = place.registry.services
        rebuild(services.database, services.blobs, lambda _what, _done: None)
        assert builder.get_statement(before.record_id).envelope == before


def test_a_capsule_carries_what_was_verified(place: Place) -> None:
    registry, files = place.registry, {"notes.txt": b"what it is", "weights.bin": b"weights"}
    manifest = a_manifest(files)
    for data in (*files.values(), manifest.to_bytes()):
        registry.put(data)
    said = release_statement(manifest, name="acme/scorer", version=fresh())
    output = b"an answer by " + said.predicate.version.encode()
    with place.client() as builder:
        envelope, receipt = builder.register_bundle(signed(write_json(said), 1051).to_bytes())
        journal = Journal(shim_id=sha256(output)[:16].hex())
        journal.boot()
        journal.call(Logged(said, envelope, receipt.index), output)
        registry.register_batch(journal.batch_statement(), journal.records, registry.node)
    capsule, _, _ = registry.services.lineage.trace([sha256(output)], None)
    report = appraise(Capsule.parse(capsule), registry.services.signer.key, [sha256(output)])
    assert (report.verdict_then, report.verdict_now) == (Verdict.VALID, Verdict.VALID)
    [check] = [item for item in report.checks_now if item.link == "signer/0"]
    assert SIGNER.name in check.detail


# Refused; nothing is stored.


def test_a_name_that_nobody_admitted_is_refused(place: Place) -> None:
    other = replace(OURS, leaf=Leaf(issuer_raw=b"https://other.example", issuer=None))
    assert refused(place, signed(dataset(), 1011, other).to_bytes()) == "UNKNOWN_SIGNER"


def test_somebody_else_s_name_is_refused(place: Place) -> None:
    data = signed(dataset(), 1012).to_bytes()
    assert refused(place, data, place.registry.acme) == "IDENTITY_NOT_YOURS"


def test_a_name_outside_the_namespaces_is_refused(place: Place) -> None:
    payload = write_json(dataset_statement(name="rival/corpus", version=fresh()))
    assert refused(place, signed(payload, 1013).to_bytes()) == "NAMESPACE"


def test_a_statement_of_another_role_is_refused(place: Place) -> None:
    event = identity_event.build(
        "add",
        STRANGER,
        "mallory",
        roles=("admin",),
        namespaces=(),
        issued_at="2026-06-01T12:00:00Z",
    )
    assert refused(place, signed(write_json(event), 1014).to_bytes()) == "ROLE"


def test_a_statement_about_bytes_that_are_not_here_is_refused(place: Place) -> None:
    payload = write_json(release_statement(a_manifest(), version=fresh()))
    assert refused(place, signed(payload, 1015).to_bytes()) == "MISSING_BLOB"


def test_a_statement_that_this_registry_does_not_know_is_refused(place: Place) -> None:
    payload = b'{"_type":"https://in-toto.io/Statement/v1","predicate":{},"predicateType":"x","subject":[{"digest":{"sha256":"%s"},"name":"x"}]}'
    data = signed(payload % sha256(b"x").hex().encode(), 1016).to_bytes()
    assert refused(place, data) == "FOREIGN_PREDICATE"


def test_a_bundle_that_does_not_verify_is_refused(place: Place) -> None:
    good = signed(dataset(), 1017)
    stamped = replace(good, timestamps=(OURS.stamp(b"another signature"),))
    assert refused(place, stamped.to_bytes()) == "TIMESTAMP_IMPRINT"
    other = replace(OURS, ct=CTLog(key=p256(1018)))
    assert refused(place, signed(dataset(), 1017, other).to_bytes()) == "SCT"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{}", "SIGSTORE_BUNDLE"),
        (OURS.sign().to_bytes(), "MALFORMED_STATEMENT"),
        (OURS.attest(certified=False).to_bytes(), "SIGSTORE_BUNDLE"),
    ],
    ids=["no bundle", "no statement", "a bare key"],
)
def test_another_kind_of_bundle_is_refused(place: Place, data: bytes, reason: str) -> None:
    assert refused(place, data) == reason


def test_whoever_signed_with_a_bare_key_is_told_what_to_do(place: Place) -> None:
    request = RegisterRequest(bundle=OURS.attest(certified=False).to_bytes())
    error = place.registry.refusal(
        lambda: place.registry.statements.Register(request, metadata=place.registry.acme.metadata)
    )
    assert "bare key" in error.what
    assert "principal add" in error.hint


def test_a_huge_bundle_is_refused(place: Place) -> None:
    data = OURS.attest().to_bytes() + b" " * MAX_REGISTERED_BYTES
    assert refused(place, data) == "ENVELOPE_TOO_LARGE"


def test_an_envelope_beside_a_bundle_is_refused(place: Place) -> None:
    data = signed(dataset(), 1019).to_bytes()
    assert refused(place, data, envelope=b"{}") == "MALFORMED_FIELD"


def test_a_registry_without_a_trusted_root_takes_no_bundles(registry: Served) -> None:
    request = RegisterRequest(bundle=OURS.attest().to_bytes())
    metadata = registry.acme.metadata
    reason = registry.refused(lambda: registry.statements.Register(request, metadata=metadata))
    assert reason == "NO_SIGSTORE_ROOT"


# Two engines.


def test_what_only_the_stock_verifier_takes_is_refused(place: Place) -> None:
    """It does not look whether a checkpoint is the log's own; we do."""
    good = signed(dataset(), 1021)
    elsewhere = Log("other.example", OURS.log.key).record(good.entry.body).head
    note = Note.parse(elsewhere.note)
    # Signed by the right key for another origin, with the hint that the stock client looks for.
    line = replace(note.signatures[0], key_id=OURS.log.verifier.key_id)
    strange = replace(
        good,
        entry=replace(
            good.entry,
            checkpoint=str(Note(note.text, (line,))).encode(),
            root=elsewhere.checkpoint.root,
        ),
    )
    with pytest.raises(VerificationError):
        open_bundle(strange, Trust.of(OURS.root), SIGNER)
    second_engine.verify_statement(strange.to_bytes(), OURS.root.to_bytes(), SIGNER)
    assert refused(place, strange.to_bytes()) == "ENGINES_DISAGREE"


def test_what_only_we_take_is_refused(place: Place) -> None:
    """Go leaves zeros and empty lists out, and we read that; the stock Python client does not."""
    alone = Sigstore(log=replace(OURS.log, before=()))
    bundle = signed(dataset(), 1023, alone)
    receipt = alone.log.record(bundle.entry.body, after=())
    entry = TransparencyLogEntry.proved(bundle.entry.body, receipt, alone.log.verifier)
    members = json.loads(replace(bundle, entry=entry).to_bytes())
    logged = members["verificationMaterial"]["tlogEntries"][0]
    del logged["logIndex"], logged["inclusionProof"]["logIndex"], logged["inclusionProof"]["hashes"]
    data = json.dumps(members).encode()
    open_bundle(Bundle.parse(data), Trust.of(OURS.root), SIGNER)
    with pytest.raises(VerificationError) as caught:
        second_engine.verify_statement(data, OURS.root.to_bytes(), SIGNER)
    assert caught.value.reason is Reason.SIGSTORE_BUNDLE
    assert refused(place, data) == "ENGINES_DISAGREE"


# Who speaks for whom.


def test_the_log_says_which_names_speak_for_whom(place: Place) -> None:
    events = [
        item.statement.predicate
        for item in place.admin.list_statements(identity_event.PREDICATE_TYPE)
    ]
    assert ("builder", SIGNER) in [(event.principal, event.identity) for event in events]


def test_a_name_that_is_none_leaves_nothing_behind(place: Place) -> None:
    before = place.registry.stored()
    for identity in (Identity("", "alice"), Identity("https://issuer.example", "a" * 2049)):
        with pytest.raises(MalformedError) as caught:
            PrincipalCalls(place.admin).add(
                "nameless",
                ["publisher"],
                ["acme/*"],
                [PublicKey.parse(spki(p256(1071)))],
                None,
                identities=[identity],
            )
        assert caught.value.reason is Reason.MALFORMED_FIELD
    assert place.registry.stored() == before


def test_a_name_speaks_for_one_principal_only(place: Place) -> None:
    with pytest.raises(ConflictError) as caught:
        PrincipalCalls(place.admin).add(
            "second", ["publisher"], ["acme/*"], [], None, identities=[SIGNER]
        )
    assert caught.value.reason is Reason.IDENTITY_KNOWN


def test_a_revoked_principal_s_name_speaks_no_more_and_may_be_given_again(place: Place) -> None:
    calls = PrincipalCalls(place.admin)
    leaf = Leaf(issuer=None, issuer_raw=b"https://third.example")
    world = replace(OURS, leaf=leaf)
    identity = Identity("https://third.example", SIGNER.name)
    token, _ = calls.add("leaver", ["publisher"], ["acme/*"], [], None, identities=[identity])
    with client(place.registry, token) as leaver:
        leaver.register_bundle(signed(dataset(), 1031, world).to_bytes())
    assert calls.revoke("leaver", compromised=False).identities == ()
    token, _ = calls.add("heir", ["publisher"], ["acme/*"], [], None, identities=[identity])
    with client(place.registry, token) as heir:
        heir.register_bundle(signed(dataset(), 1032, world).to_bytes())
        with pytest.raises(RegistryError) as caught:
            # The leaver's short-lived key ended with it.
            heir.register_bundle(signed(dataset(), 1031, world).to_bytes())
    assert caught.value.reason is Reason.KEY_REVOKED


def test_names_are_known_after_a_restart(tmp_path: Path) -> None:
    root = tmp_path / "root.json"
    root.write_bytes(OURS.root.to_bytes())
    data = tmp_path / "data"
    with served(data, sigstore_root=root) as first, client(first, first.admin.token) as admin:
        token, _ = PrincipalCalls(admin).add(
            "builder", ["publisher"], ["acme/*"], [], None, identities=[SIGNER]
        )
    with open_services(ServerSettings(data, sigstore_root=root)) as (services, _):
        assert services.access.vouched.identities_of("builder") == (SIGNER,)
        assert services.sigstore is not None
        receipt = services.sigstore.register(
            signed(dataset(), 1041).to_bytes(), services.access.authenticate(token)
        )
    assert receipt.index
