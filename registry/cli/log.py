"""``provreg log``: read and check the transparency log."""

from pathlib import Path
from typing import Any

import click

from registry.cli.connection import connect
from registry.cli.connection import settings as settings_of
from registry.cli.folder import data_options, lock_option, new_data_options
from registry.cli.output import REFUSED, VERIFIED, json_option, show, steps
from registry.cli.retire import command as retire
from registry.cli.trust import parse_log_key
from registry.cli.trust_config import command as trust_config
from registry.cli.witness_policy import policy_option, read_policy
from registry.client.log import LoggedEntry
from registry.client.registry import RegistryClient
from registry.client.static_audit import check_static
from registry.client.tiled_log import TiledLog
from registry.config import ServerSettings
from registry.core import digest, encoding
from registry.core.archive.timestamp import check_imprint
from registry.core.attestation.bundle import Bundle
from registry.core.tlog.checkpoint import SignedCheckpoint
from registry.core.tlog.note import Note
from registry.core.tlog.policy import Standing
from registry.core.tlog.rekor import TransparencyLogEntry
from registry.errors import ConflictError, MalformedError, NotFoundError, Reason
from registry.remote.http import HTTPClient


@click.group()
def command() -> None:
    """Read and check the transparency log."""


command.add_command(trust_config)
command.add_command(retire)


@command.command()
@click.option(
    "--since",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="An older checkpoint that the newest one must extend.",
)
@policy_option
@json_option
@click.pass_context
def checkpoint(
    ctx: click.Context, *, since: Path | None, policy_file: Path | None, as_json: bool
) -> None:
    """Show the newest signed checkpoint, checked; with --policy the newest that is cosigned."""
    policy = read_policy(policy_file)
    with connect(ctx) as client:
        if since is None:
            head = client.checkpoint()
        else:
            older = SignedCheckpoint.open(since.read_bytes(), client.log_key)
            head = client.consistency(older.checkpoint)
        if policy is not None:
            head = client.cosigned_checkpoint()
            policy.verify(head.note)
    value = {
        "origin": head.checkpoint.origin,
        "size": head.checkpoint.size,
        "root": head.checkpoint.root.hex(),
        "note": head.note.decode(),
    }
    lines = head.note.decode().splitlines()
    if policy is not None:
        standing = policy.standing(Note.parse(head.note))
        value |= {"quorum": standing.quorum, "cosigned": standing.cosigned}
        lines.append(str(standing))
    show(value, lines, as_json=as_json)


@command.command()
@click.argument("which", metavar="INDEX|sha256:RECORD")
@click.option(
    "--format",
    "form",
    type=click.Choice(["tlog-proof", "tle", "bundle", "cose"]),
    default="tlog-proof",
    show_default=True,
    help="C2SP tlog-proof, Sigstore TransparencyLogEntry or bundle, or COSE receipt (RFC 9942; "
    "shown in base64).",
)
@click.option(
    "--timestamp",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="For a bundle: an RFC 3161 response over the signature, DER.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the receipt here."
)
@policy_option
@json_option
@click.pass_context
def prove(
    ctx: click.Context,
    *,
    which: str,
    form: str,
    timestamp: tuple[Path, ...],
    out: Path | None,
    policy_file: Path | None,
    as_json: bool,
) -> None:
    """Show an entry's inclusion proof, checked; with --policy against a cosigned checkpoint."""
    if timestamp and form != "bundle":
        raise click.UsageError("only a bundle holds timestamps")
    policy = read_policy(policy_file)
    if policy is not None and form == "cose":
        raise click.UsageError("a COSE receipt carries no cosignatures; take another format")
    if which.isascii() and which.isdigit():
        wanted: int | bytes = encoding.decimal(which)
    else:
        wanted = digest.parse(which)
    if out is not None and out.exists():
        raise ConflictError(Reason.TARGET_EXISTS, "this file exists already", where=str(out))
    standing: Standing | None = None
    with connect(ctx) as client:
        if form == "cose":
            body, signed = client.cose_receipt(wanted)
            index, size, data = signed.index, signed.size, signed.to_bytes()
            text = encoding.base64_text(data)
        else:
            entry = client.proof(wanted, cosigned=policy is not None)
            body, receipt = entry.body, entry.receipt
            if policy is not None:
                policy.verify(receipt.head.note)
                standing = policy.standing(Note.parse(receipt.head.note))
            index, size, data = receipt.index, receipt.head.checkpoint.size, receipt.to_bytes()
            if form != "tlog-proof":
                stamps = tuple(path.read_bytes() for path in timestamp)
                data = _for_sigstore(client, entry, form, stamps)
            text = data.decode()
    if out is not None:
        out.write_bytes(data)
    value: dict[str, Any] = {"index": index, "size": size, "body": body.decode(), "proof": text}
    if standing is not None:
        value |= _tell(standing, as_json=as_json)
    show(value, text.splitlines(), as_json=as_json)


def _tell(standing: Standing, *, as_json: bool) -> dict[str, Any]:
    """How it stands with a quorum: for people beside the proof, whose lines may go into a file."""
    if not as_json:
        click.echo(str(standing), err=True)
    return {"quorum": standing.quorum, "cosigned": standing.cosigned}


def _for_sigstore(
    client: RegistryClient, entry: LoggedEntry, form: str, timestamps: tuple[bytes, ...]
) -> bytes:
    """The proof as stock Sigstore clients read it."""
    logged = TransparencyLogEntry.proved(entry.body, entry.receipt, client.log_key)
    if form == "tle":
        return logged.to_bytes()
    for response in timestamps:
        check_imprint(response, entry.entry.signature)
    try:
        envelope = client.get_statement(entry.entry.digest).envelope
    except NotFoundError:
        # Somebody logged a signature over bytes that the registry has never seen.
        envelope = None
    return Bundle.proved(logged, envelope, timestamps).to_bytes()


