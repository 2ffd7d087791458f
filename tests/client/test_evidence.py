"""Evidence through the client: what a registry answers is believed only where it is proven."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from registry.api.v1 import evidence_service_pb2 as pb
from registry.client.evidence import EvidenceCalls, result_of
from registry.client.registry import RegistryClient
from registry.core.encoding import write_json
from registry.core.evidence.binding import Binding
from registry.core.evidence.claims import Family
from registry.core.evidence.policy import Policy
from registry.core.verdict import Verdict
from registry.errors import Reason, RegistryError
from tests.attesting import POLICY, distrust, document, nitro_policy
from tests.client.conftest import Place
from tests.client.liar import Liar


@pytest.fixture
def calls(place: Place, admin: RegistryClient) -> Iterator[EvidenceCalls]:
    """Ask as the node; a policy is there."""
    EvidenceCalls(admin).put_policy(nitro_policy())
    with place.client(place.node.token) as client:
        yield EvidenceCalls(client)


@pytest.fixture
def misled_node(place: Place, liar: Liar) -> Iterator[EvidenceCalls]:
    """Ask a liar, as the node."""
    with place.client(place.node.token, liar.address) as client:
        yield EvidenceCalls(client)


@dataclass(frozen=True)
class Made:
    """Evidence that is ready to be submitted."""

    binding: Binding
    evidence: bytes


def make(place: Place, calls: EvidenceCalls) -> Made:
    key = place.node.signer.public_key.der
    binding = Binding(nonce=calls.challenge(key).nonce, session_key=key)
    return Made(binding, document(binding, datetime.now(UTC).replace(microsecond=0)).evidence)


def submit(calls: EvidenceCalls, made: Made) -> bytes:
    logged = calls.submit(Family.AWS_NITRO, made.evidence, made.binding, POLICY)
    [environment] = result_of(logged).submods.values()
    assert environment.verdict is Verdict.VALID
    assert isinstance(environment.evidence_id, str)
    return bytes.fromhex(environment.evidence_id)


def refusal(act: Callable[[], object]) -> Reason:
    with pytest.raises(RegistryError) as caught:
        act()
    return caught.value.reason


def test_a_result_is_found_again_and_can_be_made_again_here(
    place: Place, calls: EvidenceCalls
) -> None:
    name = submit(calls, make(place, calls))
    [found] = calls.results(evidence_id=name)
    calls.redo(found)
    assert calls.results(record_id=found.envelope.record_id) == [found]
    assert found.granted.principal == "operator"


def test_policies_and_the_distrust_list_are_read_as_they_were_written(
    admin: RegistryClient, calls: EvidenceCalls
) -> None:
    assert nitro_policy() in [item.statement.predicate for item in calls.policies()]
    entry = distrust(pcr0="ab" * 48)
    EvidenceCalls(admin).put_distrust(entry)
    assert entry in [item.statement.predicate for item in calls.distrusted()]


def test_a_result_about_other_evidence_is_no_answer(
    place: Place, liar: Liar, calls: EvidenceCalls, misled_node: EvidenceCalls
) -> None:
    other = make(place, calls)
    answers: list[bytes] = []

    def keep(raw: bytes) -> bytes:
        answers.append(raw)
        return raw

    liar.answers["EvidenceService/Submit"] = keep
    misled_node.submit(Family.AWS_NITRO, other.evidence, other.binding, POLICY)
    liar.answers["EvidenceService/Submit"] = lambda _raw: answers[0]
    made = make(place, calls)
    assert refusal(lambda: submit(misled_node, made)) is Reason.SUBJECT_MISMATCH


def test_a_result_for_another_binding_is_no_answer(
    place: Place, liar: Liar, calls: EvidenceCalls, misled_node: EvidenceCalls
) -> None:
    made = make(place, calls)
    submit(calls, made)
    stated = replace(made.binding, model=b"m" * 32)

    def restate(raw: bytes) -> bytes:
        request = pb.SubmitRequest.FromString(raw)
        request.binding.model = b""
        return request.SerializeToString()

    # The registry is asked about something else than its caller wanted to know.
    liar.requests["EvidenceService/Submit"] = restate
    reason = refusal(lambda: misled_node.submit(Family.AWS_NITRO, made.evidence, stated, POLICY))
    assert reason is Reason.SUBJECT_MISMATCH


def test_an_altered_result_is_refused(
    place: Place, liar: Liar, calls: EvidenceCalls, misled_node: EvidenceCalls
) -> None:
    name = submit(calls, make(place, calls))

    def alter(raw: bytes) -> bytes:
        answer = pb.GetResultsResponse.FromString(raw)
        envelope = answer.results[0].envelope
        answer.results[0].envelope = envelope[:-10] + bytes([envelope[-10] ^ 1]) + envelope[-9:]
        return answer.SerializeToString()

    liar.answers["EvidenceService/GetResults"] = alter
    with pytest.raises(RegistryError):
        misled_node.results(evidence_id=name)


def test_a_policy_is_no_result(
    place: Place, liar: Liar, calls: EvidenceCalls, misled_node: EvidenceCalls
) -> None:
    name = submit(calls, make(place, calls))
    kept: list[bytes] = []

    def keep(raw: bytes) -> bytes:
        kept.append(raw)
        return raw

    liar.answers["EvidenceService/ListPolicies"] = keep
    misled_node.policies()
    # Both answers are one repeated member: their bytes fit each other.
    liar.answers["EvidenceService/GetResults"] = lambda _raw: kept[0]
    assert refusal(lambda: misled_node.results(evidence_id=name)) is Reason.SUBJECT_MISMATCH


def test_a_short_nonce_is_no_challenge(liar: Liar, misled_node: EvidenceCalls) -> None:
    liar.answers["EvidenceService/Challenge"] = lambda _raw: pb.ChallengeResponse(
        nonce=b"short"
    ).SerializeToString()
    assert refusal(misled_node.challenge) is Reason.SUBJECT_MISMATCH


def test_a_policy_that_was_changed_on_its_way_is_noticed(
    place: Place, liar: Liar, admin: RegistryClient
) -> None:
    EvidenceCalls(admin).put_policy(nitro_policy("test/weaker"))

    def weaken(_raw: bytes) -> bytes:
        weaker = write_json(nitro_policy("test/weaker"))
        return pb.PutPolicyRequest(policy=weaker).SerializeToString()

    liar.requests["EvidenceService/PutPolicy"] = weaken
    with place.client(place.admin_token, liar.address) as misled:
        wanted: Policy = nitro_policy("test/strict", require=("N9",))
        reason = refusal(lambda: EvidenceCalls(misled).put_policy(wanted))
    assert reason is Reason.SUBJECT_MISMATCH


def test_a_page_that_goes_back_is_noticed(liar: Liar, misled_node: EvidenceCalls) -> None:
    def again(raw: bytes) -> bytes:
        answer = pb.ListPoliciesResponse.FromString(raw)
        answer.next = 1
        return answer.SerializeToString()

    liar.answers["EvidenceService/ListPolicies"] = again
    assert refusal(misled_node.policies) is Reason.SUBJECT_MISMATCH


@pytest.mark.parametrize(
    "lie",
    [{"effect": ""}, {"effect": "improved"}, {"verdict_now": "INVALID"}],
    ids=["no effect", "unknown effect", "another verdict"],
)
def test_what_judging_again_came_to_is_said_in_known_words(
    place: Place, liar: Liar, calls: EvidenceCalls, lie: dict[str, str]
) -> None:
    name = submit(calls, make(place, calls))

    def misstate(answers: Iterator[bytes]) -> Iterator[bytes]:
        answer = pb.ReappraiseResponse.FromString(next(answers))
        assert (answer.effect, answer.verdict_now) == ("unchanged", "VALID")
        for member, value in lie.items():
            setattr(answer, member, value)
        yield answer.SerializeToString()

    liar.streams["EvidenceService/Reappraise"] = misstate
    with place.client(place.admin_token, liar.address) as misled:
        reason = refusal(lambda: list(EvidenceCalls(misled).reappraise(name)))
    assert reason is Reason.SUBJECT_MISMATCH
