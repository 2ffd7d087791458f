"""Auditing shims from outside: whether their records are complete, and whether one receipt exists.

Batches and records are read one batch at a time and judged here; of the registry nothing is
believed but which shims there are, and where a journal ends. A later batch that it withholds shows
as a shim that fell silent; one that it withholds in the middle shows as a broken chain.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from registry.client.journals import JournalCalls, ProvenRecord, batch_in
from registry.client.registry import RegistryClient
from registry.client.session import require
from registry.client.statements import LoggedStatement
from registry.core import digest
from registry.core.encoding import Count, Value
from registry.core.records import inference
from registry.core.records.audit_policy import Policy
from registry.core.records.completeness import Completeness, LoggedBatch, Range, ShimAudit
from registry.core.tlog.checkpoint import Checkpoint
from registry.core.verdict import Verdict
from registry.errors import (
    LimitExceededError,
    MalformedError,
    NotFoundError,
    Reason,
    RegistryError,
    VerificationError,
)


class Place(Value, frozen=True):
    """Where a proven record stands: number and kind, the entry of its batch, its position there.

    Attributes:
        at: When it was written, says the shim.
    """

    n: Count
    kind: str
    entry: Count
    position: Count
    at: str


class ReceiptAudit(Value, frozen=True):
    """Whether an inference receipt exists.

    Attributes:
        verdict: VALID if it exists, INVALID if it provably does not, or is another answer's.
        reason: The stable word for why it does not, or why that is not known.
        record: The record with its number, whatever it is.
        about: The call's outcome, and what was attached to it.
        missing: Numbers around it that two signed batches leave out.
        before: The log entry of the batch before these; absent if they begin with 0.
        after: The log entry of the batch after them.
    """

    shim_id: str
    n: Count
    verdict: Verdict
    detail: str
    reason: str = ""
    record: Place | None = None
    about: tuple[Place, ...] = ()
    missing: Range | None = None
    before: Count | None = None
    after: Count | None = None


class Auditor:
    """Audits the shims of one registry."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client
        self._journals = JournalCalls(client)

    def shims(self) -> Iterator[bytes]:
        """The ids of all shims, says the registry; it cannot be asked to prove that."""
        return self._journals.shims()

    def audit(self, shim_id: bytes, policy: Policy, at: datetime) -> ShimAudit:
        """Judge whether the records of a shim are complete, as of ``at``.

        Raises:
            NotFoundError: ``UNKNOWN_SHIM``.
            RegistryError: What is wrong with a batch statement or its proof.
        """
        judge = Completeness(shim_id.hex(), policy)
        known = False
        for logged in self._journals.listed(shim_id):
            judge.add(_as_logged(logged), self._records(logged))
            known = True
        if not known:
            raise NotFoundError(
                Reason.UNKNOWN_SHIM,
                "no batch of this shim is registered",
                where=shim_id.hex(),
                hint="list the shims that are: provreg audit gaps",
            )
        self._compare(judge)
        return judge.finish(at)

    def _compare(self, judge: Completeness) -> None:
        """Check that the log extends what the shim had seen of it when it started last."""
        seen = judge.seen
        if seen is None:
            return
        head = Checkpoint(seen.origin, seen.size, bytes.fromhex(seen.root))
        own = self._client.log_key.name
        if head.origin != own:
            judge.contradicted(
                VerificationError(
                    Reason.WRONG_LOG, "another log", expected=own, actual=head.origin[:200]
                )
            )
            return
        try:
            self._client.consistency(head)
        except (NotFoundError, VerificationError) as error:
            judge.contradicted(error)

    def receipt(self, shim_id: bytes, n: int, outputs: Sequence[bytes] = ()) -> ReceiptAudit:
        """Find out whether the call with this number has a receipt, and prove the answer.

        Args:
            shim_id: The shim.
            n: The number of the call.
            outputs: The content digests that the answer may have which came with the receipt; if
                any are given the receipt must be this answer's. Two shims with one key and one
                journal, or one that went back to an old journal, give a number away twice.

        Raises:
            RegistryError: What is wrong with a record or its proof.
        """
        try:
            found = self._journals.record(shim_id, n)
        except NotFoundError as error:
            if error.reason is not Reason.UNKNOWN_RECORD:
                raise
            # The registry's word is no proof: the batches around the number are.
            return self._absent(shim_id, n)
        record = _place(found)
        if not isinstance(found.record, inference.Intent):
            return ReceiptAudit(
                shim_id=shim_id.hex(),
                n=n,
                verdict=Verdict.INVALID,
                reason=Reason.NOT_A_CALL,
                detail=f"record {n} is of kind {record.kind}: no call has this number",
                record=record,
            )
        about = list(self._journals.about(shim_id, n))
        outcome = next((item for item in about if isinstance(item.record, inference.Outcome)), None)
        if outcome is None:
            return ReceiptAudit(
                shim_id=shim_id.hex(),
                n=n,
                verdict=Verdict.INDETERMINATE,
                reason=Reason.INTENT_OPEN,
                detail="the call is recorded, and no outcome of it is registered so far",
                record=record,
                about=tuple(map(_place, about)),
            )
        detail = f"the call is recorded, and so is its outcome: {_place(outcome).kind}"
        verdict, reason = Verdict.VALID, ""
        if outputs:
            verdict, reason, detail = _same_output(outcome.record, outputs)
        return ReceiptAudit(
            shim_id=shim_id.hex(),
            n=n,
            verdict=verdict,
            reason=reason,
            detail=detail,
            record=record,
            about=tuple(map(_place, about)),
        )

    def _absent(self, shim_id: bytes, n: int) -> ReceiptAudit:
        """Prove that no batch holds record ``n``, as far as that can be proven."""
        after = next(self._journals.listed(shim_id, n), None)
        if after is None:
            end = self._client.shim_head(shim_id).next_n
            return ReceiptAudit(
                shim_id=shim_id.hex(),
                n=n,
                verdict=Verdict.INDETERMINATE,
                reason=Reason.NOT_REGISTERED,
                detail=f"records below {end} are registered, says the registry; whether there are "
                "more nobody can tell from here",
            )
        said = batch_in(after)
        require(said.n_first > n, "record", f"{shim_id.hex()}/{n}")
        before: LoggedStatement | None = None
        first = 0
        if isinstance(said.prev_batch, str):
            before = self._client.get_statement(digest.parse(said.prev_batch))
            previous = batch_in(before)
            require(previous.shim_id == shim_id.hex(), "shim", f"entry {before.index}")
            require(previous.n_last < n, "record", f"{shim_id.hex()}/{n}")
            first = previous.n_last + 1
        return ReceiptAudit(
            shim_id=shim_id.hex(),
            n=n,
            verdict=Verdict.INVALID,
            reason=Reason.SEQUENCE_GAP,
            detail=f"records {first} to {said.n_first - 1} are in no batch: the batch that goes on "
            f"with {said.n_first} names the one before it, and both are signed and logged",
            missing=Range(first=first, last=said.n_first - 1),
            before=None if before is None else before.index,
            after=after.index,
        )

    def _records(self, logged: LoggedStatement) -> list[bytes] | RegistryError:
        """The records of a batch, or why they cannot be had though everything else can."""
        try:
            return self._journals.leaves(logged)
        except (NotFoundError, VerificationError, LimitExceededError, MalformedError) as error:
            return error


