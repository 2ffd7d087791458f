"""``provreg replay``: run a recorded call again, and log how the outputs compare."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Final

import click
import msgspec

from registry.cli.connection import connect
from registry.cli.output import (
    INDETERMINATE,
    REFUSED,
    VERIFIED,
    complain,
    json_option,
    progress,
    say,
    show,
)
from registry.cli.replay_choices import choice_options
from registry.cli.signing import KEY_HELP, load_signer
from registry.cli.verify import digests_of
from registry.client import replay
from registry.client.journals import ProvenRecord
from registry.client.registry import RegistryClient
from registry.client.replay import Brought, Choices
from registry.client.replay_material import MAX_FILE_BYTES, SALT_BYTES
from registry.core.encoding import Count, Value, hex_bytes
from registry.core.records.replay import Outcome, Replay, spelled, statement
from registry.errors import LimitExceededError, Reason, RegistryError
from registry.signing.signer import Signer

STATUS: Final[dict[Outcome, int]] = {
    "bit_exact": VERIFIED,
    "within_tolerance": VERIFIED,
    "mismatch": REFUSED,
    "indeterminate": INDETERMINATE,
}
"""The exit status of each outcome."""

_OPEN: Final = frozenset(
    {
        Reason.MALFORMED_ONNX,
        Reason.NOT_REPLAYABLE,
        Reason.REPLAY_FAILED,
        Reason.REPLAY_LIMIT,
        Reason.UNSUPPORTED_TENSOR,
    }
)
"""Reasons that say nothing about the output, but that it cannot be had, or compared, here."""

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


class Answer(Value, frozen=True):
    """What was said, and where it is logged, if it is."""

    replay: Replay
    record_id: str = ""
    index: Count | msgspec.UnsetType = msgspec.UNSET


@click.command()
@click.argument("receipt", metavar="SHIM/N|FILE|sha256:HEX")
@click.option(
    "--input",
    "input_",
    type=_FILE,
    required=True,
    help="The input: the request's body or message as it was sent, or a .npz of an in-process "
    "caller's arrays.",
)
@click.option(
    "--salt",
    metavar="HEX|@FILE",
    help="What `provreg receipt reveal` says: proves that the input is the recorded one.",
)
@click.option(
    "--output", type=_FILE, help="The recorded output: needed to say how near another one is."
)
@click.option(
    "--disclosure",
    type=_FILE,
    help="What `provreg payload disclose --output` wrote, if the record only commits to it.",
)
@click.option(
    "--files",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the version's files are, or are fetched to. Without it they are fetched and "
    "removed again.",
)
@choice_options
@click.option("--number", type=click.IntRange(min=1), default=1, help="Which of several receipts.")
@click.option("--key", metavar="FILE|URI", help=f"Log the result. {KEY_HELP}")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    receipt: str,
    input_: Path,
    salt: str | None,
    output: Path | None,
    disclosure: Path | None,
    files: Path | None,
    choices: Choices,
    number: int,
    key: str | None,
    as_json: bool,
) -> int:
    """Run a recorded call again, with the registered model and the recorded settings.

    RECEIPT is what `x-receipt-id` said, or the output itself, or its digest. The model runs under
    ONNX Runtime on this machine's processor, in a process of its own. With --key the result is
    logged as a statement of an auditor, and `trace` shows it.

    Exit status: 0 bit-exact or within the tolerance, 1 mismatch or refused, 3 unavailable, 4 not
    known.
    """
    brought = Brought(
        _read(input_),
        None if salt is None else _salt(salt),
        None if output is None else _read(output),
        None if disclosure is None else _read(disclosure),
    )
    signer = None if key is None else load_signer(key)
    at: datetime = ctx.obj["now"]()
    try:
        with connect(ctx) as client, ExitStack() as stack:
            found = _find(client, receipt, number)
            folder = files
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model"
            said = replay.run_again(
                client, found, brought, choices, folder=folder, at=at, stages=progress
            )
            answer = Answer(replay=said) if signer is None else log_replay(client, said, signer)
    except RegistryError as error:
        if error.reason not in _OPEN:
            raise
        complain(error, as_json=as_json)
        return INDETERMINATE
    show(answer, _lines(answer), as_json=as_json)
    if signer is None:
        say("not logged: with --key this becomes a statement that others can see")
    return STATUS[said.outcome]


def _find(client: RegistryClient, receipt: str, number: int) -> ProvenRecord:
    named = replay.parse_receipt(receipt)
    if named is not None:
        return replay.find(client, *named)
    return replay.find_output(client, digests_of(receipt), number)


def log_replay(client: RegistryClient, said: Replay, signer: Signer) -> Answer:
    """Log what an auditor says of a replay."""
    envelope = signer.sign(statement(said))
    receipt = client.register(envelope, signer.public_key)
    record_id = f"sha256:{envelope.record_id.hex()}"
    return Answer(replay=said, record_id=record_id, index=receipt.index)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise LimitExceededError(
            Reason.REPLAY_INPUT,
            "this file is too large for a replay",
            where=str(path),
            expected=f"at most {MAX_FILE_BYTES} bytes",
        )
    return data


def _salt(given: str) -> bytes:
    text = given
    if given.startswith("@"):
        with Path(given[1:]).open("rb") as file:
            text = file.read(4 * SALT_BYTES).decode("ascii", "replace").strip()
    return hex_bytes(text, SALT_BYTES)


def _lines(answer: Answer) -> Sequence[str]:
    said = answer.replay
    model, ran = said.model, said.replayed
    lines = [
        f"{spelled(said)}  {said.receipt.shim_id}/{said.receipt.intent_n}",
        f"model       {model.name}@{model.version}, {said.model_file}",
        f"ran with    {ran.engine} {ran.version}, {ran.provider}, {ran.opt_level}, {ran.isa}",
        f"took        {said.run_us} us, with {ran.threads or 'its own number of'} threads",
        f"input       {said.input}",
        f"recorded    sha256:{said.recorded_output}",
        f"replayed    sha256:{said.replayed_output}",
    ]
    if isinstance(said.difference, msgspec.Struct) and isinstance(said.tolerance, msgspec.Struct):
        apart, near = said.difference, said.tolerance
        lines.append(
            f"apart       {apart.abs} (allowed {near.abs}), beyond that {apart.rel} of the larger "
            f"(allowed {near.rel}), {'the same' if apart.top1 else 'another'} first, "
            f"{apart.elements} numbers"
        )
    lines += [f"because     {reason}" for reason in said.reasons]
    if answer.record_id:
        lines += [f"record      {answer.record_id}", f"log entry   {answer.index}, proof checked"]
    return lines
