"""Proofs of other systems in a capsule: what importers say, and what reading them again comes to.

That somebody imported a proof refutes nothing and proves nothing of the record: its link says that
the statement is genuine and about this output. What the proof itself is worth is a fact beside it,
judged here from the parts, by the vendors' roots alone.
"""

from collections.abc import Mapping, Sequence

from registry.core import verdict
from registry.core.capsule.container import Capsule
from registry.core.capsule.facts import ForeignFact
from registry.core.capsule.links import Link, judge
from registry.core.capsule.signers import Read
from registry.core.digest import sha256
from registry.core.evidence.distrust import Entry
from registry.core.foreign.proof import ForeignProof, Strength
from registry.core.foreign.systems import redo
from registry.core.records import foreign_proof, inference
from registry.core.verdict import Check, Verdict
from registry.errors import Reason, RegistryError, VerificationError

STRANGERS = "foreign parts"
"""The link that is there only if the capsule holds a part that no proof names."""

_OPEN = (Reason.MISSING_BLOB, Reason.MISSING_EXTRA, Reason.PARSER_VERSION)


def judge_proofs(
    capsule: Capsule,
    reads: Mapping[str, Read | None],
    links: Mapping[str, Link],
    record: inference.Completion | None,
) -> dict[str, Link]:
    """Judge whether imported proofs are about the output, and name every part.

    Args:
        capsule: Where they are carried.
        reads: The statements, by name; None where one cannot be read.
        links: How they and the record were judged as statements.
        record: The record of the output; None if it cannot be read.
    """
    found: dict[str, Link] = {}
    named: set[bytes] = set()
    for name, item in reads.items():
        found[name] = links[name].after(links["record"])
        if item is not None:
            named.update(item.statement.predicate.kept)
            if record is not None:
                about = _about(item, record)
                found[name] = found[name].also(Link.both(about))
    strangers = [part.hex() for part in map(sha256, capsule.foreign_parts) if part not in named]
    if strangers:
        error = VerificationError(
            Reason.DIGEST_MISMATCH,
            "no foreign proof names this part of the capsule by its digest",
            expected="what a proof names, with just these bytes",
            actual=", ".join(strangers[:4]),
        )
        found[STRANGERS] = Link.both(verdict.invalid(STRANGERS, error))
    return found


def fact(
    item: Read, importer: str, parts: Sequence[bytes], distrusted: tuple[Entry, ...] = ()
) -> ForeignFact:
    """What an importer says, and what is made of it here."""
    said: ForeignProof = item.statement.predicate
    held = {sha256(part): part for part in parts}
    weights, code, reason = Strength.NONE, Strength.NONE, ""
    try:
        given = [(raw.role, _part(held, raw.sha256)) for raw in said.raw]
        here = then = redo(said, given)
        if distrusted:
            here = redo(said, given, distrusted=distrusted)
    except RegistryError as error:
        left_open = error.reason in _OPEN and said.verdict is not Verdict.INVALID
        result = at_first = Verdict.INDETERMINATE if left_open else Verdict.INVALID
        reason = error.reason
    else:
        result, weights, code = here.verdict, here.binding_strength, here.code_strength
        at_first = then.verdict
        reason = next((layer.finding for layer in here.layers if layer.finding), "")
    return ForeignFact(
        part=item.name,
        record_id=item.record_id,
        importer=importer,
        index=item.index,
        system=said.system,
        said=said.verdict,
        here=result,
        reason=reason,
        binding_strength=weights,
        code_strength=code,
        uncovered=said.uncovered,
        then=at_first,
    )


def _part(held: dict[bytes, bytes], name: str) -> bytes:
    part = held.get(bytes.fromhex(name))
    if part is None:
        raise VerificationError(
            Reason.MISSING_BLOB, "the capsule does not hold this part of the proof", where=name
        )
    return part


def _about(item: Read, record: inference.Completion) -> Check:
    return judge(item.name, lambda: _same_output(item, record.response.content_digest))


def _same_output(item: Read, expected: str) -> str:
    outputs = [
        subject.digest.sha256
        for subject in item.statement.subject
        if subject.name == foreign_proof.OUTPUT
    ]
    if expected not in outputs:
        raise VerificationError(
            Reason.SUBJECT_MISMATCH,
            "this proof is about another output",
            expected=f"sha256:{expected}",
            actual=", ".join(f"sha256:{name}" for name in outputs[:3]),
        )
    said: ForeignProof = item.statement.predicate
    return f"a proof of {said.system}, which its importer found {said.verdict}"
