"""What was made of another system's proof, for a person and as JSON."""

from collections.abc import Iterable

import msgspec

from registry.client.foreign import Found
from registry.core.evidence.validity import Validity
from registry.core.foreign.proof import ForeignProof
from registry.core.foreign.systems import READERS
from registry.core.verdict import Verdict

_NEXT = {
    "EVIDENCE_OPEN": "give the collateral that is missing, or a moment inside the windows (--at)",
    "EVIDENCE_REFUSED": "if you trust this root, name it with --root VENDOR=SHA256",
    "EVIDENCE_DISTRUSTED": "nothing: what the hardware said is no longer believed of anybody",
    "MISSING": "capture what is missing while the other system still hands it out",
    "NONCE_UNKNOWN": "say with --nonce what you had sent",
    "LEAF_ENCODING": "leave the tree out: leaves of this kind are not read here",
    "OTHER_EVENT": "add the tree of the batch, as it is put away, as settlement=FILE",
    "NO_EVENT": "give what a node answers to eth_getTransactionReceipt as transaction=FILE",
    "LOOKUP_FAILED": "the other system has forgotten it; what you have is all there is",
}


def proof_lines(proof: ForeignProof) -> list[str]:
    """Every layer, every finding, the strength, and what is covered and what not."""
    table = READERS[proof.system][1]
    lines = [
        f"{proof.verdict}  {proof.system}, {proof.format_version}",
        f"  output       sha256:{proof.output}",
        f"  judged as of {Validity.text(proof.judged_at)}, read by {proof.parser_version}",
    ]
    lines += [f"  {item.layer:12} {item.verdict} {item.finding}".rstrip() for item in proof.layers]
    for check in proof.checks:
        if check.outcome == "fail":
            lines.append(f"    {check.check} {table.get(check.check, '')}")
            lines.append(f"       {check.finding}: {check.detail}")
    lines.append(f"  weights      bound by {proof.binding_strength}")
    lines.append(f"  code         bound by {proof.code_strength}")
    if proof.canonicaliser:
        lines.append(f"  spelling     {proof.canonicaliser}")
    lines += [f"  says         {name} {value}" for name, value in sorted(proof.claims.items())]
    lines += [f"  covered      {name}" for name in proof.covered]
    lines += [f"  told by client  {name}" for name in proof.client_claimable]
    lines += [f"  NOT COVERED  {name}" for name in proof.uncovered]
    lines += [f"  withheld     {item.role}" for item in proof.raw if item.withheld]
    environment = proof.environment
    if not isinstance(environment, msgspec.UnsetType):
        lines += [f"  ROOT OF NO VENDOR  {name}" for name in environment.configured_roots]
    return lines


def next_step(proof: ForeignProof) -> str:
    """What to do about the first thing that is open or wrong; empty if nothing is known."""
    for item in proof.layers:
        if item.finding in _NEXT:
            return _NEXT[item.finding]
    return ""


def found_lines(found: Iterable[Found]) -> list[str]:
    """Proofs that were found by their output."""
    lines: list[str] = []
    for item in found:
        lines.append(f"proof of another system, entry {item.logged.index}")
        lines.append(f"  imported by  {item.logged.granted.principal}, {item.logged.record_id}")
        lines.append(f"  the importer  says {item.proof.verdict}")
        if item.here is None:
            lines.append(f"  HERE {item.verdict}  {item.reason}: {item.detail}")
        else:
            lines.append(f"  HERE {item.verdict}, read again from the bytes that were kept")
            if item.then is not item.verdict:
                lines.append(f"  THEN {item.then}, by what was believed when it was judged")
        lines += [f"  {line}" for line in proof_lines(item.here or item.proof)]
        step = "" if item.verdict is Verdict.VALID else next_step(item.here or item.proof)
        lines += [f"  next: {step}"] if step else []
    return lines


def found_value(item: Found) -> dict[str, object]:
    """One proof that was found, for JSON."""
    return {
        "record_id": item.logged.record_id,
        "index": item.logged.index,
        "principal": item.logged.granted.principal,
        "verdict": item.verdict,
        "verdict_then": item.then,
        "reason": item.reason,
        "detail": item.detail,
        "proof": item.proof,
        **({} if item.here is None else {"here": item.here}),
    }
