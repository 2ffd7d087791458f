"""``provreg audit``: whether every call that reached a shim has its record."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import click

from registry.cli.connection import connect
from registry.cli.duration import seconds
from registry.cli.output import VERDICT_STATUS, json_option, show
from registry.cli.verify import digests_of
from registry.client.auditing import Auditor, ReceiptAudit
from registry.core import encoding
from registry.core.encoding import Count, Value
from registry.core.records.audit_policy import DEFAULT_HEARTBEAT, Policy
from registry.core.records.completeness import Range, ShimAudit, Start
from registry.core.verdict import Check, Verdict, overall
from registry.errors import MalformedError, Reason

_SHIM_BYTES: Final = 16
_SHOWN_RANGES: Final = 20


class Summary(Value, frozen=True):
    """All shims together: the verdict, how many there are, and how many of each verdict."""

    verdict: Verdict
    shims: Count
    counts: dict[str, Count]


@click.group()
def command() -> None:
    """Check what shims recorded, from outside and without trusting the registry."""


@command.command()
@click.option("--shim", "shim_id", metavar="ID", help="Only this shim, 32 hexadecimal digits.")
@click.option(
    "--receipt",
    metavar="SHIM/N",
    help="Whether this one inference receipt exists, as `x-receipt-id` names it, or provably not.",
)
@click.option(
    "--output",
    metavar="FILE|sha256:HEX",
    help="The answer that came with --receipt, which must be the one that is recorded.",
)
@click.option(
    "--max-heartbeat-gap",
    type=float,
    callback=seconds,
    default=DEFAULT_HEARTBEAT.total_seconds(),
    show_default=True,
    metavar="SECONDS",
    help="The longest time between two heartbeats of a shim.",
)
@json_option
@click.pass_context
def gaps(
    ctx: click.Context,
    *,
    shim_id: str | None,
    receipt: str | None,
    output: str | None,
    max_heartbeat_gap: float,
    as_json: bool,
) -> int:
    """Check that the records of shims are complete, or say which are missing.

    Batches chain, ranges adjoin, every call has one outcome, every start explains itself, and no
    silence is longer than the policy. Each shim has a verdict of its own; with --json each is one
    line, and the last line sums up.

    What no audit sees: what never reached a shim; times, which are what its owner says; and records
    that were given up before they were in the log. Of two shims that share one journal, or of a
    journal whose end was cut off, the log holds one: --receipt with --output finds the other. A
    receipt that is shown again, with the same answer, tells by its time when it was first given.

    Exit status: 0 complete, 1 something is provably missing or wrong, 3 unavailable, 4 not known.
    """
    if receipt is not None and shim_id is not None:
        raise MalformedError(
            Reason.BAD_SETTING, "a receipt names its shim itself", where="--shim, --receipt"
        )
    if output is not None and receipt is None:
        raise MalformedError(
            Reason.BAD_SETTING, "an output is compared with a receipt", where="--output, --receipt"
        )
    outputs = () if output is None else digests_of(output)
    at: datetime = ctx.obj["now"]()
    with connect(ctx) as client:
        auditor = Auditor(client)
        if receipt is not None:
            found = auditor.receipt(*_receipt(receipt), outputs)
            show(found, _about_receipt(found), as_json=as_json)
            return VERDICT_STATUS[found.verdict]
        policy = Policy(timedelta(seconds=max_heartbeat_gap))
        wanted = auditor.shims() if shim_id is None else iter([_shim(shim_id)])
        counts = dict.fromkeys(Verdict, 0)
        for each in wanted:
            audited = auditor.audit(each, policy, at)
            counts[audited.verdict] += 1
            show(audited, _about_shim(audited), as_json=as_json)
    told = [verdict for verdict, count in counts.items() if count]
    verdict = overall(Check(link="", verdict=each) for each in told)
    if shim_id is None:
        summary = Summary(
            verdict=verdict,
            shims=sum(counts.values()),
            counts={str(each): count for each, count in counts.items()},
        )
        show(summary, [_sum(summary)], as_json=as_json)
    return VERDICT_STATUS[verdict]


def _shim(text: str) -> bytes:
    return encoding.hex_bytes(text, _SHIM_BYTES)


def _receipt(text: str) -> tuple[bytes, int]:
    shim_id, _, n = text.partition("/")
    return _shim(shim_id), encoding.decimal(n)


def _about_shim(found: ShimAudit) -> Iterator[str]:
    yield f"shim {found.shim_id} of {found.principal}: {found.verdict}"
    yield (
        f"  {found.proven} of {found.next_n} records in {found.batches} batches, "
        f"{found.first_at} to {found.last_at}"
    )
    yield "  " + ", ".join(f"{count} {kind}" for kind, count in sorted(found.counts.items()))
    if found.started is not None:
        yield from _about_start(found.started, found.configurations)
    for name, ranges in (("missing", found.missing), ("unreadable", found.unreadable)):
        yield from (f"  {name}: {_range(each)}" for each in ranges[:_SHOWN_RANGES])
        if len(ranges) > _SHOWN_RANGES:
            yield f"  {name}: {len(ranges) - _SHOWN_RANGES} ranges more"
    for count, what in (
        (found.unrecorded, "calls went out and were never written down"),
        (found.unclean, "starts after a run that did not stop; each says so"),
        (found.clock_steps, "times the wall clock went back"),
        (found.clock_leaps, "times the wall clock leapt ahead, or the host stood still"),
        (len(found.open), "calls have no outcome so far"),
    ):
        if count:
            yield f"  {count} {what}"
    for check in found.checks:
        if check.reason:
            yield f"  {check.verdict}({check.reason}) {check.link}: {check.detail}"
    if found.more:
        yield f"  and {found.more} findings more"


def _about_start(start: Start, configurations: int) -> Iterator[str]:
    yield f"  started last with record {start.n}, {start.at}: {start.software}"
    if start.config:
        changed = f", changed {configurations} times before" if configurations else ""
        yield f"    configuration sha256:{start.config}{changed}"
    if start.seen is not None:
        yield f"    had seen {start.seen.size} entries of {start.seen.origin}"
    yield f"    evidence {start.evidence}" if start.evidence else "    UNATTESTED then"


def _about_receipt(found: ReceiptAudit) -> Iterator[str]:
    said = {
        Verdict.VALID: "exists",
        Verdict.INVALID: (
            "is another answer's"
            if found.reason == Reason.RECEIPT_REUSED
            else "provably does not exist"
        ),
        Verdict.INDETERMINATE: "is not known",
    }[found.verdict]
    reason = f"({found.reason})" if found.reason else ""
    yield f"receipt {found.shim_id}/{found.n} {said}: {found.verdict}{reason}"
    yield f"  {found.detail}"
    for each in (found.record, *found.about):
        if each is not None:
            yield (
                f"  record {each.n}, {each.kind}, {each.at}: "
                f"position {each.position} of entry {each.entry}"
            )
    if found.after is not None:
        before = "the beginning" if found.before is None else f"entry {found.before}"
        yield f"  nothing lies between {before} and entry {found.after}"


def _range(found: Range) -> str:
    if found.first == found.last:
        return f"record {found.first}"
    return f"records {found.first} to {found.last}"


def _sum(summary: Summary) -> str:
    if not summary.shims:
        return "no shim has registered anything"
    each = ", ".join(f"{count} {verdict}" for verdict, count in summary.counts.items() if count)
    return f"{summary.shims} shims: {each}"
