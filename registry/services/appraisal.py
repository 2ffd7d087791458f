"""Challenge, examine, appraise, archive, log: how evidence becomes a signed attestation result.

The evidence is judged in another process. Whatever it rests on becomes visible in the transaction
that logs the result and uses up the challenge, or not at all.

======================================  ==========================================================
dies                                    afterwards
======================================  ==========================================================
before the commit                       nothing was stored; the challenge is as good as before
during the commit                       all of it, or nothing
after the commit, before the answer     the same submission again answers the same entry
a worker, while it judges               the caller is told, nothing was stored
======================================  ==========================================================
"""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime

from registry.core.access import Principal
from registry.core.attestation.dsse import Envelope
from registry.core.digest import sha256
from registry.core.evidence.appraisal import Question, policy_digest
from registry.core.evidence.binding import Binding
from registry.core.evidence.claims import Family, check_size
from registry.core.evidence.endorsements import Endorsements, Role
from registry.core.evidence.families import rules_of
from registry.core.evidence.policy import Policy
from registry.core.evidence.result import (
    AttestationResult,
    Environment,
    Material,
    Stated,
)
from registry.core.evidence.validity import seconds
from registry.core.records import attestation_result, predicate
from registry.errors import ConflictError, NotFoundError, Reason, RegistryError
from registry.inspection.appraisal_exchange import Task
from registry.inspection.appraisal_pool import AppraisalPool
from registry.services import presenting
from registry.services.appraisal_policies import AppraisalPolicies
from registry.services.artifacts import Artifacts
from registry.services.attested import is_authentic
from registry.services.challenges import Challenges, Claim, Clock, require_role
from registry.services.endorsing import Endorser, may_be_fetched
from registry.services.keyring import Keyring
from registry.services.known_collateral import KnownCollateral
from registry.services.operator import Operator
from registry.services.submission import check_fresh
from registry.services.submitted import AT_ONCE_BYTES, Begun, Presented, verifier
from registry.storage.blobs.port import BlobWriter
from registry.storage.sql import attestations, challenges, log
from registry.storage.sql.attestations import StoredResult
from registry.storage.sql.challenges import StoredChallenge
from registry.storage.sql.engine import Database
from registry.storage.sql.log import StoredEntry

MAX_FOUND = 500
"""Results in one answer."""

logger = logging.getLogger(__name__)


