"""``provreg bundle``: verify Sigstore bundles, and register the statements in them."""

import hashlib
from pathlib import Path

import click

from registry.cli.connection import connect
from registry.cli.output import json_option, show
from registry.cli.witness_policy import policy_option, read_policy
from registry.core.attestation.bundle import MAX_BUNDLE_BYTES, Bundle
from registry.core.attestation.identity import Expected, Identity
from registry.core.attestation.trusted_root import MAX_TRUSTED_ROOT_BYTES, Trust
from registry.core.attestation.verify import open_bundle
from registry.core.digest import text
from registry.core.encoding import time_text
from registry.core.keys import MAX_KEY_BYTES, PublicKey

_file = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def command() -> None:
    """Verify Sigstore bundles, and register the statements in them."""


@command.command()
@click.argument("bundle", type=_file)
@click.argument("artifact", type=_file, required=False)
@click.option("--trusted-root", type=_file, required=True, help="Whom to believe.")
@click.option(
    "--identity", nargs=2, metavar="ISSUER SUBJECT", help="Who must have signed, letter for letter."
)
@click.option("--key", type=_file, help="Whose key must have signed, if it is a bare one: PEM.")
@policy_option
@json_option
def verify(
    *,
    bundle: Path,
    artifact: Path | None,
    trusted_root: Path,
    identity: tuple[str, str] | None,
    key: Path | None,
    policy_file: Path | None,
    as_json: bool,
) -> None:
    """Verify BUNDLE, offline. ARTIFACT is what it must be about; a statement needs none."""
    if (identity is None) == (key is None):
        raise click.UsageError("say who must have signed: --identity ISSUER SUBJECT, or --key FILE")
    expected: Expected
    if key is not None:
        expected = PublicKey.parse(_read(key, MAX_KEY_BYTES))
    else:
        expected = Identity(*(identity or ("", "")))
    opened = open_bundle(
        Bundle.parse(_read(bundle, MAX_BUNDLE_BYTES)),
        Trust.parse(_read(trusted_root, MAX_TRUSTED_ROOT_BYTES)),
        expected,
        artifact=None if artifact is None else _digest(artifact),
        policy=read_policy(policy_file),
    )
    times = [time_text(at) for at in opened.times]
    value = {
        "signer": str(expected),
        "digest": text(opened.digest),
        "times": times,
        "log": opened.log.host,
        "statement": None if opened.payload is None else opened.payload.decode("utf-8", "replace"),
    }
    lines = [
        "verified",
        f"  signer  {expected}",
        f"  signed  {', '.join(times) or 'at an unknown time'}",
        f"  log     {opened.log.host}",
    ]
    show(value, lines, as_json=as_json)


@command.command()
@click.argument("bundle", type=_file)
@json_option
@click.pass_context
def register(ctx: click.Context, *, bundle: Path, as_json: bool) -> None:
    """Register the statement in BUNDLE, signed by an identity that speaks for you."""
    data = _read(bundle, MAX_BUNDLE_BYTES)
    with connect(ctx) as client:
        envelope, receipt = client.register_bundle(data)
    record = text(envelope.record_id)
    show(
        {"record_id": record, "index": receipt.index},
        [f"registered {record}", f"  entry  {receipt.index}"],
        as_json=as_json,
    )


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit + 1)
