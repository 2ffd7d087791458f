"""What a shim keeps of calls: open, disclose, check and erase it."""

from pathlib import Path

import click
import msgspec

from registry.cli.connection import connect
from registry.cli.input_file import read_input
from registry.cli.output import json_option, say, show
from registry.cli.receipt import folder_option, named_receipt
from registry.cli.trust import known_logs, parse_log_key
from registry.client.journals import JournalCalls
from registry.config import ClientSettings
from registry.core import encoding
from registry.core.capsule.container import MAX_CAPSULE_BYTES, Capsule
from registry.core.capsule.walk import appraise
from registry.core.encoding import Value
from registry.core.records import inference
from registry.core.records.disclosure import (
    MAX_DISCLOSURE_BYTES,
    Disclosure,
    verify_disclosure,
)
from registry.core.verdict import Verdict, overall
from registry.errors import (
    MalformedError,
    NotFoundError,
    Reason,
    VerificationError,
)
from registry.shim.privacy.sealed_payload import Opened
from registry.shim.privacy.vault import FOLDER, Vault

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_receipt_argument = click.argument("receipt", metavar="SHIM/N")


class Shown(Value, frozen=True):
    """What is kept of one call; ``record_output`` is what finds its record."""

    receipt: str
    retention_class: str
    fields: dict[str, object]
    content_digest: str
    record_output: str
    request_bytes: int
    answer_bytes: int


class Checked(Value, frozen=True):
    """A disclosure that the record commits to."""

    verdict: Verdict
    receipt: str
    fields: dict[str, object]
    content_digest: str = ""


@click.command("open")
@_receipt_argument
@folder_option
@click.option("--request-out", type=click.Path(path_type=Path), help="Write the request here.")
@click.option("--answer-out", type=click.Path(path_type=Path), help="Write the answer here.")
@json_option
def open_command(
    *,
    receipt: str,
    folder: Path,
    request_out: Path | None,
    answer_out: Path | None,
    as_json: bool,
) -> None:
    """Open what is kept of one call, on the shim's own host."""
    opened = _opened(receipt, folder)
    payload = opened.payload
    for path, data in ((request_out, payload.request), (answer_out, payload.answer)):
        if path is None:
            continue
        if not data:
            raise NotFoundError(
                Reason.NO_SEALED_PAYLOAD,
                "this part of the call was not kept",
                where=receipt,
                hint="the privacy policy of the shim says what is kept",
            )
        path.write_bytes(data)
    shown = Shown(
        receipt=payload.receipt,
        retention_class=payload.retention_class,
        fields=dict(payload.fields),
        content_digest=payload.content_digest.hex(),
        record_output=opened.committed_output[0].hex(),
        request_bytes=len(payload.request),
        answer_bytes=len(payload.answer),
    )
    lines = [f"class    {shown.retention_class}", f"output   sha256:{shown.content_digest}"]
    lines += [f"kept     {len(payload.request)} and {len(payload.answer)} bytes"]
    lines += [f"{path}  {_json(value)}" for path, value in payload.fields.items()]
    lines += [f"if its digest is committed to: provreg trace sha256:{shown.record_output}"]
    show(shown, lines, as_json=as_json)


@click.command()
@_receipt_argument
@folder_option
@click.option("--field", "paths", multiple=True, metavar="/request/…", help="A field to show.")
@click.option("--output", is_flag=True, help="Show the digests that the record commits to.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The file to write.")
def disclose(
    *, receipt: str, folder: Path, paths: tuple[str, ...], output: bool, out: Path
) -> None:
    """Write a file that shows some fields of one call and proves them, and nothing else."""
    if not paths and not output:
        raise MalformedError(
            Reason.BAD_SETTING, "nothing is to be disclosed", expected="--field or --output"
        )
    opened = _opened(receipt, folder)
    tree = opened.tree
    if paths and tree is None:
        raise NotFoundError(Reason.UNKNOWN_FIELD, "the record commits to no field", where=receipt)
    disclosed = Disclosure(
        schema="disclosure/v1",
        receipt=opened.payload.receipt,
        fields=() if tree is None else tree.disclose(paths),
        output=opened.disclosed_output if output else msgspec.UNSET,
    )
    out.write_bytes(encoding.write_json(disclosed))
    say(f"wrote {out}; whoever has it checks it with: provreg payload check {out}")


