"""What was made of evidence, for a person: every check, the verdict, the windows, the next step."""

from collections.abc import Iterable, Mapping

import msgspec

from registry.core.evidence.checks import CheckResult, Finding
from registry.core.evidence.families import rules_of
from registry.core.evidence.result import AttestationResult, Environment
from registry.core.evidence.validity import Validity

_SIGNS = {"pass": "ok", "fail": "FAILED", "skipped": "skipped"}

_NEXT: Mapping[str, str] = {
    Finding.MISSING: "give what is missing with --endorsements, or let a registry fetch it",
    Finding.EXPIRED: "ask for a moment inside the windows with --at, or get newer endorsements",
    Finding.NOT_YET_VALID: "ask for a later moment with --at, or give older endorsements",
    Finding.UNTRUSTED_ROOT: "if you trust this root, name it with --root VENDOR=SHA256",
    Finding.MALFORMED: "is the file whole, and really evidence of this family?",
    Finding.REVOKED: "do not use this device; ask its vendor why",
    Finding.DISTRUSTED: "see: provreg distrust list",
    Finding.REFERENCE_MISMATCH: "run what the policy expects, or change the policy",
    Finding.BELOW_MINIMUM: "update the firmware, or lower the policy's minimum",
}


def check_lines(checks: Iterable[CheckResult], table: Mapping[str, str]) -> list[str]:
    """Every check of a table, each in a line, with what was found."""
    lines = []
    for item in checks:
        lines.append(f"  {_SIGNS[item.outcome]:8}{item.check:5}{table.get(item.check, '')}")
        if item.finding:
            lines.append(f"              {item.finding}: {item.detail}")
    return lines


def next_step(checks: Iterable[CheckResult]) -> str:
    """What to do about the first thing that failed; empty if nothing did."""
    for item in checks:
        if item.outcome == "fail":
            return _NEXT.get(
                item.finding, "look at the checks that failed; a policy may weigh them"
            )
    return ""


def environment_lines(said: AttestationResult, family: str, environment: Environment) -> list[str]:
    """One environment of a logged result; checks that simply passed are not told."""
    question = "now" if environment.question == "now" else "then"
    judged = f"as of {question}, {Validity.text(environment.appraised_at)}"
    lines = [
        f"{environment.verdict}, {environment.status}",
        f"  family      {family}",
        f"  evidence    {_text(environment.evidence_id)}",
        f"  bytes       sha256:{environment.raw_evidence}",
        f"  policy      sha256:{environment.policy}",
        f"  judged      {judged}, by {said.verifier.build}",
        f"  endorsed    {window_text(environment)}",
        f"  in force    {Validity(said.issued_at, said.expires_at)}",
    ]
    lines += [f"  ROOT OF NO VENDOR  {item}" for item in environment.configured_roots]
    if environment.disputed:
        lines.append(f"  DISPUTED    {environment.disputed}")
    stated = environment.stated
    if not isinstance(stated, msgspec.UnsetType):
        bound = msgspec.structs.asdict(stated)
        lines += [
            f"  bound to    {name.replace('_', ' ')} {value}"
            for name, value in bound.items()
            if not isinstance(value, msgspec.UnsetType)
        ]
    return lines + check_lines(environment.checks, rules_of(family).table)


def window_text(environment: Environment) -> str:
    """When everything that the vendor said holds at once."""
    start, end = environment.valid_from, environment.valid_until
    if isinstance(start, msgspec.UnsetType) or isinstance(end, msgspec.UnsetType):
        return "at no time"
    return str(Validity(start, end))


def _text(value: str | msgspec.UnsetType) -> str:
    return "cannot be read" if isinstance(value, msgspec.UnsetType) else value