def _same_output(outcome: inference.Record, outputs: Sequence[bytes]) -> tuple[Verdict, str, str]:
    """Whether an outcome is about one of these outputs: verdict, reason and why."""
    if not isinstance(outcome, inference.Completion):
        kind = outcome.__struct_config__.tag
        detail = f"the call is recorded as {kind}, which names no output"
        return Verdict.INDETERMINATE, Reason.UNKNOWN_OUTPUT, detail
    actual = outcome.response.content_digest
    if bytes.fromhex(actual) in outputs:
        return Verdict.VALID, "", f"the call is recorded with this output, sha256:{actual}"
    if outcome.private is not msgspec.UNSET and outcome.private.output == "committed":
        detail = "the record only commits to its output; whoever runs the shim can disclose it"
        return Verdict.INDETERMINATE, Reason.OUTPUT_HIDDEN, detail
    detail = (
        f"this number belongs to another output, sha256:{actual}: it was given away twice, by a "
        "copy of the shim or out of an old journal, or the answer was changed"
    )
    return Verdict.INVALID, Reason.RECEIPT_REUSED, detail


def _as_logged(logged: LoggedStatement) -> LoggedBatch:
    return LoggedBatch(
        logged.granted.principal,
        logged.index,
        logged.envelope.record_id,
        logged.statement.subject,
        batch_in(logged),
    )


def _place(found: ProvenRecord) -> Place:
    kind = str(type(found.record).__struct_config__.tag)
    return Place(
        n=found.record.sequence.n,
        kind=kind,
        entry=found.batch.index,
        position=found.position,
        at=found.record.at,
    )