@click.command()
@click.argument("disclosure", type=_FILE)
@click.option("--capsule", type=_FILE, help="Check against this capsule, with no registry.")
@json_option
@click.pass_context
def check(ctx: click.Context, *, disclosure: Path, capsule: Path | None, as_json: bool) -> None:
    """Check that the record of a call commits to what DISCLOSURE shows.

    Exit status: 0 it does, 1 it does not, 3 unavailable.
    """
    shown = encoding.read_json(
        read_input(disclosure, MAX_DISCLOSURE_BYTES, "disclosure"), Disclosure, what="disclosure"
    )
    if capsule is not None:
        record = _in_capsule(ctx, capsule)
    else:
        with connect(ctx) as client:
            record = JournalCalls(client).outcome(*named_receipt(shown.receipt)).record
    if not isinstance(record, inference.Completion):
        raise VerificationError(
            Reason.FIELD_COMMITMENT, "this call gave no whole answer", where=shown.receipt
        )
    verify_disclosure(shown, record)
    fields = {field.path: field.value for field in shown.fields}
    lines = [f"VALID: the record of {shown.receipt} commits to this"]
    lines += [f"{path}  {_json(value)}" for path, value in fields.items()]
    digest = ""
    if shown.output is not msgspec.UNSET:
        digest = shown.output.content_digest
        lines.append(f"output  sha256:{digest}")
    checked = Checked(
        verdict=Verdict.VALID, receipt=shown.receipt, fields=fields, content_digest=digest
    )
    show(checked, lines, as_json=as_json)


@click.command()
@click.argument("receipt", metavar="SHIM/N", required=False)
@click.option("--class", "retention_class", metavar="CLASS", help="Everything of a class.")
@folder_option
@click.confirmation_option(prompt="What is erased cannot be had back. Erase it?")
def erase(*, receipt: str | None, retention_class: str | None, folder: Path) -> None:
    """Erase what is kept of one call, or of a whole class; records and proofs stand."""
    vault = Vault(folder / FOLDER)
    if (receipt is None) == (retention_class is None):
        raise MalformedError(
            Reason.BAD_SETTING, "erase one call or one class", expected="SHIM/N or --class CLASS"
        )
    if receipt is not None:
        _, n = named_receipt(receipt)
        actual = vault.receipt(n)
        if actual != receipt:
            raise _other_shim(receipt, actual)
        vault.erase(n)
        say(f"erased what was kept of {receipt}")
    elif retention_class is not None:
        vault.destroy(retention_class)
        say(f"destroyed the key of class {retention_class}: nothing of it can be opened any more")
        say("  a running shim makes a new key for what comes")


def _opened(receipt: str, folder: Path) -> Opened:
    _, n = named_receipt(receipt)
    opened = Vault(folder / FOLDER).open(n)
    if opened.payload.receipt != receipt:
        raise _other_shim(receipt, opened.payload.receipt)
    return opened


def _other_shim(receipt: str, actual: str) -> NotFoundError:
    return NotFoundError(
        Reason.NO_SEALED_PAYLOAD,
        "this folder is another shim's",
        where="--folder",
        expected=receipt,
        actual=actual,
    )


def _in_capsule(ctx: click.Context, path: Path) -> inference.Record:
    """The record of a capsule that is valid."""
    capsule = Capsule.parse(read_input(path, MAX_CAPSULE_BYTES, "capsule"))
    chosen = ClientSettings.read(log_key=ctx.obj["log_key"])
    key = (
        parse_log_key(chosen.log_key)
        if chosen.log_key
        else known_logs(chosen.folder).of_origin(capsule.log.name)
    )
    report = appraise(capsule, key)
    verdict = overall(report.checks_then)
    if verdict is not Verdict.VALID:
        raise VerificationError(
            Reason.FIELD_COMMITMENT,
            "this capsule proves no record",
            where=str(path),
            expected="VALID",
            actual=verdict.value,
            hint=f"run: provreg verify {path}",
        )
    return inference.parse(capsule.record)


def _json(value: object) -> str:
    return encoding.write_json(value).decode()
