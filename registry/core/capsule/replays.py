"""Replays in a capsule: what auditors say who ran the call again.

A mismatch refutes the record as-now, but on an auditor's word alone: the link, and with it the
verdict, is then open, and not invalid. Whoever doubts one or the other runs it again. What other
settings than the recorded ones explain opens nothing, whatever an auditor calls it.
"""

from registry.core import verdict
from registry.core.capsule.facts import ReplayFact
from registry.core.capsule.links import Link, judge
from registry.core.capsule.signers import Read
from registry.core.records import inference
from registry.core.records.replay import Replay, is_rounding, spelled
from registry.core.verdict import Verdict
from registry.errors import Reason, VerificationError


def judge_replay(item: Read, record: inference.Completion, leaf: bytes) -> Link:
    """Judge whether a replay is about this record, and what it says of it.

    Args:
        item: The statement.
        record: The record of the output.
        leaf: Its leaf hash.
    """
    said: Replay = item.statement.predicate
    then = judge(item.name, lambda: _about(said, record, leaf))
    refutes = said.outcome == "mismatch" and not is_rounding(said.reasons, said.difference)
    if then.verdict is Verdict.VALID and refutes:
        return Link(then, verdict.indeterminate(item.name, Reason.REPLAY_MISMATCH, then.detail))
    return Link.both(then)


def fact(item: Read, auditor: str) -> ReplayFact:
    """What a replay says."""
    said: Replay = item.statement.predicate
    ran = said.replayed
    return ReplayFact(
        part=item.name,
        record_id=item.record_id,
        auditor=auditor,
        index=item.index,
        outcome=said.outcome,
        spelled=spelled(said),
        input=said.input,
        model_file=said.model_file,
        ran_with=f"{ran.engine} {ran.version}, {ran.provider}, {ran.opt_level}, {ran.isa}",
        claimed_at=said.issued_at,
        reasons=tuple(said.reasons),
    )


def _about(said: Replay, record: inference.Completion, leaf: bytes) -> str:
    expected = (leaf.hex(), record.response.content_digest, record.model.manifest)
    actual = (said.receipt.leaf, said.recorded_output, said.model.manifest)
    if actual != expected:
        raise VerificationError(
            Reason.SUBJECT_MISMATCH,
            "this replay is about another record",
            expected=f"record {expected[0]}",
            actual=f"record {actual[0]}",
        )
    why = f" ({', '.join(said.reasons)})" if said.reasons else ""
    return f"{spelled(said)}, input {said.input}{why}, when {said.model_file} was run again"
