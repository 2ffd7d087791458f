"""What must be true afterwards: of every answer that a client received, and of every record.

* ``strict``: each answer that came whole has exactly one completion, with its content digest, under
  the number that it named; each record is proven in a signed batch in the log.
* ``stream``: each answer of which anything came has at least its intent under that number.
* Both: ``audit gaps`` finds the journal complete, with no number missing; whoever asked for a
  signed record has exactly one answer to that, and it is the one that the client was told.
* Memory is flat, see :mod:`tools.load.memory`; and no process told its user of a bug of its own.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from registry.client.auditing import Auditor
from registry.client.journals import JournalCalls
from registry.client.registry import RegistryClient
from registry.core.records import inference
from registry.core.records.audit_policy import Policy
from registry.core.records.completeness import ShimAudit
from registry.core.tlog.merkle import leaf_hash
from registry.core.verdict import Verdict
from tools.load.clients import Memory, Received

SAMPLE = 50
"""Answers of each mode whose record is also asked for alone, with its own proof."""


class Journal:
    """What the records of one shim say of its calls."""

    def __init__(self, records: Iterable[inference.Record]) -> None:
        self.intents: set[int] = set()
        self.completions: dict[int, list[inference.Completion]] = {}
        self.attached: dict[int, list[inference.Attached]] = {}
        for record in records:
            if isinstance(record, inference.Intent):
                self.intents.add(record.sequence.n)
            elif isinstance(record, inference.Completion):
                self.completions.setdefault(record.intent_n, []).append(record)
            elif isinstance(record, inference.Attached):
                self.attached.setdefault(record.intent_n, []).append(record)

    def problem(self, received: Received) -> str:
        """What is wrong with the record of an answer; empty if nothing is."""
        n = int(received.receipt_id.partition("/")[2])
        if n not in self.intents:
            return f"{received.receipt_id} has no intent"
        if received.told == "signed" and [each.missed for each in self.attached.get(n, [])] != [""]:
            return f"{received.receipt_id} was told to be signed, and has {self.attached.get(n)}"
        if received.mode != "strict" or not received.content_digest:
            return ""
        found = [each.response.content_digest for each in self.completions.get(n, [])]
        if found != [received.content_digest]:
            return f"{received.receipt_id} has completions {found}, not {received.content_digest}"
        return ""

    def unanswered(self) -> list[int]:
        """The calls whose callers asked for a signed record, and have not one answer to that."""
        return [
            n
            for n, found in self.completions.items()
            if found[0].asked == "signed" and len(self.attached.get(n, [])) != 1
        ]


def proven_records(client: RegistryClient, shim_id: str) -> Iterator[inference.Record]:
    """All records of a shim, each proven in its batch, and each batch in the log."""
    journals = JournalCalls(client)
    link: bytes | None = None
    for logged in journals.batches(bytes.fromhex(shim_id)):
        records, _ = journals.content(logged, link)
        link = leaf_hash(records[-1])
        yield from map(inference.parse, records)


def judge(client: RegistryClient, memory: Memory, seed: int) -> tuple[list[ShimAudit], list[str]]:
    """Compare what the registry has with what clients received; the audits, and the faults."""
    problems: list[str] = []
    audits = []
    auditor = Auditor(client)
    by_shim: dict[str, list[Received]] = {}
    for received in memory.received:
        by_shim.setdefault(received.receipt_id.partition("/")[0], []).append(received)
    for shim_id, answers in sorted(by_shim.items()):
        audit = auditor.audit(bytes.fromhex(shim_id), Policy(), datetime.now(UTC))
        audits.append(audit)
        if audit.verdict is not Verdict.VALID or audit.missing or audit.open or audit.unrecorded:
            told = [check for check in audit.checks if check.reason][:5]
            problems.append(f"shim {shim_id} is {audit.verdict}: {told}, missing {audit.missing}")
        journal = Journal(proven_records(client, shim_id))
        problems += filter(None, map(journal.problem, answers))
        problems += [f"{shim_id}/{n} asked, and is not answered" for n in journal.unanswered()]
        problems += _proven(client, answers, random.Random(seed))  # noqa: S311 - a sample
    return audits, problems


def _proven(
    client: RegistryClient, answers: Sequence[Received], chance: random.Random
) -> list[str]:
    """Ask for some records one by one, each with its own proof, and for outputs by their digest."""
    journals = JournalCalls(client)
    whole = [each for each in answers if each.content_digest and each.mode == "strict"]
    problems = []
    for received in chance.sample(whole, min(SAMPLE, len(whole))):
        shim_id, _, n = received.receipt_id.partition("/")
        journals.record(bytes.fromhex(shim_id), int(n))
        journals.outcome(bytes.fromhex(shim_id), int(n))
        found = client.find_output([bytes.fromhex(received.content_digest)])
        if len(found) != 1:
            problems.append(f"{received.receipt_id} is found {len(found)} times by its output")
    return problems


def line(audit: ShimAudit) -> str:
    """What is told of one shim."""
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(audit.counts.items()))
    return f"shim {audit.shim_id}: {audit.verdict}, {audit.next_n} records ({counts})"
