"""``provreg distrust``: say which devices, firmware or verifiers are no longer believed."""

from datetime import UTC, datetime

import click

from registry.cli.connection import connect
from registry.cli.distrust_file import starter
from registry.cli.output import json_option, show
from registry.client.evidence import EvidenceCalls
from registry.client.statements import LoggedStatement
from registry.core.encoding import time_text
from registry.core.evidence.claims import Family
from registry.core.evidence.distrust import Entry, Selector, check, check_names
from registry.core.evidence.families import rules_of

_NEXT = (
    "next: provreg evidence reappraise --all; until then keys that it concerns stay admitted, "
    "for as long as their results are in force"
)
_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"])


@click.group()
def command() -> None:
    """Say which devices, firmware or verifiers are no longer believed."""


command.add_command(starter)


@command.command()
@click.argument("family", type=click.Choice([item.value for item in Family]))
@click.option(
    "--claim",
    "claims",
    multiple=True,
    nargs=2,
    metavar="NAME VALUE",
    help="A claim and its value, as evidence verify --json shows them.",
)
@click.option(
    "--below",
    multiple=True,
    type=(str, click.IntRange(min=0)),
    metavar="NAME NUMBER",
    help="A claim that is a smaller number, such as tcb_snp 24.",
)
@click.option("--verifier", "verifiers", multiple=True, metavar="NAME VERSION", help="Who judged.")
@click.option(
    "--since",
    type=_TIME,
    metavar="YYYY-MM-DD[THH:MM:SSZ]",
    help="From when on (UTC); now if absent.",
)
@click.option("--retroactive", is_flag=True, help="It never should have been believed.")
@click.option("--reason", required=True)
@click.option("--reference", default="", help="Where it was published.")
@json_option
@click.pass_context
def add(
    ctx: click.Context,
    *,
    family: str,
    claims: tuple[tuple[str, str], ...],
    below: tuple[tuple[str, int], ...],
    verifiers: tuple[str, ...],
    since: datetime | None,
    retroactive: bool,
    reason: str,
    reference: str,
    as_json: bool,
) -> None:
    """No longer believe evidence of FAMILY with these claims: all that are given must hold.

    What is stored stays as it is: run provreg evidence reappraise --all to see what changes.
    """
    at = ctx.obj["now"]() if since is None else since.replace(tzinfo=UTC)
    entry = Entry(
        selector=Selector(
            family=Family(family), claims=dict(claims), below=dict(below), verifiers=verifiers
        ),
        effective_from=time_text(at),
        reason=reason,
        retroactive=retroactive,
        reference=reference,
    )
    check(entry)
    check_names(entry, rules_of(family))
    with connect(ctx) as client:
        logged = EvidenceCalls(client).put_distrust(entry)
    show(_value(logged), [*_lines(logged), _NEXT], as_json=as_json)


@command.command("list")
@json_option
@click.pass_context
def list_all(ctx: click.Context, *, as_json: bool) -> None:
    """Show the distrust list, oldest entry first."""
    with connect(ctx) as client:
        found = EvidenceCalls(client).distrusted()
    show(
        [_value(item) for item in found],
        [line for item in found for line in _lines(item)],
        as_json=as_json,
    )


def _value(logged: LoggedStatement) -> dict[str, object]:
    return {
        "entry": logged.statement.predicate,
        "record_id": logged.record_id,
        "index": logged.index,
    }


def _lines(logged: LoggedStatement) -> list[str]:
    entry: Entry = logged.statement.predicate
    selector = entry.selector
    lines = [f"{selector.family}: {entry.reason}"]
    lines += [f"  claim       {name} = {value}" for name, value in selector.claims.items()]
    lines += [f"  below       {name} < {value}" for name, value in selector.below.items()]
    lines += [f"  verifier    {name}" for name in selector.verifiers]
    lines.append(f"  since       {entry.effective_from}")
    if entry.retroactive:
        lines.append("  retroactive")
    if entry.reference:
        lines.append(f"  reference   {entry.reference}")
    lines.append(f"  record      {logged.record_id} (entry {logged.index})")
    return lines