class Appraisals:
    """Takes evidence, and answers with a result that is in the log."""

    def __init__(
        self,
        *,
        database: Database,
        artifacts: Artifacts,
        keyring: Keyring,
        operator: Operator,
        issued: Challenges,
        policies: AppraisalPolicies,
        pool: AppraisalPool,
        clock: Clock,
        endorser: Endorser | None = None,
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._keyring = keyring
        self._operator = operator
        self._challenges = issued
        self._policies = policies
        self._pool = pool
        self._clock = clock
        self._endorser = endorser
        self._collateral = KnownCollateral(database, artifacts)

    def submit(self, presented: Presented, caller: Principal) -> StoredEntry:
        """Judge evidence; the result is durable and in the log on return.

        The identical submission again answers the original entry.

        Raises:
            ForbiddenError: ``ROLE``, ``CHALLENGE_NOT_YOURS`` or ``KEY_NOT_YOURS``.
            LimitExceededError: ``EVIDENCE_SIZE``, ``ENDORSEMENT_SIZE`` or ``APPRAISAL_LIMIT``.
            MalformedError: ``UNKNOWN_FAMILY``, ``UNREADABLE_EVIDENCE``, ``MALFORMED_FIELD``.
            NotFoundError: ``UNKNOWN_CHALLENGE``, ``UNKNOWN_APPRAISAL_POLICY``,
                ``UNKNOWN_EVIDENCE``.
            RefusedError: ``CHALLENGE_EXPIRED``.
            ConflictError: ``CHALLENGE_USED``, ``EVIDENCE_REPLAYED`` or ``POLICY_REPLACED``.
            VerificationError: ``WRONG_COMMITMENT``, ``WRONG_NONCE`` and its like.
            UnavailableError: ``APPRAISAL_BUSY``, ``LOG_BUSY``, ``LOG_LATCHED`` or ``DISK_LOW``.
        """
        family, policy = self._checked(presented, caller)
        try:
            challenge, used = self._challenge(family, presented.stated, caller)
            # A nonce that is new was in no evidence before; that of another is found by its id.
            original = None if used is None else self._known(family, presented, policy)
        except RegistryError:
            # Whatever speaks against it, what was submitted before is told of first.
            original = self._known(family, presented, policy)
            if original is None:
                raise
        if original is not None:
            return original
        self._policies.require_newest(policy)
        begun = self._begun(presented, caller, policy, challenge, used)
        return self.finish(begun, self._pool.appraise(begun.task))

    def begin(self, presented: Presented, caller: Principal) -> Begun | None:
        """What :meth:`submit` would have judged; None if more than a look at memory is needed.

        Also if something is wrong: what was submitted before is told of first, so the database
        must be asked.
        """
        size = len(presented.evidence) + sum(len(data) for _, data in presented.endorsements)
        if size > AT_ONCE_BYTES or presented.stated.gpu is not None:
            return None
        try:
            family, policy = self._checked(presented, caller)
            challenge = self._challenges.fresh(presented.stated.nonce or b"", family, caller)
            if challenge is None:
                return None
            presenting.check_session_key(family, presented.stated, challenge, caller, self._keyring)
            self._policies.require_newest(policy)
            return self._begun(presented, caller, policy, challenge, None)
        except RegistryError:
            return None

    def finish(self, begun: Begun, result: AttestationResult) -> StoredEntry:
        """What :meth:`submit` does with the first result about what was begun."""
        task, presented = begun.task, begun.presented
        family = Family(task.family)
        result, material = self._supplied(task, result)
        environment = result.submods[family]
        presenting.check_readable(environment)
        evidence_id = bytes.fromhex(attestation_result.evidence_name(environment))
        claim = Claim(begun.nonce, family, evidence_id, begun.principal, seconds(task.at))
        try:
            against = begun.used or presenting.misbinding(environment)
            if against is not None:
                # First whether it is known: a copy of it is no evidence of anything else.
                check_fresh(self.about(evidence_id))
                raise against
            try:
                return self.record(result, material, claim)
            finally:
                self._challenges.tried(claim.nonce)
        except ConflictError:
            # The same submission at the same moment: one of them was first.
            known = self.about(evidence_id)
            original = self._original(known, family, presented, material.policy)
            if original is None:
                raise
            return original

    def _checked(self, presented: Presented, caller: Principal) -> tuple[Family, Policy]:
        """The family and the policy of what is submitted in good form, by somebody who may."""
        require_role(caller)
        check_size(presented.evidence)
        family = rules_of(presented.family).family
        presenting.check_stated(family, presented.stated)
        _, policy = self._policies.find(presented.policy)
        policy.require_family(family)
        return family, policy

    def _begun(
        self,
        presented: Presented,
        caller: Principal,
        policy: Policy,
        challenge: StoredChallenge,
        used: ConflictError | None,
    ) -> Begun:
        stated = presented.stated
        question = Question(
            stated=stated,
            expected=replace(
                stated,
                nonce=challenge.nonce,
                session_key=challenge.session_key or stated.session_key,
            ),
            distrusted=self._policies.distrusted(),
        )
        given = Endorsements.of(presented.endorsements)
        material = Material(presented.evidence, given, policy, question.distrusted)
        task = Task(policy.family, material, question, self._clock(), verifier())
        return Begun(presented, caller.name, challenge.nonce, used, task)

    def _supplied(
        self, task: Task, result: AttestationResult
    ) -> tuple[AttestationResult, Material]:
        """A result, made again with what vendors say, or is known, if that matters; and by what."""
        result, material = self._fetched(task, result)
        return self._with_known(replace(task, material=material), result)

    def _with_known(
        self, task: Task, result: AttestationResult
    ) -> tuple[AttestationResult, Material]:
        """A result, made again with what is known of this kind of platform; and by what."""
        known = self._collateral.later(Family(task.family), result.submods[Family(task.family)])
        if not known:
            return result, task.material
        more = replace(task.material, endorsements=task.material.endorsements.with_(known))
        return self._pool.appraise(replace(task, material=more)), more

    def _fetched(self, task: Task, result: AttestationResult) -> tuple[AttestationResult, Material]:
        family, material = Family(task.family), task.material
        environment = result.submods[family]
        lacks = any(may_be_fetched(item) for item in environment.checks)
        if self._endorser is None or not lacks or not is_authentic(environment):
            return result, material
        fetched = self.fetch(family, material.evidence, task.at)
        if not fetched:
            return result, material
        more = replace(material, endorsements=material.endorsements.with_(fetched))
        return self._pool.appraise(replace(task, material=more)), more

    def fetch(self, family: Family, evidence: bytes, at: datetime) -> list[tuple[Role, bytes]]:
        """What the vendors say now of the device that made evidence; nothing if nobody answers."""
        if self._endorser is None:
            return []
        try:
            return list(self._endorser.endorse(family, evidence, at))
        except RegistryError as error:
            logger.warning("no endorsements of %s could be fetched: %s", family, error)
            return []

    def record(
        self, result: AttestationResult, material: Material, claim: Claim | None = None
    ) -> StoredEntry:
        """Sign and log a result; all that it rests on becomes visible with it.

        Raises:
            ConflictError: ``CHALLENGE_USED`` or ``EVIDENCE_REPLAYED``.
            UnavailableError: ``LOG_BUSY``, ``LOG_LATCHED`` or ``DISK_LOW``.
        """
        statement = attestation_result.build(result)
        wanted = {
            sha256(data): data
            for data in (
                material.evidence,
                *(item.data for item in material.endorsements.items),
            )
        }
        stored = self._artifacts.stat_all(list(wanted))
        with ExitStack() as staged:
            blobs: list[BlobWriter] = []
            for name, data in wanted.items():
                if name not in stored:
                    blobs.append(self._artifacts.stage(data))
                    staged.callback(blobs[-1].abort)
            entry = self._operator.enter(statement, blobs=tuple(blobs), claim=claim)
            staged.pop_all()
        return entry

    def about(self, evidence_id: bytes) -> list[StoredResult]:
        """All results about evidence, oldest first."""
        with self._database.glance() as connection:
            return attestations.about(connection, evidence_id)

    def find(
        self,
        *,
        evidence_id: bytes = b"",
        key_id: str = "",
        record_id: bytes = b"",
        verifier: str = "",
        start: int = 0,
    ) -> list[StoredEntry]:
        """Results about evidence, of a key, by a verifier, or one by record id; newest last.

        At most :data:`MAX_FOUND` of them, from entry ``start`` of the log on.

        Raises:
            NotFoundError: ``UNKNOWN_EVIDENCE``.
        """
        with self._database.read() as connection:
            if record_id:
                entry = log.entry_of_record(connection, record_id)
                indices = [] if entry is None else [entry.index]
                found = [row for i in indices for row in attestations.of_entry(connection, i)]
            elif evidence_id:
                found = attestations.about(connection, evidence_id)
                found += attestations.about_bytes(connection, evidence_id)
            elif key_id:
                found = attestations.of_key(connection, key_id)
            else:
                found = attestations.by_verifier(connection, verifier, start, MAX_FOUND)
        if not found and not start:
            raise NotFoundError(
                Reason.UNKNOWN_EVIDENCE,
                "no attestation result of this evidence, key, verifier or name is registered",
                where=(evidence_id or record_id).hex() or key_id or verifier[:200],
            )
        wanted = sorted({row.index for row in found if row.index >= start})
        return [self._entry(index) for index in wanted[:MAX_FOUND]]

    def judge(
        self, family: Family, material: Material, question: Question, at: datetime
    ) -> tuple[AttestationResult, Material]:
        """What comes of one appraisal by this material, and what is known beside it; and by what.

        Raises:
            RegistryError: As :meth:`AppraisalPool.appraise`.
        """
        task = Task(family, material, question, at, verifier())
        return self._with_known(task, self._pool.appraise(task))

    def _challenge(
        self, family: Family, stated: Binding, caller: Principal
    ) -> tuple[StoredChallenge, ConflictError | None]:
        """The challenge, and why it cannot be used again, which what came with it may explain.

        Raises:
            NotFoundError, ForbiddenError, RefusedError: As :meth:`Challenges.require`.
            RegistryError: As :func:`presenting.check_session_key` and :func:`presenting.check_gpu`.
        """
        nonce, used = stated.nonce or b"", None
        try:
            found = self._challenges.fresh(nonce, family, caller) or self._challenges.require(
                nonce, family, caller
            )
        except ConflictError as error:
            used = error
            with self._database.glance() as connection:
                known = challenges.find(connection, nonce)
            if known is None:
                raise
            found = known
        presenting.check_session_key(family, stated, found, caller, self._keyring)
        if stated.gpu is not None:
            with self._database.read() as connection:
                presenting.check_gpu(connection, stated)
        return found, used

    def _known(self, family: Family, presented: Presented, policy: Policy) -> StoredEntry | None:
        """The entry of the identical submission, if there was one.

        Raises:
            ConflictError: ``EVIDENCE_REPLAYED`` if the same bytes were submitted for another thing.
        """
        with self._database.glance() as connection:
            known = attestations.about_bytes(connection, sha256(presented.evidence))
        original = self._original(known, family, presented, policy)
        if original is None:
            check_fresh(known)
        return original

    def _original(
        self, known: Sequence[StoredResult], family: Family, presented: Presented, policy: Policy
    ) -> StoredEntry | None:
        """The entry of the identical submission, if there was one."""
        raw = sha256(presented.evidence)
        for row in known:
            if row.question != "then" or row.family != family or row.raw_evidence != raw:
                continue
            entry = self._entry(row.index)
            environment = environment_of(entry, family)
            if environment.stated == Stated.of(
                presented.stated
            ) and environment.policy == policy_digest(policy):
                return entry
        return None

    def _entry(self, index: int) -> StoredEntry:
        with self._database.glance() as connection:
            entry = log.entry(connection, index)
        if entry is None:
            raise AssertionError("what is listed is in the log")
        return entry


def environment_of(entry: StoredEntry, family: str) -> Environment:
    """What an entry of the log says of evidence of a family."""
    said = predicate.parse(Envelope.parse(entry.envelope).payload).predicate
    if isinstance(said, AttestationResult):
        return said.submods[Family(family)]
    raise AssertionError("only results are listed as such")
