"""Evidence over gRPC, and the services behind it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import grpc.aio

from registry.api.v1 import evidence_pb2, statement_pb2
from registry.api.v1 import evidence_service_pb2 as pb
from registry.api.v1 import evidence_service_pb2_grpc as rpc
from registry.core.access import Principal
from registry.core.attestation.dsse import Envelope
from registry.core.attestation.statement import predicate_type
from registry.errors import MalformedError, Reason, UnavailableError
from registry.inspection.appraisal_pool import AppraisalPool
from registry.server.guard import caller
from registry.server.pacing import Pacing
from registry.services.appraisal import MAX_FOUND, Appraisals
from registry.services.appraisal_policies import AppraisalPolicies
from registry.services.artifacts import Artifacts
from registry.services.attested import Attested
from registry.services.challenges import Challenges, Clock
from registry.services.endorsing import Endorser
from registry.services.keyring import Keyring
from registry.services.operator import OPERATOR, Operator
from registry.services.reappraisal import Change, Reappraisal
from registry.services.sequencing import Sequencer
from registry.services.submitted import Presented
from registry.storage.blobs.port import BlobStore
from registry.storage.sql.engine import Database
from registry.storage.sql.log import StoredEntry
from registry.wire import access as wire_access
from registry.wire import evidence as wire
from registry.wire import statement as wire_statement

THREADS = 8
"""Submissions that are on their way at once; they mostly wait for workers and for the log."""

MAX_WAITING = 64
"""Submissions that may wait for one of those threads; more are told to come back."""

SHARE = 0.08
"""Of one processor, that all submissions together may cost this process; workers come on top, but
stand back. A registry judges some 35 pieces a second."""

BESIDE_SECONDS = 0.002
"""What one submission costs this process outside of its thread: taking it in, answering it, and
handing the interpreter back and forth. As measured while 1,600 statements a second came in, which
fewer did for 2.4 ms of each submission."""

PAGE_BYTES = 4 * 1024 * 1024
"""Bytes of the statements in one answer, but for a first one that is larger."""

GUESS_SECONDS = 0.0008
"""What one submission uses in its thread, until that is known."""

Context = grpc.aio.ServicerContext[Any, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EvidenceServices:
    """Everything that answers about evidence."""

    challenges: Challenges
    policies: AppraisalPolicies
    appraisals: Appraisals
    reappraisal: Reappraisal
    attested: Attested
    pool: AppraisalPool


@contextmanager
def open_evidence(
    *,
    database: Database,
    blobs: BlobStore,
    artifacts: Artifacts,
    keyring: Keyring,
    operator: Operator,
    clock: Clock,
    endorser: Endorser | None = None,
    workers: AppraisalPool | None = None,
) -> Iterator[EvidenceServices]:
    """Take evidence until the end of the block, with workers of its own if none are given."""
    pool = workers or AppraisalPool()
    try:
        challenges = Challenges(database, clock)
        policies = AppraisalPolicies(database, operator)
        appraisals = Appraisals(
            database=database,
            artifacts=artifacts,
            keyring=keyring,
            operator=operator,
            issued=challenges,
            policies=policies,
            pool=pool,
            clock=clock,
            endorser=endorser,
        )
        again = Reappraisal(
            database=database,
            blobs=blobs,
            keyring=keyring,
            appraisals=appraisals,
            policies=policies,
            clock=clock,
        )
        attested = Attested(database, clock)
        yield EvidenceServices(challenges, policies, appraisals, again, attested, pool)
    finally:
        if workers is None:
            pool.close()


class EvidenceServicer(rpc.EvidenceServiceServicer):
    """Thin: wire → value, one service call, value → wire."""

    def __init__(self, services: EvidenceServices, sequencer: Sequencer) -> None:
        self._services = services
        self._sequencer = sequencer
        # Threads of their own: whoever waits for an appraisal keeps no statement from the log.
        self._threads = ThreadPoolExecutor(THREADS, "evidence")
        self._pacing = Pacing(SHARE, GUESS_SECONDS, BESIDE_SECONDS)
        self._waiting = 0

    async def Challenge(  # noqa: N802 - gRPC's spelling
        self, request: pb.ChallengeRequest, context: Context
    ) -> pb.ChallengeResponse:
        """A nonce."""
        issued = await asyncio.to_thread(
            self._services.challenges.issue, caller.get(), request.session_key or None
        )
        return pb.ChallengeResponse(
            nonce=issued.nonce,
            expires_at=wire_access.time_to_proto(datetime.fromtimestamp(issued.expires_at, UTC)),
        )

    async def Submit(  # noqa: N802
        self, request: pb.SubmitRequest, context: Context
    ) -> pb.SubmitResponse:
        """Judge evidence."""
        presented = Presented(
            request.family,
            request.evidence,
            wire.endorsements_from_proto(request.endorsements),
            wire.binding_from_proto(request.binding),
            request.policy,
        )
        who = caller.get()
        return pb.SubmitResponse(result=await self._in_turn(lambda: self._submit(presented, who)))

    async def _submit(self, presented: Presented, who: Principal) -> statement_pb2.LoggedStatement:
        appraisals, pool = self._services.appraisals, self._services.pool
        begun = appraisals.begin(presented, who)
        judging = None if begun is None else pool.begin(begun.task)
        if begun is None or judging is None:
            return await self._apart(lambda: self._logged(appraisals.submit(presented, who)))
        result = await judging
        return await self._apart(lambda: self._logged(appraisals.finish(begun, result)))

    async def GetResults(  # noqa: N802
        self, request: pb.GetResultsRequest, context: Context
    ) -> pb.GetResultsResponse:
        """All results about something."""
        asked = (request.evidence_id, request.key_id, request.record_id, request.verifier)
        if sum(map(bool, asked)) != 1:
            raise MalformedError(
                Reason.MALFORMED_FIELD,
                "results are asked for by one thing",
                expected="evidence_id, key_id, record_id or verifier",
            )
        found = await asyncio.to_thread(
            lambda: self._services.appraisals.find(
                evidence_id=request.evidence_id,
                key_id=request.key_id,
                record_id=request.record_id,
                verifier=request.verifier,
                start=request.start,
            )
        )
        results, following = await self._page(found, request.start)
        return pb.GetResultsResponse(results=results, next=following)

    async def PutPolicy(  # noqa: N802
        self, request: pb.PutPolicyRequest, context: Context
    ) -> pb.PutPolicyResponse:
        """Register a policy."""
        entry = await asyncio.to_thread(self._services.policies.put, request.policy)
        return pb.PutPolicyResponse(policy=self._logged(entry))

    async def ListPolicies(  # noqa: N802
        self, request: pb.ListPoliciesRequest, context: Context
    ) -> pb.ListPoliciesResponse:
        """All policies."""
        found = await asyncio.to_thread(self._services.policies.registered)
        policies, following = await self._page(found, request.start)
        return pb.ListPoliciesResponse(policies=policies, next=following)

    async def PutDistrust(  # noqa: N802
        self, request: pb.PutDistrustRequest, context: Context
    ) -> pb.PutDistrustResponse:
        """Put an entry on the distrust list."""
        entry = await asyncio.to_thread(self._services.policies.put_distrust, request.entry)
        return pb.PutDistrustResponse(entry=self._logged(entry))

    async def ListDistrust(  # noqa: N802
        self, request: pb.ListDistrustRequest, context: Context
    ) -> pb.ListDistrustResponse:
        """The distrust list."""
        found = await asyncio.to_thread(self._services.policies.list_distrust)
        entries, following = await self._page(found, request.start)
        return pb.ListDistrustResponse(entries=entries, next=following)

    async def Reappraise(  # noqa: N802
        self, request: pb.ReappraiseRequest, context: Context
    ) -> AsyncIterator[pb.ReappraiseResponse]:
        """Judge evidence again, one piece after the other."""
        changes = self._services.reappraisal.run(request.evidence_id)

        def following() -> Awaitable[Change | None]:
            return self._apart(lambda: next(changes, None))

        while (change := await self._in_turn(following)) is not None:
            yield self._change(change)

    async def _in_turn(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do a piece of work when it may begin; so much may wait, and more is refused."""
        if self._waiting >= THREADS + MAX_WAITING:
            raise UnavailableError(
                Reason.APPRAISAL_BUSY,
                "too much evidence waits to be judged",
                expected=f"at most {MAX_WAITING}",
                hint="try again in a few seconds",
            )
        self._waiting += 1
        try:
            await asyncio.sleep(self._pacing.delay(asyncio.get_running_loop().time()))
            return await work()
        finally:
            self._waiting -= 1

    async def _apart(self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._pacing.run, work)

    async def _page(
        self, found: Sequence[StoredEntry], start: int
    ) -> tuple[list[statement_pb2.LoggedStatement], int]:
        """As much as one answer holds, and the entry at which the next one starts; 0 at the end."""
        page: list[StoredEntry] = []
        size = 0
        left = [entry for entry in found if entry.index >= start]
        for entry in left:
            size += len(entry.envelope)
            if len(page) >= MAX_FOUND or (page and size > PAGE_BYTES):
                break
            page.append(entry)
        # What was found may itself be a page that is full.
        more = len(page) < len(left) or len(page) >= MAX_FOUND
        following = page[-1].index + 1 if page and more else 0
        return await asyncio.to_thread(lambda: [self._logged(entry) for entry in page]), following

    def _logged(self, entry: StoredEntry) -> statement_pb2.LoggedStatement:
        return wire_statement.logged_to_proto(
            entry.envelope,
            self._sequencer.prove(entry),
            predicate_type(Envelope.parse(entry.envelope).payload),
            OPERATOR,
        )

    def _change(self, change: Change) -> pb.ReappraiseResponse:
        return pb.ReappraiseResponse(
            result=self._logged(change.entry),
            evidence_id=change.evidence_id,
            verdict_before=change.before,
            verdict_now=change.now,
            effect=change.effect,
            principal=change.principal,
            key_id=change.key_id,
            versions=change.versions,
            batches=[
                evidence_pb2.AffectedBatch(
                    index=item.index,
                    shim_id=item.shim_id,
                    n_first=item.n_first,
                    n_last=item.n_last,
                    outputs=item.outputs,
                )
                for item in change.batches
            ],
        )


def add_evidence(services: EvidenceServices, sequencer: Sequencer, server: grpc.aio.Server) -> None:
    """Answer about evidence on ``server``."""
    rpc.add_EvidenceServiceServicer_to_server(EvidenceServicer(services, sequencer), server)
