"""Records beside an outcome: what ran, and what became of the level that its caller asked for.

They are of the same shim, in the same batch or in others of the same node. What a shim attached
names what proves the level; where the capsule holds that, it is compared here:

==============  ====================================================================
``signed``      the record id of the batch of the outcome
``attested``    the evidence id of the attestation that covers the outcome
``recomputed``  the record id of a replay of this very record that agrees with it
==============  ====================================================================
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from registry.core import digest, verdict
from registry.core.capsule.attestation import ATTESTATION
from registry.core.capsule.facts import AttachedFact, ReportFact, SetupFact
from registry.core.capsule.links import Link, judge
from registry.core.capsule.parts import Beside
from registry.core.capsule.signers import Read
from registry.core.records import batch, inference
from registry.core.records.replay import Replay
from registry.core.tlog import merkle
from registry.errors import MalformedError, Reason, RegistryError, VerificationError

SETUP: Final = "setup"
"""The link that says what ran."""

_AGREES: Final = ("bit_exact", "within_tolerance")


@dataclass(frozen=True, slots=True)
class Around:
    """What the walk knows when it comes to the records beside an outcome.

    Attributes:
        record: The outcome.
        batches: The batches that could be read, by part name, that of the outcome first.
        principals: For whom their keys spoke.
        links: How everything was judged so far.
        replays: The replays that could be read, by part name.
        evidence: The evidence ids of the attestations that cover the outcome.
        files: The files of the version by their SHA-256, if the capsule lists them.
    """

    record: inference.Completion
    batches: Mapping[str, Read]
    principals: Mapping[str, str]
    links: Mapping[str, Link]
    replays: Mapping[str, Read | None]
    evidence: Sequence[str]
    files: Mapping[str, str]

    def holding(self, said: inference.Record) -> Read:
        """The batch that has the number of a record.

        Raises:
            VerificationError: ``BATCH_CONTENT``.
        """
        place = said.sequence
        for item in self.batches.values():
            container: batch.Batch = item.statement.predicate
            if container.shim_id == place.shim_id and (
                container.n_first <= place.n <= container.n_last
            ):
                return item
        raise VerificationError(
            Reason.BATCH_CONTENT,
            "no batch in the capsule has a record with this number",
            where=f"shim {place.shim_id} n={place.n}",
        )


@dataclass
class Judged:
    """The links of the records beside an outcome, and what these say; mutable while it is made.

    Attributes:
        used: The batches that hold them, by part name.
    """

    links: dict[str, Link] = field(default_factory=dict)
    used: set[str] = field(default_factory=lambda: {"batch"})
    setup: SetupFact | None = None
    attached: list[AttachedFact] = field(default_factory=list)


def judge_beside(setup: Beside | None, attached: Sequence[Beside], around: Around) -> Judged:
    """Judge what stands beside an outcome, and name every batch that was carried for it."""
    judged = Judged()
    if setup is not None:
        said = _judge(judged, SETUP, setup, around, _about_setup)
        if isinstance(said, inference.Setup):
            judged.setup = _setup_fact(said, around.files)
    for number, item in enumerate(attached):
        name = f"attached/{number}"
        said = _judge(judged, name, item, around, _about_level)
        if isinstance(said, inference.Attached):
            judged.attached.append(_attached_fact(name, said, around))
    for name in around.batches:
        if name not in judged.used:
            stranger = VerificationError(
                Reason.CAPSULE_LINK, "no record in the capsule is of this batch", where=name
            )
            judged.links[name] = around.links[name].also(Link.both(verdict.invalid(name, stranger)))
    return judged


def _judge(
    judged: Judged,
    name: str,
    item: Beside,
    around: Around,
    about: Callable[[inference.Record, Around], str],
) -> inference.Record | None:
    """Judge one record; gives it if it could be read and is proven."""
    try:
        said = inference.parse(item.record)
        container = around.holding(said)
        judged.used.add(container.name)
        where = _proven(item, said, container, around)
    except RegistryError as error:
        judged.links[name] = Link.both(verdict.invalid(name, error))
        return None
    own = judge(name, lambda: f"{about(said, around)}; {where}")
    link = Link.both(own).after(around.links["record"], around.links[container.name])
    judged.links[name] = link
    return said if link.holds else None


def _proven(item: Beside, said: inference.Record, container: Read, around: Around) -> str:
    within: batch.Batch = container.statement.predicate
    merkle.verify_inclusion(
        merkle.leaf_hash(item.record),
        item.position,
        within.count,
        item.path,
        bytes.fromhex(within.root),
    )
    _same(Reason.BATCH_CONTENT, "number", within.n_first + item.position, said.sequence.n)
    _same(Reason.SUBJECT_MISMATCH, "shim", around.record.sequence.shim_id, within.shim_id)
    _same(
        Reason.SIGNER_CHANGED,
        "node",
        around.principals.get("batch", ""),
        around.principals.get(container.name, ""),
    )
    return f"record n={said.sequence.n} in entry {container.index}"


def _about_setup(said: inference.Record, around: Around) -> str:
    record = around.record
    if not isinstance(said, inference.Setup):
        raise _foreign("a setup", said)
    expected = (record.setup_n, record.sequence.boot_id, record.model, record.binding)
    actual = (said.sequence.n, said.sequence.boot_id, said.model, said.binding)
    if (*expected, record.runtime) != (*actual, said.runtime):
        raise VerificationError(
            Reason.UNKNOWN_SETUP,
            "the record of the output does not name this setup, or says that something else ran",
            expected=f"n={record.setup_n}, {record.model.name}, {record.binding}",
            actual=f"n={said.sequence.n}, {said.model.name}, {said.binding}",
        )
    return f"{said.binding}, level L{said.level}"


def _about_level(said: inference.Record, around: Around) -> str:
    record = around.record
    if not isinstance(said, inference.Attached):
        raise _foreign("an attached record", said)
    _same(Reason.OUTCOME_UNEXPLAINED, "call", record.intent_n, said.intent_n)
    asked = "nothing more" if record.asked is msgspec.UNSET else record.asked
    _same(Reason.OUTCOME_UNEXPLAINED, "level", asked, said.level)
    if said.missed:
        return f"{said.level} was missed: {said.missed}"
    if said.level == "signed":
        own = around.batches["batch"].envelope.record_id.hex()
        _same(Reason.OUTCOME_UNEXPLAINED, "batch as proof", own, said.proof or "none")
    if said.level == "recomputed" and (replay := _replay(said, around)) is not None:
        outcome = _outcome(replay)
        if outcome not in _AGREES:
            _same(Reason.OUTCOME_UNEXPLAINED, "outcome of the replay", _AGREES[0], outcome)
    return f"{said.level} was had"


def _attached_fact(name: str, said: inference.Attached, around: Around) -> AttachedFact:
    return AttachedFact(
        part=name,
        level=said.level,
        n=said.sequence.n,
        claimed_at=said.at,
        deadline_ms=around.record.deadline_ms,
        late_us=said.late_us,
        evidence_us=said.evidence_us,
        proof=f"sha256:{said.proof}" if isinstance(said.proof, str) else "",
        proven_by=_proven_by(said, around),
        missed=said.missed,
    )


def _proven_by(said: inference.Attached, around: Around) -> str:
    """The link under which the proof was checked here; empty if the capsule does not hold it."""
    if said.level == "recomputed":
        replay = _replay(said, around)
        return replay.name if replay is not None and around.links[replay.name].holds else ""
    if said.missed:
        return ""
    if said.level == "signed":
        return "batch"
    covers = said.proof in around.evidence and around.links[ATTESTATION].holds
    return ATTESTATION if covers else ""


def _replay(said: inference.Attached, around: Around) -> Read | None:
    for item in around.replays.values():
        if item is not None and digest.parse(item.record_id).hex() == said.proof:
            return item
    return None


def _outcome(item: Read) -> str:
    said: Replay = item.statement.predicate
    return said.outcome


def _setup_fact(said: inference.Setup, files: Mapping[str, str]) -> SetupFact:
    return SetupFact(
        n=said.sequence.n,
        binding=said.binding,
        level=said.level,
        files_verified=said.files_verified,
        adapters=tuple(f"sha256:{each}" for each in said.adapters),
        tokenizer=_named(said.tokenizer),
        chat_template=_named(said.chat_template),
        quantization=said.quantization,
        upstream=said.upstream,
        evidence="" if said.evidence is msgspec.UNSET else said.evidence,
        report=None if said.report is msgspec.UNSET else _report_fact(said.report, files),
    )


def _report_fact(said: inference.Report, files: Mapping[str, str]) -> ReportFact:
    return ReportFact(
        interface=said.interface,
        model=said.model,
        version=said.version,
        digest=_named(said.digest),
        weights=tuple((_named(each), files.get(each, "")) for each in said.weights),
        adapters=tuple(map(_named, said.adapters)),
        chat_template=_named(said.chat_template),
        quantization=said.quantization,
        engine=f"{said.engine} {said.engine_version}".strip(),
    )


def _named(sha256: str | msgspec.UnsetType) -> str:
    return "" if isinstance(sha256, msgspec.UnsetType) else f"sha256:{sha256}"


def _same(reason: Reason, what: str, expected: object, actual: object) -> None:
    if actual != expected:
        raise VerificationError(
            reason,
            f"this is of another {what} than the output",
            expected=str(expected),
            actual=str(actual),
        )


def _foreign(expected: str, said: inference.Record) -> MalformedError:
    return MalformedError(
        Reason.FOREIGN_PREDICATE,
        "this is another kind of record",
        expected=expected,
        actual=type(said).__name__.lower(),
    )