@command.command()
@new_data_options
@lock_option
@click.option("--origin", metavar="NAME", help="The log's name, a host name; made up if absent.")
def init(data: Path, database: str | None, checkpoint_lock: str | None, origin: str | None) -> None:
    """Make a log's checkpoint lock, which keeps it from ever showing two histories.

    A first `provreg serve` makes one in its data folder by itself. Make it here to keep it on
    another disk or in another database, or for a log that has none yet.
    """
    if not data.exists() and checkpoint_lock is None:
        message = f"there is no folder {data}; provreg serve makes one, with a lock"
        raise click.BadParameter(message, param_hint="--data")
    # As below: the other commands of this noun need no code of the server.
    from registry.server.offline import make_lock  # noqa: PLC0415

    newest = make_lock(ServerSettings(data, database=database, origin=origin), checkpoint_lock)
    click.echo(f"{newest.origin} is locked at {newest.size} entries")
    if newest.size:
        click.echo("Compare this with a checkpoint that others have seen before you go on.")
    given = f" --checkpoint-lock {checkpoint_lock}" if checkpoint_lock else ""
    click.echo(f"Next: provreg serve --data {data}{given}")


@command.command()
@data_options
@lock_option
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the checkpoint here."
)
@click.confirmation_option(prompt="Nothing can ever be written to this log again. Freeze it?")
@json_option
@click.pass_context
def freeze(
    ctx: click.Context,
    *,
    data: Path,
    database: str | None,
    checkpoint_lock: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """End the log with a final checkpoint, for good. With the registry stopped.

    Trusted roots written from then on say when it ended. Bundles from before stay good by their
    timestamps; one that has none, and a bare key, is refused (NO_TRUSTED_TIME).
    """
    # As above.
    from registry.server.offline import freeze_log  # noqa: PLC0415

    if out is not None and out.exists():
        raise ConflictError(Reason.TARGET_EXISTS, "this file exists already", where=str(out))
    settings = ServerSettings(data, database=database, checkpoint_lock=checkpoint_lock)
    head = freeze_log(settings, ctx.obj["now"]())
    if out is not None:
        out.write_bytes(head.note)
    value = {
        "origin": head.checkpoint.origin,
        "size": head.checkpoint.size,
        "root": head.checkpoint.root.hex(),
        "note": head.note.decode(),
    }
    show(value, head.note.decode().splitlines(), as_json=as_json)


@command.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("provreg-data"),
    show_default=True,
    help="The data folder.",
)
@click.option("--database", metavar="URL", help="As given to serve.")
@lock_option
@click.option(
    "--static",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="As given to serve.",
)
@click.option("--repair", is_flag=True, help="Make again what is derived; primary data stays.")
@click.option("--url", help="Check a static log over HTTP instead, with --log-key.")
@click.option("--log-key", "own_key", metavar="VKEY|@FILE", help="With --url: the log's key.")
@json_option
@click.pass_context
def fsck(
    ctx: click.Context,
    *,
    data: Path,
    database: str | None,
    checkpoint_lock: str | None,
    static: Path | None,
    repair: bool,
    url: str | None,
    own_key: str | None,
    as_json: bool,
) -> int:
    """Re-derive everything from what is primary and compare. With the registry stopped.

    Tiles, roots, receipts, catalog rows, blob digests and the published folder. With --url, a whole
    static log, ours or any other: every entry, tile and the root.

    Exit status: 0 nothing is wrong any more, 1 something is.
    """
    if url is not None:
        return _fsck_url(ctx, url, own_key, as_json=as_json)
    if not data.is_dir():
        # Opening it would make it.
        raise click.BadParameter(f"there is no folder {data}", param_hint="--data")
    # The other commands of this noun need no code of the server, and start faster without it.
    from registry.server.offline import check_offline  # noqa: PLC0415

    settings = ServerSettings(
        data, database=database, checkpoint_lock=checkpoint_lock, static=static
    )
    with steps() as progress:
        audited = check_offline(settings, progress, repair=repair)
    faults = audited.faults
    left = [fault for fault in faults if not fault.mended]
    mended = f", {len(faults) - len(left)} made again" if repair else ""
    show(
        {"entries": audited.entries, "faults": [fault.to_json() for fault in faults]},
        [*map(str, faults), f"{audited.entries} entries checked, {len(left)} faults{mended}"],
        as_json=as_json,
    )
    return REFUSED if left else VERIFIED


def _fsck_url(ctx: click.Context, url: str, own_key: str | None, *, as_json: bool) -> int:
    given = own_key or settings_of(ctx).log_key
    if not given:
        raise MalformedError(
            Reason.BAD_SETTING,
            "say which log this must be",
            where="--log-key",
            hint="--log-key VKEY",
        )
    key = parse_log_key(given)
    with HTTPClient(ca_file=settings_of(ctx).ca_file) as http, steps() as progress:
        head, faults = check_static(TiledLog(url, http), key, progress)
    size, root = head.checkpoint.size, head.checkpoint.root.hex()
    show(
        {
            "entries": size,
            "root": root,
            "note": head.note.decode(),
            "faults": [
                {"reason": str(fault.reason), "where": fault.where, "what": fault.what}
                for fault in faults
            ],
        },
        [*map(str, faults), f"{size} entries checked, {len(faults)} faults", f"root {root}"],
        as_json=as_json,
    )
    return REFUSED if faults else VERIFIED
