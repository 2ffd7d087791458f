"""``provreg receipt``: look at one inference receipt, and let an auditor check its input."""

from pathlib import Path

import click
import msgspec

from registry.cli.connection import connect
from registry.cli.output import json_option, show
from registry.client.journals import JournalCalls, ProvenRecord
from registry.client.replay import parse_receipt
from registry.core.encoding import Count, Value
from registry.core.records import inference
from registry.errors import MalformedError, Reason
from registry.shim.revealing import reveal as reveal_salt

folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("shim-data"),
    show_default=True,
    help="What the shim remembers.",
)
"""``--folder``, on commands for the host of a shim."""


class Shown(Value, frozen=True):
    """One record of a call, and where the batch that holds it is logged."""

    record: inference.Record
    batch: str
    index: Count


class Revealed(Value, frozen=True):
    """The salt of one call: with it, and the input, its commitment can be checked."""

    receipt: str
    salt: str


@click.group()
def command() -> None:
    """Look at one inference receipt."""


@command.command("show")
@click.argument("receipt", metavar="SHIM/N")
@json_option
@click.pass_context
def show_command(ctx: click.Context, *, receipt: str, as_json: bool) -> None:
    """Show every record of a call, each proven: its intent, its outcome, what was attached."""
    shim_id, n = named_receipt(receipt)
    with connect(ctx) as client:
        journals = JournalCalls(client)
        found = [journals.record(shim_id, n), *journals.about(shim_id, n)]
    shown = [_shown(item) for item in found]
    show(shown, [line for item in found for line in _lines(item)], as_json=as_json)


@command.command()
@click.argument("receipt", metavar="SHIM/N")
@folder_option
@json_option
def reveal(*, receipt: str, folder: Path, as_json: bool) -> None:
    """Reveal the salt of one call, on the shim's own host; it opens no other commitment."""
    shim_id, n = named_receipt(receipt)
    salt = reveal_salt(folder, shim_id, n).hex()
    show(Revealed(receipt=receipt, salt=salt), [salt], as_json=as_json)


def named_receipt(receipt: str) -> tuple[bytes, int]:
    """Shim and intent of a receipt that a user named.

    Raises:
        MalformedError: ``BAD_SETTING``.
    """
    named = parse_receipt(receipt)
    if named is None:
        raise MalformedError(
            Reason.BAD_SETTING,
            "this names no receipt",
            expected="SHIM/N, as the header x-receipt-id has it",
            actual=receipt[:80],
        )
    return named


def _shown(found: ProvenRecord) -> Shown:
    return Shown(record=found.record, batch=found.batch.record_id, index=found.batch.index)


def _lines(found: ProvenRecord) -> list[str]:
    record = found.record
    kind = str(record.__struct_config__.tag)
    lines = [f"{kind:<15} n={record.sequence.n}, {record.at}, batch {found.batch.index}"]
    if isinstance(record, inference.Intent):
        lines.append(f"  request       commitment {record.request}")
    elif isinstance(record, inference.Completion):
        model, response, ran = record.model, record.response, record.runtime
        lines += [
            f"  model         {model.name}@{model.version} ({record.binding})",
            f"  output        sha256:{response.content_digest} ({response.profile})",
            f"  ran with      {' '.join(filter(None, (ran.engine, ran.version, ran.provider)))}",
            *_course(record),
        ]
    elif isinstance(record, inference.Attached):
        took = f"{record.evidence_us} µs after the answer, {record.late_us} µs late"
        proof = f", sha256:{record.proof}" if isinstance(record.proof, str) else ""
        had = f"MISSED({record.missed}), " if record.missed else ""
        lines.append(f"  {record.level:<13} {had}{took}{proof}")
    return lines


def _course(record: inference.Completion) -> list[str]:
    """How an answer went out, and what its caller asked for."""
    lines = []
    course = record.course
    if course is not msgspec.UNSET:
        lines.append(
            f"  took          {course.total_us} µs, of which the shim's own {course.added_us} µs"
        )
        if course.params:
            params = ", ".join(f"{name} {value}" for name, value in sorted(course.params.items()))
            lines.append(f"  parameters    {params}")
    if record.asked is not msgspec.UNSET:
        lines.append(f"  asked for     {record.asked}, within {record.deadline_ms} ms")
    return lines
