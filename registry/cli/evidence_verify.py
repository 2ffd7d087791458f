"""``provreg evidence verify``: judge a bare quote or report, with no network and no server."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from registry.cli.bound import about_options, binding_of
from registry.cli.distrust_file import read_distrust
from registry.cli.endorsement_files import endorsements_option, read_endorsements
from registry.cli.evidence_text import check_lines, next_step
from registry.cli.output import VERDICT_STATUS, json_option, show
from registry.cli.policy_file import read_policy
from registry.core.evidence.appraisal import Appraisal, Question, appraise, dispute
from registry.core.evidence.binding import Binding
from registry.core.evidence.claims import MAX_EVIDENCE_BYTES, Family
from registry.core.evidence.distrust import written
from registry.core.evidence.endorsements import Endorsements
from registry.core.evidence.families import rules_of
from registry.core.evidence.policy import NamedRoot, Policy
from registry.core.evidence.recognise import recognise, unwrap
from registry.core.evidence.roots import Vendor
from registry.core.evidence.rules import Rules
from registry.core.evidence.starters import starter
from registry.core.evidence.trust import tier_of
from registry.core.evidence.validity import Validity
from registry.errors import MalformedError, Reason

_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"])
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)

VENDORS: Mapping[str, Vendor] = {vendor.name.lower().replace("_", "-"): vendor for vendor in Vendor}
"""How vendors are called on the command line."""

root_option = click.option(
    "--root",
    "roots",
    multiple=True,
    metavar="VENDOR=SHA256",
    help=f"Believe this root of no vendor, too. Vendors: {', '.join(VENDORS)}.",
)
"""``--root``, on commands that judge evidence here."""


@click.command()
@click.argument("file", type=_FILE)
@click.option(
    "--at",
    type=_TIME,
    metavar="YYYY-MM-DD[THH:MM:SSZ]",
    help="The moment that counts (UTC); now if absent.",
)
@click.option(
    "--family",
    type=click.Choice([item.value for item in Family]),
    help="The kind of evidence; whoever can read it, if absent.",
)
@endorsements_option
@click.option("--policy", "policy_file", type=_FILE, help="What it must say; a starter if absent.")
@root_option
@click.option("--nonce", metavar="HEX", help="The nonce that it must commit to.")
@click.option(
    "--distrust", "distrust_file", type=_FILE, help="As provreg distrust list --json prints it."
)
@about_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    file: Path,
    at: datetime | None,
    family: str | None,
    endorsements: tuple[str, ...],
    policy_file: Path | None,
    roots: tuple[str, ...],
    nonce: str | None,
    session_key: Path | None,
    model: str | None,
    gpu: str | None,
    context: str | None,
    distrust_file: Path | None,
    as_json: bool,
) -> int:
    """Judge the evidence in FILE: bytes as the device made them, or as hexadecimal or base64 text.

    The first answer is as of the moment of --at, the second as of now; the exit status is that of
    the first: 0 valid, 1 invalid, 4 indeterminate. A second engine is asked where one is installed
    (Intel, extra dcap); where it disagrees that is said, and nothing is decided.
    """
    now: datetime = ctx.obj["now"]()
    moment = now if at is None else at.replace(tzinfo=UTC)
    with file.open("rb") as opened:
        # Twice the limit, since it may be text, and room for line ends.
        evidence = unwrap(opened.read(3 * MAX_EVIDENCE_BYTES))
    if policy_file is not None:
        policy = read_policy(policy_file)
        rules = rules_of(family or policy.family)
    else:
        rules = recognise(evidence, moment) if family is None else rules_of(family)
        policy = starter(rules.family)
    policy = believing(policy, roots)
    bound = binding_of(nonce, session_key, model, gpu, context)
    distrusted = () if distrust_file is None else read_distrust(distrust_file)
    asked = Question(distrusted=distrusted)
    if bound != Binding():
        asked = replace(asked, stated=bound, expected=bound)
    given = read_endorsements(endorsements)
    then = _judge(evidence, given, moment, (policy, rules), asked)
    again = _judge(evidence, given, now, (policy, rules), replace(asked, now=True))
    show(_value(then, again, policy), _lines(then, again, rules, policy), as_json=as_json)
    return VERDICT_STATUS[then.verdict]


def _judge(
    evidence: bytes,
    endorsements: Endorsements,
    at: datetime,
    by: tuple[Policy, Rules],
    question: Question,
) -> Appraisal:
    policy, rules = by
    examination = rules.examine(evidence, endorsements, at, policy.trusted_roots())
    appraisal = appraise(examination, policy, rules, question)
    if rules.second_opinion is None:
        return appraisal
    return dispute(appraisal, rules.second_opinion(evidence, endorsements, examination))


def believing(policy: Policy, roots: tuple[str, ...]) -> Policy:
    """A policy with the roots that ``--root`` names besides.

    Raises:
        MalformedError: ``BAD_SETTING``.
    """
    return msgspec.structs.replace(policy, roots=(*policy.roots, *named_roots(roots)))


def named_roots(roots: tuple[str, ...]) -> tuple[NamedRoot, ...]:
    """The roots that ``--root`` names.

    Raises:
        MalformedError: ``BAD_SETTING``.
    """
    more: list[NamedRoot] = []
    for text in roots:
        name, _, sha256 = text.partition("=")
        try:
            more.append(msgspec.convert({"vendor": VENDORS[name], "sha256": sha256}, NamedRoot))
        except (KeyError, msgspec.ValidationError) as error:
            raise MalformedError(
                Reason.BAD_SETTING,
                "this does not name a root",
                where="--root",
                expected=f"VENDOR=SHA256 in hexadecimal, with one of {', '.join(VENDORS)}",
                actual=text[:200],
            ) from error
    return tuple(more)


def _window(appraisal: Appraisal) -> str:
    window: Validity | None = appraisal.examination.window
    if window is None:
        return "nothing with a window was used"
    return str(window) if window.start <= window.end else "at no time"


def _value(then: Appraisal, again: Appraisal, policy: Policy) -> dict[str, object]:
    return {
        "family": then.examination.family,
        "evidence_id": _name(then),
        "policy": {"name": policy.name, "sha256": then.policy},
        "then": _answer(then),
        "now": _answer(again),
        "claims": {key: written(value) for key, value in then.examination.claims.items()},
        "configured_roots": then.examination.configured_roots,
        "next": next_step(then.checks),
    }


def _answer(appraisal: Appraisal) -> dict[str, object]:
    window = appraisal.examination.window
    usable = window is not None and window.start <= window.end
    return {
        "at": Validity.text(appraisal.examination.at),
        "verdict": appraisal.verdict,
        "tier": appraisal.tier,
        "trust": dict(appraisal.trust),
        "valid_from": Validity.text(window.start) if window is not None and usable else "",
        "valid_until": Validity.text(window.end) if window is not None and usable else "",
        "checks": appraisal.checks,
        "disputed": appraisal.disputed,
    }


def _not_compared(then: Appraisal, rules: Rules, policy: Policy) -> list[str]:
    """What the policy skips, with the values that it could list."""
    claims = then.examination.claims
    skipped = [name for name in policy.skip if name in rules.references]
    absent = [name for name in skipped if name not in claims]
    lines = [
        f"  not compared: {name} {written(claims[name])}" for name in skipped if name in claims
    ]
    return [*lines, f"  not compared, nor stated: {', '.join(absent)}"] if absent else lines


def _name(appraisal: Appraisal) -> str:
    name = appraisal.examination.evidence_id
    return "" if name is None else name.hex()


def _lines(then: Appraisal, again: Appraisal, rules: Rules, policy: Policy) -> list[str]:
    lines = [
        f"{then.verdict}, {then.tier}",
        f"  family      {rules.family}",
        f"  evidence    {_name(then) or 'cannot be read'}",
        f"  policy      {policy.name}, sha256:{then.policy}",
        f"  then        {Validity.text(then.examination.at)}: {then.verdict}, {then.tier}",
        f"    window    {_window(then)}",
        f"  now         {Validity.text(again.examination.at)}: {again.verdict}, {again.tier}",
        f"    window    {_window(again)}",
    ]
    lines += [f"  ROOT OF NO VENDOR  {item}" for item in then.examination.configured_roots]
    lines += [f"  DISPUTED    {item.disputed}" for item in (then, again) if item.disputed][:1]
    lines += [
        f"  trust       {claim} {value} ({tier_of(value)})"
        for claim, value in sorted(then.trust.items())
    ]
    lines += check_lines(then.checks, rules.table)
    later = [item for item in again.findings() if item not in then.checks]
    if later:
        lines += ["  as of now, besides:", *check_lines(later, rules.table)]
    lines += _not_compared(then, rules, policy)
    step = next_step(then.checks)
    return [*lines, f"next: {step}"] if step else lines
