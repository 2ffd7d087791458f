"""What was made of evidence, for a person: every check, the verdict, the windows, the next step."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from registry.core.evidence.binding import Mismatch
from registry.core.evidence.checks import CheckResult, Finding, Severity
from registry.core.evidence.families import rules_of
from registry.core.evidence.nvidia.findings import Found
from registry.core.evidence.result import AttestationResult, Environment
from registry.core.evidence.validity import Validity
from registry.core.verdict import Verdict

_SIGNS = {"pass": "ok", "fail": "FAILED", "skipped": "skipped"}

_NEXT: Mapping[str, str] = {
    Finding.MISSING: "give what is missing with --endorsements, or let a registry fetch it",
    Finding.EXPIRED: "ask for a moment inside the windows with --at, or get newer endorsements",
    Finding.NOT_YET_VALID: "ask for a later moment with --at, or give older endorsements",
    Finding.UNTRUSTED_ROOT: "if you trust this root, name it with --root VENDOR=SHA256, or under "
    "roots in a policy",
    Found.CHAIN_MISSING: "give report and certificates in one file, as NVIDIA's SDK writes them",
    Finding.MALFORMED: "is the file whole, and really evidence of this family?",
    Finding.REVOKED: "do not use this device; ask its vendor why",
    Finding.DISTRUSTED: "see: provreg distrust list",
    Finding.REFERENCE_MISMATCH: "run what the policy expects, or change the policy",
    Finding.BELOW_MINIMUM: "update the firmware, or lower the policy's minimum",
    **dict.fromkeys(Mismatch, "ask the device again, with this nonce, key, model and GPUs"),
}
_AT_A_REGISTRY: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (Finding.MISSING, Finding.EXPIRED, Finding.NOT_YET_VALID),
        "get a new challenge, ask the device again, and submit its evidence with what the vendor "
        "says now; or let the registry fetch that",
    ),
    Finding.UNTRUSTED_ROOT: "if you trust this root, register a policy that names it under roots",
}
"""Where evidence is good for one challenge and judged by a registered policy, as of now."""

_GRAVITY: Final = (Severity.CRYPTO, Severity.IDENTITY, Severity.TIME, Severity.POLICY)


def check_lines(checks: Iterable[CheckResult], table: Mapping[str, str]) -> list[str]:
    """Every check of a table, each in a line, with what was found."""
    lines = []
    for item in checks:
        lines.append(f"  {_SIGNS[item.outcome]:8}{item.check:5}{table.get(item.check, '')}")
        if item.finding:
            lines.append(f"              {item.finding}: {item.detail}")
    return lines


def next_step(checks: Sequence[CheckResult], *, at_registry: bool = False) -> str:
    """What to do about the gravest thing that failed, the first of it; empty if nothing did."""
    failed = sorted(
        (item for item in checks if item.outcome == "fail"),
        key=lambda item: _GRAVITY.index(item.severity),
    )
    if not failed:
        return ""
    known = {**_NEXT, **(_AT_A_REGISTRY if at_registry else {})}
    weighed = failed[0].severity is Severity.POLICY
    return known.get(
        failed[0].finding,
        "look at the checks that failed; a policy may weigh them"
        if weighed
        else "do not believe this evidence: the checks that failed say why",
    )


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
    ]
    if environment.verdict is Verdict.VALID:
        lines.append(f"  in force    {Validity(said.issued_at, said.expires_at)}")
    else:
        lines.append("  in force    never: it attests nothing")
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
