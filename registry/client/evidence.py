"""Evidence: challenges, submissions, results, policies and the distrust list, all checked.

Every result, policy and distrust entry is a statement that the operator signed, with its place in
the log. Whoever does not want to believe the registry's judgement has it made again, from the bytes
that the result names: :meth:`EvidenceCalls.redo`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from registry.api.v1 import evidence_service_pb2 as pb
from registry.api.v1 import evidence_service_pb2_grpc as rpc
from registry.api.v1 import statement_pb2
from registry.client.channel import WRITE_SECONDS
from registry.client.registry import RegistryClient
from registry.client.session import require
from registry.client.statements import LoggedStatement
from registry.core.digest import sha256
from registry.core.encoding import write_json
from registry.core.evidence import result as results
from registry.core.evidence.appraisal import policy_digest
from registry.core.evidence.binding import NONCE_BYTES, Binding
from registry.core.evidence.claims import MAX_EVIDENCE_BYTES, Family
from registry.core.evidence.distrust import Entry
from registry.core.evidence.effect import Effect
from registry.core.evidence.endorsements import MAX_ENDORSEMENT_BYTES, Endorsements, Role
from registry.core.evidence.families import rules_of
from registry.core.evidence.policy import Policy
from registry.core.evidence.result import AttestationResult, Environment, Material, Stated
from registry.errors import NotFoundError, Reason
from registry.wire import access as wire_access
from registry.wire import evidence as wire

REAPPRAISAL_SECONDS = 24 * 3600
"""How long judging everything again may take: some ten thousand pieces of evidence."""


Page = tuple[Iterable[statement_pb2.LoggedStatement], int]
"""Some statements, and the entry at which the next ones start; 0 at the end."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """A nonce, and until when it is good."""

    nonce: bytes
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Affected:
    """A batch whose key's verdict changed: its entry, shim, first and last record, and outputs."""

    index: int
    shim_id: bytes
    n_first: int
    n_last: int
    outputs: int


@dataclass(frozen=True, slots=True)
class Change:
    """What judging evidence again came to; all but the result is as the registry says.

    Attributes:
        logged: The new result.
        before: The verdict of the newest result before.
        now: The verdict of the new one.
        effect: What is other than before, and whether that is more than the passing of time.
    """

    logged: LoggedStatement
    evidence_id: bytes
    before: str
    now: str
    effect: Effect
    principal: str
    key_id: str
    versions: tuple[str, ...]
    batches: tuple[Affected, ...]


