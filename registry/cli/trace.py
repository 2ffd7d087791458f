"""``provreg trace``: find where an output comes from, and keep the proof."""

from collections.abc import Iterable
from pathlib import Path

import click
import msgspec

from registry.cli.connection import connect
from registry.cli.evidence_verify import named_roots, root_option
from registry.cli.foreign_text import found_lines, found_value
from registry.cli.level_text import level_line, level_of
from registry.cli.output import VERDICT_STATUS, json_option, show
from registry.cli.verify import (
    digests_of,
    require_attestation_option,
    require_level_option,
    tsa_chain_option,
)
from registry.cli.witness_policy import policy_option, read_policy
from registry.client.evidence import EvidenceCalls
from registry.client.foreign import Found, best, find_proofs
from registry.config import ClientSettings
from registry.core import digest
from registry.core.capsule.container import Capsule
from registry.core.capsule.walk import appraise
from registry.core.verdict import overall
from registry.errors import ConflictError, NotFoundError, Reason
from registry.signing.timestamping import read_chain


@click.command()
@click.argument("output", metavar="FILE|sha256:HEX")
@click.option(
    "--capsule",
    "out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the proof into this new file.",
)
@click.option("--receipt", type=click.IntRange(min=1), help="Which of several receipts.")
@policy_option
@tsa_chain_option
@require_attestation_option
@require_level_option
@root_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    output: str,
    out: Path | None,
    receipt: int | None,
    policy_file: Path | None,
    tsa_chains: tuple[Path, ...],
    require_attestation: bool,
    require_level: int | None,
    roots: tuple[str, ...],
    as_json: bool,
) -> int:
    """Ask which model version made an output, and check the answer here.

    Proofs of other systems that were imported are shown as well, each read again here; an output
    that has nothing else is as good as the best of them.

    Exit status: 0 valid, 1 invalid or unknown, 3 unavailable, 4 indeterminate.
    """
    if out is not None and out.exists():
        raise ConflictError(Reason.TARGET_EXISTS, "this file exists already", where=str(out))
    digests = digests_of(output)
    own = [] if output.startswith("sha256:") else [Path(output).read_bytes()]
    names = (*digests, *map(digest.sha256, own))
    policy = read_policy(policy_file)
    chains = ClientSettings.read(tsa_chains=tsa_chains).tsa_chains
    authorities = [read_chain(each) for each in chains]
    with connect(ctx) as client:
        location = None
        if receipt is not None:
            found = client.find_output(digests)
            if receipt > len(found):
                raise NotFoundError(
                    Reason.UNKNOWN_OUTPUT,
                    "this output has fewer receipts",
                    expected=f"1 to {len(found)}",
                    actual=str(receipt),
                )
            location = found[receipt - 1]
        evidence = EvidenceCalls(client)
        foreign = find_proofs(
            client,
            names,
            own,
            named_roots(roots),
            lambda: (item.statement.predicate for item in evidence.distrusted()),
        )
        try:
            traced = client.trace(digests, location)
        except NotFoundError as error:
            if error.reason is not Reason.UNKNOWN_OUTPUT or not foreign or out is not None:
                raise
            show(_foreign_value(foreign), found_lines(foreign), as_json=as_json)
            return VERDICT_STATUS[best(foreign)]
        level = level_of(client, traced.capsule)
        log_key = client.log_key
    # The registry's word is not enough: what is shown comes out of the capsule, judged here.
    report = appraise(
        Capsule.parse(traced.capsule),
        log_key,
        digests,
        policy,
        authorities,
        demand_attestation=require_attestation,
        demand_level=require_level or 0,
    )
    lines = report.to_text().splitlines()
    if traced.matches > 1:
        lines.append(f"{traced.matches} receipts have this output; see another with --receipt N")
    if out is not None:
        with out.open("xb") as file:
            file.write(traced.capsule)
        lines.append(f"the proof is in {out}; anybody can check it with: provreg verify {out}")
    value = msgspec.to_builtins(report)
    if level is not None:
        # What the capsule holds stands in the report; a record may be newer than its checkpoint.
        lines += [] if report.facts.attached else [level_line(level)]
        value |= {"level": level}
    lines += found_lines(foreign)
    if foreign:
        value |= _foreign_value(foreign)
    show(value, lines, as_json=as_json)
    return VERDICT_STATUS[overall((*report.checks_then, *report.checks_now))]


def _foreign_value(found: Iterable[Found]) -> dict[str, object]:
    return {"foreign": [found_value(item) for item in found]}
