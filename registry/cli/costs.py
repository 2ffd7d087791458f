"""``provreg costs``: what verification cost, per day, model version and level."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import click

from registry.cli.connection import connect
from registry.cli.output import json_option, show, steps
from registry.client.costs import CostCalls, Summed
from registry.core.records.costs import SUMS
from registry.core.records.names import check_name, split_reference

_TIME: Final = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"])
_COLUMNS: Final = ("day", "model", "level", *SUMS)


@click.command()
@click.option("--model", default="", metavar="acme/x[@1.2.0]", help="Only this model or version.")
@click.option("--since", type=_TIME, help="The first moment that counts (UTC).")
@click.option("--until", type=_TIME, help="The first moment that is too late (UTC).")
@click.option(
    "--recompute",
    is_flag=True,
    help="Fetch and check every record, and sum here, instead of believing the registry's sums.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    model: str,
    since: datetime | None,
    until: datetime | None,
    recompute: bool,
    as_json: bool,
) -> None:
    """Sum what verification cost, as the records of shims and the replays of auditors say it.

    Days are by the shims' own clocks. The level is the one that the caller asked for, `logged` if
    none. added_us is what shims added to answers, evidence_us how long it took until what was
    asked for beyond the record was there, late_us how much of that was after the callers'
    deadlines, replay_us what auditors spent.
    """
    if model:
        _check_model(model)
    since, until = _utc(since), _utc(until)
    with connect(ctx) as client, steps() as progress:
        calls = CostCalls(client)
        ask = calls.recomputed if recompute else calls.sums
        found = ask(model, since, until, progress)
    # A script finds every member in every row, also where there was nothing to sum.
    rows = [{name: getattr(row, name) for name in _COLUMNS} for row in found.rows]
    answer = {"costs": rows, "entries": found.entries, "records": found.records}
    show(answer, _lines(found), as_json=as_json)


def _check_model(model: str) -> None:
    if "@" in model:
        split_reference(model)
    else:
        check_name(model)


def _utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.replace(tzinfo=UTC)


def _lines(found: Summed) -> Iterator[str]:
    rows: list[Sequence[str]] = [_COLUMNS]
    rows += [[str(getattr(row, name)) for name in _COLUMNS] for row in found.rows]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_COLUMNS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield f"{found.records} records, in the first {found.entries} entries of the log"