class EvidenceCalls:
    """What nodes, auditors and administrators ask about evidence."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client
        self._connection = client.connection
        self._evidence = rpc.EvidenceServiceStub(client.connection.channel)

    def challenge(self, session_key: bytes | None = None) -> Challenge:
        """A nonce for the caller's evidence; with a DER key, for evidence bound to that alone.

        Raises:
            ForbiddenError: ``ROLE``.
            LimitExceededError: ``TOO_MANY_CHALLENGES``.
        """
        request = pb.ChallengeRequest(session_key=session_key or b"")
        answer = self._connection.call(self._evidence.Challenge, request)
        require(len(answer.nonce) == NONCE_BYTES, "size of a nonce")
        return Challenge(answer.nonce, wire_access.time_from_proto(answer.expires_at))

    def submit(
        self,
        family: Family,
        evidence: bytes,
        binding: Binding,
        policy: str,
        endorsements: Iterable[tuple[Role, bytes]] = (),
    ) -> LoggedStatement:
        """Submit evidence; the result is in the log, and about just this.

        Args:
            family: The kind of evidence.
            evidence: As the device made it.
            binding: What the device committed to.
            policy: Record id or name of an appraisal policy.
            endorsements: What the caller has of the vendor's, with roles.

        Raises:
            RegistryError: Why the registry does not take it, or what is wrong with its answer.
        """
        request = pb.SubmitRequest(
            family=family,
            evidence=evidence,
            endorsements=wire.endorsements_to_proto(endorsements),
            binding=wire.binding_to_proto(binding),
            policy=policy,
        )
        known = self._client.heads.size
        answer = self._connection.call(self._evidence.Submit, request, WRITE_SECONDS)
        logged = self._client.opened(answer.result, known)
        environment = result_of(logged).submods.get(family)
        is_ours = (
            environment is not None
            and environment.raw_evidence == sha256(evidence).hex()
            and environment.stated == Stated.of(binding)
        )
        require(is_ours, "result")
        return logged

    def results(
        self,
        *,
        evidence_id: bytes = b"",
        key_id: str = "",
        record_id: bytes = b"",
        verifier: str = "",
    ) -> list[LoggedStatement]:
        """Results about evidence, of a session key, by a verifier, or one by name; newest last.

        Raises:
            NotFoundError: ``UNKNOWN_EVIDENCE``.
        """

        def page(start: int) -> Page:
            request = pb.GetResultsRequest(
                evidence_id=evidence_id,
                key_id=key_id,
                record_id=record_id,
                verifier=verifier,
                start=start,
            )
            answer = self._connection.call(self._evidence.GetResults, request)
            return answer.results, answer.next

        logged = self._all(page)
        for item in logged:
            result_of(item)
            if record_id:
                require(item.envelope.record_id == record_id, "result")
        return logged

    def put_policy(self, policy: Policy) -> LoggedStatement:
        """Register an appraisal policy.

        Raises:
            MalformedError: ``POLICY_UNSET``, ``POLICY_EMPTY`` or ``MALFORMED_POLICY``.
        """
        known = self._client.heads.size
        request = pb.PutPolicyRequest(policy=write_json(policy))
        answer = self._connection.call(self._evidence.PutPolicy, request, WRITE_SECONDS)
        logged = self._client.opened(answer.policy, known)
        require(logged.statement.predicate == policy, "policy")
        return logged

    def policies(self) -> list[LoggedStatement]:
        """All appraisal policies, oldest first."""

        def page(start: int) -> Page:
            request = pb.ListPoliciesRequest(start=start)
            answer = self._connection.call(self._evidence.ListPolicies, request)
            return answer.policies, answer.next

        logged = self._all(page)
        require(all(isinstance(each.statement.predicate, Policy) for each in logged), "kind")
        return logged

    def put_distrust(self, entry: Entry) -> LoggedStatement:
        """Put an entry on the distrust list.

        Raises:
            MalformedError: ``MALFORMED_FIELD`` for one that would match everything.
        """
        known = self._client.heads.size
        request = pb.PutDistrustRequest(entry=write_json(entry))
        answer = self._connection.call(self._evidence.PutDistrust, request, WRITE_SECONDS)
        logged = self._client.opened(answer.entry, known)
        require(logged.statement.predicate == entry, "distrust entry")
        return logged

    def distrusted(self) -> list[LoggedStatement]:
        """The distrust list, oldest entry first."""

        def page(start: int) -> Page:
            request = pb.ListDistrustRequest(start=start)
            answer = self._connection.call(self._evidence.ListDistrust, request)
            return answer.entries, answer.next

        logged = self._all(page)
        require(all(isinstance(each.statement.predicate, Entry) for each in logged), "kind")
        return logged

    def reappraise(self, evidence_id: bytes = b"") -> Iterator[Change]:
        """Have one piece of evidence, or all, judged as of now; each as soon as it is logged.

        Raises:
            NotFoundError: ``UNKNOWN_EVIDENCE``.
        """
        known = self._client.heads.size
        request = pb.ReappraiseRequest(evidence_id=evidence_id)
        answers = self._connection.receive(self._evidence.Reappraise, request, REAPPRAISAL_SECONDS)
        for answer in answers:
            logged = self._client.opened(answer.result, known)
            verdicts = {each.verdict.value for each in result_of(logged).submods.values()}
            require(answer.verdict_now in verdicts, "verdict")
            require(answer.effect in set(Effect), "effect")
            yield Change(
                logged,
                answer.evidence_id,
                answer.verdict_before,
                answer.verdict_now,
                Effect(answer.effect),
                answer.principal,
                answer.key_id,
                tuple(answer.versions),
                tuple(
                    Affected(each.index, each.shim_id, each.n_first, each.n_last, each.outputs)
                    for each in answer.batches
                ),
            )

    def redo(self, logged: LoggedStatement) -> None:
        """Examine and appraise again, here, whatever a result is about, and compare.

        Raises:
            VerificationError: ``RESULT_MISMATCH``.
            NotFoundError: ``UNKNOWN_BLOB`` or ``UNKNOWN_APPRAISAL_POLICY``.
        """
        for family, environment in result_of(logged).submods.items():
            results.redo(environment, self._material(environment), rules_of(family))

    def _material(self, environment: Environment) -> Material:
        read = self._client.read_blob
        endorsements = Endorsements.of(
            (item.role, read(bytes.fromhex(item.sha256), MAX_ENDORSEMENT_BYTES))
            for item in environment.endorsements
        )
        policies = [each.statement.predicate for each in self.policies()]
        named = [each for each in policies if policy_digest(each) == environment.policy]
        if not named:
            raise NotFoundError(
                Reason.UNKNOWN_APPRAISAL_POLICY,
                "the log does not hold the policy that this result names",
                where=environment.policy,
            )
        return Material(
            read(bytes.fromhex(environment.raw_evidence), MAX_EVIDENCE_BYTES),
            endorsements,
            named[0],
            [each.statement.predicate for each in self.distrusted()],
        )

    def _all(self, ask: Callable[[int], Page]) -> list[LoggedStatement]:
        """Every statement of an answer in pages; each lies behind the one before in the log."""
        logged: list[LoggedStatement] = []
        start = 0
        while True:
            known = self._client.heads.size
            messages, following = ask(start)
            for message in messages:
                item = self._client.opened(message, known)
                require(item.index >= start, "order of statements")
                start = item.index + 1
                logged.append(item)
            if not following:
                return logged
            require(following == start, "page")


def result_of(logged: LoggedStatement) -> AttestationResult:
    """The result that a statement is.

    Raises:
        VerificationError: ``SUBJECT_MISMATCH`` if it is none.
    """
    said = logged.statement.predicate
    require(isinstance(said, AttestationResult), "kind of statement")
    result: AttestationResult = said
    return result
