"""Evidence over real gRPC: who may ask what, and what is refused before anything is stored."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import grpc
import pytest

from registry.api.v1 import evidence_pb2
from registry.api.v1 import evidence_service_pb2 as pb
from registry.api.v1 import evidence_service_pb2_grpc as rpc
from registry.core.attestation.dsse import Envelope
from registry.core.encoding import write_json
from registry.core.evidence.binding import Binding
from registry.core.evidence.claims import MAX_EVIDENCE_BYTES
from registry.core.evidence.result import AttestationResult
from registry.core.records import predicate
from registry.core.verdict import Verdict
from registry.wire import evidence as wire
from tests.attesting import POLICY, distrust, document, nitro_policy, replace_policy
from tests.running import Caller
from tests.server.served import SECONDS, Served


@pytest.fixture(scope="module")
def stub(registry: Served) -> rpc.EvidenceServiceStub:
    found = rpc.EvidenceServiceStub(registry.channel)
    policy = pb.PutPolicyRequest(policy=write_json(nitro_policy()))
    found.PutPolicy(policy, metadata=registry.admin.metadata, timeout=SECONDS)
    return found


def challenge(stub: rpc.EvidenceServiceStub, who: Caller, key: bytes = b"") -> Binding:
    request = pb.ChallengeRequest(session_key=key)
    answer = stub.Challenge(request, metadata=who.metadata, timeout=SECONDS)
    return Binding(nonce=answer.nonce, session_key=who.signer.public_key.der)


def submission(binding: Binding, evidence: bytes, **members: str) -> pb.SubmitRequest:
    return pb.SubmitRequest(
        family=members.get("family", "aws-nitro"),
        evidence=evidence,
        binding=wire.binding_to_proto(binding),
        policy=members.get("policy", POLICY),
    )


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def test_evidence_is_judged_and_answered_with_its_proof(
    registry: Served, stub: rpc.EvidenceServiceStub
) -> None:
    binding = challenge(stub, registry.node)
    request = submission(binding, document(binding, now()).evidence)
    answer = stub.Submit(request, metadata=registry.node.metadata, timeout=SECONDS)
    said = predicate.parse(Envelope.parse(answer.result.envelope).payload).predicate
    assert isinstance(said, AttestationResult)
    [environment] = said.submods.values()
    assert environment.verdict is Verdict.VALID
    again = stub.Submit(request, metadata=registry.node.metadata, timeout=SECONDS)
    assert again.result.envelope == answer.result.envelope
    assert again.result.receipt.index == answer.result.receipt.index
    record = Envelope.parse(answer.result.envelope).record_id
    found = stub.GetResults(
        pb.GetResultsRequest(record_id=record), metadata=registry.auditor.metadata, timeout=SECONDS
    )
    assert [item.envelope for item in found.results] == [answer.result.envelope]


def test_a_replay_is_refused_over_the_wire(registry: Served, stub: rpc.EvidenceServiceStub) -> None:
    binding = challenge(stub, registry.node)
    evidence = document(binding, now()).evidence
    stub.Submit(submission(binding, evidence), metadata=registry.node.metadata, timeout=SECONDS)
    other = submission(replace(binding, model=b"m" * 32), evidence)
    reason = registry.refused(
        lambda: stub.Submit(other, metadata=registry.node.metadata, timeout=SECONDS)
    )
    assert reason == "EVIDENCE_REPLAYED"


# 141


def test_evidence_of_64_mib_is_refused_before_it_is_read(
    registry: Served, stub: rpc.EvidenceServiceStub
) -> None:
    request = submission(Binding(nonce=bytes(32)), bytes(64 * 1024 * 1024))
    reason = registry.refused(
        lambda: stub.Submit(request, metadata=registry.node.metadata, timeout=SECONDS)
    )
    assert reason == "MESSAGE_TOO_LARGE"
    request = submission(Binding(nonce=bytes(32)), bytes(MAX_EVIDENCE_BYTES + 1))
    reason = registry.refused(
        lambda: stub.Submit(request, metadata=registry.node.metadata, timeout=SECONDS)
    )
    assert reason == "EVIDENCE_SIZE"


@pytest.mark.parametrize("kind", [grpc.Compression.Gzip, grpc.Compression.Deflate], ids=str)
def test_evidence_that_grows_when_it_is_unpacked_is_refused_at_the_same_size(
    registry: Served, stub: rpc.EvidenceServiceStub, kind: grpc.Compression
) -> None:
    request = submission(Binding(nonce=bytes(32)), bytes(64 * 1024 * 1024))
    reason = registry.refused(
        lambda: stub.Submit(
            request, metadata=registry.node.metadata, timeout=SECONDS, compression=kind
        )
    )
    assert reason == "MESSAGE_TOO_LARGE"


def test_an_unknown_role_of_an_endorsement_is_refused(
    registry: Served, stub: rpc.EvidenceServiceStub
) -> None:
    request = submission(Binding(nonce=bytes(32)), b"x")
    request.endorsements.append(evidence_pb2.Endorsement(role="intel-magic", data=b"?"))
    reason = registry.refused(
        lambda: stub.Submit(request, metadata=registry.node.metadata, timeout=SECONDS)
    )
    assert reason == "MALFORMED_FIELD"


# 138, 139, 142, 143


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (write_json(replace_policy(nitro_policy("x"), skip=())), "POLICY_UNSET"),
        (
            write_json(replace_policy(nitro_policy("x"), reference_values={"pcr0": ()})),
            "POLICY_EMPTY",
        ),
        (write_json(replace_policy(nitro_policy("x"), minimum={"svn": 1})), "MALFORMED_POLICY"),
        (write_json(nitro_policy("x")).replace(b",", b", ", 1), "NOT_CANONICAL"),
        (write_json(nitro_policy("x")).replace(b'"skip"', b'"name":"y","skip"'), "NOT_CANONICAL"),
        (b'{"name":NaN}', "MALFORMED_JSON"),
        (b"\xff", "MALFORMED_JSON"),
        (b"", "MALFORMED_JSON"),
        (b" " * (256 * 1024 + 1), "MESSAGE_TOO_LARGE"),
    ],
    ids=["unset", "empty", "minimum", "spaces", "twice", "NaN", "bytes", "nothing", "too large"],
)
def test_a_policy_that_says_too_little_or_in_another_spelling_is_refused(
    registry: Served, stub: rpc.EvidenceServiceStub, data: bytes, reason: str
) -> None:
    request = pb.PutPolicyRequest(policy=data)
    refused = registry.refused(
        lambda: stub.PutPolicy(request, metadata=registry.admin.metadata, timeout=SECONDS)
    )
    assert refused == reason


Call = Callable[[rpc.EvidenceServiceStub, Caller], object]

ADMIN: dict[str, Call] = {
    "PutPolicy": lambda stub, who: stub.PutPolicy(pb.PutPolicyRequest(), metadata=who.metadata),
    "PutDistrust": lambda stub, who: stub.PutDistrust(
        pb.PutDistrustRequest(), metadata=who.metadata
    ),
    "Reappraise": lambda stub, who: list(
        stub.Reappraise(pb.ReappraiseRequest(), metadata=who.metadata)
    ),
}


@pytest.mark.parametrize("method", ADMIN)
def test_only_an_administrator_changes_what_evidence_is_judged_by(
    registry: Served, stub: rpc.EvidenceServiceStub, method: str
) -> None:
    for who in (registry.node, registry.acme, registry.auditor):
        assert registry.refused(lambda who=who: ADMIN[method](stub, who)) == "ROLE"  # type: ignore[misc]  # bound now


def test_a_publisher_gets_no_challenge_and_a_stranger_nothing(
    registry: Served, stub: rpc.EvidenceServiceStub
) -> None:
    assert registry.refused(lambda: challenge(stub, registry.acme)) == "ROLE"
    for who in (registry.node, registry.auditor, registry.admin):
        assert challenge(stub, who).nonce
    for call in (
        lambda: stub.Challenge(pb.ChallengeRequest()),
        lambda: stub.Submit(pb.SubmitRequest()),
        lambda: stub.GetResults(pb.GetResultsRequest()),
        lambda: stub.ListPolicies(pb.ListPoliciesRequest()),
        lambda: stub.ListDistrust(pb.ListDistrustRequest()),
    ):
        assert registry.refused(call) == "NO_TOKEN"


def test_results_are_asked_for_by_one_thing(
    registry: Served, stub: rpc.EvidenceServiceStub
) -> None:
    for request in (
        pb.GetResultsRequest(),
        pb.GetResultsRequest(key_id="a", verifier="b"),
    ):
        reason = registry.refused(
            lambda request=request: stub.GetResults(  # type: ignore[misc]  # bound now
                request, metadata=registry.node.metadata, timeout=SECONDS
            )
        )
        assert reason == "MALFORMED_FIELD"


def test_a_distrust_entry_is_listed_and_evidence_judged_again(
    registry: Served, stub: rpc.EvidenceServiceStub
) -> None:
    binding = challenge(stub, registry.other_node)
    pcrs = {index: bytes([77] * 48) for index in range(16)}
    evidence = document(binding, now(), pcrs=pcrs).evidence
    metadata = registry.other_node.metadata
    stub.Submit(submission(binding, evidence), metadata=metadata, timeout=SECONDS)
    entry = distrust(now(), pcr0="4d" * 48)
    request = pb.PutDistrustRequest(entry=write_json(entry))
    admin = registry.admin.metadata
    stub.PutDistrust(request, metadata=admin, timeout=SECONDS)
    listed = stub.ListDistrust(pb.ListDistrustRequest(), metadata=metadata, timeout=SECONDS)
    said = [predicate.parse(Envelope.parse(item.envelope).payload) for item in listed.entries]
    assert [item.predicate for item in said] == [entry]
    changes = list(stub.Reappraise(pb.ReappraiseRequest(), metadata=admin, timeout=SECONDS))
    changed = [item for item in changes if item.verdict_before != item.verdict_now]
    assert [(item.verdict_now, item.effect) for item in changed] == [("INVALID", "changed")]
    assert changed[0].principal == registry.other_node.name
    unknown = pb.ReappraiseRequest(evidence_id=bytes(32))
    reason = registry.refused(
        lambda: list(stub.Reappraise(unknown, metadata=admin, timeout=SECONDS))
    )
    assert reason == "UNKNOWN_EVIDENCE"


def test_lists_are_answered_in_pages(
    registry: Served, stub: rpc.EvidenceServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        request = pb.PutPolicyRequest(policy=write_json(nitro_policy(f"test/page-{number}")))
        stub.PutPolicy(request, metadata=registry.admin.metadata, timeout=SECONDS)
    metadata = registry.node.metadata
    whole = stub.ListPolicies(pb.ListPoliciesRequest(), metadata=metadata, timeout=SECONDS)
    assert whole.next == 0
    for name, limit in (("MAX_FOUND", 2), ("PAGE_BYTES", 3000)):
        monkeypatch.setattr(f"registry.server.evidence.{name}", limit)
        found, start, pages = [], 0, 0
        while True:
            page = stub.ListPolicies(
                pb.ListPoliciesRequest(start=start), metadata=metadata, timeout=SECONDS
            )
            found += [item.envelope for item in page.policies]
            pages += 1
            if not page.next:
                break
            assert page.next > start
            start = page.next
        assert found == [item.envelope for item in whole.policies]
        assert pages > 2
        monkeypatch.undo()
